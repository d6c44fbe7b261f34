#ifndef AETHERFS_AGENT_TREE_H_
#define AETHERFS_AGENT_TREE_H_

#include <sys/stat.h>
#include <time.h>

#include <cstdint>
#include <list>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "aetherfs/format/manifest.h"
#include "aetherfs/os/file.h"

namespace aetherfs {

inline constexpr uint32_t kRootEntry = UINT32_MAX;  // the tree's own directory, which is no entry

// For each entry the index of the directory that holds it, or kRootEntry. The manifest must be canonical.
std::vector<uint32_t> ParentsOf(const Manifest& manifest);

// What follows the last slash.
std::string_view BaseName(std::string_view path);

timespec ToTimespec(int64_t nanoseconds);
// Whether `status` is of a regular file with that size, mtime and permission bits.
bool LooksLike(const struct stat& status, const Manifest::Entry& entry, unsigned mode);

// Open descriptors by number, the least recently used of them closed when there are too many. One in use
// stays open until its last user lets go. Thread-safe; does no I/O but close, and that outside its lock.
class FdCache {
 public:
  using Handle = std::shared_ptr<const UniqueFd>;
  explicit FdCache(size_t capacity) : capacity_(capacity) {}

  Handle Find(uint32_t key);
  // The one that was there first wins.
  Handle Insert(uint32_t key, UniqueFd fd);
  void Erase(uint32_t key);

 private:
  const size_t capacity_;
  absl::Mutex mutex_;
  std::list<std::pair<uint32_t, Handle>> recent_ ABSL_GUARDED_BY(mutex_);  // most recent first
  absl::flat_hash_map<uint32_t, std::list<std::pair<uint32_t, Handle>>::iterator> index_
      ABSL_GUARDED_BY(mutex_);
};

// A directory on disk that holds (a part of) a manifest's entries, opened once; everything in it is reached
// from there, component by component, through no symlink, whatever the manifest or the disk says. Holds at
// most kMaxOpenDirectories descriptors. The manifest must be canonical and outlive it. Thread-safe. Blocks.
class Tree {
 public:
  static constexpr size_t kMaxOpenDirectories = 128;

  static absl::StatusOr<std::unique_ptr<Tree>> Open(const std::string& directory, const Manifest& manifest);

  const std::string& directory() const { return directory_; }
  int root_fd() const { return root_.get(); }
  uint32_t ParentOf(uint32_t entry) const { return parents_[entry]; }
  // NUL-terminated: it is the end of the entry's path.
  const char* NameOf(uint32_t entry) const;
  // For messages.
  std::string PathOf(uint32_t entry) const;

  // The open directory of that entry, or of kRootEntry.
  absl::StatusOr<FdCache::Handle> OpenDirectory(uint32_t entry);
  absl::StatusOr<FdCache::Handle> OpenParent(uint32_t entry) { return OpenDirectory(parents_[entry]); }
  // A regular file, for reading.
  absl::StatusOr<UniqueFd> OpenForReading(uint32_t entry);

 private:
  Tree(std::string directory, const Manifest& manifest, UniqueFd root);

  const std::string directory_;
  const Manifest& manifest_;
  const UniqueFd root_;
  const FdCache::Handle root_handle_;
  const std::vector<uint32_t> parents_;
  FdCache directories_{kMaxOpenDirectories};
};

// Names in an open directory, without "." and "..", unsorted.
absl::StatusOr<std::vector<std::string>> ListOpenDirectory(int fd, std::string_view path_for_messages);

}  // namespace aetherfs

#endif  // AETHERFS_AGENT_TREE_H_
