#ifndef AETHERFS_CLI_SNAPSHOT_DIFF_H_
#define AETHERFS_CLI_SNAPSHOT_DIFF_H_

#include <cstdint>
#include <string>
#include <vector>

#include "aetherfs/format/manifest.h"

namespace aetherfs {

// What differs between two snapshots. A value.
struct SnapshotDiff {
  enum class Kind { kAdded, kRemoved, kChanged };
  struct Item {
    Kind kind = Kind::kAdded;
    std::string path;  // with a trailing slash if it is a directory
    uint64_t old_size = 0;
    uint64_t new_size = 0;
    std::string what;  // of kChanged: "contents, mode 0644 -> 0755"
  };
  std::vector<Item> items;  // in the order of paths
  uint64_t added = 0;
  uint64_t removed = 0;
  uint64_t changed = 0;
  uint64_t unchanged = 0;        // entries that are the same, the times of files aside
  uint64_t times_only = 0;       // of those: files that have another mtime
  uint64_t changed_bytes = 0;    // payload: sizes of what was added or has other contents
  uint64_t new_chunk_bytes = 0;  // payload of chunks that the old snapshot lacks
  uint64_t download_bytes = 0;   // as stored: what a consumer of the old snapshot fetches, manifest aside
};

// Pure. Both manifests are canonical. A directory is told only where nothing in it tells of it: an empty
// one.
SnapshotDiff DiffSnapshots(const Manifest& before, const Manifest& after);

}  // namespace aetherfs

#endif  // AETHERFS_CLI_SNAPSHOT_DIFF_H_
