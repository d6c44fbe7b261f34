#ifndef AETHERFS_OS_PROCESS_H_
#define AETHERFS_OS_PROCESS_H_

#include <atomic>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace aetherfs {

struct CommandOptions {
  std::vector<std::string> argv;                   // argv[0] is looked up in PATH; no shell is involved
  std::map<std::string, std::string> environment;  // added to this process's own
  std::string directory;                           // to run in; empty: here
  absl::Duration timeout = absl::Minutes(5);       // then the whole process group is killed
};

struct CommandResult {
  int exit_status = 0;  // 128 + the signal's number if a signal ended it
  bool timed_out = false;
  std::string output;  // the last kMaxOutput bytes of stdout and stderr together
};

inline constexpr size_t kMaxCommandOutput = 16 * 1024;

// Runs a command to its end in a process group of its own and with no input. Blocks. Thread-safe.
// NOT_FOUND if there is no such program. When `cancelled` turns true the group is killed: CANCELLED.
absl::StatusOr<CommandResult> RunCommand(const CommandOptions& options,
                                         const std::atomic<bool>* cancelled = nullptr);

}  // namespace aetherfs

#endif  // AETHERFS_OS_PROCESS_H_
