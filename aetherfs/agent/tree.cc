#include "aetherfs/agent/tree.h"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

#include "aetherfs/base/status.h"
#include "fmt/format.h"

namespace aetherfs {
namespace {

constexpr int64_t kNanosPerSecond = 1'000'000'000;

}  // namespace

std::vector<uint32_t> ParentsOf(const Manifest& manifest) {
  std::vector<uint32_t> parents(manifest.entries.size(), kRootEntry);
  std::vector<uint32_t> open;  // directories that hold the entry before, outermost first
  for (uint32_t i = 0; i < parents.size(); ++i) {
    const std::string& path = manifest.entries[i].path;
    const auto holds = [&](uint32_t d) {
      const std::string& above = manifest.entries[d].path;
      return path.size() > above.size() && path[above.size()] == '/' && path.starts_with(above);
    };
    while (!open.empty() && !holds(open.back())) open.pop_back();
    if (!open.empty()) parents[i] = open.back();
    if (manifest.entries[i].type == EntryType::kDirectory) open.push_back(i);
  }
  return parents;
}

std::string_view BaseName(std::string_view path) {
  const size_t slash = path.rfind('/');
  return slash == std::string_view::npos ? path : path.substr(slash + 1);
}

timespec ToTimespec(int64_t nanoseconds) {
  int64_t seconds = nanoseconds / kNanosPerSecond;
  int64_t rest = nanoseconds % kNanosPerSecond;
  if (rest < 0) {
    --seconds;
    rest += kNanosPerSecond;
  }
  return {.tv_sec = seconds, .tv_nsec = rest};
}

bool LooksLike(const struct stat& status, const Manifest::Entry& entry, unsigned mode) {
  const timespec mtime = ToTimespec(entry.mtime_ns);
  return S_ISREG(status.st_mode) && static_cast<uint64_t>(status.st_size) == entry.size &&
         (status.st_mode & 07777) == mode && status.st_mtim.tv_sec == mtime.tv_sec &&
         status.st_mtim.tv_nsec == mtime.tv_nsec;
}

FdCache::Handle FdCache::Find(uint32_t key) {
  absl::MutexLock lock(&mutex_);
  const auto found = index_.find(key);
  if (found == index_.end()) return nullptr;
  recent_.splice(recent_.begin(), recent_, found->second);
  return found->second->second;
}

FdCache::Handle FdCache::Insert(uint32_t key, UniqueFd fd) {
  auto handle = std::make_shared<const UniqueFd>(std::move(fd));
  Handle evicted;  // closed after the lock is gone
  absl::MutexLock lock(&mutex_);
  const auto found = index_.find(key);
  if (found != index_.end()) {
    evicted = std::move(handle);
    return found->second->second;
  }
  recent_.emplace_front(key, handle);
  index_[key] = recent_.begin();
  if (recent_.size() > capacity_) {
    evicted = std::move(recent_.back().second);
    index_.erase(recent_.back().first);
    recent_.pop_back();
  }
  return handle;
}

void FdCache::Erase(uint32_t key) {
  Handle erased;
  absl::MutexLock lock(&mutex_);
  const auto found = index_.find(key);
  if (found == index_.end()) return;
  erased = std::move(found->second->second);
  recent_.erase(found->second);
  index_.erase(found);
}

absl::StatusOr<std::unique_ptr<Tree>> Tree::Open(const std::string& directory, const Manifest& manifest) {
  // The directory itself may be named through a symlink; nothing below it is.
  ASSIGN_OR_RETURN(UniqueFd root, OpenFile(JoinPath(directory, "."), O_RDONLY | O_DIRECTORY));
  return std::unique_ptr<Tree>(new Tree(directory, manifest, std::move(root)));
}

Tree::Tree(std::string directory, const Manifest& manifest, UniqueFd root)
    : directory_(std::move(directory)),
      manifest_(manifest),
      root_(std::move(root)),
      root_handle_(std::make_shared<const UniqueFd>(::fcntl(root_.get(), F_DUPFD_CLOEXEC, 0))),
      parents_(ParentsOf(manifest)) {}

const char* Tree::NameOf(uint32_t entry) const {
  const std::string& path = manifest_.entries[entry].path;
  return path.c_str() + (path.size() - BaseName(path).size());
}

std::string Tree::PathOf(uint32_t entry) const {
  return entry == kRootEntry ? directory_ : JoinPath(directory_, manifest_.entries[entry].path);
}

absl::StatusOr<FdCache::Handle> Tree::OpenDirectory(uint32_t entry) {
  if (entry == kRootEntry) return root_handle_;
  // Upwards to the nearest open one, then down again: no recursion, whatever the depth.
  std::vector<uint32_t> closed;
  FdCache::Handle handle;
  for (uint32_t at = entry; handle == nullptr;) {
    handle = at == kRootEntry ? root_handle_ : directories_.Find(at);
    if (handle != nullptr) break;
    closed.push_back(at);
    at = parents_[at];
  }
  while (!closed.empty()) {
    const uint32_t at = closed.back();
    closed.pop_back();
    UniqueFd fd(::openat(handle->get(), NameOf(at), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!fd.valid()) return ErrnoStatus(errno, fmt::format("open directory {}", PathOf(at)));
    handle = directories_.Insert(at, std::move(fd));
  }
  return handle;
}

absl::StatusOr<UniqueFd> Tree::OpenForReading(uint32_t entry) {
  ASSIGN_OR_RETURN(const FdCache::Handle parent, OpenParent(entry));
  // O_NONBLOCK: what should be a file may be a fifo by now.
  UniqueFd fd(::openat(parent->get(), NameOf(entry), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  if (!fd.valid()) return ErrnoStatus(errno, fmt::format("open {}", PathOf(entry)));
  return fd;
}

absl::StatusOr<std::vector<std::string>> ListOpenDirectory(int fd, std::string_view path_for_messages) {
  UniqueFd copy(::openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!copy.valid()) return ErrnoStatus(errno, fmt::format("open directory {}", path_for_messages));
  DIR* const directory = ::fdopendir(copy.get());
  if (directory == nullptr) return ErrnoStatus(errno, fmt::format("list directory {}", path_for_messages));
  copy.release();  // the stream owns it
  std::vector<std::string> names;
  for (;;) {
    errno = 0;
    const dirent* const found = ::readdir(directory);
    if (found == nullptr) break;
    const std::string_view name = found->d_name;
    if (name != "." && name != "..") names.emplace_back(name);
  }
  const int error = errno;
  ::closedir(directory);
  if (error != 0) return ErrnoStatus(error, fmt::format("list directory {}", path_for_messages));
  return names;
}

}  // namespace aetherfs
