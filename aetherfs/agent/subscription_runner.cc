#include "aetherfs/agent/subscription_runner.h"

#include <malloc.h>

#include <algorithm>
#include <utility>

#include "aetherfs/base/quantity.h"
#include "aetherfs/base/status.h"
#include "aetherfs/telemetry/log.h"
#include "fmt/format.h"

namespace aetherfs {
namespace {

using agent::v1::SubscriptionStatus;

int64_t ToMicros(absl::Time time) { return absl::ToUnixMicros(time); }

std::string_view ResultName(const absl::Status& status, bool refused) {
  if (refused) return "refused";
  switch (status.code()) {
    case absl::StatusCode::kOk:
      return "done";
    case absl::StatusCode::kDataLoss:
      return "corrupt";
    case absl::StatusCode::kResourceExhausted:
      return "disk_full";
    default:
      return "failed";
  }
}

}  // namespace

std::shared_ptr<SubscriptionRunner> SubscriptionRunner::Create(SubscriptionSpec spec, bool by_api,
                                                               const record::v1::AgentSubscription& saved,
                                                               const SubscriptionContext& context) {
  return std::shared_ptr<SubscriptionRunner>(
      new SubscriptionRunner(std::move(spec), by_api, saved, context));
}

SubscriptionRunner::SubscriptionRunner(SubscriptionSpec spec, bool by_api,
                                       const record::v1::AgentSubscription& saved,
                                       const SubscriptionContext& context)
    : spec_(std::move(spec)),
      reference_(spec_.Reference()),
      filter_(spec_.FilterHash()),
      by_api_(by_api),
      context_(context) {
  const auto digests = [](const auto& field, size_t most) {
    std::vector<Digest> list;
    for (const std::string& bytes : field) {
      const absl::StatusOr<Digest> digest = Digest::FromBytes(bytes);
      if (digest.ok() && list.size() < most) list.push_back(*digest);
    }
    return list;
  };
  if (const absl::StatusOr<Digest> pinned = Digest::FromBytes(saved.pinned()); pinned.ok())
    pinned_ = *pinned;
  history_ = digests(saved.history(), kMaxHistory);
  bad_ = digests(saved.bad(), kMaxBad);
  activated_ = absl::FromUnixMicros(saved.activated_unix_micros());
}

SubscriptionRunner::~SubscriptionRunner() { Stop(); }

absl::Status SubscriptionRunner::Recover() {
  std::optional<std::string> linked = context_.store->ActiveName(spec_.path, spec_.dataset);
  const auto is_there = [&](const std::string& name) {
    return Exists(JoinPath(ParentPath(context_.store->SnapshotPath({spec_.dataset, Digest(), ""})), name));
  };
  if (linked.has_value() && !is_there(*linked)) linked = std::nullopt;
  std::optional<Digest> best;  // of what is on disk: the pinned one, what is linked, the newest
  {
    absl::MutexLock lock(&mutex_);
    if (pinned_.has_value()) best = pinned_;
  }
  if (best.has_value() && !context_.store->Has(KeyOf(*best))) best = std::nullopt;
  std::vector<Digest> candidates;
  {
    absl::MutexLock lock(&mutex_);
    candidates = history_;
  }
  for (size_t i = 0; !linked.has_value() && !best.has_value() && i < candidates.size(); ++i) {
    if (context_.store->Has(KeyOf(candidates[i]))) best = candidates[i];
  }
  if (best.has_value() && linked != KeyOf(*best).Name()) {
    RETURN_IF_ERROR(context_.store->Activate(spec_.path, KeyOf(*best)));
    linked = KeyOf(*best).Name();
  } else if (!linked.has_value()) {
    RETURN_IF_ERROR(context_.store->RemoveLink(spec_.path, spec_.dataset));  // it would lead nowhere
  }
  RefreshOnDisk();
  absl::MutexLock lock(&mutex_);
  active_ = linked;
  if (linked.has_value()) {
    const Digest digest = *SnapshotKey::DigestOf(*linked);
    if (std::find(history_.begin(), history_.end(), digest) == history_.end()) AddToHistory(digest);
    if (activated_ == absl::UnixEpoch()) activated_ = context_.clock->Now();
  }
  return absl::OkStatus();
}

void SubscriptionRunner::Start() {
  {
    absl::MutexLock lock(&mutex_);
    started_ = true;
  }
  subscriber_ = std::make_unique<Subscriber>(
      context_.client, spec_.dataset, spec_.tag, [this](const TagUpdate& update) { OnTag(update); },
      [this](const absl::Status& status) { OnTrouble(status); });
  MaybeUpdate();  // a pinned version may be wanted that is not here yet
}

void SubscriptionRunner::Stop() {
  cancelled_ = true;
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  subscriber_.reset();
  absl::MutexLock lock(&mutex_);
  const auto idle = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return !running_ && !activating_ && !settling_ && settles_running_ == 0;
  };
  mutex_.Await(absl::Condition(&idle));
}

std::optional<Digest> SubscriptionRunner::Target() const {
  if (pinned_.has_value()) return pinned_;
  if (!tag_.has_value() || !tag_->digest.has_value() || IsBad(*tag_->digest)) return std::nullopt;
  return tag_->digest;
}

bool SubscriptionRunner::IsActive(const Digest& digest) const { return active_ == KeyOf(digest).Name(); }

bool SubscriptionRunner::IsBad(const Digest& digest) const {
  return std::find(bad_.begin(), bad_.end(), digest) != bad_.end();
}

bool SubscriptionRunner::HasActive() const {
  absl::MutexLock lock(&mutex_);
  return active_.has_value();
}

void SubscriptionRunner::OnTag(const TagUpdate& update) {
  bool settle = false;
  bool again = false;
  {
    absl::MutexLock lock(&mutex_);
    offers_suffice_ =
        update.published && tag_.has_value() && tag_->digest.has_value() && IsActive(*tag_->digest);
    tag_ = update;
    again = !std::exchange(trouble_, absl::OkStatus()).ok();
    const std::optional<Digest> target = Target();
    if (target.has_value() && IsActive(*target)) error_.clear();
    if (target.has_value() && failed_target_ != target) {
      waiting_to_retry_ = false;  // something else is wanted than what failed: at once
      ++retry_generation_;
      failures_ = 0;
    }
    settle = target.has_value() && IsActive(*target) && !std::exchange(settled_once_, true);
  }
  if (again) LogInfo("a server answers again", {{"subscription", reference_}});
  MaybeUpdate();
  if (settle) Settle();
  context_.changed(reference_);
}

void SubscriptionRunner::OnTrouble(const absl::Status& status) {
  bool news = false;  // once per trouble, not once per attempt
  {
    absl::MutexLock lock(&mutex_);
    news = trouble_.code() != status.code() && !absl::IsCancelled(status);
    trouble_ = status;
  }
  if (news) {
    LogWarning("no server answers; trying again, and what is active stays",
               {{"subscription", reference_}, {"error", status}});
  }
  context_.changed(reference_);
}

void SubscriptionRunner::MaybeUpdate() {
  {
    absl::MutexLock lock(&mutex_);
    if (!started_ || stopping_ || running_ || waiting_to_retry_) return;
    const std::optional<Digest> target = Target();
    if (!target.has_value() || IsActive(*target)) return;
    running_ = true;
  }
  context_.updates->Submit([self = shared_from_this()] { self->RunUpdates(); });
  context_.changed(reference_);
}

void SubscriptionRunner::RunUpdates() {
  for (;;) {
    std::optional<Digest> target;
    {
      absl::MutexLock lock(&mutex_);
      target = Target();
      if (stopping_ || waiting_to_retry_ || !target.has_value() || IsActive(*target)) {
        running_ = false;
        break;
      }
    }
    Finished(*target, Update(*target));
  }
  ::malloc_trim(0);  // an update's memory goes back to the system: a sidecar is idle most of the time
  context_.changed(reference_);
}

void SubscriptionRunner::Finished(const Digest& target, const Outcome& outcome) {
  if (absl::IsCancelled(outcome.status) && cancelled_.load()) return;
  context_.metrics->updates.With({std::string(ResultName(outcome.status, outcome.refused))}).Increment();
  absl::Duration delay = absl::ZeroDuration();
  {
    absl::MutexLock lock(&mutex_);
    if (outcome.status.ok()) {
      failures_ = 0;
      failed_target_.reset();
      error_.clear();
      return;
    }
    failed_target_ = target;
    error_ = fmt::format("version {}: {}", target.Short(), Describe(outcome.status));
    if (outcome.refused) {
      bad_.insert(bad_.begin(), target);
      if (bad_.size() > kMaxBad) bad_.pop_back();
      if (pinned_ == target) pinned_.reset();
    } else {
      delay = absl::IsResourceExhausted(outcome.status)
                  ? context_.retry.disk_full
                  : context_.retry.initial / 4 + BackoffDelay(failures_, context_.retry.initial,
                                                              context_.retry.most, *context_.random);
      ++failures_;
    }
  }
  LogWarning("update failed", {{"subscription", reference_},
                               {"digest", target.ToString()},
                               {"error", outcome.status},
                               {"retry_in", outcome.refused ? "never" : FormatElapsed(delay)}});
  if (outcome.refused) {
    Settle();
  } else {
    RetryLater(delay);
  }
  context_.changed(reference_);
}

void SubscriptionRunner::RetryLater(absl::Duration delay) {
  uint64_t generation = 0;
  {
    absl::MutexLock lock(&mutex_);
    if (stopping_ || Target() != failed_target_) return;  // something newer is wanted: no reason to wait
    waiting_to_retry_ = true;
    generation = ++retry_generation_;
  }
  context_.scheduler->After(delay, [weak = weak_from_this(), generation] {
    const std::shared_ptr<SubscriptionRunner> self = weak.lock();
    if (self == nullptr) return;
    {
      absl::MutexLock lock(&self->mutex_);
      if (self->retry_generation_ != generation) return;
      self->waiting_to_retry_ = false;
    }
    self->MaybeUpdate();
  });
}

absl::StatusOr<bool> SubscriptionRunner::Activate(const SnapshotKey& key) {
  {
    absl::MutexLock lock(&mutex_);
    const auto free = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return !activating_; };
    mutex_.Await(absl::Condition(&free));
    if (Target() != key.digest || IsActive(key.digest)) return false;
    activating_ = true;
  }
  const absl::Status status = Switch(key);
  {
    absl::MutexLock lock(&mutex_);
    activating_ = false;
  }
  RETURN_IF_ERROR(status);
  if (!spec_.notify.empty()) {
    context_.hooks->Submit([self = shared_from_this(), key] { self->RunNotify(key); });
  }
  Settle();
  context_.changed(reference_);
  return true;
}

absl::Status SubscriptionRunner::Switch(const SnapshotKey& key) {
  RETURN_IF_ERROR(context_.store->Activate(spec_.path, key));
  absl::MutexLock lock(&mutex_);
  active_ = key.Name();
  activated_ = context_.clock->Now();
  error_.clear();
  failures_ = 0;
  const bool known = std::find(history_.begin(), history_.end(), key.digest) != history_.end();
  if (!known || !pinned_.has_value()) AddToHistory(key.digest);  // going back leaves the order as it is
  return absl::OkStatus();
}

void SubscriptionRunner::AddToHistory(const Digest& digest) {
  history_.erase(std::remove(history_.begin(), history_.end(), digest), history_.end());
  history_.insert(history_.begin(), digest);
  if (history_.size() > kMaxHistory) history_.pop_back();
}

void SubscriptionRunner::Settle() {
  {
    absl::MutexLock lock(&mutex_);
    if (std::exchange(settling_, true)) return;
  }
  context_.housekeeping->Submit([self = shared_from_this()] { self->Settled(); });
}

void SubscriptionRunner::Settled() {
  {
    absl::MutexLock lock(&mutex_);
    settling_ = false;
    ++settles_running_;
  }
  if (HasActive() && context_.durable) {
    // The link first: an older version is only removed once it can't come back by a power failure.
    const absl::Status synced = context_.store->SyncLink(spec_.path);
    if (!synced.ok())
      LogWarning("could not sync a symlink", {{"subscription", reference_}, {"error", synced}});
  }
  context_.settled(spec_);
  RefreshOnDisk();
  context_.changed(reference_);
  absl::MutexLock lock(&mutex_);
  --settles_running_;
}

void SubscriptionRunner::RefreshOnDisk() {
  std::vector<std::string> names = context_.store->Names(spec_.dataset);
  absl::MutexLock lock(&mutex_);
  on_disk_ = std::move(names);
}

absl::Status SubscriptionRunner::Pin(const Digest& digest) {
  std::optional<Digest> before;
  {
    absl::MutexLock lock(&mutex_);
    if (IsBad(digest)) {
      return absl::FailedPreconditionError(
          fmt::format("version {} of {} was refused by the check command", digest.Short(), reference_));
    }
    before = std::exchange(pinned_, digest);
    waiting_to_retry_ = false;
    ++retry_generation_;
  }
  const SnapshotKey key = KeyOf(digest);
  const SnapshotStore::Lease lease = context_.store->Take(key.dataset, key.Name());
  if (context_.store->Has(key)) {
    const absl::Status status = Activate(key).status();
    if (!status.ok()) {
      absl::MutexLock lock(&mutex_);
      pinned_ = before;
      return Annotate(status, fmt::format("switch {} to version {}", reference_, digest.Short()));
    }
  } else {
    MaybeUpdate();
  }
  context_.settled(spec_);
  context_.changed(reference_);
  return absl::OkStatus();
}

void SubscriptionRunner::Unpin() {
  {
    absl::MutexLock lock(&mutex_);
    pinned_.reset();
    waiting_to_retry_ = false;
    ++retry_generation_;
  }
  MaybeUpdate();
  context_.settled(spec_);
  context_.changed(reference_);
}

absl::Status SubscriptionRunner::Back() {
  std::vector<Digest> older;
  {
    absl::MutexLock lock(&mutex_);
    if (!active_.has_value()) {
      return absl::NotFoundError(fmt::format("{} has no active version to go back from", reference_));
    }
    const auto at = std::find(history_.begin(), history_.end(), *SnapshotKey::DigestOf(*active_));
    if (at != history_.end()) older.assign(at + 1, history_.end());
  }
  for (const Digest& digest : older) {
    if (context_.store->Has(KeyOf(digest))) return Pin(digest);
  }
  return absl::NotFoundError(
      fmt::format("no version of {} older than the active one is kept (keep: {}); pin a digest instead",
                  reference_, spec_.keep));
}

SubscriptionStatus::State SubscriptionRunner::State() const {
  const std::optional<Digest> target = Target();
  if (running_) return SubscriptionStatus::STATE_UPDATING;
  const bool refused =
      tag_.has_value() && tag_->digest.has_value() && IsBad(*tag_->digest) && !pinned_.has_value();
  if (!error_.empty() || refused) return SubscriptionStatus::STATE_FAILING;
  if (!active_.has_value()) return SubscriptionStatus::STATE_WAITING;
  if (target.has_value() && !IsActive(*target)) return SubscriptionStatus::STATE_UPDATING;
  return SubscriptionStatus::STATE_CURRENT;
}

SubscriptionStatus SubscriptionRunner::Status() const {
  SubscriptionStatus status;
  *status.mutable_subscription() = spec_.ToProto();
  status.set_active_path(context_.store->LinkPath(spec_.path));
  absl::MutexLock lock(&mutex_);
  status.set_state(State());
  if (active_.has_value()) {
    status.set_active_digest(SnapshotKey::DigestOf(*active_)->ToString());
    status.set_activated_unix_micros(ToMicros(activated_));
  }
  if (tag_.has_value()) {
    if (tag_->digest.has_value()) status.set_wanted_digest(tag_->digest->ToString());
    status.set_confirmed_unix_micros(ToMicros(tag_->confirmed));
  }
  if (pinned_.has_value()) status.set_pinned_digest(pinned_->ToString());
  for (const Digest& digest : history_) {
    const std::string name = KeyOf(digest).Name();
    if (std::binary_search(on_disk_.begin(), on_disk_.end(), name))
      status.add_kept_digests(digest.ToString());
  }
  for (const Digest& digest : bad_) status.add_bad_digests(digest.ToString());
  if (has_last_update_) *status.mutable_last_update() = last_update_;
  if (!error_.empty()) {
    status.set_error(error_);
  } else if (tag_.has_value() && tag_->digest.has_value() && IsBad(*tag_->digest)) {
    status.set_error(fmt::format("version {}: the check command refused it", tag_->digest->Short()));
  } else if (!trouble_.ok()) {
    status.set_error(Describe(trouble_));
  } else if (tag_.has_value() && !tag_->digest.has_value()) {
    status.set_error(fmt::format("there is no {} on the server (yet)", reference_));
  }
  return status;
}

record::v1::AgentSubscription SubscriptionRunner::Remembered() const {
  record::v1::AgentSubscription saved;
  *saved.mutable_subscription() = spec_.ToProto();
  saved.set_by_api(by_api_);
  absl::MutexLock lock(&mutex_);
  if (pinned_.has_value()) saved.set_pinned(std::string(pinned_->bytes()));
  for (const Digest& digest : bad_) saved.add_bad(std::string(digest.bytes()));
  for (const Digest& digest : history_) saved.add_history(std::string(digest.bytes()));
  if (active_.has_value()) saved.set_activated_unix_micros(ToMicros(activated_));
  return saved;
}

std::set<std::string> SubscriptionRunner::KeptNames() const {
  absl::MutexLock lock(&mutex_);
  std::set<std::string> names;
  if (active_.has_value()) names.insert(*active_);
  if (const std::optional<Digest> target = Target(); target.has_value())
    names.insert(KeyOf(*target).Name());
  for (size_t i = 0; i < std::min<size_t>(history_.size(), spec_.keep); ++i)
    names.insert(KeyOf(history_[i]).Name());
  return names;
}

}  // namespace aetherfs
