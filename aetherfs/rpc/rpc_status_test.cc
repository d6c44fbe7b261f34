#include "aetherfs/rpc/rpc_status.h"

#include <gtest/gtest.h>

#include <string>

#include "aetherfs/base/status.h"

namespace aetherfs {
namespace {

TEST(RpcStatusTest, EveryCodeKeepsItsMeaningBothWays) {
  for (int code = 0; code <= 16; ++code) {
    const absl::Status status(static_cast<absl::StatusCode>(code), "why");
    const grpc::Status sent = ToGrpc(status);
    EXPECT_EQ(static_cast<int>(sent.error_code()), code);
    EXPECT_EQ(FromGrpc(sent), status);
  }
}

TEST(RpcStatusTest, CodesOfTheFutureAreUnknown) {
  EXPECT_EQ(FromGrpc(grpc::Status(static_cast<grpc::StatusCode>(99), "x")).code(),
            absl::StatusCode::kUnknown);
}

TEST(RpcStatusTest, LongMessagesAreCutBetweenCharacters) {
  std::string message(kMaxStatusMessageSize - 1, 'a');
  message += "\xc3\xa9 and more";
  const grpc::Status sent = ToGrpc(absl::InternalError(message));
  EXPECT_EQ(sent.error_message(), std::string(kMaxStatusMessageSize - 1, 'a'));
}

}  // namespace
}  // namespace aetherfs
