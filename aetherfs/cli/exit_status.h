#ifndef AETHERFS_CLI_EXIT_STATUS_H_
#define AETHERFS_CLI_EXIT_STATUS_H_

#include "absl/status/status.h"

namespace aetherfs {

// What the command line's exit statuses mean. A contract: scripts rely on them.
enum class ExitStatus : int {
  kDone = 0,
  kFailed = 1,
  kUsage = 2,
  kNotFound = 3,
  kConflict = 4,     // an expectation did not hold
  kUnavailable = 5,  // worth trying again
  kNotPermitted = 6,
  kInterrupted = 130,  // 128 + SIGINT, as shells have it
};

// The one table from errors to exit statuses. Pure.
ExitStatus ExitStatusOf(const absl::Status& status);

}  // namespace aetherfs

#endif  // AETHERFS_CLI_EXIT_STATUS_H_
