#ifndef AETHERFS_BASE_STATUS_H_
#define AETHERFS_BASE_STATUS_H_

#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

// Errors are absl::Status everywhere. What the codes mean here, always:
//   INVALID_ARGUMENT     the caller's words are wrong; the same call can never succeed
//   NOT_FOUND            it does not exist (missing)
//   DATA_LOSS            it exists and is not what it must be (corrupt)
//   UNAVAILABLE          it may exist; asking again later may succeed (also DEADLINE_EXCEEDED)
//   RESOURCE_EXHAUSTED   a limit or a disk is full
//   ALREADY_EXISTS       create-if-absent lost
//   ABORTED              an expectation of the caller does not hold (conflict)
//   FAILED_PRECONDITION  the system is not in the state that the call needs
//   PERMISSION_DENIED, UNAUTHENTICATED, CANCELLED, INTERNAL (a bug) as usual

namespace aetherfs {

// The same code with `context + ": "` in front of the message; OK stays OK.
absl::Status Annotate(const absl::Status& status, std::string_view context);

// A status for a failed system call: `what` was attempted, `error_number` is its errno.
absl::Status ErrnoStatus(int error_number, std::string_view what);

// Whether the same call may succeed later without anybody changing anything else.
bool IsTransient(const absl::Status& status);

// `text` with control characters and invalid UTF-8 escaped, at most 200 bytes of it: what came from
// outside, made fit for a message.
std::string Printable(std::string_view text);

// "INVALID_ARGUMENT: message", or "OK".
std::string Describe(const absl::Status& status);

inline std::string_view Message(const absl::Status& status) {
  return {status.message().data(), status.message().size()};
}

}  // namespace aetherfs

#define AETHERFS_CONCAT_INNER_(a, b) a##b
#define AETHERFS_CONCAT_(a, b) AETHERFS_CONCAT_INNER_(a, b)

// Returns from the calling function if `expr`, an absl::Status, is not OK.
#define RETURN_IF_ERROR(expr)                            \
  do {                                                   \
    absl::Status aetherfs_status_ = (expr);              \
    if (!aetherfs_status_.ok()) return aetherfs_status_; \
  } while (false)

// `lhs = value of expr`, an absl::StatusOr, or returns its error.
#define ASSIGN_OR_RETURN(lhs, expr) \
  ASSIGN_OR_RETURN_IMPL_(AETHERFS_CONCAT_(aetherfs_statusor_, __LINE__), lhs, expr)
#define ASSIGN_OR_RETURN_IMPL_(statusor, lhs, expr)        \
  auto statusor = (expr);                                  \
  if (!statusor.ok()) return std::move(statusor).status(); \
  lhs = *std::move(statusor)

#endif  // AETHERFS_BASE_STATUS_H_
