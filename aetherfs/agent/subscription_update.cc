// The work of one update: everything of SubscriptionRunner that moves bytes or runs commands.

#include <algorithm>
#include <string_view>
#include <utility>

#include "aetherfs/agent/materializer.h"
#include "aetherfs/agent/subscription_runner.h"
#include "aetherfs/base/status.h"
#include "aetherfs/os/process.h"
#include "aetherfs/telemetry/log.h"
#include "fmt/format.h"

namespace aetherfs {
namespace {

// Kept versions that an update looks for chunks in.
constexpr size_t kMaxSources = 4;
// Canonical bytes of a manifest that is kept in memory; a larger one is read again from disk.
constexpr size_t kMaxManifestInMemory = 1024 * 1024;

}  // namespace

SubscriptionRunner::Outcome SubscriptionRunner::Update(const Digest& target) {
  const absl::Time start = context_.clock->Now();
  const SnapshotKey key = KeyOf(target);
  const SnapshotStore::Lease lease = context_.store->Take(key.dataset, key.Name());
  agent::v1::UpdateStats stats;
  Outcome outcome;
  {
    // Another subscription may be at the same version.
    const SnapshotStore::Lease turn = context_.store->TakeForStaging(key);
    if (!context_.store->Has(key)) outcome.status = Stage(key, &stats, &outcome.refused);
  }
  if (!outcome.status.ok()) return outcome;
  const absl::StatusOr<bool> switched = Activate(key);
  outcome.status = switched.status();
  if (!switched.ok() || !*switched) return outcome;
  const absl::Duration elapsed = context_.clock->Now() - start;
  stats.set_seconds(absl::ToDoubleSeconds(elapsed));
  context_.metrics->update_seconds.Only().Observe(stats.seconds());
  RefreshOnDisk();
  {
    absl::MutexLock lock(&mutex_);
    last_update_ = stats;
    has_last_update_ = true;
  }
  LogInfo("version is active", {{"subscription", reference_},
                                {"digest", target.ToString()},
                                {"files", stats.files()},
                                {"bytes", stats.bytes()},
                                {"downloaded_bytes", stats.downloaded_bytes()},
                                {"delta_bytes", stats.delta_bytes()},
                                {"elapsed", elapsed}});
  if (!unsaved_manifest_.empty()) {
    const absl::Status saved = context_.store->WriteManifest(spec_.dataset, target, unsaved_manifest_);
    if (!saved.ok()) LogWarning("could not keep a manifest", {{"error", saved}});
    if (unsaved_manifest_.size() > kMaxManifestInMemory) manifest_.reset();
    std::string().swap(unsaved_manifest_);
  }
  return outcome;
}

absl::StatusOr<std::shared_ptr<const Manifest>> SubscriptionRunner::LoadManifest(const Digest& digest,
                                                                                 std::string* fetched,
                                                                                 TransferStats* stats) {
  if (manifest_ != nullptr && manifest_digest_ == digest) return manifest_;
  absl::StatusOr<std::string> canonical = context_.store->ReadManifest(spec_.dataset, digest);
  if (!canonical.ok() && fetched != nullptr) {
    canonical = context_.fetcher->FetchManifest(spec_.dataset, digest, stats);
    if (canonical.ok()) *fetched = *canonical;
  }
  if (!canonical.ok()) return canonical.status();
  ASSIGN_OR_RETURN(Manifest manifest, DecodeManifest(*canonical));
  return std::make_shared<const Manifest>(std::move(manifest));
}

absl::Status SubscriptionRunner::Stage(const SnapshotKey& key, agent::v1::UpdateStats* stats,
                                       bool* refused) {
  TransferStats transfer;
  std::string().swap(unsaved_manifest_);
  // What is active now and other kept versions, newest first; only those whose manifests are here.
  std::vector<std::string> names;
  {
    absl::MutexLock lock(&mutex_);
    if (active_.has_value()) names.push_back(*active_);
    for (const Digest& digest : history_) names.push_back(KeyOf(digest).Name());
  }
  for (std::string& name : context_.store->Names(spec_.dataset)) names.push_back(std::move(name));
  std::vector<std::string> seen;
  std::vector<SnapshotStore::Lease> leases;
  std::vector<std::shared_ptr<const Manifest>> manifests;
  std::vector<LocalSource> sources;
  std::vector<BaseOnDisk> bases;
  const std::string base = ParentPath(context_.store->SnapshotPath(key));
  for (const std::string& name : names) {
    const std::optional<Digest> digest = SnapshotKey::DigestOf(name);
    if (sources.size() == kMaxSources || !digest.has_value()) continue;
    if (std::find(seen.begin(), seen.end(), name) != seen.end()) continue;
    seen.push_back(name);
    SnapshotStore::Lease lease = context_.store->Take(spec_.dataset, name);
    if (!Exists(JoinPath(base, name))) continue;
    // The active version saves so much that its manifest is worth a request if it is not here.
    std::string fetched;
    absl::StatusOr<std::shared_ptr<const Manifest>> manifest =
        LoadManifest(*digest, sources.empty() ? &fetched : nullptr, &transfer);
    if (!manifest.ok()) continue;
    leases.push_back(std::move(lease));
    manifests.push_back(*std::move(manifest));
    bases.push_back({*digest, manifests.back(), sources.size()});
    sources.push_back({JoinPath(base, name), manifests.back().get(), true});
  }

  const auto account = [&] {
    stats->set_downloaded_bytes(transfer.downloaded_bytes.load());
    stats->set_requests(transfer.requests.load());
    stats->set_delta_bytes(transfer.delta_bytes.load());
    context_.metrics->delta_bytes.Increment(static_cast<double>(transfer.delta_bytes.load()));
    context_.metrics->delta_failures.Increment(static_cast<double>(transfer.delta_failures.load()));
    context_.metrics->downloaded_bytes.Increment(
        static_cast<double>(transfer.downloaded_bytes.load() - transfer.delta_bytes.load()));
    context_.metrics->integrity_failures.Increment(static_cast<double>(transfer.integrity_failures.load()));
  };
  UpdateRequest update;
  update.dataset = spec_.dataset;
  update.target = key.digest;
  if (auto canonical = context_.store->ReadManifest(spec_.dataset, key.digest); canonical.ok()) {
    update.canonical = *std::move(canonical);
  } else {
    update.offers = FindOffers(key.digest, bases);
  }
  update.sources = std::move(sources);
  update.bases = std::move(bases);
  update.directory = context_.store->StagingPath(key);
  // Another subscription may just be staging that version for itself, or tidying up.
  update.scratch = [&](const Digest& digest) {
    const std::string name = fmt::format("{}.between.{}", key.Name(), digest.Short());
    leases.push_back(context_.store->Take(spec_.dataset, name));
    return JoinPath(ParentPath(context_.store->StagingPath(key)), name);
  };
  update.options.read_only = true;
  update.options.include = spec_.include;
  update.options.exclude = spec_.exclude;
  update.options.durable = context_.durable;
  const bool manifest_is_here = !update.canonical.empty();
  absl::StatusOr<UpdateResult> result =
      StageUpdate(*context_.fetcher, std::move(update), &transfer, &cancelled_);
  account();
  RETURN_IF_ERROR(result.status());
  if (!result->warning.empty()) {
    LogWarning("update was not as it should be",
               {{"subscription", reference_}, {"warning", result->warning}});
  }
  if (!manifest_is_here) unsaved_manifest_ = std::move(result->canonical);
  stats->set_files(result->files.files);
  stats->set_bytes(result->files.bytes);
  stats->set_reused_bytes(result->files.reused_bytes);
  context_.metrics->reused_bytes.Increment(static_cast<double>(result->files.reused_bytes));
  RETURN_IF_ERROR(RunCheck(key, refused));
  RETURN_IF_ERROR(context_.store->Promote(key));
  manifest_ = result->manifest;
  manifest_digest_ = key.digest;
  return absl::OkStatus();
}

std::vector<DeltaOffer> SubscriptionRunner::FindOffers(const Digest& target,
                                                       const std::vector<BaseOnDisk>& bases) {
  if (bases.empty()) return {};
  std::vector<DeltaOffer> offers;
  bool all_known = false;
  {
    absl::MutexLock lock(&mutex_);
    if (tag_.has_value() && tag_->digest == target) {
      offers = tag_->offers;
      all_known = offers_suffice_;
    }
  }
  std::vector<Digest> digests;
  for (const BaseOnDisk& base : bases) digests.push_back(base.digest);
  if (all_known || !CheapestChain(digests, target, offers, UINT64_MAX).empty()) return offers;
  dataset::v1::LookupRequest request;
  request.set_dataset(spec_.dataset.str());
  request.set_digest(target.ToString());
  const auto found = context_.client->Lookup(request);
  return found.ok() ? OffersFrom(found->deltas()) : std::vector<DeltaOffer>();
}

absl::Status SubscriptionRunner::RunCheck(const SnapshotKey& key, bool* refused) {
  if (spec_.check.empty()) return absl::OkStatus();
  const std::string directory = context_.store->StagingPath(key);
  CommandOptions command;
  command.argv = spec_.check;
  command.environment = {{"AETHERFS_DATASET", spec_.dataset.str()},
                         {"AETHERFS_TAG", spec_.tag},
                         {"AETHERFS_DIGEST", key.digest.ToString()},
                         {"AETHERFS_DIR", directory}};
  command.directory = directory;
  command.timeout = context_.hook_timeout;
  const absl::StatusOr<CommandResult> result = RunCommand(command, &cancelled_);
  if (!result.ok())
    return Annotate(result.status(), fmt::format("run the check command of {}", reference_));
  if (result->exit_status == 0 && !result->timed_out) return absl::OkStatus();
  *refused = true;
  context_.store->DiscardStaging(key).IgnoreError();
  std::string_view words = result->output;
  words = words.substr(0, words.find_last_not_of(" \r\n\t") + 1);  // npos + 1 is 0
  return absl::FailedPreconditionError(fmt::format(
      "the check command '{}' refused it ({}); its last words: {}", Printable(spec_.check.front()),
      result->timed_out ? "timed out" : fmt::format("exit status {}", result->exit_status),
      words.empty() ? "(none)" : Printable(words)));
}

void SubscriptionRunner::RunNotify(const SnapshotKey& key) const {
  CommandOptions command;
  command.argv = spec_.notify;
  command.environment = {{"AETHERFS_DATASET", spec_.dataset.str()},
                         {"AETHERFS_TAG", spec_.tag},
                         {"AETHERFS_DIGEST", key.digest.ToString()},
                         {"AETHERFS_DIR", context_.store->LinkPath(spec_.path)}};
  command.timeout = context_.hook_timeout;
  const absl::StatusOr<CommandResult> result = RunCommand(command, &cancelled_);
  if (!result.ok()) {
    LogWarning("notify command could not be run",
               {{"subscription", reference_}, {"error", result.status()}});
  } else if (result->exit_status != 0) {
    LogWarning("notify command failed", {{"subscription", reference_},
                                         {"exit_status", result->exit_status},
                                         {"output", Printable(result->output)}});
  }
}

}  // namespace aetherfs
