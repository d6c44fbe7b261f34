#include "aetherfs/os/file.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <memory>

#include "aetherfs/base/random.h"
#include "aetherfs/base/status.h"
#include "fmt/format.h"

namespace aetherfs {
namespace {

constexpr size_t kCopyBuffer = 1024 * 1024;

absl::Status Failed(std::string_view what, std::string_view path) {
  return ErrnoStatus(errno, fmt::format("{} {}", what, Printable(path)));
}

// A name beside `path` that nobody else has.
std::string TemporaryName(std::string_view path) {
  static std::atomic<uint64_t> counter{0};
  return fmt::format("{}.tmp-{}-{}-{:08x}", path, getpid(), counter.fetch_add(1),
                     static_cast<uint32_t>(Random::System()->Next()));
}

using DirectoryStream = std::unique_ptr<DIR, decltype([](DIR* dir) { closedir(dir); })>;

bool IsDotName(const char* name) {
  return name[0] == '.' && (name[1] == '\0' || (name[1] == '.' && name[2] == '\0'));
}

// Removes what is in the directory `fd`, which it takes over.
absl::Status RemoveContents(UniqueFd fd, const std::string& path) {
  struct stat info;
  if (fstat(fd.get(), &info) == 0 && (info.st_mode & 0700) != 0700) fchmod(fd.get(), 0700);
  const int raw = fd.get();
  DirectoryStream stream(fdopendir(raw));
  if (stream == nullptr) return Failed("opening directory", path);
  fd.release();  // the stream has it now
  while (const dirent* entry = readdir(stream.get())) {
    if (IsDotName(entry->d_name)) continue;
    if (entry->d_type != DT_DIR && unlinkat(raw, entry->d_name, 0) == 0) continue;
    const std::string child = JoinPath(path, entry->d_name);
    UniqueFd sub(openat(raw, entry->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!sub.valid() && errno == EACCES && fchmodat(raw, entry->d_name, 0700, 0) == 0) {
      sub.reset(openat(raw, entry->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    }
    if (sub.valid()) {
      RETURN_IF_ERROR(RemoveContents(std::move(sub), child));
      if (unlinkat(raw, entry->d_name, AT_REMOVEDIR) != 0 && errno != ENOENT) {
        return Failed("removing directory", child);
      }
    } else if (unlinkat(raw, entry->d_name, 0) != 0 && errno != ENOENT) {
      return Failed("removing", child);
    }
  }
  return absl::OkStatus();
}

// Shared extents, when both ends lie on block boundaries of a file system that can.
bool TryClone(int from, uint64_t from_offset, int to, uint64_t to_offset, uint64_t size) {
  file_clone_range range = {};
  range.src_fd = from;
  range.src_offset = from_offset;
  range.src_length = size;
  range.dest_offset = to_offset;
  return size > 0 && ioctl(to, FICLONERANGE, &range) == 0;
}

}  // namespace

void UniqueFd::reset(int fd) {
  if (fd_ >= 0) close(fd_);
  fd_ = fd;
}

absl::StatusOr<UniqueFd> OpenFile(const std::string& path, int flags, unsigned mode) {
  UniqueFd fd;
  do {
    fd.reset(open(path.c_str(), flags | O_CLOEXEC, mode));
  } while (!fd.valid() && errno == EINTR);
  if (!fd.valid()) return Failed((flags & O_CREAT) != 0 ? "creating" : "opening", path);
  return fd;
}

absl::StatusOr<size_t> ReadAt(int fd, uint64_t offset, char* buffer, size_t size) {
  size_t done = 0;
  while (done < size) {
    const ssize_t n = pread(fd, buffer + done, size - done, static_cast<off_t>(offset + done));
    if (n == 0) break;
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return ErrnoStatus(errno, "reading");
    done += static_cast<size_t>(n);
  }
  return done;
}

absl::Status WriteAt(int fd, uint64_t offset, std::string_view data) {
  while (!data.empty()) {
    const ssize_t n = pwrite(fd, data.data(), data.size(), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return ErrnoStatus(errno, "writing");
    data.remove_prefix(static_cast<size_t>(n));
    offset += static_cast<uint64_t>(n);
  }
  return absl::OkStatus();
}

absl::Status Sync(int fd, std::string_view path_for_messages) {
  if (fsync(fd) != 0) return Failed("syncing", path_for_messages);
  return absl::OkStatus();
}

absl::StatusOr<std::string> ReadWholeFile(const std::string& path, uint64_t max_size) {
  ASSIGN_OR_RETURN(const UniqueFd fd, OpenFile(path, O_RDONLY));
  struct stat info;
  if (fstat(fd.get(), &info) != 0) return Failed("reading", path);
  if (S_ISDIR(info.st_mode)) {
    return absl::InvalidArgumentError(fmt::format("reading {}: it is a directory", Printable(path)));
  }
  std::string contents;
  // Files of /proc and pipes tell no size: read on until nothing comes, whatever it was said to be.
  size_t step = static_cast<size_t>(std::min<uint64_t>(static_cast<uint64_t>(info.st_size), max_size)) + 1;
  for (;;) {
    const size_t before = contents.size();
    contents.resize(before + step);
    ssize_t n;
    do {
      n = read(fd.get(), contents.data() + before, step);
    } while (n < 0 && errno == EINTR);
    if (n < 0) return Failed("reading", path);
    contents.resize(before + static_cast<size_t>(n));
    if (n == 0) return contents;
    if (contents.size() > max_size) {
      return absl::ResourceExhaustedError(
          fmt::format("reading {}: it has more than {} bytes", Printable(path), max_size));
    }
    step = std::max<size_t>(4096, std::min<size_t>(contents.size(), kCopyBuffer));
  }
}

absl::Status WriteFileAtomically(const std::string& path, std::string_view contents, unsigned mode) {
  const std::string temporary = TemporaryName(path);
  absl::Status status;
  {
    ASSIGN_OR_RETURN(const UniqueFd fd, OpenFile(temporary, O_WRONLY | O_CREAT | O_EXCL, mode));
    status = Annotate(WriteAt(fd.get(), 0, contents), Printable(path));
    if (status.ok()) status = Sync(fd.get(), path);
  }
  if (status.ok()) status = Rename(temporary, path);
  if (!status.ok()) {
    unlink(temporary.c_str());
    return status;
  }
  return SyncDirectory(ParentPath(path));
}

bool Exists(const std::string& path) {
  struct stat info;
  return lstat(path.c_str(), &info) == 0;
}

absl::Status MakeDirectories(const std::string& path, unsigned mode) {
  struct stat info;
  if (path.empty() || (stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode))) return absl::OkStatus();
  const std::string parent = ParentPath(path);
  if (parent != path) RETURN_IF_ERROR(MakeDirectories(parent, mode));
  if (mkdir(path.c_str(), mode) != 0) {
    if (errno == EEXIST && stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode)) {
      return absl::OkStatus();  // somebody else made it just now
    }
    return Failed("making directory", path);
  }
  return SyncDirectory(parent);
}

absl::Status SyncDirectory(const std::string& path) {
  ASSIGN_OR_RETURN(const UniqueFd fd, OpenFile(path.empty() ? "." : path, O_RDONLY | O_DIRECTORY));
  return Sync(fd.get(), path);
}

absl::Status SyncFileSystem(const std::string& path) {
  ASSIGN_OR_RETURN(const UniqueFd fd, OpenFile(path, O_RDONLY));
  if (syncfs(fd.get()) != 0) return Failed("syncing the file system of", path);
  return absl::OkStatus();
}

absl::Status Rename(const std::string& from, const std::string& to) {
  if (rename(from.c_str(), to.c_str()) != 0) {
    return ErrnoStatus(errno, fmt::format("renaming {} to {}", Printable(from), Printable(to)));
  }
  return absl::OkStatus();
}

absl::Status ExchangeNames(const std::string& a, const std::string& b) {
  if (renameat2(AT_FDCWD, a.c_str(), AT_FDCWD, b.c_str(), RENAME_EXCHANGE) != 0) {
    return ErrnoStatus(errno, fmt::format("exchanging {} and {}", Printable(a), Printable(b)));
  }
  return absl::OkStatus();
}

absl::Status RemoveFile(const std::string& path) {
  if (unlink(path.c_str()) != 0 && errno != ENOENT) return Failed("removing", path);
  return absl::OkStatus();
}

absl::Status RemoveTree(const std::string& path) {
  UniqueFd fd(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!fd.valid() && errno == EACCES && chmod(path.c_str(), 0700) == 0) {
    fd.reset(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  }
  if (!fd.valid()) {
    if (errno == ENOENT) return absl::OkStatus();
    return RemoveFile(path);  // a file or a symlink
  }
  RETURN_IF_ERROR(RemoveContents(std::move(fd), path));
  if (rmdir(path.c_str()) != 0 && errno != ENOENT) return Failed("removing directory", path);
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::string>> ListDirectory(const std::string& path) {
  const DirectoryStream stream(opendir(path.c_str()));
  if (stream == nullptr) return Failed("listing", path);
  std::vector<std::string> names;
  errno = 0;
  while (const dirent* entry = readdir(stream.get())) {
    if (!IsDotName(entry->d_name)) names.emplace_back(entry->d_name);
    errno = 0;
  }
  if (errno != 0) return Failed("listing", path);
  std::sort(names.begin(), names.end());
  return names;
}

absl::Status ReplaceSymlink(const std::string& target, const std::string& link) {
  const std::string temporary = TemporaryName(link);
  if (symlink(target.c_str(), temporary.c_str()) != 0) return Failed("making symlink", temporary);
  if (const absl::Status status = Rename(temporary, link); !status.ok()) {
    unlink(temporary.c_str());
    return status;
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> ReadSymlink(const std::string& path) {
  std::string target(4096, '\0');
  const ssize_t n = readlink(path.c_str(), target.data(), target.size());
  if (n < 0) return Failed("reading symlink", path);
  target.resize(static_cast<size_t>(n));
  return target;
}

absl::Status CopyRange(int from, uint64_t from_offset, int to, uint64_t to_offset, uint64_t size) {
  if (TryClone(from, from_offset, to, to_offset, size)) return absl::OkStatus();
  bool in_kernel = true;
  std::unique_ptr<char[]> buffer;
  while (size > 0) {
    if (in_kernel) {
      auto in = static_cast<off64_t>(from_offset);
      auto out = static_cast<off64_t>(to_offset);
      const ssize_t n = copy_file_range(from, &in, to, &out, size, 0);
      if (n > 0) {
        from_offset += static_cast<uint64_t>(n);
        to_offset += static_cast<uint64_t>(n);
        size -= static_cast<uint64_t>(n);
        continue;
      }
      if (n < 0 && errno == EINTR) continue;
      if (n < 0 && errno == ENOSPC) return ErrnoStatus(errno, "copying");
      in_kernel = false;  // not between these two files, or the source is shorter: find out by hand
    }
    if (buffer == nullptr) buffer = std::make_unique<char[]>(kCopyBuffer);
    ASSIGN_OR_RETURN(const size_t n,
                     ReadAt(from, from_offset, buffer.get(), std::min<uint64_t>(size, kCopyBuffer)));
    if (n == 0) return absl::DataLossError("copying: the source file is shorter than expected");
    RETURN_IF_ERROR(WriteAt(to, to_offset, {buffer.get(), n}));
    from_offset += n;
    to_offset += n;
    size -= n;
  }
  return absl::OkStatus();
}

absl::StatusOr<uint64_t> FreeSpace(const std::string& path) {
  struct statvfs info;
  if (statvfs(path.c_str(), &info) != 0) return Failed("asking for the free space of", path);
  return uint64_t{info.f_bavail} * info.f_frsize;
}

absl::StatusOr<FileLock> FileLock::Acquire(const std::string& path) {
  ASSIGN_OR_RETURN(UniqueFd fd, OpenFile(path, O_RDWR | O_CREAT, 0644));
  if (flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return Failed("locking", path);
    char holder[32] = {};
    const absl::StatusOr<size_t> n = ReadAt(fd.get(), 0, holder, sizeof(holder) - 1);
    return absl::FailedPreconditionError(
        fmt::format("locking {}: {} holds it", Printable(path),
                    n.ok() && *n > 0 ? fmt::format("process {}", Printable(holder)) : "another process"));
  }
  if (ftruncate(fd.get(), 0) != 0) return Failed("locking", path);
  RETURN_IF_ERROR(WriteAt(fd.get(), 0, std::to_string(getpid())));
  return FileLock(std::move(fd));
}

std::string JoinPath(std::string_view a, std::string_view b) {
  if (a.empty()) return std::string(b);
  return a.ends_with('/') ? fmt::format("{}{}", a, b) : fmt::format("{}/{}", a, b);
}

std::string ParentPath(std::string_view path) {
  while (path.size() > 1 && path.ends_with('/')) path.remove_suffix(1);
  const size_t slash = path.rfind('/');
  if (slash == std::string_view::npos) return "";
  return std::string(path.substr(0, slash == 0 ? 1 : slash));
}

absl::StatusOr<TemporaryDirectory> TemporaryDirectory::Create(std::string_view prefix) {
  const char* base = getenv("TMPDIR");
  std::string path =
      JoinPath(base != nullptr && *base != '\0' ? base : "/tmp", fmt::format("{}XXXXXX", prefix));
  if (mkdtemp(path.data()) == nullptr) return Failed("making temporary directory", path);
  return TemporaryDirectory(std::move(path));
}

TemporaryDirectory::~TemporaryDirectory() {
  if (!path_.empty()) (void)RemoveTree(path_);
}

}  // namespace aetherfs
