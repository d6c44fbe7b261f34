#include <sys/stat.h>
#include <unistd.h>

#include "aetherfs/base/random.h"
#include "aetherfs/cli/pull_target.h"
#include "aetherfs/cli/testing/cli_runner.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace aetherfs {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// Of a dataset with files of several chunks.
void WriteVersion(CliRunner& cli, const std::string& directory, char letter) {
  std::string big;
  for (int i = 0; i < 20'000; ++i) big += std::to_string(i * 7919) + "\n";
  cli.Write(directory + "/same", big);
  cli.Write(directory + "/sub/changed", std::string(1, letter) + big);
  cli.Write(directory + "/run.sh", "#!/bin/sh\n", 0755);
}

TEST(PullCommandTest, DirectoryBecomesTheVersion) {
  CliRunner cli;
  WriteVersion(cli, "v1", 'a');
  ASSERT_EQ(symlink("same", cli.Path("v1/link").c_str()), 0);
  ASSERT_EQ(mkdir(cli.Path("v1/empty").c_str(), 0755), 0);
  const std::string digest = cli.Publish("a/b", "v1");
  const CliRunner::Result result = cli.Run({"pull", "a/b", "out/dir"});
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_EQ(result.out, "a/b:latest@" + digest + "\n");
  EXPECT_THAT(result.err, HasSubstr("pulled 3 files, "));
  EXPECT_EQ(cli.Read("out/dir/sub/changed"), cli.Read("v1/sub/changed"));
  EXPECT_EQ(*ReadSymlink(cli.Path("out/dir/link")), "same");
  EXPECT_THAT(cli.Names("out/dir"), ElementsAre("empty", "link", "run.sh", "same", "sub"));
  EXPECT_THAT(cli.Names("out"), ElementsAre("dir"));
  struct stat status;
  ASSERT_EQ(stat(cli.Path("out/dir/run.sh").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777U, 0755U);
}

TEST(PullCommandTest, JsonHasTheFieldsThatScriptsRelyOn) {
  CliRunner cli;
  WriteVersion(cli, "v1", 'a');
  const std::string digest = cli.Publish("a/b", "v1");
  const uint64_t before = cli.server().downloaded_bytes();
  const CliRunner::Result result = cli.Run({"pull", "a/b", "out", "-o", "json"});
  ASSERT_EQ(result.status, 0) << result.err;
  const Json json = result.json();
  EXPECT_EQ(json["digest"], digest);
  EXPECT_EQ(json["reference"], "a/b:latest");
  EXPECT_EQ(json["directory"], cli.Path("out"));
  EXPECT_EQ(json["files"], 3);
  EXPECT_EQ(json["bytes"], cli.Read("v1/same").size() * 2 + 1 + 10);
  EXPECT_EQ(json["downloaded_bytes"], cli.server().downloaded_bytes() - before);
  EXPECT_EQ(json["delta_bytes"], 0);
  EXPECT_EQ(json["delta_failures"], 0);
  EXPECT_GE(json["requests"], 2);
  EXPECT_EQ(json["unchanged"], false);
  EXPECT_TRUE(json["reused_bytes"].is_number());
  EXPECT_TRUE(json["seconds"].is_number());
}

TEST(PullCommandTest, SecondPullOfTheSameVersionAsksForNoBytes) {
  CliRunner cli;
  WriteVersion(cli, "v1", 'a');
  const std::string digest = cli.Publish("a/b", "v1");
  ASSERT_EQ(cli.Run({"pull", "a/b", "out"}).status, 0);
  struct stat before;
  ASSERT_EQ(stat(cli.Path("out").c_str(), &before), 0);
  const int downloads = cli.server().Calls(FakeServerClient::Method::kDownload);
  const CliRunner::Result again = cli.Run({"pull", "a/b", "out"});
  EXPECT_EQ(again.status, 0);
  EXPECT_THAT(again.err, HasSubstr("unchanged: " + cli.Path("out") + " is that version already"));
  EXPECT_EQ(cli.Run({"pull", "a/b", "out", "-o", "json"}).json()["downloaded_bytes"], 0);
  EXPECT_EQ(cli.server().Calls(FakeServerClient::Method::kDownload), downloads);
  struct stat after;
  ASSERT_EQ(stat(cli.Path("out").c_str(), &after), 0);
  EXPECT_EQ(before.st_ino, after.st_ino);
  // By digest not even a question.
  cli.server().SetAway(true);
  EXPECT_EQ(cli.Run({"pull", "a/b@" + digest, "out"}).status, 0);
}

TEST(PullCommandTest, NewVersionReplacesTheOldOneAndMovesOnlyWhatDiffers) {
  CliRunner cli;
  WriteVersion(cli, "v1", 'a');
  WriteVersion(cli, "v2", 'b');
  cli.Write("v2/new", "new");
  cli.Publish("a/b", "v1");
  ASSERT_EQ(cli.Run({"pull", "a/b", "out"}).status, 0);
  ASSERT_EQ(chmod(cli.Path("out").c_str(), 0750), 0);
  cli.Publish("a/b", "v2");
  const Json json = cli.Run({"pull", "a/b", "out", "-o", "json"}).json();
  EXPECT_EQ(json["unchanged"], false);
  EXPECT_GE(json["reused_bytes"], cli.Read("v1/same").size());
  EXPECT_EQ(cli.Read("out/sub/changed")[0], 'b');
  EXPECT_EQ(cli.Read("out/new"), "new");
  EXPECT_THAT(cli.Names("."), ElementsAre("out", "v1", "v2"));
  struct stat status;
  ASSERT_EQ(stat(cli.Path("out").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777U, 0750U);
}

TEST(PullCommandTest, FileThatWasEditedIsPutRight) {
  CliRunner cli;
  WriteVersion(cli, "v1", 'a');
  cli.Publish("a/b", "v1");
  ASSERT_EQ(cli.Run({"pull", "a/b", "out"}).status, 0);
  // Same size, same time: only that it was touched tells.
  std::string edited = cli.Read("out/same");
  edited[100] = '!';
  cli.Write("out/same", edited);
  const Json json = cli.Run({"pull", "a/b", "out", "-o", "json"}).json();
  EXPECT_EQ(json["unchanged"], false);
  EXPECT_EQ(cli.Read("out/same"), cli.Read("v1/same"));
}

TEST(PullCommandTest, FileThatDoesNotBelongThereGoes) {
  CliRunner cli;
  WriteVersion(cli, "v1", 'a');
  cli.Publish("a/b", "v1");
  ASSERT_EQ(cli.Run({"pull", "a/b", "out"}).status, 0);
  cli.Write("out/sub/extra", "x");
  ASSERT_EQ(cli.Run({"pull", "a/b", "out"}).status, 0);
  EXPECT_THAT(cli.Names("out/sub"), ElementsAre("changed"));
}

TEST(PullCommandTest, DirectoryThatWasNeverPulledIsReplaced) {
  CliRunner cli;
  WriteVersion(cli, "v1", 'a');
  cli.Publish("a/b", "v1");
  cli.Write("out/mine", "x");
  cli.Write("out/same", cli.Read("v1/same"));
  const Json json = cli.Run({"pull", "a/b", "out", "-o", "json"}).json();
  EXPECT_THAT(cli.Names("out"), ElementsAre("run.sh", "same", "sub"));
  // What it holds of the version is not fetched again.
  EXPECT_GE(json["reused_bytes"], cli.Read("v1/same").size());
}

TEST(PullCommandTest, InterruptedPullLeavesTheDirectoryAsItWasAndIsGoneOnWith) {
  CliRunner cli;
  WriteVersion(cli, "v1", 'a');
  cli.Publish("a/b", "v1");
  ASSERT_EQ(cli.Run({"pull", "a/b", "out"}).status, 0);
  Random* random = Random::System();
  for (int i = 0; i < 8; ++i) cli.Write("v2/part" + std::to_string(i), random->Bytes(300'000));
  const std::string digest = cli.Publish("a/b", "v2");
  std::atomic<int> downloads{0};
  cli.server().SetTransferHook([&](FakeServerClient::Method method, const Digest&) {
    if (method == FakeServerClient::Method::kDownload && ++downloads == 2) cli.interrupt().Trigger();
  });
  const CliRunner::Result stopped = cli.Run({"pull", "a/b", "out"});
  EXPECT_EQ(stopped.status, 130) << stopped.err;
  EXPECT_THAT(cli.Names("out"), ElementsAre("run.sh", "same", "sub"));
  EXPECT_THAT(cli.Names("."),
              ElementsAre(".out.aetherfs-" + Digest::Parse(digest)->Short(), "out", "v1", "v2"));
}

TEST(PullCommandTest, RepeatedPullFetchesOnlyWhatIsMissing) {
  constexpr size_t kFileSize = 3'000'000;
  CliRunner cli;
  Random* random = Random::System();
  for (int i = 0; i < 8; ++i) cli.Write("v1/part" + std::to_string(i), random->Bytes(kFileSize));
  cli.Publish("a/b", "v1");
  // The server goes away after the manifest and a few of the ranges that it is asked for.
  std::atomic<int> downloads{0};
  cli.server().SetTransferHook([&](FakeServerClient::Method method, const Digest&) {
    if (method == FakeServerClient::Method::kDownload && ++downloads == 6) cli.server().SetAway(true);
  });
  const CliRunner::Result failed = cli.Run({"pull", "a/b", "out"});
  EXPECT_EQ(failed.status, 5) << failed.err;
  EXPECT_FALSE(Exists(cli.Path("out")));
  cli.server().SetAway(false);
  const uint64_t before = cli.server().downloaded_bytes();
  EXPECT_EQ(cli.Run({"pull", "a/b", "out"}).status, 0);
  EXPECT_LE(cli.server().downloaded_bytes() - before, 8 * kFileSize - 1'000'000);
  for (int i = 0; i < 8; ++i) {
    const std::string name = "/part" + std::to_string(i);
    EXPECT_TRUE(cli.Read("out" + name) == cli.Read("v1" + name)) << name;
  }
  EXPECT_THAT(cli.Names("."), ElementsAre("out", "v1"));
}

TEST(PullCommandTest, LeftoversOfOtherPullsGoWithTheNextOne) {
  CliRunner cli;
  WriteVersion(cli, "v1", 'a');
  cli.Publish("a/b", "v1");
  cli.Write(".out.aetherfs-0123456789ab/x", "1");
  cli.Write(".out.aetherfs-swap/x", "1");
  cli.Write(".out.aetherfs-mine/x", "1");  // not one of ours
  EXPECT_EQ(cli.Run({"pull", "a/b", "out"}).status, 0);
  EXPECT_THAT(cli.Names("."), ElementsAre(".out.aetherfs-mine", "out", "v1"));
}

TEST(PullCommandTest, TwoPullsIntoOneDirectoryAreKeptApart) {
  CliRunner cli;
  WriteVersion(cli, "v1", 'a');
  cli.Publish("a/b", "v1");
  const auto target = ResolvePullTarget(cli.Path("out"), "", "/");
  ASSERT_TRUE(target.ok());
  {
    const auto lock = PullLock::Acquire(*target);
    ASSERT_TRUE(lock.ok());
    const CliRunner::Result result = cli.Run({"pull", "a/b", "out"});
    EXPECT_EQ(result.status, 1);
    EXPECT_THAT(result.err, HasSubstr("another pull into " + cli.Path("out") + " is running"));
  }
  EXPECT_EQ(cli.Run({"pull", "a/b", "out"}).status, 0);
}

TEST(PullCommandTest, WithoutACacheDirectoryItStillWorks) {
  CliRunner cli;
  cli.variables().erase("HOME");
  WriteVersion(cli, "v1", 'a');
  WriteVersion(cli, "v2", 'b');
  cli.Publish("a/b", "v1");
  EXPECT_EQ(cli.Run({"pull", "a/b", "out"}).status, 0);
  cli.Publish("a/b", "v2");
  const Json json = cli.Run({"pull", "a/b", "out", "-o", "json"}).json();
  EXPECT_EQ(cli.Read("out/sub/changed")[0], 'b');
  EXPECT_GE(json["reused_bytes"], cli.Read("v1/same").size());
}

TEST(PullCommandTest, DamagedRecordIsNoRecord) {
  CliRunner cli;
  WriteVersion(cli, "v1", 'a');
  cli.Publish("a/b", "v1");
  for (const std::string& damage : {std::string("{"), std::string("[]"), std::string("{\"version\":1}"),
                                    std::string("\xff\xfe"), std::string()}) {
    ASSERT_EQ(cli.Run({"pull", "a/b", "out", "--cache-dir", "cache"}).status, 0);
    for (const std::string& name : cli.Names("cache/pulls")) cli.Write("cache/pulls/" + name, damage);
    const CliRunner::Result again = cli.Run({"pull", "a/b", "out", "--cache-dir", "cache", "-o", "json"});
    EXPECT_EQ(again.status, 0) << again.err;
    EXPECT_EQ(again.json()["unchanged"], false);
  }
}

TEST(PullCommandTest, MissingVersionIsNotFound) {
  CliRunner cli;
  EXPECT_EQ(cli.Run({"pull", "a/b", "out"}).status, 3);
  EXPECT_EQ(cli.Run({"pull", "a/b@sha256:" + std::string(64, '1'), "out"}).status, 3);
  EXPECT_THAT(cli.Names("."), testing::Not(testing::Contains("out")));
}

TEST(PullTargetTest, WhatNobodyMeansToReplaceIsRefused) {
  CliRunner cli;
  cli.Write("file", "x");
  cli.Write("agent/.aetherfs/snapshots/x", "x");
  cli.Write("agent/maxmind/city", "x");
  cli.Write("home/me/x", "x");
  ASSERT_EQ(symlink("home", cli.Path("link").c_str()), 0);
  const std::string home = cli.Path("home/me");
  for (const std::string& path :
       {std::string("/"), std::string("/usr"), std::string("/usr/lib"), std::string("/etc"),
        std::string("/proc"), home, cli.Path("home"), cli.Path("agent"), cli.Path("agent/maxmind"),
        cli.Path("agent/not/there/yet"), cli.Path("agent/.aetherfs/snapshots/y"), cli.Path("file"),
        cli.Path("link"), cli.Path("cwd"), cli.directory()}) {
    const auto target = ResolvePullTarget(path, home, cli.Path("cwd/deep"));
    EXPECT_TRUE(absl::IsInvalidArgument(target.status())) << path << target.status();
  }
  EXPECT_TRUE(ResolvePullTarget(cli.Path("home/me/data"), home, cli.Path("cwd")).ok());
}

TEST(PullTargetTest, CurrentDirectoryIsFoundByAnyName) {
  CliRunner cli;
  cli.Write("real/x", "x");
  ASSERT_EQ(symlink("real", cli.Path("alias").c_str()), 0);
  const auto target = ResolvePullTarget(cli.Path("real"), "", cli.Path("alias"));
  EXPECT_TRUE(absl::IsInvalidArgument(target.status())) << target.status();
}

}  // namespace
}  // namespace aetherfs
