#ifndef AETHERFS_CLIENT_STAT_CACHE_H_
#define AETHERFS_CLIENT_STAT_CACHE_H_

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "aetherfs/base/digest.h"
#include "aetherfs/base/reference.h"
#include "aetherfs/client/scanner.h"

namespace aetherfs {

// What a tree looked like when it was published last: the scan, and the snapshot that it became. Files
// whose stat is the same are not read again; a tree that is the same throughout needs not even its
// manifest.
//
// Only a cache: a file that is missing, damaged or of another tree is as good as none. Its layout is
// columns, so that 100,000 entries load in a few milliseconds: docs/formats/stat-cache.md.
//
// A file that changed within kRacyWindow before its scan began is not trusted: it may have changed again
// without its time stamps showing it. A value; pure.
struct StatCache {
  static constexpr absl::Duration kRacyWindow = absl::Seconds(1);
  static constexpr int64_t kUntrusted = INT64_MIN;  // a ctime that no file has

  struct Totals {
    uint64_t files = 0;
    uint64_t bytes = 0;
    uint64_t chunks = 0;
    friend bool operator==(const Totals&, const Totals&) = default;
  };

  Digest manifest;  // of the snapshot; its entries are the cache's, in the same order
  Totals totals;
  uint64_t device = 0;  // files on others are not trusted
  std::vector<uint16_t> path_sizes;
  std::vector<uint16_t> target_sizes;
  std::vector<uint16_t> kinds;  // type << 12 | mode
  std::vector<uint64_t> sizes;
  std::vector<int64_t> mtimes;
  std::vector<int64_t> ctimes;
  std::vector<uint64_t> inodes;
  std::string names;  // of each entry its path, then its target

  static StatCache Of(const Scan& scan, const Digest& manifest, const Totals& totals);

  // Which entries of a scan are as they were.
  struct Comparison {
    static constexpr uint32_t kChanged = UINT32_MAX;
    bool identical = false;  // all of them, and none is missing
    std::vector<uint32_t>
        unchanged;  // of each scanned entry, its index here; kChanged unless a trusted file
  };
  Comparison Compare(std::span<const ScannedEntry> scanned) const;

  std::string Encode(const DatasetName& dataset, const std::string& path) const;
  // nullopt unless it is a whole encoding for this dataset and path.
  static std::optional<StatCache> Decode(std::string_view bytes, const DatasetName& dataset,
                                         const std::string& path);
};

// Keeps stat caches and manifests below one directory; everything in it may be deleted at any time. With an
// empty directory name nothing is found and nothing kept. Thread-safe also between processes; blocks on
// files.
class PublishCache {
 public:
  // Manifests kept, the latest used ones.
  static constexpr size_t kMaxManifests = 8;

  explicit PublishCache(std::string directory) : directory_(std::move(directory)) {}

  // For the tree at the absolute path `path`.
  std::optional<StatCache> LoadStats(const DatasetName& dataset, const std::string& path) const;
  absl::Status SaveStats(const DatasetName& dataset, const std::string& path, const StatCache& cache) const;

  // Canonical bytes, verified.
  std::optional<std::string> LoadManifest(const Digest& digest) const;
  absl::Status SaveManifest(const Digest& digest, std::string_view canonical) const;

 private:
  std::string StatsPath(const DatasetName& dataset, const std::string& path) const;
  std::string ManifestPath(const Digest& digest) const;

  const std::string directory_;
};

}  // namespace aetherfs

#endif  // AETHERFS_CLIENT_STAT_CACHE_H_
