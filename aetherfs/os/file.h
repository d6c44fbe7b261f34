#ifndef AETHERFS_OS_FILE_H_
#define AETHERFS_OS_FILE_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace aetherfs {

// A thin seam over the file system. All calls block. Paths are bytes. Errors are ErrnoStatus() with the
// path named; a full disk is RESOURCE_EXHAUSTED. No call follows a symlink in the last component unless it
// says so.

// Owns a file descriptor.
class UniqueFd {
 public:
  UniqueFd() = default;
  explicit UniqueFd(int fd) : fd_(fd) {}
  UniqueFd(UniqueFd&& other) noexcept : fd_(other.release()) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    reset(other.release());
    return *this;
  }
  ~UniqueFd() { reset(); }
  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }
  int release() {
    const int fd = fd_;
    fd_ = -1;
    return fd;
  }
  void reset(int fd = -1);

 private:
  int fd_ = -1;
};

// `flags` as for open(2); O_CLOEXEC is added.
absl::StatusOr<UniqueFd> OpenFile(const std::string& path, int flags, unsigned mode = 0);

// Up to `size` bytes at `offset`; fewer only at the end of the file.
absl::StatusOr<size_t> ReadAt(int fd, uint64_t offset, char* buffer, size_t size);
absl::Status WriteAt(int fd, uint64_t offset, std::string_view data);
absl::Status Sync(int fd, std::string_view path_for_messages);

// The whole file, or RESOURCE_EXHAUSTED if it has more than `max_size` bytes. Follows symlinks.
absl::StatusOr<std::string> ReadWholeFile(const std::string& path, uint64_t max_size);
// The file is the old one or the new one, also after a crash: a temporary file beside it, fsync, rename,
// fsync of the directory.
absl::Status WriteFileAtomically(const std::string& path, std::string_view contents, unsigned mode = 0644);

bool Exists(const std::string& path);
// With parents; OK if it is there. Each new directory is synced into its parent.
absl::Status MakeDirectories(const std::string& path, unsigned mode = 0755);
absl::Status SyncDirectory(const std::string& path);
// Writes everything of the file system that `path` is on: cheaper than many syncs.
absl::Status SyncFileSystem(const std::string& path);
absl::Status Rename(const std::string& from, const std::string& to);
// Swaps two existing names at one stroke.
absl::Status ExchangeNames(const std::string& a, const std::string& b);
absl::Status RemoveFile(const std::string& path);  // OK if there is none
// Removes a whole tree, read-only directories too; never follows a symlink. OK if there is none.
absl::Status RemoveTree(const std::string& path);
// Names in a directory, sorted, without "." and "..".
absl::StatusOr<std::vector<std::string>> ListDirectory(const std::string& path);

// Points `link` at `target` by one rename: whoever opens `link` sees the old target or the new one.
absl::Status ReplaceSymlink(const std::string& target, const std::string& link);
absl::StatusOr<std::string> ReadSymlink(const std::string& path);

// Copies a range between files: shared extents where the file system can, else in the kernel, else by hand.
absl::Status CopyRange(int from, uint64_t from_offset, int to, uint64_t to_offset, uint64_t size);

// Bytes that an unprivileged writer can still use on the file system that `path` is on.
absl::StatusOr<uint64_t> FreeSpace(const std::string& path);

// Holds an exclusive advisory lock on a file, created if absent, for as long as it lives.
class FileLock {
 public:
  // FAILED_PRECONDITION, naming the holder's process id if the file tells, if another process has it.
  static absl::StatusOr<FileLock> Acquire(const std::string& path);
  FileLock(FileLock&&) = default;
  FileLock& operator=(FileLock&&) = default;

 private:
  explicit FileLock(UniqueFd fd) : fd_(std::move(fd)) {}
  UniqueFd fd_;
};

std::string JoinPath(std::string_view a, std::string_view b);
// "" for a path without a slash.
std::string ParentPath(std::string_view path);

// A new directory below $TMPDIR or /tmp, removed with all in it at the end.
class TemporaryDirectory {
 public:
  static absl::StatusOr<TemporaryDirectory> Create(std::string_view prefix);
  TemporaryDirectory(TemporaryDirectory&& other) noexcept : path_(std::move(other.path_)) {
    other.path_.clear();
  }
  TemporaryDirectory& operator=(TemporaryDirectory&&) = delete;
  ~TemporaryDirectory();
  const std::string& path() const { return path_; }

 private:
  explicit TemporaryDirectory(std::string path) : path_(std::move(path)) {}
  std::string path_;
};

}  // namespace aetherfs

#endif  // AETHERFS_OS_FILE_H_
