#include "aetherfs/object/file/file_listing.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "aetherfs/base/status.h"
#include "aetherfs/object/object_checks.h"
#include "fmt/format.h"

namespace aetherfs {
namespace {

struct CloseDirectory {
  void operator()(DIR* directory) const { closedir(directory); }
};
using Directory = std::unique_ptr<DIR, CloseDirectory>;

// Walks the tree in the order of whole keys. Within a directory that is the order of names when a
// directory's name is taken with a '/' behind it: "a-" < "a/x" < "a0", as the keys compare.
class Lister {
 public:
  Lister(int root_fd, const ListOptions& options, Clock& clock)
      : root_fd_(root_fd), options_(options), clock_(clock) {}

  absl::StatusOr<ListResult> Run() {
    // Only the directory that the prefix leads to can hold wanted keys.
    const size_t slash = options_.prefix.rfind('/');
    const std::string start = slash == std::string::npos ? "" : options_.prefix.substr(0, slash + 1);
    if (start.empty() || ValidateKey(std::string_view(start).substr(0, slash)).ok()) {
      ASSIGN_OR_RETURN(const bool complete, Walk(start));
      result_.more = !complete;
    }
    return std::move(result_);
  }

 private:
  // `path` is empty or ends with '/'. False if the page was full before the end.
  absl::StatusOr<bool> Walk(const std::string& path) {
    ASSIGN_OR_RETURN(const std::vector<std::string> names, ReadNames(path));
    for (const std::string& name : names) {
      const std::string key = path + name;
      if (name.back() == '/') {
        if (!MayHoldWanted(key)) continue;
        ASSIGN_OR_RETURN(const bool complete, Walk(key));
        if (!complete) return false;
      } else if (IsWanted(key)) {
        ASSIGN_OR_RETURN(const bool added, Add(key));
        if (!added) return false;
      }
    }
    return true;
  }

  bool IsWanted(std::string_view key) const {
    return key.starts_with(options_.prefix) && key > options_.start_after && ValidateKey(key).ok();
  }

  // Whether keys that begin with `path` can be wanted.
  bool MayHoldWanted(std::string_view path) const {
    const std::string_view prefix = options_.prefix, after = options_.start_after;
    return (path.starts_with(prefix) || prefix.starts_with(path)) &&
           (path > after || after.starts_with(path)) && ValidateKey(path.substr(0, path.size() - 1)).ok();
  }

  // False if the page is full already.
  absl::StatusOr<bool> Add(const std::string& key) {
    RETURN_IF_ERROR(CheckDeadline(clock_, options_.deadline, "list", options_.prefix));
    struct stat info;
    if (fstatat(root_fd_, key.c_str(), &info, AT_SYMLINK_NOFOLLOW) != 0) {
      if (errno == ENOENT || errno == ENOTDIR) return true;
      return ErrnoStatus(errno, fmt::format("list: stat '{}'", key));
    }
    if (!S_ISREG(info.st_mode)) return true;
    if (result_.objects.size() == options_.limit) return false;
    result_.objects.push_back({.key = key, .size = static_cast<uint64_t>(info.st_size)});
    return true;
  }

  // The names in a directory, sorted as the keys below it are; directories end with '/'.
  absl::StatusOr<std::vector<std::string>> ReadNames(const std::string& path) {
    RETURN_IF_ERROR(CheckDeadline(clock_, options_.deadline, "list", options_.prefix));
    std::vector<std::string> names;
    const int fd = openat(root_fd_, path.empty() ? "." : path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
      if (errno == ENOENT || errno == ENOTDIR) return names;
      return ErrnoStatus(errno, fmt::format("list: open directory '{}'", path));
    }
    const Directory directory(fdopendir(fd));
    if (directory == nullptr) {
      const int error = errno;
      close(fd);
      return ErrnoStatus(error, fmt::format("list: read directory '{}'", path));
    }
    while (true) {
      errno = 0;
      const dirent* entry = readdir(directory.get());
      if (entry == nullptr) break;
      AddName(fd, *entry, names);
    }
    if (errno != 0) return ErrnoStatus(errno, fmt::format("list: read directory '{}'", path));
    std::sort(names.begin(), names.end());
    return names;
  }

  static void AddName(int directory_fd, const dirent& entry, std::vector<std::string>& names) {
    const std::string_view name = entry.d_name;
    if (!ValidateKey(name).ok()) return;  // ".", "..", "#tmp" and what is not ours
    unsigned char type = entry.d_type;
    if (type == DT_UNKNOWN) {  // some file systems do not say
      struct stat info;
      if (fstatat(directory_fd, entry.d_name, &info, AT_SYMLINK_NOFOLLOW) != 0) return;
      type = S_ISDIR(info.st_mode) ? DT_DIR : S_ISREG(info.st_mode) ? DT_REG : DT_LNK;
    }
    if (type == DT_DIR) names.push_back(fmt::format("{}/", name));
    if (type == DT_REG) names.emplace_back(name);
  }

  const int root_fd_;
  const ListOptions& options_;
  Clock& clock_;
  ListResult result_;
};

}  // namespace

absl::StatusOr<ListResult> ListFiles(int root_fd, const ListOptions& options, Clock& clock) {
  RETURN_IF_ERROR(CheckDeadline(clock, options.deadline, "list", options.prefix));
  if (options.limit == 0) return absl::InvalidArgumentError("list: a page of 0 objects was asked for");
  return Lister(root_fd, options, clock).Run();
}

}  // namespace aetherfs
