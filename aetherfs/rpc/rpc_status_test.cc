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
  // The enumeration's type holds no more than five bits.
  EXPECT_EQ(FromGrpc(grpc::Status(static_cast<grpc::StatusCode>(31), "x")).code(),
            absl::StatusCode::kUnknown);
}

TEST(RpcStatusTest, ConnectionsThatCannotBeHadAreToldInPlainWords) {
  const auto told = [](const std::string& message) {
    return std::string(Message(FromGrpc(grpc::Status(grpc::StatusCode::UNAVAILABLE, message))));
  };
  EXPECT_EQ(told("failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:1: Failed to "
                 "connect to remote host: Connection refused"),
            "cannot connect: ipv4:127.0.0.1:1: Connection refused");
  EXPECT_EQ(told("failed to connect to all addresses; last error: UNKNOWN: unix:/a.sock: No such file or "
                 "directory"),
            "cannot connect: unix:/a.sock: No such file or directory");
  EXPECT_EQ(told("DNS resolution failed for fs.invalid:7400: C-ares status is not ARES_SUCCESS qtype=AAAA "
                 "name=fs.invalid is_balancer=0: Domain name not found"),
            "cannot find the address of fs.invalid:7400: Domain name not found");
  EXPECT_EQ(told("DNS resolution failed for x"), "DNS resolution failed for x");
  EXPECT_EQ(told("the store is away"), "the store is away");
}

TEST(RpcStatusTest, LongMessagesAreCutBetweenCharacters) {
  std::string message(kMaxStatusMessageSize - 1, 'a');
  message += "\xc3\xa9 and more";
  const grpc::Status sent = ToGrpc(absl::InternalError(message));
  EXPECT_EQ(sent.error_message(), std::string(kMaxStatusMessageSize - 1, 'a'));
}

}  // namespace
}  // namespace aetherfs
