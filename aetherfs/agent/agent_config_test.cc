#include "aetherfs/agent/agent_config.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace aetherfs {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

absl::StatusOr<AgentCommandLine> Parse(const std::vector<std::string>& args, const std::string& file = "") {
  return ParseAgentConfig(
      args, [](const std::string&) { return std::nullopt; },
      [&](const std::string&) -> absl::StatusOr<std::string> { return file; });
}

TEST(AgentConfigTest, DefaultsAreThoseOfTheManual) {
  const auto line = Parse({});
  ASSERT_TRUE(line.ok()) << line.status();
  EXPECT_THAT(line->config.servers, ElementsAre("127.0.0.1:7400"));
  EXPECT_THAT(line->config.listen, ElementsAre("unix:///run/aetherfs/agent.sock"));
  EXPECT_EQ(line->config.root, "/var/lib/aetherfs/agent");
  EXPECT_EQ(line->config.http_listen, "");
  EXPECT_EQ(line->config.keep, 2);
  EXPECT_EQ(line->config.drain_timeout, absl::Seconds(30));
}

TEST(AgentConfigTest, ServersWithoutAPortGetTheUsualOne) {
  const auto line = Parse({"--server", "fs-a,[::1]", "--server=fs-c:7500"});
  ASSERT_TRUE(line.ok()) << line.status();
  EXPECT_THAT(line->config.servers, ElementsAre("fs-a:7400", "[::1]:7400", "fs-c:7500"));
}

TEST(AgentConfigTest, FileDescribesSubscriptionsWhole) {
  const auto line =
      Parse({"--config", "agent.yaml", "--subscribe", "maps/city", "--subscribe", "maps/road:stable"}, R"(
keep: 4
subscriptions:
  - reference: maps/city
    path: city
    keep: 3
    check: [/usr/bin/check, --fast]
    notify: [reload]
    include: ["*.csv"]
    exclude: [tmp]
)");
  ASSERT_TRUE(line.ok()) << line.status();
  EXPECT_EQ(line->config.keep, 4);
  const auto declared = line->config.Declared();
  ASSERT_EQ(declared.size(), 2);
  EXPECT_EQ(declared[0].path(), "city");
  EXPECT_EQ(declared[0].keep(), 3);
  EXPECT_THAT(declared[0].check(), ElementsAre("/usr/bin/check", "--fast"));
  EXPECT_THAT(declared[0].include(), ElementsAre("*.csv"));
  EXPECT_EQ(declared[1].reference(), "maps/road:stable");
}

TEST(AgentConfigTest, WhatIsWrongIsNamed) {
  const std::pair<std::string, std::string> cases[] = {
      {"subscriptions:\n  - reference: a\n    pth: x\n", "pth"},
      {"subscriptions:\n  - path: x\n", "reference"},
      {"subscriptions:\n  - reference: a\n    path: ../x\n", "../x"},
      {"subscriptions:\n  - reference: a\n    keep: 0\n", "keep"},
      {"subscriptions: {}\n", "subscriptions"},
      {"unknown: 1\n", "unknown"},
  };
  for (const auto& [file, named] : cases) {
    const auto line = Parse({"--config", "agent.yaml"}, file);
    EXPECT_TRUE(absl::IsInvalidArgument(line.status())) << file;
    EXPECT_THAT(std::string(line.status().message()), HasSubstr(named)) << file;
  }
  const std::pair<std::vector<std::string>, std::string> flags[] = {
      {{"--server", "fs-a:http"}, "--server: 'fs-a:http' has no valid port"},
      {{"--server", "fs-a:7400,fs-b:70000"}, "--server: 'fs-b:70000' has no valid port"},
      {{"--server", "http://fs-a:7400"}, "--server: 'http://fs-a:7400' is not a server's address"},
      {{"--listen", "/run/agent.sock"}, "--listen: '/run/agent.sock' is no address"},
      {{"--listen", "unix://run/agent.sock"}, "--listen: 'unix://run/agent.sock' is no address"},
      {{"--listen", "127.0.0.1:70000"}, "--listen: '127.0.0.1:70000' is no address"},
      {{"--http-listen", "127.0.0.1:http"}, "--http-listen: '127.0.0.1:http' is not an address"},
      {{"--log-level", "loud"}, "loud"},
  };
  for (const auto& [args, message] : flags) {
    const auto line = Parse(args);
    ASSERT_TRUE(absl::IsInvalidArgument(line.status())) << message;
    EXPECT_THAT(std::string(line.status().message()), HasSubstr(message));
  }
  EXPECT_TRUE(absl::IsInvalidArgument(Parse({"--subscribe", "NO"}).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(Parse({"--nonsense"}).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(Parse({"--keep", "0"}).status()));
}

}  // namespace
}  // namespace aetherfs
