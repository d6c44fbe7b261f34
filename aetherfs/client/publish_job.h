#ifndef AETHERFS_CLIENT_PUBLISH_JOB_H_
#define AETHERFS_CLIENT_PUBLISH_JOB_H_

#include <atomic>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/status/statusor.h"
#include "aetherfs/base/clock.h"
#include "aetherfs/client/chunk_table.h"
#include "aetherfs/client/delta_maker.h"
#include "aetherfs/client/file_reader.h"
#include "aetherfs/client/publisher.h"
#include "aetherfs/client/scanner.h"
#include "aetherfs/client/stat_cache.h"

namespace aetherfs {

class PublishPipeline;

// One publish, from scan to commit: what PublishDirectory does. Used once, by one thread.
class PublishJob {
 public:
  // A commit that fails because something was collected meanwhile is tried again this often in all: first
  // without the blocks that are gone, then without reusing any.
  static constexpr int kMaxAttempts = 3;
  // A file that changes while it is read is read this often in all.
  static constexpr int kMaxReads = 3;
  // Snapshots whose chunks are looked for: those of the tags in question first, then the latest.
  static constexpr size_t kMaxBases = 4;
  // Trees of this size and more are compressed for speed: at level 1 zstd keeps up with a fast network on
  // one core. It depends on the tree alone, so that a publish that is tried again makes the same blocks.
  static constexpr uint64_t kLargeTree = 64 * 1024 * 1024;
  static constexpr int kLevelOfSmallTrees = 3;
  static constexpr int kLevelOfLargeTrees = 1;
  static constexpr size_t kMaxDeltaBases = 16;
  static constexpr int kMaxDigestsPerLookup = 10'000;

  PublishJob(ServerClient* client, const PublishOptions& options, PublishProgress* progress,
             const std::atomic<bool>* cancelled, ReadHook read_hook = nullptr,
             Clock* clock = Clock::System());
  absl::StatusOr<PublishResult> Run();

 private:
  // Where the chunks of a file that is not read again are listed.
  struct Reused {
    uint64_t first = 0;
    uint32_t count = 0;
    bool valid = false;
  };

  absl::Status Validate() const;
  absl::Status ReadTags();
  bool EveryTagPointsAt(const Digest& digest) const;
  // A tree that is as it was when it was published last; nullopt if there is more to do.
  absl::StatusOr<std::optional<PublishResult>> PublishUnchangedTree();

  // Builds, uploads and commits. FAILED_PRECONDITION if something of it was collected meanwhile.
  absl::StatusOr<PublishResult> Attempt();
  // Fills `table` with the chunks of the dataset's current snapshots, one manifest in memory after the
  // other. Those of the stat cache's snapshot stay in `last`, if it is one of them.
  absl::Status LoadBases(ChunkTable* table, std::optional<Manifest>* last);
  absl::StatusOr<Manifest> LoadManifest(const Digest& digest);
  // Fills reused_ and reused_refs_; returns the files that must be read.
  std::vector<uint32_t> ReuseUnchangedFiles(std::optional<Manifest> last, const ChunkTable& table);
  absl::StatusOr<Manifest> PackFiles(const std::vector<uint32_t>& files, ChunkTable& table);
  absl::Status ReadUntilStable(PublishPipeline& pipeline, std::vector<uint32_t> files);
  absl::StatusOr<Manifest> MakeManifest(const PublishPipeline& pipeline, ChunkTable& table);
  // The size of the object that it is stored as.
  absl::StatusOr<size_t> UploadManifest(const Digest& digest, const std::string& canonical);
  // The current snapshots of the tags that move.
  std::vector<Digest> DeltaBases(const Digest& target) const;
  // Fills deltas_, and warning_ if one could not be made. Fails only if cancelled.
  absl::Status MakeDeltas(const KnownSnapshot& target, size_t manifest_object_size,
                          const std::vector<Digest>& bases);
  // Of a snapshot that is there, from where no kept delta leads to it.
  absl::Status MakeMissingDeltas(const Digest& target);
  absl::StatusOr<dataset::v1::PublishResponse> Commit(const Digest& digest);
  // What is gone of what the last attempt needed must not be reused.
  absl::Status ExcludeWhatIsGone();

  PublishResult ResultOf(const Digest& digest, const StatCache::Totals& totals, uint64_t seq,
                         bool unchanged) const;
  absl::Status CheckCancelled() const;

  ServerClient* const client_;
  const PublishOptions& options_;
  PublishProgress own_progress_;
  PublishProgress* const progress_;
  const std::atomic<bool>* const cancelled_;
  const ReadHook read_hook_;
  Clock* const clock_;  // says when the scan began, against which the files' time stamps are held
  const PublishCache cache_;
  const absl::Time began_;
  std::string nonce_;

  Scan scan_;
  std::optional<StatCache> stats_;
  StatCache::Comparison comparison_;
  dataset::v1::ListTagsResponse tags_;

  absl::flat_hash_set<Digest> excluded_blocks_;
  bool reuse_nothing_ = false;
  std::vector<Manifest::Block> needed_blocks_;  // of the last attempt
  std::vector<Reused> reused_;                  // by entry
  std::vector<uint32_t> reused_refs_;

  uint64_t new_chunks_ = 0;
  uint64_t new_bytes_ = 0;
  uint64_t uploaded_bytes_ = 0;
  std::vector<dataset::v1::Delta> deltas_;
  uint64_t delta_bytes_ = 0;
  std::string warning_;
};

}  // namespace aetherfs

#endif  // AETHERFS_CLIENT_PUBLISH_JOB_H_
