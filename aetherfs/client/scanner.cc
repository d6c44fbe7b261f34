#include "aetherfs/client/scanner.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <deque>
#include <memory>
#include <string_view>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "aetherfs/base/status.h"
#include "fmt/format.h"

namespace aetherfs {
namespace {

// Directories wait for a second thread once this many are known: below, starting it costs more than it
// saves.
constexpr size_t kDirectoriesForSecondThread = 8;
constexpr size_t kMaxSymlinkTarget = 4096;

const char* KindOf(mode_t mode) {
  switch (mode & S_IFMT) {
    case S_IFSOCK:
      return "a socket";
    case S_IFIFO:
      return "a FIFO";
    case S_IFCHR:
      return "a character device";
    case S_IFBLK:
      return "a block device";
    default:
      return "no regular file, directory or symlink";
  }
}

absl::Status Refused(const std::string& path, mode_t mode) {
  return absl::InvalidArgumentError(
      fmt::format("'{}' is {}, which cannot be published; remove it or publish another directory",
                  Printable(path), KindOf(mode)));
}

int64_t Nanoseconds(const timespec& time) { return int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec; }

using DirectoryStream = std::unique_ptr<DIR, decltype([](DIR* stream) { closedir(stream); })>;

// One directory on its way from a name to its sorted entries.
struct Directory {
  std::string path;                   // "" for the root
  std::vector<ScannedEntry> entries;  // its own, sorted by name
  // What lies in subdirectories, by the index of the directory's own entry, ascending.
  std::vector<std::pair<size_t, std::unique_ptr<Directory>>> children;
};

class TreeWalk {
 public:
  TreeWalk(int root, std::atomic<uint64_t>* scanned_files, const std::atomic<bool>* cancelled)
      : root_(root), scanned_files_(scanned_files), cancelled_(cancelled) {}

  absl::Status Run(std::vector<ScannedEntry>* entries) {
    Directory top;
    {
      absl::MutexLock lock(&mutex_);
      waiting_.push_back(&top);
      unfinished_ = 1;
    }
    Work(true);
    if (second_.joinable()) second_.join();
    absl::MutexLock lock(&mutex_);
    RETURN_IF_ERROR(error_);
    entries->reserve(count_);
    Flatten(top, entries);
    return absl::OkStatus();
  }

 private:
  struct Name {
    std::string name;
    unsigned char kind;  // DT_…
  };

  void Work(bool first) {
    while (true) {
      Directory* directory;
      {
        absl::MutexLock lock(&mutex_);
        const auto ready = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
          return !waiting_.empty() || unfinished_ == 0;
        };
        mutex_.Await(absl::Condition(&ready));
        if (waiting_.empty()) return;
        directory = waiting_.back();
        waiting_.pop_back();
      }
      absl::Status status = Read(*directory);
      absl::MutexLock lock(&mutex_);
      --unfinished_;
      count_ += directory->entries.size();
      if (status.ok() && count_ > kMaxEntries) {
        status = absl::InvalidArgumentError(
            fmt::format("the directory holds more than {} entries; publish parts of it", kMaxEntries));
      }
      if (!status.ok()) {
        if (error_.ok()) error_ = std::move(status);
        unfinished_ -= waiting_.size();
        waiting_.clear();
        continue;
      }
      if (!error_.ok()) continue;
      for (auto& [index, child] : directory->children) waiting_.push_back(child.get());
      unfinished_ += directory->children.size();
      if (first && !second_.joinable() && waiting_.size() >= kDirectoriesForSecondThread) {
        second_ = std::thread([this] { Work(false); });
      }
    }
  }

  absl::Status ReadNames(const std::string& shown, DIR* stream, std::vector<Name>* names) {
    errno = 0;
    while (const dirent* entry = readdir(stream)) {
      const std::string_view name(entry->d_name);
      if (name != "." && name != "..") names->push_back({std::string(name), entry->d_type});
      errno = 0;
    }
    if (errno != 0) return ErrnoStatus(errno, fmt::format("could not list directory '{}'", shown));
    std::sort(names->begin(), names->end(), [](const Name& a, const Name& b) { return a.name < b.name; });
    return absl::OkStatus();
  }

  absl::Status Read(Directory& directory) {
    if (cancelled_ != nullptr && cancelled_->load()) return absl::CancelledError("the scan was cancelled");
    const std::string shown = directory.path.empty() ? "." : Printable(directory.path);
    UniqueFd fd(openat(root_, directory.path.empty() ? "." : directory.path.c_str(),
                       O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!fd.valid() && errno == ENOENT && !directory.path.empty())
      return absl::OkStatus();  // vanished: empty
    DirectoryStream stream(fd.valid() ? fdopendir(fd.get()) : nullptr);
    if (stream == nullptr) return ErrnoStatus(errno, fmt::format("could not open directory '{}'", shown));
    const int here = fd.release();  // the stream has it now
    std::vector<Name> names;
    RETURN_IF_ERROR(ReadNames(shown, stream.get(), &names));
    directory.entries.reserve(names.size());
    uint64_t files = 0;
    for (const Name& name : names) RETURN_IF_ERROR(Look(here, name, directory, &files));
    if (scanned_files_ != nullptr) *scanned_files_ += files;
    return absl::OkStatus();
  }

  // Adds what lies under `name`.
  absl::Status Look(int here, const Name& name, Directory& directory, uint64_t* files) {
    ScannedEntry entry;
    entry.path.reserve(directory.path.size() + 1 + name.name.size());
    entry.path = directory.path;
    if (!entry.path.empty()) entry.path += '/';
    entry.path += name.name;
    RETURN_IF_ERROR(ValidatePath(entry.path));
    mode_t kind = DTTOIF(name.kind);
    if (name.kind != DT_DIR && name.kind != DT_LNK) {
      struct stat stat;
      if (fstatat(here, name.name.c_str(), &stat, AT_SYMLINK_NOFOLLOW) != 0) {
        if (errno == ENOENT) return absl::OkStatus();
        return ErrnoStatus(errno, fmt::format("could not examine '{}'", Printable(entry.path)));
      }
      kind = stat.st_mode & S_IFMT;
      if (kind == S_IFREG) {
        RETURN_IF_ERROR(FillFromStat(entry.path, stat, &entry));
        ++*files;
      }
    }
    if (kind == S_IFDIR) {
      entry.type = EntryType::kDirectory;
      entry.mode = 0755;
      auto child = std::make_unique<Directory>();
      child->path = entry.path;
      directory.children.emplace_back(directory.entries.size(), std::move(child));
    } else if (kind == S_IFLNK) {
      entry.type = EntryType::kSymlink;
      entry.mode = 0777;
      char target[kMaxSymlinkTarget];
      const ssize_t size = readlinkat(here, name.name.c_str(), target, sizeof(target));
      if (size < 0) {
        if (errno == ENOENT) return absl::OkStatus();
        return ErrnoStatus(errno, fmt::format("could not read symlink '{}'", Printable(entry.path)));
      }
      entry.target.assign(target, static_cast<size_t>(size));
    } else if (kind != S_IFREG) {
      return Refused(entry.path, kind);
    }
    directory.entries.push_back(std::move(entry));
    return absl::OkStatus();
  }

  static void Flatten(Directory& directory, std::vector<ScannedEntry>* entries) {
    size_t child = 0;
    for (size_t i = 0; i < directory.entries.size(); ++i) {
      entries->push_back(std::move(directory.entries[i]));
      if (child < directory.children.size() && directory.children[child].first == i) {
        Flatten(*directory.children[child++].second, entries);
      }
    }
  }

  const int root_;
  std::atomic<uint64_t>* const scanned_files_;
  const std::atomic<bool>* const cancelled_;
  std::thread second_;  // started and joined by the first

  absl::Mutex mutex_;
  std::deque<Directory*> waiting_ ABSL_GUARDED_BY(mutex_);
  size_t unfinished_ ABSL_GUARDED_BY(mutex_) = 0;  // waiting or being read
  size_t count_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::Status error_ ABSL_GUARDED_BY(mutex_);
};

absl::StatusOr<std::string> ResolvePath(const std::string& path) {
  char* resolved = realpath(path.c_str(), nullptr);
  if (resolved == nullptr) {
    const absl::Status status =
        ErrnoStatus(errno, fmt::format("could not find '{}' to publish it", Printable(path)));
    return absl::Status(status.code(), fmt::format("{}; check PATH", Message(status)));
  }
  std::string result(resolved);
  free(resolved);
  return result;
}

absl::Status ScanSingleFile(const std::string& given, const struct stat& stat, Scan* scan) {
  const size_t slash = scan->path.rfind('/');
  const std::string parent = slash == 0 ? "/" : scan->path.substr(0, slash);
  ASSIGN_OR_RETURN(scan->root, OpenFile(parent, O_RDONLY | O_DIRECTORY));
  scan->only_file = scan->path.substr(slash + 1);
  // It is published under the name that was given, also if that is a symlink's.
  std::string name = given;
  while (name.size() > 1 && name.back() == '/') name.pop_back();
  name = name.substr(name.rfind('/') + 1);  // npos + 1 is 0
  ScannedEntry entry;
  entry.path = name == "." || name == ".." ? scan->only_file : name;
  RETURN_IF_ERROR(ValidatePath(entry.path));
  RETURN_IF_ERROR(FillFromStat(entry.path, stat, &entry));
  scan->entries.push_back(std::move(entry));
  return absl::OkStatus();
}

}  // namespace

absl::Status FillFromStat(const std::string& path, const struct stat& stat, ScannedEntry* entry) {
  if (!S_ISREG(stat.st_mode)) return Refused(path, stat.st_mode);
  entry->type = EntryType::kFile;
  entry->mode = static_cast<uint16_t>(stat.st_mode & 0777);
  entry->size = static_cast<uint64_t>(stat.st_size);
  entry->mtime_ns = Nanoseconds(stat.st_mtim);
  entry->ctime_ns = Nanoseconds(stat.st_ctim);
  entry->inode = stat.st_ino;
  entry->device = stat.st_dev;
  return absl::OkStatus();
}

absl::StatusOr<Scan> ScanPath(const std::string& path, std::atomic<uint64_t>* scanned_files,
                              const std::atomic<bool>* cancelled) {
  Scan scan;
  scan.started = absl::Now();
  ASSIGN_OR_RETURN(scan.path, ResolvePath(path));
  struct stat stat;
  if (::stat(scan.path.c_str(), &stat) != 0) {
    return ErrnoStatus(errno, fmt::format("could not examine '{}'", Printable(path)));
  }
  if (S_ISREG(stat.st_mode)) {
    RETURN_IF_ERROR(ScanSingleFile(path, stat, &scan));
    if (scanned_files != nullptr) ++*scanned_files;
  } else if (S_ISDIR(stat.st_mode)) {
    ASSIGN_OR_RETURN(scan.root, OpenFile(scan.path, O_RDONLY | O_DIRECTORY));
    TreeWalk walk(scan.root.get(), scanned_files, cancelled);
    RETURN_IF_ERROR(Annotate(walk.Run(&scan.entries), fmt::format("in '{}'", Printable(path))));
  } else {
    return Refused(path, stat.st_mode);
  }
  for (const ScannedEntry& entry : scan.entries) {
    if (entry.type != EntryType::kFile) continue;
    ++scan.files;
    scan.bytes += entry.size;
  }
  return scan;
}

absl::Status ScanAgain(const Scan& scan, ScannedEntry* entry) {
  const std::string& name = scan.only_file.empty() ? entry->path : scan.only_file;
  struct stat stat;
  if (fstatat(scan.root.get(), name.c_str(), &stat, AT_SYMLINK_NOFOLLOW) != 0) {
    return ErrnoStatus(errno, fmt::format("could not examine '{}'", Printable(entry->path)));
  }
  return FillFromStat(entry->path, stat, entry);
}

absl::StatusOr<UniqueFd> OpenScanned(const Scan& scan, const ScannedEntry& entry) {
  const std::string& name = scan.only_file.empty() ? entry.path : scan.only_file;
  // A FIFO that took a file's place must not block.
  const int fd = openat(scan.root.get(), name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0) return ErrnoStatus(errno, fmt::format("could not open '{}'", Printable(entry.path)));
  return UniqueFd(fd);
}

}  // namespace aetherfs
