#ifndef AETHERFS_CLI_PULL_TARGET_H_
#define AETHERFS_CLI_PULL_TARGET_H_

#include <string>

#include "absl/status/statusor.h"
#include "aetherfs/base/digest.h"
#include "aetherfs/os/file.h"

namespace aetherfs {

// The directory that a pull is going to replace, and the names beside it that the pull uses:
//
//   .NAME.aetherfs-<12 digits>   what is being filled; stays when a pull is interrupted, and is gone on
//   with .NAME.aetherfs-swap          what is complete, on its way to the name; then the old directory
//   .NAME.aetherfs-lock          held while a pull runs
//
// So what is under the first name is always new and under the second never worth anything at the next
// start.
struct PullTarget {
  std::string path;  // absolute and clean
  std::string parent;
  bool exists = false;
  bool is_empty = false;  // or does not exist
  unsigned mode = 0;      // permission bits, if it exists

  std::string StagingPath(const Digest& digest) const;
  std::string SwapPath() const;
  std::string LockPath() const;
};

// What nobody means to replace is refused with INVALID_ARGUMENT: what is not a directory, symlinks, the
// root, home and current directories and what they lie in, mount points, the system's own directories, an
// agent's root. `path`, `home` and `working_directory` are absolute and clean; home may be empty. Blocks.
absl::StatusOr<PullTarget> ResolvePullTarget(const std::string& path, const std::string& home,
                                             const std::string& working_directory);

// Keeps two pulls off one directory; the file goes with it. Not thread-safe.
class PullLock {
 public:
  // FAILED_PRECONDITION if another process has it.
  static absl::StatusOr<PullLock> Acquire(const PullTarget& target);
  PullLock(PullLock&&) = default;
  PullLock& operator=(PullLock&&) = delete;
  ~PullLock();

 private:
  PullLock(std::string path, UniqueFd fd) : path_(std::move(path)), fd_(std::move(fd)) {}
  std::string path_;
  UniqueFd fd_;
};

// Removes what earlier pulls into the directory left: of other versions than `keep` (zero: of all).
// The lock is held.
void RemoveLeftovers(const PullTarget& target, const Digest& keep);

}  // namespace aetherfs

#endif  // AETHERFS_CLI_PULL_TARGET_H_
