#include "aetherfs/base/address.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace aetherfs {
namespace {

using ::testing::HasSubstr;

TEST(AddressTest, ServersAreReadAndGetTheirPort) {
  for (const char* text :
       {"fs-a:7400", "127.0.0.1:1", "[::1]:65535", "[fe80::1%eth0]:7400", "fs_a.local:7400"}) {
    EXPECT_EQ(ParseServerAddress(text).value_or("?"), text);
  }
  EXPECT_EQ(ParseServerAddress("fs-a").value_or("?"), "fs-a:7400");
  EXPECT_EQ(ParseServerAddress("[::1]").value_or("?"), "[::1]:7400");
}

TEST(AddressTest, WhatIsNoServerIsRefusedByName) {
  for (const char* text : {"", ":", ":7400", "a b:7400", "http://fs:7400", "fs/x:7400", "::1",
                           "fe80::1:7400", "[::1", "[]:7400", "a,b:7400"}) {
    const auto address = ParseServerAddress(text);
    ASSERT_EQ(address.status().code(), absl::StatusCode::kInvalidArgument) << text;
    EXPECT_THAT(std::string(address.status().message()), HasSubstr("'" + std::string(text) + "'"));
  }
  for (const char* text : {"fs:", "fs:http", "fs:0", "fs:65536", "fs:99999999999", "fs:-1", "fs:+1",
                           "fs: 1", "fs:7400x", "[::1]:x"}) {
    const auto address = ParseServerAddress(text);
    ASSERT_EQ(address.status().code(), absl::StatusCode::kInvalidArgument) << text;
    EXPECT_THAT(std::string(address.status().message()),
                HasSubstr("'" + std::string(text) + "' has no valid port"));
  }
}

TEST(AddressTest, ListenAddressesMayHaveNoHostAndPortZero) {
  for (const char* text : {":7400", "127.0.0.1:0", "[::]:7400", "localhost:65535"}) {
    EXPECT_TRUE(IsListenAddress(text)) << text;
  }
  for (const char* text :
       {"", ":", "7400", "localhost", "localhost:x", "localhost:65536", "::1:7400", "a b:1"}) {
    EXPECT_FALSE(IsListenAddress(text)) << text;
  }
}

}  // namespace
}  // namespace aetherfs
