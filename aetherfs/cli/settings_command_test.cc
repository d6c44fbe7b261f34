#include "aetherfs/cli/testing/cli_runner.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace aetherfs {
namespace {

using testing::HasSubstr;

class SettingsCommandTest : public testing::Test {
 protected:
  void SetUp() override {
    cli_.Write("d/f", "hello");
    cli_.Publish("a/b", "d");
  }
  CliRunner cli_;
};

TEST_F(SettingsCommandTest, AllAreShownWithTheirDefaults) {
  const CliRunner::Result result = cli_.Run({"settings", "a/b"});
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_EQ(result.out, "deltas.keep=8\n");
  EXPECT_EQ(cli_.Run({"settings", "a/b", "-o", "json"}).out,
            R"({"dataset":"a/b","seq":1,"settings":{"deltas.keep":"8"}})"
            "\n");
}

TEST_F(SettingsCommandTest, ChangesAreAnEntryOfTheJournal) {
  CliRunner::Result result = cli_.Run({"settings", "a/b", "deltas.keep=24"});
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_EQ(result.out, "deltas.keep=24\n");
  EXPECT_EQ(result.err, "");
  EXPECT_THAT(cli_.Run({"log", "a/b", "-n", "1"}).out,
              HasSubstr("ada@build7           set deltas.keep=24"));
  result = cli_.Run({"settings", "a/b", "deltas.keep=24"});
  EXPECT_EQ(result.status, 0);
  EXPECT_EQ(result.err, "unchanged: it was set so already\n");
  EXPECT_EQ(cli_.Run({"settings", "a/b", "deltas.keep=", "-o", "json"}).out,
            R"({"dataset":"a/b","seq":3,"settings":{"deltas.keep":"8"},"unchanged":false})"
            "\n");
}

TEST_F(SettingsCommandTest, WhatCannotBeSetIsSaid) {
  const struct {
    std::vector<std::string> args;
    int status;
    std::string message;
  } kCases[] = {
      {{"a/b", "deltas.keep"}, 2, "'deltas.keep' sets nothing; write KEY=VALUE"},
      {{"a/b", "=8"}, 2, "KEY=VALUE"},
      {{"a/b", "deltas.keep=1", "deltas.keep=2"}, 2, "deltas.keep is set twice"},
      {{"a/b", "nonsense=1"}, 2, "there is no setting 'nonsense'"},
      {{"a/b:latest"}, 2, "a dataset is wanted"},
      {{"a/none"}, 3, "there is no dataset a/none"},
      {{"a/none", "deltas.keep=1"}, 3, "there is no dataset a/none"},
  };
  for (const auto& test : kCases) {
    std::vector<std::string> args = {"settings"};
    args.insert(args.end(), test.args.begin(), test.args.end());
    const CliRunner::Result result = cli_.Run(args);
    EXPECT_EQ(result.status, test.status) << test.message << result.err;
    EXPECT_THAT(result.err, HasSubstr(test.message));
    EXPECT_EQ(result.out, "");
  }
  EXPECT_EQ(cli_.Run({"settings", "a/b"}).out, "deltas.keep=8\n");
}

}  // namespace
}  // namespace aetherfs
