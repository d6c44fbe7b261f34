#include "aetherfs/object/file/file_object_store.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdio>
#include <filesystem>
#include <system_error>
#include <utility>

#include "aetherfs/base/quantity.h"
#include "aetherfs/base/random.h"
#include "aetherfs/base/status.h"
#include "aetherfs/object/file/file_listing.h"
#include "aetherfs/object/object_checks.h"
#include "fmt/format.h"

namespace aetherfs {
namespace {

constexpr char kTemporaryDirectory[] = "#tmp";
constexpr absl::Duration kStaleAfter = absl::Hours(24);
constexpr size_t kReadBytes = 256 * kKiB;  // stays in the second-level cache between pread and sink
constexpr size_t kWriteBytes = 8 * kMiB;   // between two looks at the deadline
constexpr size_t kMaxKnownDirectories = 65536;
constexpr mode_t kDirectoryMode = 0755;
constexpr mode_t kFileMode = 0644;
constexpr int kPublishAttempts = 3;  // more only if somebody keeps removing the directory under us

class FileDescriptor {
 public:
  explicit FileDescriptor(int fd) : fd_(fd) {}
  FileDescriptor(FileDescriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  FileDescriptor& operator=(FileDescriptor&&) = delete;
  ~FileDescriptor() {
    if (fd_ >= 0) close(fd_);
  }
  int get() const { return fd_; }
  int Release() { return std::exchange(fd_, -1); }

 private:
  int fd_;
};

std::string ParentOf(std::string_view key) {
  const size_t slash = key.rfind('/');
  return std::string(key.substr(0, slash == std::string_view::npos ? 0 : slash));
}

absl::Status SyncDirectory(int root_fd, const std::string& path) {
  const FileDescriptor directory(
      openat(root_fd, path.empty() ? "." : path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (directory.get() < 0 || fsync(directory.get()) != 0) {
    return ErrnoStatus(errno, fmt::format("sync directory '{}'", path));
  }
  return absl::OkStatus();
}

absl::Status FileInTheWay(std::string_view key, std::string_view what) {
  return absl::FailedPreconditionError(fmt::format(
      "put '{}': {}; in a file store no key can be an object and the directory of others", key, what));
}

// Writes all of `pieces`, as many as fit into one system call.
absl::Status WriteAll(int fd, std::string_view key, const std::vector<std::string_view>& pieces,
                      absl::Time deadline, Clock& clock) {
  size_t next = 0;    // the first piece that is not written whole
  size_t offset = 0;  // how much of it is
  while (true) {
    iovec batch[64];
    int count = 0;
    size_t bytes = 0;
    for (size_t i = next; i < pieces.size() && count < 64 && bytes < kWriteBytes; ++i) {
      const std::string_view piece = pieces[i].substr(i == next ? offset : 0);
      const size_t size = std::min(piece.size(), kWriteBytes - bytes);
      if (size == 0) continue;
      batch[count++] = {.iov_base = const_cast<char*>(piece.data()), .iov_len = size};
      bytes += size;
    }
    if (count == 0) return absl::OkStatus();
    RETURN_IF_ERROR(CheckDeadline(clock, deadline, "put", key));
    const ssize_t written = writev(fd, batch, count);
    if (written < 0) {
      if (errno == EINTR) continue;
      if (errno == EFBIG) {
        return absl::ResourceExhaustedError(
            fmt::format("put '{}': write: files may not become that large here (see `ulimit -f`)", key));
      }
      return ErrnoStatus(errno, fmt::format("put '{}': write", key));
    }
    for (size_t left = static_cast<size_t>(written); left > 0;) {
      const size_t step = std::min(left, pieces[next].size() - offset);
      left -= step;
      offset += step;
      if (offset == pieces[next].size()) ++next, offset = 0;
    }
  }
}

}  // namespace

// A file in #tmp; removed when this goes, unless it was renamed away.
class FileObjectStore::TemporaryFile {
 public:
  TemporaryFile(int directory_fd, std::string name, FileDescriptor file)
      : directory_fd_(directory_fd), name_(std::move(name)), file_(std::move(file)) {}
  TemporaryFile(TemporaryFile&& other) noexcept
      : directory_fd_(other.directory_fd_),
        name_(std::exchange(other.name_, {})),
        file_(std::move(other.file_)) {}
  TemporaryFile& operator=(TemporaryFile&&) = delete;
  ~TemporaryFile() {
    if (!name_.empty()) unlinkat(directory_fd_, name_.c_str(), 0);
  }

  int fd() const { return file_.get(); }
  const std::string& name() const { return name_; }
  void Renamed() { name_.clear(); }

 private:
  int directory_fd_;
  std::string name_;
  FileDescriptor file_;
};

absl::StatusOr<std::unique_ptr<FileObjectStore>> FileObjectStore::Open(std::string root, Clock* clock) {
  std::error_code error;
  std::filesystem::create_directories(root, error);
  if (error) return ErrnoStatus(error.value(), fmt::format("make the store's directory '{}'", root));
  FileDescriptor root_fd(open(root.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (root_fd.get() < 0) return ErrnoStatus(errno, fmt::format("open the store's directory '{}'", root));
  if (mkdirat(root_fd.get(), kTemporaryDirectory, kDirectoryMode) != 0 && errno != EEXIST) {
    return ErrnoStatus(errno, fmt::format("make '{}/{}'", root, kTemporaryDirectory));
  }
  FileDescriptor temporary_fd(
      openat(root_fd.get(), kTemporaryDirectory, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW));
  if (temporary_fd.get() < 0) {
    return ErrnoStatus(errno, fmt::format("open '{}/{}'", root, kTemporaryDirectory));
  }
  std::unique_ptr<FileObjectStore> store(
      new FileObjectStore(std::move(root), root_fd.Release(), temporary_fd.Release(), clock));
  store->RemoveStaleTemporaries();
  return store;
}

FileObjectStore::FileObjectStore(std::string root, int root_fd, int temporary_fd, Clock* clock)
    : root_(std::move(root)), root_fd_(root_fd), temporary_fd_(temporary_fd), clock_(*clock) {}

FileObjectStore::~FileObjectStore() {
  close(root_fd_);
  close(temporary_fd_);
}

void FileObjectStore::RemoveStaleTemporaries() {
  const int fd = openat(temporary_fd_, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  DIR* directory = fd < 0 ? nullptr : fdopendir(fd);
  if (directory == nullptr) {
    if (fd >= 0) close(fd);
    return;  // what is left over is waste, not an error
  }
  while (const dirent* entry = readdir(directory)) {
    struct stat info;
    if (fstatat(temporary_fd_, entry->d_name, &info, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(info.st_mode) &&
        absl::TimeFromTimespec(info.st_mtim) + kStaleAfter < clock_.Now()) {
      unlinkat(temporary_fd_, entry->d_name, 0);
    }
  }
  closedir(directory);
}

absl::StatusOr<ObjectInfo> FileObjectStore::Get(std::string_view key, const GetOptions& options,
                                                ByteSink sink) {
  RETURN_IF_ERROR(ValidateKey(key));
  RETURN_IF_ERROR(CheckRange(key, options.range));
  RETURN_IF_ERROR(CheckDeadline(clock_, options.deadline, "get", key));
  const FileDescriptor file(
      openat(root_fd_, std::string(key).c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  if (file.get() < 0) {
    if (errno == ENOENT || errno == ENOTDIR || errno == ELOOP || errno == ENXIO) return NoSuchObject(key);
    return ErrnoStatus(errno, fmt::format("get '{}': open", key));
  }
  struct stat info;
  if (fstat(file.get(), &info) != 0) return ErrnoStatus(errno, fmt::format("get '{}': stat", key));
  if (!S_ISREG(info.st_mode)) return NoSuchObject(key);
  const auto size = static_cast<uint64_t>(info.st_size);
  ASSIGN_OR_RETURN(const ByteRange range, ResolveRange(key, options.range, size));

  const size_t buffer_size = std::min<uint64_t>(range.size, kReadBytes);
  const auto buffer = std::make_unique_for_overwrite<char[]>(buffer_size);
  for (uint64_t at = range.offset; at < range.end();) {
    const size_t wanted = std::min<uint64_t>(range.end() - at, buffer_size);
    const ssize_t got = pread(file.get(), buffer.get(), wanted, static_cast<off_t>(at));
    if (got < 0) {
      if (errno == EINTR) continue;
      return ErrnoStatus(errno, fmt::format("get '{}': read {} bytes at {}", key, wanted, at));
    }
    if (got == 0) {
      return absl::DataLossError(
          fmt::format("get '{}': the file ends at {} while it is read, it had {} bytes", key, at, size));
    }
    RETURN_IF_ERROR(sink(std::string_view(buffer.get(), static_cast<size_t>(got))));
    at += static_cast<uint64_t>(got);
    if (at < range.end()) RETURN_IF_ERROR(CheckDeadline(clock_, options.deadline, "get", key));
  }
  return ObjectInfo{.size = size};
}

absl::Status FileObjectStore::Put(std::string_view key, const std::vector<std::string_view>& pieces,
                                  const PutOptions& options) {
  RETURN_IF_ERROR(ValidateKey(key));
  RETURN_IF_ERROR(CheckDeadline(clock_, options.deadline, "put", key));
  if (options.if_absent) {
    // The link decides; this only spares the loser the writing of what it cannot keep.
    struct stat info;
    if (fstatat(root_fd_, std::string(key).c_str(), &info, AT_SYMLINK_NOFOLLOW) == 0 &&
        S_ISREG(info.st_mode)) {
      return SyncExisting(key);
    }
  }
  ASSIGN_OR_RETURN(TemporaryFile file, WriteTemporary(key, pieces, options.deadline));
  RETURN_IF_ERROR(CheckDeadline(clock_, options.deadline, "put", key));
  return Publish(file, key, options.if_absent);
}

absl::StatusOr<FileObjectStore::TemporaryFile> FileObjectStore::WriteTemporary(
    std::string_view key, const std::vector<std::string_view>& pieces, absl::Time deadline) {
  const std::string name = fmt::format("{}-{:016x}-{}", getpid(), Random::System()->Next(),
                                       next_temporary_.fetch_add(1, std::memory_order_relaxed));
  FileDescriptor fd(
      openat(temporary_fd_, name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, kFileMode));
  if (fd.get() < 0) {
    if (errno == ENOENT) {
      return absl::FailedPreconditionError(
          fmt::format("put '{}': the store's directory '{}' was removed while in use; restart to make it "
                      "again",
                      key, root_));
    }
    return ErrnoStatus(errno,
                       fmt::format("put '{}': make a file in '{}/{}'", key, root_, kTemporaryDirectory));
  }
  TemporaryFile file(temporary_fd_, name, std::move(fd));
  RETURN_IF_ERROR(WriteAll(file.fd(), key, pieces, deadline, clock_));
  if (fsync(file.fd()) != 0) return ErrnoStatus(errno, fmt::format("put '{}': sync", key));
  return file;
}

absl::Status FileObjectStore::EnsureParents(std::string_view key) {
  std::string parent;
  for (size_t slash = key.find('/'); slash != std::string_view::npos; slash = key.find('/', slash + 1)) {
    const std::string path(key.substr(0, slash));
    {
      absl::MutexLock lock(&mutex_);
      if (known_directories_.contains(path)) {
        parent = path;
        continue;
      }
    }
    if (mkdirat(root_fd_, path.c_str(), kDirectoryMode) != 0 && errno != EEXIST) {
      if (errno == ENOTDIR) return FileInTheWay(key, fmt::format("'{}' is an object", parent));
      return ErrnoStatus(errno, fmt::format("put '{}': make directory '{}'", key, path));
    }
    // Also if it was there: whoever made it may not have synced it yet.
    RETURN_IF_ERROR(Annotate(SyncDirectory(root_fd_, parent), fmt::format("put '{}'", key)));
    absl::MutexLock lock(&mutex_);
    if (known_directories_.size() >= kMaxKnownDirectories) known_directories_.clear();
    known_directories_.insert(path);
    parent = path;
  }
  return absl::OkStatus();
}

absl::Status FileObjectStore::SyncExisting(std::string_view key) {
  RETURN_IF_ERROR(EnsureParents(key));
  RETURN_IF_ERROR(Annotate(SyncDirectory(root_fd_, ParentOf(key)), fmt::format("put '{}'", key)));
  return ObjectExists(key);
}

absl::Status FileObjectStore::Publish(TemporaryFile& file, std::string_view key, bool if_absent) {
  const std::string path(key);
  const std::string parent = ParentOf(key);
  for (int attempt = 1;; ++attempt) {
    RETURN_IF_ERROR(EnsureParents(key));
    const int result = if_absent ? linkat(temporary_fd_, file.name().c_str(), root_fd_, path.c_str(), 0)
                                 : renameat(temporary_fd_, file.name().c_str(), root_fd_, path.c_str());
    if (result == 0) break;
    const int error = errno;
    if (error == ENOENT && attempt < kPublishAttempts) {
      // The directory that was known is gone: somebody tidied up. Make it again.
      absl::MutexLock lock(&mutex_);
      known_directories_.clear();
      continue;
    }
    struct stat info;
    const bool is_directory =
        fstatat(root_fd_, path.c_str(), &info, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(info.st_mode);
    if (is_directory) return FileInTheWay(key, "there are objects below it");
    if (error == ENOTDIR)
      return FileInTheWay(key, fmt::format("'{}' or what it lies in is an object", parent));
    if (error == EEXIST) return SyncExisting(key);
    if (error == ENOENT) {
      return absl::UnavailableError(
          fmt::format("put '{}': somebody keeps removing files in '{}'", key, root_));
    }
    return ErrnoStatus(error,
                       fmt::format("put '{}': {} in '{}'", key, if_absent ? "link" : "rename", root_));
  }
  if (!if_absent) file.Renamed();
  return Annotate(SyncDirectory(root_fd_, parent), fmt::format("put '{}'", key));
}

absl::StatusOr<ObjectInfo> FileObjectStore::Head(std::string_view key, absl::Time deadline) {
  RETURN_IF_ERROR(ValidateKey(key));
  RETURN_IF_ERROR(CheckDeadline(clock_, deadline, "head", key));
  struct stat info;
  if (fstatat(root_fd_, std::string(key).c_str(), &info, AT_SYMLINK_NOFOLLOW) != 0) {
    if (errno == ENOENT || errno == ENOTDIR) return NoSuchObject(key);
    return ErrnoStatus(errno, fmt::format("head '{}'", key));
  }
  if (!S_ISREG(info.st_mode)) return NoSuchObject(key);
  return ObjectInfo{.size = static_cast<uint64_t>(info.st_size)};
}

absl::StatusOr<ListResult> FileObjectStore::List(const ListOptions& options) {
  return ListFiles(root_fd_, options, clock_);
}

absl::Status FileObjectStore::Remove(std::string_view key, absl::Time deadline) {
  RETURN_IF_ERROR(ValidateKey(key));
  RETURN_IF_ERROR(CheckDeadline(clock_, deadline, "remove", key));
  if (unlinkat(root_fd_, std::string(key).c_str(), 0) == 0) return absl::OkStatus();
  if (errno == ENOENT || errno == ENOTDIR || errno == EISDIR) return absl::OkStatus();
  return ErrnoStatus(errno, fmt::format("remove '{}'", key));
}

}  // namespace aetherfs
