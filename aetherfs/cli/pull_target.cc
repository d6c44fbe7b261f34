#include "aetherfs/cli/pull_target.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "aetherfs/base/status.h"
#include "fmt/format.h"

namespace aetherfs {
namespace {

constexpr size_t kShortDigest = 12;
constexpr int kMaxLockAttempts = 100;

// Of which, and of what lies right below /usr and /var, nothing is a dataset.
constexpr std::array<std::string_view, 21> kSystemDirectories = {
    "/bin", "/boot", "/dev",  "/etc", "/home", "/lib", "/lib32", "/lib64", "/libx32", "/media", "/mnt",
    "/opt", "/proc", "/root", "/run", "/sbin", "/srv", "/sys",   "/tmp",   "/usr",    "/var"};

bool IsSystemDirectory(const std::string& path) {
  const std::string parent = ParentPath(path);
  return std::find(kSystemDirectories.begin(), kSystemDirectories.end(), path) !=
             kSystemDirectories.end() ||
         parent == "/usr" || parent == "/var";
}

// Whether `path` is `other` or lies above it.
bool Holds(const std::string& path, const std::string& other) {
  return !other.empty() && (path == "/" || other == path || other.starts_with(path + "/"));
}

absl::Status Refuse(const std::string& path, std::string_view why) {
  return absl::InvalidArgumentError(
      fmt::format("{} is not replaced: {}; name a directory of its own", Printable(path), why));
}

std::string BaseOf(const std::string& path) { return path.substr(path.rfind('/') + 1); }

std::string Beside(const PullTarget& target, std::string_view suffix) {
  return JoinPath(target.parent, fmt::format(".{}.aetherfs-{}", BaseOf(target.path), suffix));
}

absl::Status RefuseDangerous(const std::string& path, const std::string& home,
                             const std::string& working_directory) {
  if (path == "/") return Refuse(path, "it is the root directory");
  if (Holds(path, home)) return Refuse(path, home == path ? "it is your home" : "your home is in it");
  if (Holds(path, working_directory)) {
    return Refuse(
        path, working_directory == path ? "it is the current directory" : "the current directory is in it");
  }
  if (IsSystemDirectory(path)) return Refuse(path, "it belongs to the system");
  return absl::OkStatus();
}

// Whether an agent owns `path` or a directory above it.
absl::Status RefuseAgents(const std::string& path) {
  for (std::string above = path; above != "/"; above = ParentPath(above)) {
    if (!Exists(JoinPath(above, ".aetherfs/snapshots"))) continue;
    return Refuse(path, above == path ? "it is an agent's root" : "it is in an agent's root");
  }
  return absl::OkStatus();
}

}  // namespace

std::string PullTarget::StagingPath(const Digest& digest) const {
  return Beside(*this, digest.Hex().substr(0, kShortDigest));
}
std::string PullTarget::SwapPath() const { return Beside(*this, "swap"); }
std::string PullTarget::LockPath() const { return Beside(*this, "lock"); }

absl::StatusOr<PullTarget> ResolvePullTarget(const std::string& path, const std::string& home,
                                             const std::string& working_directory) {
  RETURN_IF_ERROR(RefuseDangerous(path, home, working_directory));
  PullTarget target;
  target.path = path;
  target.parent = ParentPath(path);
  RETURN_IF_ERROR(RefuseAgents(path));
  struct stat status;
  if (lstat(path.c_str(), &status) != 0) {
    if (errno != ENOENT) return ErrnoStatus(errno, fmt::format("look at {}", Printable(path)));
    target.is_empty = true;
    return target;
  }
  if (S_ISLNK(status.st_mode)) return Refuse(path, "it is a symlink");
  if (!S_ISDIR(status.st_mode)) return Refuse(path, "it is not a directory");
  struct stat above;
  if (lstat(target.parent.c_str(), &above) == 0 && above.st_dev != status.st_dev) {
    return Refuse(path, "it is a mount point");
  }
  // The same directory by another name, as /proc/self/cwd or a path through symlinks has it.
  for (const std::string* other : {&home, &working_directory}) {
    struct stat seen;
    if (!other->empty() && stat(other->c_str(), &seen) == 0 && seen.st_dev == status.st_dev &&
        seen.st_ino == status.st_ino) {
      return Refuse(path, other == &home ? "it is your home" : "it is the current directory");
    }
  }
  target.exists = true;
  target.mode = status.st_mode & 07777U;
  ASSIGN_OR_RETURN(const std::vector<std::string> names, ListDirectory(path));
  target.is_empty = names.empty();
  return target;
}

absl::StatusOr<PullLock> PullLock::Acquire(const PullTarget& target) {
  const std::string path = target.LockPath();
  for (int attempt = 0; attempt < kMaxLockAttempts; ++attempt) {
    ASSIGN_OR_RETURN(UniqueFd fd, OpenFile(path, O_RDWR | O_CREAT | O_NOFOLLOW, 0600));
    if (flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
      if (errno != EWOULDBLOCK) return ErrnoStatus(errno, fmt::format("lock {}", Printable(path)));
      return absl::FailedPreconditionError(
          fmt::format("another pull into {} is running; wait for it, or stop it", Printable(target.path)));
    }
    // Its last holder may have removed the file between the two calls; then this locks nothing.
    struct stat held;
    struct stat named;
    if (fstat(fd.get(), &held) == 0 && lstat(path.c_str(), &named) == 0 && held.st_ino == named.st_ino &&
        held.st_dev == named.st_dev) {
      return PullLock(path, std::move(fd));
    }
  }
  return absl::UnavailableError(fmt::format("lock {}: it is taken again and again", Printable(path)));
}

PullLock::~PullLock() {
  // While it is still held, so that whoever opened it meanwhile sees that it went.
  if (fd_.valid()) unlink(path_.c_str());
}

void RemoveLeftovers(const PullTarget& target, const Digest& keep) {
  const absl::StatusOr<std::vector<std::string>> names = ListDirectory(target.parent);
  if (!names.ok()) return;
  const std::string prefix = fmt::format(".{}.aetherfs-", BaseOf(target.path));
  for (const std::string& name : *names) {
    if (!name.starts_with(prefix)) continue;
    const std::string_view suffix = std::string_view(name).substr(prefix.size());
    const bool is_staging = suffix.size() == kShortDigest &&
                            suffix.find_first_not_of("0123456789abcdef") == std::string_view::npos;
    if (suffix != "swap" && !is_staging) continue;
    const std::string path = JoinPath(target.parent, name);
    // What cannot be removed now is found again by the next pull.
    if (keep.is_zero() || path != target.StagingPath(keep)) RemoveTree(path).IgnoreError();
  }
}

}  // namespace aetherfs
