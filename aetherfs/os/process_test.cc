#include "aetherfs/os/process.h"

#include "gtest/gtest.h"

namespace aetherfs {
namespace {

TEST(RunCommandTest, ReturnsStatusAndOutputOfBothStreams) {
  const auto result = RunCommand(
      {.argv = {"sh", "-c", "echo out; echo err >&2; exit 7"}, .environment = {}, .directory = ""});
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->exit_status, 7);
  EXPECT_EQ(result->output, "out\nerr\n");
}

TEST(RunCommandTest, PassesEnvironmentAndDirectory) {
  const auto result = RunCommand({.argv = {"sh", "-c", "echo $AETHERFS_X; pwd"},
                                  .environment = {{"AETHERFS_X", "a b"}},
                                  .directory = "/"});
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->output, "a b\n/\n");
}

TEST(RunCommandTest, MissingProgramIsNotFound) {
  const auto result = RunCommand({.argv = {"/no/such/program"}, .environment = {}, .directory = ""});
  EXPECT_EQ(result.status().code(), absl::StatusCode::kNotFound);
}

TEST(RunCommandTest, TimeoutKillsTheWholeGroup) {
  const auto result = RunCommand({.argv = {"sh", "-c", "sleep 600 & sleep 600"},
                                  .environment = {},
                                  .directory = "",
                                  .timeout = absl::Milliseconds(100)});
  ASSERT_TRUE(result.ok());
  EXPECT_TRUE(result->timed_out);
  EXPECT_EQ(result->exit_status, 128 + 9);
}

TEST(RunCommandTest, CancelEndsIt) {
  const std::atomic<bool> cancelled{true};
  const auto result =
      RunCommand({.argv = {"sleep", "600"}, .environment = {}, .directory = ""}, &cancelled);
  EXPECT_EQ(result.status().code(), absl::StatusCode::kCancelled);
}

TEST(RunCommandTest, KeepsOnlyTheEndOfLongOutput) {
  const auto result = RunCommand(
      {.argv = {"sh", "-c", "i=0; while [ $i -lt 5000 ]; do echo 0123456789; i=$((i+1)); done; echo end"},
       .environment = {},
       .directory = ""});
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->output.size(), kMaxCommandOutput);
  EXPECT_TRUE(result->output.ends_with("end\n"));
}

}  // namespace
}  // namespace aetherfs
