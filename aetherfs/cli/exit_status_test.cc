#include "aetherfs/cli/exit_status.h"

#include "gtest/gtest.h"

namespace aetherfs {
namespace {

TEST(ExitStatusTest, EveryCodeHasTheStatusThatScriptsRelyOn) {
  const struct {
    absl::StatusCode code;
    int status;
  } kTable[] = {
      {absl::StatusCode::kOk, 0},
      {absl::StatusCode::kCancelled, 130},
      {absl::StatusCode::kUnknown, 1},
      {absl::StatusCode::kInvalidArgument, 2},
      {absl::StatusCode::kDeadlineExceeded, 5},
      {absl::StatusCode::kNotFound, 3},
      {absl::StatusCode::kAlreadyExists, 4},
      {absl::StatusCode::kPermissionDenied, 6},
      {absl::StatusCode::kResourceExhausted, 5},
      {absl::StatusCode::kFailedPrecondition, 1},
      {absl::StatusCode::kAborted, 4},
      {absl::StatusCode::kOutOfRange, 1},
      {absl::StatusCode::kUnimplemented, 1},
      {absl::StatusCode::kInternal, 1},
      {absl::StatusCode::kUnavailable, 5},
      {absl::StatusCode::kDataLoss, 1},
      {absl::StatusCode::kUnauthenticated, 6},
  };
  for (const auto& row : kTable) {
    const absl::Status status(row.code, "why");
    EXPECT_EQ(static_cast<int>(ExitStatusOf(status)), row.status) << absl::StatusCodeToString(row.code);
  }
}

}  // namespace
}  // namespace aetherfs
