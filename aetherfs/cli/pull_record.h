#ifndef AETHERFS_CLI_PULL_RECORD_H_
#define AETHERFS_CLI_PULL_RECORD_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "aetherfs/base/digest.h"
#include "aetherfs/base/reference.h"
#include "aetherfs/format/manifest.h"

namespace aetherfs {

// What a directory was made into by the last pull: kept in the user's cache directory, so that the next
// pull into it moves only what differs and `verify DIR` knows what should be there. A lost record costs
// time only.
struct PullRecord {
  DatasetName dataset;
  std::string reference;  // as it was asked for
  Digest digest;
  Manifest manifest;
  int64_t newest_change_ns = 0;  // the latest ctime of a file when the pull was done
};

// Blocks. Thread-safe if no two threads use one directory.
class PullRecords {
 public:
  // Empty: nothing is kept, nothing is found.
  explicit PullRecords(std::string cache_directory) : cache_(std::move(cache_directory)) {}

  // Of a directory, by its absolute path. Nullopt if there is none, or none that can be read.
  std::optional<PullRecord> Load(const std::string& directory) const;
  // `canonical`: the manifest's bytes.
  absl::Status Save(const std::string& directory, const PullRecord& record,
                    const std::string& canonical) const;

 private:
  std::string PathFor(const std::string& directory, std::string_view suffix) const;
  const std::string cache_;
};

// Whether a directory still is what the record says, as far as names, sizes, modes, times and symlinks
// tell; no contents are read. A file that was written to since is noticed even if its size and mtime were
// put back: its ctime is newer than the record. Blocks.
bool LooksUntouched(const std::string& directory, const PullRecord& record);

// The latest ctime of the manifest's files and symlinks, in nanoseconds since the epoch; those that are
// missing do not count.
int64_t NewestChange(const std::string& directory, const Manifest& manifest);

}  // namespace aetherfs

#endif  // AETHERFS_CLI_PULL_RECORD_H_
