#include "aetherfs/agent/agent.h"

#include <algorithm>
#include <utility>

#include "aetherfs/base/status.h"
#include "aetherfs/format/record.h"
#include "aetherfs/telemetry/log.h"
#include "aetherfs/telemetry/version.h"
#include "fmt/format.h"

namespace aetherfs {
namespace {

constexpr int kHookThreads = 2;
constexpr size_t kMaxWatchers = 1000;

constexpr std::pair<agent::v1::SubscriptionStatus::State, const char*> kStates[] = {
    {agent::v1::SubscriptionStatus::STATE_WAITING, "waiting"},
    {agent::v1::SubscriptionStatus::STATE_UPDATING, "updating"},
    {agent::v1::SubscriptionStatus::STATE_CURRENT, "current"},
    {agent::v1::SubscriptionStatus::STATE_FAILING, "failing"}};

std::string ConditionName(const std::string& reference) { return "subscription " + reference; }

}  // namespace

Agent::Turn::Turn(Agent& agent) : agent_(agent) {
  absl::MutexLock lock(&agent_.mutex_);
  const auto free = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(agent_.mutex_) { return !agent_.turn_taken_; };
  agent_.mutex_.Await(absl::Condition(&free));
  agent_.turn_taken_ = true;
}

Agent::Turn::~Turn() {
  absl::MutexLock lock(&agent_.mutex_);
  agent_.turn_taken_ = false;
}

absl::StatusOr<std::unique_ptr<Agent>> Agent::Create(AgentOptions options, ServerClient* client,
                                                     MetricsRegistry* metrics, Health* health, Clock* clock,
                                                     Random* random) {
  ASSIGN_OR_RETURN(std::unique_ptr<SnapshotStore> store, SnapshotStore::Open(options.root));
  std::unique_ptr<Agent> agent(
      new Agent(std::move(options), std::move(store), client, metrics, health, clock, random));
  RETURN_IF_ERROR(agent->LoadState());
  RETURN_IF_ERROR(agent->publications_->Recover());
  return agent;
}

Agent::Agent(AgentOptions options, std::unique_ptr<SnapshotStore> store, ServerClient* client,
             MetricsRegistry* metrics, Health* health, Clock* clock, Random* random)
    : options_(std::move(options)),
      store_(std::move(store)),
      client_(client),
      health_(health),
      clock_(clock),
      metrics_(*metrics),
      fetcher_(client, {.parallelism = options_.fetch_parallelism}),
      updates_("updates", options_.update_threads),
      publishes_("publishes", options_.publish_threads),
      hooks_("hooks", kHookThreads),
      housekeeping_("housekeeping", 1),
      scrape_hook_(*metrics, [this] { RefreshGauges(); }) {
  context_.store = store_.get();
  context_.client = client_;
  context_.fetcher = &fetcher_;
  context_.updates = &updates_;
  context_.hooks = &hooks_;
  context_.housekeeping = &housekeeping_;
  context_.scheduler = &scheduler_;
  context_.clock = clock_;
  context_.random = random;
  context_.metrics = &metrics_;
  context_.retry = options_.retry;
  context_.durable = options_.durable;
  context_.hook_timeout = options_.hook_timeout;
  context_.changed = [this](const std::string& reference) { OnChanged(reference); };
  context_.settled = [this](const SubscriptionSpec& spec) { OnSettled(spec); };
  publications_ = std::make_unique<PublicationQueue>(
      PublicationQueue::Options{store_->OwnPath("publications"), store_->OwnPath("cache"),
                                options_.publish_retry_initial, options_.publish_retry_most},
      client_, &publishes_, &scheduler_, clock_, random, &metrics_);
}

Agent::~Agent() { Stop(); }

void Agent::Stop() {
  std::vector<RunnerPtr> runners;
  std::vector<std::shared_ptr<Watcher>> watchers;
  {
    const Turn turn(*this);
    absl::MutexLock lock(&mutex_);
    draining_ = true;
    if (std::exchange(stopped_, true)) return;
    for (const auto& [reference, runner] : runners_) runners.push_back(runner);
    watchers.swap(watchers_);
  }
  for (const auto& watcher : watchers) watcher->Close();
  for (const RunnerPtr& runner : runners) runner->Stop();
  publications_->Stop();
  const absl::Status saved = SaveState();
  if (!saved.ok()) LogWarning("could not save the state", {{"error", saved}});
}

absl::Status Agent::LoadState() {
  const std::string path = store_->OwnPath("state");
  if (!Exists(path)) return absl::OkStatus();
  ASSIGN_OR_RETURN(const std::string bytes, ReadWholeFile(path, kMaxRecordSize));
  record::v1::AgentState state;
  const absl::Status read = DecodeRecord(RecordKind::kAgentState, bytes, &state);
  if (!read.ok()) {
    // The symlinks still tell what is active, so nobody loses a dataset; pins and subscriptions are lost.
    LogError("the agent's state is unreadable and set aside; pins and subscriptions made by API are lost",
             {{"file", path}, {"error", read}});
    return Rename(path, path + ".unreadable");
  }
  absl::MutexLock lock(&mutex_);
  saved_state_ = bytes;
  for (record::v1::AgentSubscription& subscription : *state.mutable_subscriptions()) {
    const absl::StatusOr<std::string> reference =
        CanonicalReference(subscription.subscription().reference());
    if (reference.ok()) remembered_[*reference] = std::move(subscription);
  }
  for (const record::v1::RetiredLink& link : state.retired()) {
    const absl::StatusOr<DatasetName> dataset = DatasetName::Parse(link.dataset());
    if (dataset.ok() && ValidatePath(link.path()).ok()) retired_[link.path()] = *dataset;
  }
  return absl::OkStatus();
}

absl::Status Agent::SaveState() {
  std::vector<RunnerPtr> runners;
  std::map<std::string, DatasetName> retired;
  record::v1::AgentState state;
  std::string before;
  {
    absl::MutexLock lock(&mutex_);
    const auto free = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return !saving_; };
    mutex_.Await(absl::Condition(&free));
    saving_ = true;
    for (const auto& [reference, runner] : runners_) runners.push_back(runner);
    for (const auto& [reference, subscription] : remembered_) *state.add_subscriptions() = subscription;
    retired = retired_;
    before = saved_state_;
  }
  for (const RunnerPtr& runner : runners) *state.add_subscriptions() = runner->Remembered();
  for (const auto& [path, dataset] : retired) {
    if (!store_->ActiveName(path, dataset).has_value()) continue;  // somebody removed it
    record::v1::RetiredLink* link = state.add_retired();
    link->set_path(path);
    link->set_dataset(dataset.str());
  }
  std::string bytes = EncodeRecord(RecordKind::kAgentState, state);
  const absl::Status saved =
      bytes == before ? absl::OkStatus() : WriteFileAtomically(store_->OwnPath("state"), bytes);
  absl::MutexLock lock(&mutex_);
  saving_ = false;
  if (saved.ok()) saved_state_ = std::move(bytes);
  return Annotate(saved, "save the agent's state");
}

absl::Status Agent::CheckOpen() const {
  absl::MutexLock lock(&mutex_);
  return draining_ ? absl::UnavailableError("the agent is shutting down") : absl::OkStatus();
}

absl::StatusOr<Agent::RunnerPtr> Agent::Find(const std::string& text) const {
  ASSIGN_OR_RETURN(const std::string reference, CanonicalReference(text));
  absl::MutexLock lock(&mutex_);
  const auto found = runners_.find(reference);
  if (found == runners_.end()) {
    return absl::NotFoundError(fmt::format("this agent has no subscription {}", reference));
  }
  return found->second;
}

absl::Status Agent::CheckConflicts(const SubscriptionSpec& spec) const {
  absl::MutexLock lock(&mutex_);
  if (runners_.size() >= kMaxSubscriptions && !runners_.contains(spec.Reference())) {
    return absl::ResourceExhaustedError(
        fmt::format("this agent has {} subscriptions already", runners_.size()));
  }
  for (const auto& [reference, runner] : runners_) {
    if (reference != spec.Reference() && PathsConflict(runner->spec().path, spec.path)) {
      return absl::InvalidArgumentError(fmt::format(
          "the subscriptions {} and {} can't both be below the root at '{}' and '{}': give one of them "
          "another path",
          reference, spec.Reference(), runner->spec().path, spec.path));
    }
  }
  return absl::OkStatus();
}

absl::Status Agent::Declare(const std::vector<agent::v1::Subscription>& subscriptions) {
  const Turn turn(*this);
  RETURN_IF_ERROR(CheckOpen());
  std::map<std::string, SubscriptionSpec> wanted;
  for (const agent::v1::Subscription& subscription : subscriptions) {
    ASSIGN_OR_RETURN(SubscriptionSpec spec, SubscriptionSpec::Parse(subscription, options_.keep));
    for (const auto& [reference, other] : wanted) {
      if (reference == spec.Reference()) {
        return absl::InvalidArgumentError(fmt::format("the subscription {} is declared twice", reference));
      }
      if (PathsConflict(other.path, spec.path)) {
        return absl::InvalidArgumentError(
            fmt::format("the subscriptions {} and {} can't both be below the root at '{}' and '{}': give "
                        "one of them another path",
                        reference, spec.Reference(), other.path, spec.path));
      }
    }
    wanted.emplace(spec.Reference(), std::move(spec));
  }
  bool first = false;
  std::vector<RunnerPtr> before;
  std::vector<agent::v1::Subscription> by_api;
  {
    absl::MutexLock lock(&mutex_);
    first = !std::exchange(declared_, true);
    for (const auto& [reference, runner] : runners_) {
      if (!runner->by_api() && !wanted.contains(reference)) before.push_back(runner);
    }
    for (const auto& [reference, saved] : remembered_) {
      if (first && saved.by_api() && !wanted.contains(reference)) by_api.push_back(saved.subscription());
      if (first && !saved.by_api() && !wanted.contains(reference)) {
        // It was declared when this agent ran last: its files stay, but nobody keeps them current.
        const absl::StatusOr<SubscriptionSpec> spec =
            SubscriptionSpec::Parse(saved.subscription(), options_.keep);
        if (spec.ok()) retired_[spec->path] = spec->dataset;
      }
    }
  }
  for (const RunnerPtr& runner : before) Remove(runner, false);
  for (auto& [reference, spec] : wanted) {
    const absl::Status status = CheckConflicts(spec);  // with what the API made
    if (!status.ok()) {
      LogError("a declared subscription is left out", {{"subscription", reference}, {"error", status}});
      health_->SetUnmet(ConditionName(reference), Message(status));
      continue;
    }
    Put(std::move(spec), false);
  }
  for (const agent::v1::Subscription& subscription : by_api) {
    absl::StatusOr<SubscriptionSpec> spec = SubscriptionSpec::Parse(subscription, options_.keep);
    const absl::Status status = spec.ok() ? CheckConflicts(*spec) : spec.status();
    if (status.ok()) {
      Put(*std::move(spec), true);
    } else {
      LogError("a subscription made by API is left out",
               {{"subscription", subscription.reference()}, {"error", status}});
    }
  }
  {
    absl::MutexLock lock(&mutex_);
    remembered_.clear();
  }
  if (first) housekeeping_.Submit([this] { RemoveOrphans(); });
  return SaveState();
}

void Agent::Put(SubscriptionSpec spec, bool by_api) {
  const std::string reference = spec.Reference();
  record::v1::AgentSubscription saved;
  RunnerPtr old;
  {
    absl::MutexLock lock(&mutex_);
    const auto found = runners_.find(reference);
    if (found != runners_.end()) {
      old = found->second;
    } else if (const auto known = remembered_.find(reference); known != remembered_.end()) {
      saved = known->second;
      remembered_.erase(known);
    }
  }
  if (old != nullptr) {
    if (old->spec() == spec && old->by_api() == by_api) return;
    old->Stop();
    saved = old->Remembered();
  }
  std::string old_path = old != nullptr ? old->spec().path : "";
  if (const absl::StatusOr<SubscriptionSpec> known =
          SubscriptionSpec::Parse(saved.subscription(), options_.keep);
      old == nullptr && known.ok()) {
    old_path = known->path;
  }
  const RunnerPtr runner = SubscriptionRunner::Create(std::move(spec), by_api, saved, context_);
  {
    absl::MutexLock lock(&mutex_);
    runners_[reference] = runner;
    retired_.erase(runner->spec().path);
  }
  const absl::Status recovered = runner->Recover();
  if (!recovered.ok())
    LogError("could not restore a symlink", {{"subscription", reference}, {"error", recovered}});
  if (!old_path.empty() && old_path != runner->spec().path) {
    const absl::Status removed = store_->RemoveLink(old_path, runner->spec().dataset);
    if (!removed.ok()) LogWarning("could not remove a symlink", {{"path", old_path}, {"error", removed}});
  }
  if (by_api) health_->Remove(ConditionName(reference));
  OnChanged(reference);
  runner->Start();
}

void Agent::Remove(const RunnerPtr& runner, bool remove_files) {
  runner->Stop();
  const SubscriptionSpec& spec = runner->spec();
  if (remove_files) {
    const absl::Status removed = store_->RemoveLink(spec.path, spec.dataset);
    if (!removed.ok()) LogWarning("could not remove a symlink", {{"path", spec.path}, {"error", removed}});
  }
  {
    absl::MutexLock lock(&mutex_);
    runners_.erase(spec.Reference());
    if (!remove_files) retired_[spec.path] = spec.dataset;
  }
  health_->Remove(ConditionName(spec.Reference()));
  for (const auto& [state, name] : kStates) metrics_.state.With({spec.Reference(), name}).Set(0);
  OnSettled(spec);
}

absl::StatusOr<agent::v1::SubscriptionStatus> Agent::Subscribe(
    const agent::v1::Subscription& subscription) {
  ASSIGN_OR_RETURN(SubscriptionSpec spec, SubscriptionSpec::Parse(subscription, options_.keep));
  const std::string reference = spec.Reference();
  {
    const Turn turn(*this);
    RETURN_IF_ERROR(CheckOpen());
    RETURN_IF_ERROR(CheckConflicts(spec));
    RETURN_IF_ERROR(store_->CheckLinkPlace(spec.path));
    Put(std::move(spec), true);
    RETURN_IF_ERROR(SaveState());
  }
  return StatusOf(reference);
}

absl::Status Agent::Unsubscribe(const std::string& reference, bool remove_files) {
  const Turn turn(*this);
  RETURN_IF_ERROR(CheckOpen());
  ASSIGN_OR_RETURN(const RunnerPtr runner, Find(reference));
  if (!runner->by_api()) {
    return absl::FailedPreconditionError(
        fmt::format("{} is declared by the agent's flags or configuration: remove it there and send SIGHUP",
                    runner->spec().Reference()));
  }
  Remove(runner, remove_files);
  return SaveState();
}

absl::StatusOr<agent::v1::SubscriptionStatus> Agent::StatusOf(const std::string& reference) const {
  ASSIGN_OR_RETURN(const RunnerPtr runner, Find(reference));
  return runner->Status();
}

agent::v1::StatusResponse Agent::Status() const {
  agent::v1::StatusResponse response;
  response.set_version(VersionText());
  response.set_root(store_->root());
  for (const std::string& server : options_.servers) response.add_servers(server);
  response.set_connected(client_->connected());
  std::vector<RunnerPtr> runners;
  {
    absl::MutexLock lock(&mutex_);
    for (const auto& [reference, runner] : runners_) runners.push_back(runner);
  }
  for (const RunnerPtr& runner : runners) *response.add_subscriptions() = runner->Status();
  for (agent::v1::Publication& publication : publications_->List()) {
    *response.add_publications() = std::move(publication);
  }
  return response;
}

absl::StatusOr<agent::v1::SubscriptionStatus> Agent::Pin(const std::string& reference,
                                                         const std::string& text) {
  RETURN_IF_ERROR(CheckOpen());
  ASSIGN_OR_RETURN(const RunnerPtr runner, Find(reference));
  ASSIGN_OR_RETURN(const Digest digest, Digest::Parse(text));
  const SubscriptionSpec& spec = runner->spec();
  if (!store_->Has({spec.dataset, digest, spec.FilterHash()})) {
    dataset::v1::LookupRequest request;
    request.set_dataset(spec.dataset.str());
    request.set_digest(digest.ToString());
    const auto found = client_->Lookup(request);
    if (!found.ok()) {
      return Annotate(found.status(),
                      fmt::format("find version {} of {}", digest.Short(), spec.dataset.str()));
    }
  }
  RETURN_IF_ERROR(runner->Pin(digest));
  return runner->Status();
}

absl::StatusOr<agent::v1::SubscriptionStatus> Agent::Unpin(const std::string& reference) {
  RETURN_IF_ERROR(CheckOpen());
  ASSIGN_OR_RETURN(const RunnerPtr runner, Find(reference));
  runner->Unpin();
  return runner->Status();
}

absl::StatusOr<agent::v1::SubscriptionStatus> Agent::Back(const std::string& reference) {
  RETURN_IF_ERROR(CheckOpen());
  ASSIGN_OR_RETURN(const RunnerPtr runner, Find(reference));
  RETURN_IF_ERROR(runner->Back());
  return runner->Status();
}

void Agent::Publish(const agent::v1::PublishRequest& request,
                    std::function<void(absl::StatusOr<agent::v1::PublishResponse>)> done) {
  if (const absl::Status open = CheckOpen(); !open.ok()) return done(open);
  if (request.asynchronous()) {
    const absl::StatusOr<std::string> id = publications_->Enqueue(request);
    if (!id.ok()) return done(id.status());
    agent::v1::PublishResponse response;
    response.set_publication_id(*id);
    return done(std::move(response));
  }
  publications_->Publish(request, [done = std::move(done)](absl::StatusOr<PublishResult> result) {
    if (!result.ok()) return done(result.status());
    agent::v1::PublishResponse response;
    *response.mutable_result() = ToProto(*result);
    done(std::move(response));
  });
}

absl::StatusOr<agent::v1::Publication> Agent::GetPublication(const std::string& id) const {
  return publications_->Get(id);
}

void Agent::AddWatcher(std::shared_ptr<Watcher> watcher) {
  {
    absl::MutexLock lock(&mutex_);
    if (!stopped_ && watchers_.size() < kMaxWatchers) {
      watchers_.push_back(std::move(watcher));
      return;
    }
  }
  watcher->Close();
}

void Agent::RemoveWatcher(const Watcher* watcher) {
  absl::MutexLock lock(&mutex_);
  std::erase_if(watchers_, [&](const auto& w) { return w.get() == watcher; });
}

std::vector<std::string> Agent::References() const {
  absl::MutexLock lock(&mutex_);
  std::vector<std::string> references;
  for (const auto& [reference, runner] : runners_) references.push_back(reference);
  return references;
}

bool Agent::Drain(absl::Time deadline) {
  {
    absl::MutexLock lock(&mutex_);
    draining_ = true;
  }
  health_->SetUnmet("serving", "the agent is shutting down");
  return publications_->AwaitIdle(deadline);
}

void Agent::OnChanged(const std::string& reference) {
  std::vector<std::shared_ptr<Watcher>> watchers;
  RunnerPtr runner;
  {
    absl::MutexLock lock(&mutex_);
    watchers = watchers_;
    if (const auto found = runners_.find(reference); found != runners_.end()) runner = found->second;
  }
  if (runner == nullptr) return;
  if (!runner->by_api()) UpdateHealth(*runner);
  for (const auto& watcher : watchers) watcher->Changed(reference);
}

void Agent::UpdateHealth(const SubscriptionRunner& runner) {
  const std::string name = ConditionName(runner.spec().Reference());
  if (!runner.HasActive()) {
    const std::string error = runner.Status().error();
    health_->SetUnmet(name, error.empty() ? "no version is active yet" : error);
  }
  // Asked again, as another thread may have told of the first version before this one told of none.
  if (runner.HasActive()) health_->SetMet(name);
}

void Agent::OnSettled(const SubscriptionSpec& spec) {
  const absl::Status saved = SaveState();
  if (!saved.ok()) {
    // Without it a restart might not know of a version that is active; nothing is removed then.
    LogError("could not save the state", {{"error", saved}});
    return;
  }
  const std::string directory = SnapshotStore::DirectoryName(spec.dataset);
  const absl::Status removed =
      store_->RemoveExcept(directory, [&](const std::string& name) { return MustStay(directory, name); });
  if (!removed.ok())
    LogWarning("could not remove old versions", {{"dataset", spec.dataset.str()}, {"error", removed}});
}

bool Agent::MustStay(const std::string& dataset_directory, const std::string& name) const {
  std::vector<RunnerPtr> runners;
  std::map<std::string, DatasetName> retired;
  {
    absl::MutexLock lock(&mutex_);
    for (const auto& [reference, runner] : runners_) {
      if (SnapshotStore::DirectoryName(runner->spec().dataset) == dataset_directory)
        runners.push_back(runner);
    }
    for (const auto& [path, dataset] : retired_) {
      if (SnapshotStore::DirectoryName(dataset) == dataset_directory) retired.emplace(path, dataset);
    }
  }
  for (const RunnerPtr& runner : runners) {
    if (runner->KeptNames().contains(name)) return true;
  }
  return std::any_of(retired.begin(), retired.end(),
                     [&](const auto& link) { return store_->ActiveName(link.first, link.second) == name; });
}

void Agent::RemoveOrphans() {
  for (const std::string& directory : store_->DatasetDirectories()) {
    bool subscribed = false;
    {
      absl::MutexLock lock(&mutex_);
      subscribed = std::any_of(runners_.begin(), runners_.end(), [&](const auto& r) {
        return SnapshotStore::DirectoryName(r.second->spec().dataset) == directory;
      });
    }
    if (subscribed) continue;  // its own updates tidy up
    const absl::Status removed =
        store_->RemoveExcept(directory, [&](const std::string& name) { return MustStay(directory, name); });
    if (!removed.ok())
      LogWarning("could not remove orphans", {{"directory", directory}, {"error", removed}});
  }
}

void Agent::RefreshGauges() {
  std::vector<RunnerPtr> runners;
  {
    absl::MutexLock lock(&mutex_);
    for (const auto& [reference, runner] : runners_) runners.push_back(runner);
  }
  using agent::v1::SubscriptionStatus;
  const absl::Time now = clock_->Now();
  for (const RunnerPtr& runner : runners) {
    const std::string reference = runner->spec().Reference();
    const SubscriptionStatus status = runner->Status();
    for (const auto& [state, name] : kStates) {
      metrics_.state.With({reference, name}).Set(status.state() == state ? 1 : 0);
    }
    if (status.activated_unix_micros() != 0) {
      metrics_.active_age.With({reference})
          .Set(absl::ToDoubleSeconds(now - absl::FromUnixMicros(status.activated_unix_micros())));
    }
    if (status.confirmed_unix_micros() != 0) {
      metrics_.confirmed_age.With({reference})
          .Set(absl::ToDoubleSeconds(now - absl::FromUnixMicros(status.confirmed_unix_micros())));
    }
  }
}

}  // namespace aetherfs
