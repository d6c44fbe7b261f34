#ifndef AETHERFS_CLIENT_DELTA_SOURCES_H_
#define AETHERFS_CLIENT_DELTA_SOURCES_H_

#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "aetherfs/base/reference.h"
#include "aetherfs/client/delta_plan.h"
#include "aetherfs/client/fetcher.h"
#include "aetherfs/client/scanner.h"

namespace aetherfs {

// Where a publisher has the bytes of two snapshots: the target's files are on its disk; what the base
// shares with them is too; the rest of the base comes from the servers, each chunk once if it is soon used
// again. Every byte is checked against its chunk's SHA-256.
//
// Thread-safe; blocks. Keeps up to kMaxKept bytes of fetched chunks. All references must outlive it.
class DeltaSources {
 public:
  static constexpr size_t kMaxKept = 16 * 1024 * 1024;

  // `scan`'s entries are those of `target`, in the same order.
  DeltaSources(ServerClient* client, const DatasetName& dataset, const Scan& scan, const Manifest& base,
               const Manifest& target, const DeltaPlan& plan, const std::atomic<bool>* cancelled);

  // Fills `raw` with what a patch is to yield. ABORTED if a file is no longer what was published.
  absl::Status ReadTarget(const PlannedPatch& patch, std::string* raw);
  // Fills `prefix` with ranges of the plan's base files, one after the other. ABORTED; errors of the
  // Fetcher.
  absl::Status ReadBase(const std::vector<DeltaPatch::BaseRange>& ranges, std::string* prefix);

  // Bytes that were received for bases.
  uint64_t downloaded_bytes() const { return stats_.downloaded_bytes.load(); }

 private:
  struct Place {
    uint32_t entry = 0;  // of the target
    uint64_t offset = 0;
  };
  using Bytes = std::shared_ptr<const std::string>;
  // A chunk of the base, and which part of it goes where in the prefix.
  struct Needed {
    uint32_t chunk = 0;
    uint32_t skip = 0;
    uint32_t size = 0;
    size_t position = 0;
  };

  std::vector<Needed> ChunksOf(const std::vector<DeltaPatch::BaseRange>& ranges) const;
  absl::StatusOr<UniqueFd> Open(uint32_t entry) const;

  Fetcher fetcher_;
  const DatasetName& dataset_;
  const Scan& scan_;
  const Manifest& base_;
  const Manifest& target_;
  const std::atomic<bool>* const cancelled_;
  TransferStats stats_;
  absl::flat_hash_map<uint32_t, Place> on_disk_;  // chunks of the base that the target's files have

  absl::Mutex mutex_;
  absl::flat_hash_map<uint32_t, Bytes> fetched_ ABSL_GUARDED_BY(mutex_);
  std::deque<uint32_t> fetched_order_ ABSL_GUARDED_BY(mutex_);  // oldest first
  size_t fetched_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace aetherfs

#endif  // AETHERFS_CLIENT_DELTA_SOURCES_H_
