#include "aetherfs/cli/pull_directory.h"

#include <sys/stat.h>

#include <cerrno>
#include <optional>
#include <utility>
#include <vector>

#include "aetherfs/agent/update.h"
#include "aetherfs/base/status.h"
#include "aetherfs/cli/context.h"
#include "aetherfs/cli/pull_record.h"
#include "aetherfs/cli/pull_target.h"
#include "aetherfs/os/file.h"
#include "fmt/format.h"

namespace aetherfs {
namespace {

class Puller {
 public:
  Puller(const std::function<absl::StatusOr<ServerClient*>()>& server, const PullOptions& options,
         PullProgress* progress, const std::atomic<bool>* cancelled)
      : server_(server),
        options_(options),
        progress_(progress),
        cancelled_(cancelled),
        records_(options.cache_dir) {}

  absl::StatusOr<PullResult> Run() {
    ASSIGN_OR_RETURN(target_,
                     ResolvePullTarget(options_.directory, options_.home, options_.working_directory));
    RETURN_IF_ERROR(MakeDirectories(target_.parent));
    ASSIGN_OR_RETURN(const PullLock lock, PullLock::Acquire(target_));
    if (target_.exists) record_ = records_.Load(target_.path);
    RETURN_IF_ERROR(Resolve());
    if (record_ && record_->digest == result_.digest && LooksUntouched(target_.path, *record_)) {
      RemoveLeftovers(target_, Digest());
      result_.unchanged = true;
      result_.files = record_->manifest.FileCount();
      result_.bytes = result_.reused_bytes = record_->manifest.TotalBytes();
      return std::move(result_);
    }
    RETURN_IF_ERROR(RemoveTree(target_.SwapPath()));
    RETURN_IF_ERROR(Stage());
    RETURN_IF_ERROR(Activate());
    Record();
    RemoveLeftovers(target_, Digest());
    return std::move(result_);
  }

 private:
  absl::Status Resolve() {
    if (options_.reference.digest) {
      result_.digest = *options_.reference.digest;
      if (!record_ || record_->digest == result_.digest) return absl::OkStatus();
      // Only for the deltas: it goes without them, too.
      ASSIGN_OR_RETURN(ServerClient * server, server_());
      const auto found = LookupReference(*server, options_.reference);
      if (found.ok()) offers_ = OffersFrom(found->deltas());
      return absl::OkStatus();
    }
    ASSIGN_OR_RETURN(ServerClient * server, server_());
    ASSIGN_OR_RETURN(const dataset::v1::LookupResponse found, LookupReference(*server, options_.reference));
    ASSIGN_OR_RETURN(result_.digest, DigestOf(found.snapshot()));
    offers_ = OffersFrom(found.deltas());
    return absl::OkStatus();
  }

  absl::Status Stage() {
    UpdateRequest update;
    update.dataset = options_.reference.dataset;
    update.target = result_.digest;
    update.directory = target_.StagingPath(result_.digest);
    update.scratch = [this](const Digest& digest) { return target_.StagingPath(digest); };
    update.total_bytes = &progress_->total_bytes;
    // What nobody else could read must not be readable on its way.
    RETURN_IF_ERROR(MakeDirectories(update.directory, target_.exists ? 0700 : 0755));
    if (target_.exists && !target_.is_empty) {
      // With no record it still may hold much of this version: an earlier pull of it, a copy. Every chunk
      // that comes from there is checked, so asking costs only reading.
      update.sources.push_back({target_.path, record_ ? &record_->manifest : nullptr, /*may_link=*/false});
    }
    if (record_ && record_->digest == result_.digest) {
      update.canonical = EncodeManifest(record_->manifest);
    } else if (record_) {
      // The record lives as long as this.
      update.bases.push_back({record_->digest,
                              std::shared_ptr<const Manifest>(std::shared_ptr<void>(), &record_->manifest),
                              0});
      update.offers = offers_;
    }
    ASSIGN_OR_RETURN(ServerClient * server, server_());
    Fetcher fetcher(server);
    ASSIGN_OR_RETURN(UpdateResult done,
                     StageUpdate(fetcher, std::move(update), &progress_->transfer, cancelled_));
    manifest_ = std::move(done.manifest);
    canonical_ = std::move(done.canonical);
    result_.files = done.files.files;
    result_.bytes = done.files.bytes;
    result_.reused_bytes = done.files.reused_bytes;
    result_.delta_bytes = progress_->transfer.delta_bytes.load();
    result_.warning = std::move(done.warning);
    return absl::OkStatus();
  }

  absl::Status Activate() {
    const std::string swap = target_.SwapPath();
    if (target_.exists && chmod(target_.StagingPath(result_.digest).c_str(), target_.mode) != 0) {
      return ErrnoStatus(errno, fmt::format("give {} the mode of the directory before it", target_.path));
    }
    RETURN_IF_ERROR(Rename(target_.StagingPath(result_.digest), swap));
    absl::Status status;
    if (target_.exists) {
      status = ExchangeNames(swap, target_.path);
    } else {
      status = Rename(swap, target_.path);
    }
    if (!status.ok()) {
      // So that the next attempt need not fetch it again.
      Rename(swap, target_.StagingPath(result_.digest)).IgnoreError();
      if (absl::IsInvalidArgument(status) || absl::IsUnknown(status)) {
        return absl::FailedPreconditionError(
            fmt::format("{}; the file system cannot swap two directories at one stroke: pull into a name "
                        "that does not exist",
                        Message(status)));
      }
      return status;
    }
    return SyncDirectory(target_.parent);
  }

  void Record() {
    PullRecord record;
    record.dataset = options_.reference.dataset;
    record.reference = options_.reference.ToString();
    record.digest = result_.digest;
    record.newest_change_ns = NewestChange(target_.path, *manifest_);
    const absl::Status status = records_.Save(target_.path, record, canonical_);
    if (!status.ok()) {
      result_.warning = fmt::format("this pull could not be recorded, so the next one will be slower: {}",
                                    Message(status));
    }
  }

  const std::function<absl::StatusOr<ServerClient*>()>& server_;
  const PullOptions& options_;
  PullProgress* const progress_;
  const std::atomic<bool>* const cancelled_;
  const PullRecords records_;
  PullTarget target_;
  std::optional<PullRecord> record_;
  std::vector<DeltaOffer> offers_;
  std::shared_ptr<const Manifest> manifest_;
  std::string canonical_;
  PullResult result_;
};

}  // namespace

absl::StatusOr<PullResult> PullDirectory(const std::function<absl::StatusOr<ServerClient*>()>& server,
                                         const PullOptions& options, PullProgress* progress,
                                         const std::atomic<bool>* cancelled) {
  return Puller(server, options, progress, cancelled).Run();
}

}  // namespace aetherfs
