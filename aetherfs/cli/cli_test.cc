#include "aetherfs/cli/cli.h"

#include "aetherfs/cli/context.h"
#include "aetherfs/cli/testing/cli_runner.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace aetherfs {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::StartsWith;

TEST(CliTest, VersionIsPrinted) {
  CliRunner cli;
  for (const auto& args : std::vector<std::vector<std::string>>{{"version"}, {"--version"}}) {
    const CliRunner::Result result = cli.Run(args);
    EXPECT_EQ(result.status, 0);
    EXPECT_THAT(result.out, StartsWith("aetherfs 0."));
    EXPECT_EQ(result.err, "");
  }
  EXPECT_TRUE(cli.Run({"version", "-o", "json"}).json()["version"].is_string());
  EXPECT_TRUE(cli.connections().empty());
}

TEST(CliTest, HelpOfEveryCommandHasExamples) {
  CliRunner cli;
  const CliRunner::Result all = cli.Run({"--help"});
  EXPECT_EQ(all.status, 0);
  for (const char* command :
       {"publish", "pull", "subscribe", "unsubscribe", "watch", "ls", "tags", "log", "inspect", "diff",
        "tag", "untag", "settings", "status", "pin", "unpin", "back", "verify", "version"}) {
    EXPECT_THAT(all.out, HasSubstr(std::string("  ") + command + " "));
    const CliRunner::Result help = cli.Run({command, "--help"});
    EXPECT_EQ(help.status, 0) << command;
    EXPECT_THAT(help.out, HasSubstr(std::string("Examples:\n  aetherfs ") + command)) << command;
    EXPECT_EQ(cli.Run({"help", command}).out, help.out);
  }
}

TEST(CliTest, WrongUsageNamesWhatIsWrongAndExitsWith2) {
  CliRunner cli;
  const struct {
    std::vector<std::string> args;
    std::string message;
  } kCases[] = {
      {{}, "command"},
      {{"pubish", "a/b", "."}, "did you mean 'publish'"},
      {{"help", "pubish"}, "did you mean 'publish'"},
      {{"ls", "--config", "missing.yaml"}, "missing.yaml"},
      {{"publish", "a/b"}, "PATH"},
      {{"publish", "a/b", ".", "--tga", "x"}, "did you mean '--tag'"},
      {{"publish", "a/b", ".", "extra"}, "extra"},
      {{"publish", "A/b", "."}, "'A/b' is not a dataset name"},
      {{"publish", "a/b@sha256:" + std::string(64, '0'), "."}, "this makes a new one"},
      {{"publish", "a/b", ".", "-t", "bad tag"}, "'bad tag' is not a tag"},
      {{"publish", "a/b", ".", "--label", "novalue"}, "--label KEY=VALUE"},
      {{"publish", "a/b", ".", "--expect", "sha256:12"}, "--expect"},
      {{"publish", "a/b", ".", "--expect-absent", "--expect", "sha256:" + std::string(64, '0')},
       "contradict"},
      {{"publish", "a/b", ".", "--async"}, "--agent ADDRESS"},
      {{"pull", "a/b"}, "DIR"},
      {{"tags", "a/b:latest"}, "a dataset is wanted; write a/b"},
      {{"log", "a/b", "-n", "0"}, "--limit"},
      {{"ls", "-o", "yaml"}, "json"},
      {{"ls", "--patience", "soon"}, "--patience"},
      {{"ls", "--server", ""}, "HOST:PORT"},
      {{"ls", "--server", "fs-a:http"}, "--server: 'fs-a:http' has no valid port"},
      {{"ls", "--server", "fs-a,fs-b:70000"}, "--server: 'fs-b:70000' has no valid port"},
      {{"ls", "--server", "http://fs-a:7400"}, "--server: 'http://fs-a:7400' is not a server's address"},
      {{"inspect", "fs.example:70000/a/b"}, "'fs.example:70000' has no valid port"},
      {{"status", "--agent", "/run/agent.sock"}, "--agent: '/run/agent.sock' is not an agent's address"},
      {{"status", "--agent", "localhost"}, "--agent: 'localhost' is not an agent's address"},
      {{"watch", "a/b@sha256:" + std::string(64, '0')}, "a tag is what can be watched"},
      {{"subscribe", "a/b", "a/c", "--path", "x"}, "--path is for one REF"},
      {{"pin", "a/b", "latest"}, "latest"},
      {{"diff", "a/b"}, "NEW"},
  };
  for (const auto& test : kCases) {
    const CliRunner::Result result = cli.Run(test.args);
    EXPECT_EQ(result.status, 2) << test.message << result.err;
    EXPECT_EQ(result.out, "") << test.message;
    EXPECT_THAT(result.err, StartsWith("aetherfs: "));
    EXPECT_THAT(result.err, HasSubstr(test.message));
  }
}

TEST(CliTest, UsageErrorPointsAtTheHelpThatFits) {
  CliRunner cli;
  EXPECT_THAT(cli.Run({"publish", "a/b"}).err, HasSubstr("See 'aetherfs help publish'."));
  EXPECT_THAT(cli.Run({"nonsense"}).err, HasSubstr("See 'aetherfs help'."));
}

TEST(CliTest, ErrorsNameCommandSubjectReasonAndRemedy) {
  CliRunner cli;
  const CliRunner::Result missing = cli.Run({"inspect", "maxmind/city"});
  EXPECT_EQ(missing.status, 3);
  EXPECT_EQ(missing.err,
            "aetherfs: inspect maxmind/city:latest: there is no dataset maxmind/city; 'aetherfs ls' and "
            "'aetherfs "
            "tags' list what there is\n");
  cli.server().SetAway(true);
  const CliRunner::Result away = cli.Run({"ls"});
  EXPECT_EQ(away.status, 5);
  EXPECT_EQ(away.err, "aetherfs: ls: the fake server is away; check --server, or try again later\n");
  cli.server().SetAway(false);
  cli.server().FailNext(FakeServerClient::Method::kListDatasets, absl::PermissionDeniedError("no grant"));
  EXPECT_EQ(cli.Run({"ls"}).status, 6);
  // Not this user's Ctrl-C.
  cli.server().FailNext(FakeServerClient::Method::kListDatasets, absl::CancelledError("the server stops"));
  EXPECT_EQ(cli.Run({"ls"}).status, 1);
}

TEST(CliTest, ServersComeFromFlagThenEnvironmentThenDefault) {
  CliRunner cli;
  cli.Run({"ls"});
  cli.variables()["AETHERFS_SERVER"] = "one,two:7500";
  cli.Run({"ls"});
  cli.Run({"ls", "--server", "[::1],three:1"});
  ASSERT_EQ(cli.connections().size(), 3u);
  EXPECT_THAT(cli.connections()[0].servers, ElementsAre("127.0.0.1:7400"));
  EXPECT_THAT(cli.connections()[1].servers, ElementsAre("one:7400", "two:7500"));
  EXPECT_THAT(cli.connections()[2].servers, ElementsAre("[::1]:7400", "three:1"));
}

TEST(CliTest, HostOfAReferenceBeatsServer) {
  CliRunner cli;
  cli.Write("d/f", "x");
  FakeServerClient& other = cli.AddServer("data.example.com:7400");
  EXPECT_EQ(cli.Run({"publish", "data.example.com/a/b", "d", "--server", "elsewhere:1"}).status, 0);
  EXPECT_TRUE(other.TagDigest("a/b", "latest").has_value());
  EXPECT_EQ(cli.Run({"ls", "data.example.com/a"}).out, "a/b\n");
  EXPECT_EQ(cli.Run({"ls"}).out, "");
}

TEST(CliTest, PatienceIsShortForQuestionsAndLongerForTransfers) {
  CliRunner cli;
  cli.Run({"ls"});
  cli.Run({"pull", "a/b", "d"});
  cli.Run({"ls", "--patience", "90s"});
  ASSERT_EQ(cli.connections().size(), 3u);
  EXPECT_EQ(cli.connections()[0].patience, kQueryPatience);
  EXPECT_EQ(cli.connections()[1].patience, kTransferPatience);
  EXPECT_EQ(cli.connections()[2].patience, absl::Seconds(90));
}

TEST(CliTest, InterruptedCommandExitsWith130) {
  CliRunner cli;
  cli.interrupt().Trigger();
  const CliRunner::Result result = cli.Run({"ls"});
  EXPECT_EQ(result.status, 130);
  EXPECT_EQ(result.err, "aetherfs: ls: interrupted\n");
}

TEST(CliTest, OutputThatCannotBeWrittenIsAFailure) {
  CliRunner cli;
  std::ostringstream out;
  std::ostringstream err;
  Interrupt interrupt;
  CliEnvironment environment;
  environment.args = {"version"};
  environment.variables = [](const std::string&) { return std::nullopt; };
  environment.out = &out;
  environment.err = &err;
  environment.interrupt = &interrupt;
  out.setstate(std::ios::badbit);
  EXPECT_EQ(RunCli(environment), 1);
  EXPECT_THAT(err.str(), HasSubstr("standard output"));
}

TEST(CliTest, StaleAnswersSayHowOldTheyAre) {
  CliRunner cli;
  cli.Write("d/f", "x");
  cli.Publish("a/b", "d");
  cli.server().SetStale(true, 65'000);
  const CliRunner::Result result = cli.Run({"tags", "a/b"});
  EXPECT_EQ(result.status, 0);
  EXPECT_EQ(result.err, "note: the server cannot reach its store; this is what it knew 1m05s ago\n");
  EXPECT_EQ(cli.Run({"tags", "a/b", "--quiet"}).err, "");
}

TEST(CliTest, PathsAreCleanedByTheirTextAlone) {
  EXPECT_EQ(CleanPath("/w", "a/../b//c/."), "/w/b/c");
  EXPECT_EQ(CleanPath("/w", "/x/./y/"), "/x/y");
  EXPECT_EQ(CleanPath("/w", "../../.."), "/");
  EXPECT_EQ(CleanPath("/w", "."), "/w");
}

}  // namespace
}  // namespace aetherfs
