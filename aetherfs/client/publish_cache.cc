// PublishCache: where stat caches and manifests lie.

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "aetherfs/base/random.h"
#include "aetherfs/base/sha256.h"
#include "aetherfs/base/status.h"
#include "aetherfs/client/stat_cache.h"
#include "aetherfs/os/file.h"
#include "fmt/format.h"

namespace aetherfs {
namespace {

constexpr uint64_t kMaxStatsSize = uint64_t{4} * 1024 * 1024 * 1024;

// The old file or the new one. Not synced: what a crash leaves is checked when it is read.
absl::Status ReplaceFile(const std::string& directory, const std::string& name, std::string_view contents) {
  RETURN_IF_ERROR(MakeDirectories(directory, 0700));
  const std::string path = JoinPath(directory, name);
  const std::string temporary = fmt::format("{}.tmp-{:016x}", path, Random::System()->Next());
  absl::Status status;
  {
    ASSIGN_OR_RETURN(const UniqueFd fd, OpenFile(temporary, O_WRONLY | O_CREAT | O_EXCL, 0600));
    status = WriteAt(fd.get(), 0, contents);
  }
  if (status.ok()) status = Rename(temporary, path);
  if (!status.ok()) RemoveFile(temporary).IgnoreError();
  return status;
}

}  // namespace

std::string PublishCache::StatsPath(const DatasetName& dataset, const std::string& path) const {
  std::string key = dataset.str();
  key += '\0';
  key += path;
  return JoinPath(JoinPath(directory_, "stats"), Sha256::Of(key).Hex());
}

std::string PublishCache::ManifestPath(const Digest& digest) const {
  return JoinPath(JoinPath(directory_, "manifests"), digest.Hex());
}

std::optional<StatCache> PublishCache::LoadStats(const DatasetName& dataset,
                                                 const std::string& path) const {
  if (directory_.empty()) return std::nullopt;
  const auto bytes = ReadWholeFile(StatsPath(dataset, path), kMaxStatsSize);
  if (!bytes.ok()) return std::nullopt;
  return StatCache::Decode(*bytes, dataset, path);
}

absl::Status PublishCache::SaveStats(const DatasetName& dataset, const std::string& path,
                                     const StatCache& cache) const {
  if (directory_.empty()) return absl::OkStatus();
  const std::string file = StatsPath(dataset, path);
  return ReplaceFile(ParentPath(file), file.substr(file.rfind('/') + 1), cache.Encode(dataset, path));
}

std::optional<std::string> PublishCache::LoadManifest(const Digest& digest) const {
  if (directory_.empty()) return std::nullopt;
  const std::string path = ManifestPath(digest);
  auto bytes = ReadWholeFile(path, kMaxManifestSize);
  if (!bytes.ok() || Sha256::Of(*bytes) != digest) return std::nullopt;
  utimes(path.c_str(), nullptr);  // used just now; only the choice of what to drop depends on it
  return *std::move(bytes);
}

absl::Status PublishCache::SaveManifest(const Digest& digest, std::string_view canonical) const {
  if (directory_.empty()) return absl::OkStatus();
  const std::string directory = JoinPath(directory_, "manifests");
  if (Exists(ManifestPath(digest))) return absl::OkStatus();
  RETURN_IF_ERROR(ReplaceFile(directory, digest.Hex(), canonical));
  ASSIGN_OR_RETURN(const std::vector<std::string> names, ListDirectory(directory));
  if (names.size() <= kMaxManifests) return absl::OkStatus();
  std::vector<std::pair<int64_t, std::string>> by_age;
  for (const std::string& name : names) {
    struct stat stat;
    const std::string path = JoinPath(directory, name);
    if (::stat(path.c_str(), &stat) != 0) continue;
    by_age.emplace_back(int64_t{stat.st_mtim.tv_sec} * 1'000'000'000 + stat.st_mtim.tv_nsec, path);
  }
  std::sort(by_age.begin(), by_age.end());
  for (size_t i = 0; i + kMaxManifests < by_age.size(); ++i) {
    RETURN_IF_ERROR(RemoveFile(by_age[i].second));
  }
  return absl::OkStatus();
}

}  // namespace aetherfs
