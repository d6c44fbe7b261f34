#include <sys/stat.h>
#include <unistd.h>

#include "aetherfs/base/random.h"
#include "aetherfs/cli/testing/cli_runner.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace aetherfs {
namespace {

using testing::HasSubstr;

class VerifyCommandTest : public testing::Test {
 protected:
  void SetUp() override {
    cli_.Write("v1/a", "aaa");
    cli_.Write("v1/sub/b", Random::System()->Bytes(500'000));
    cli_.Write("v1/c", Random::System()->Bytes(300'000));
    digest_ = cli_.Publish("x/y", "v1");
  }
  CliRunner cli_;
  std::string digest_;
};

TEST_F(VerifyCommandTest, IntactVersionPasses) {
  const CliRunner::Result result = cli_.Run({"verify", "x/y"});
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_EQ(result.out, "");
  EXPECT_THAT(result.err, HasSubstr("3 files, 781.3 KiB: every byte is as in " + digest_));
  const Json json = cli_.Run({"verify", "x/y", "-o", "json"}).json();
  EXPECT_EQ(json["ok"], true);
  EXPECT_EQ(json["digest"], digest_);
  EXPECT_EQ(json["files"], 3);
  EXPECT_EQ(json["bytes"], 800'003);
  EXPECT_TRUE(json["differences"].empty());
}

TEST_F(VerifyCommandTest, MissingBlockNamesTheFilesThatNeedIt) {
  cli_.Write("v1/d", "later");
  cli_.Publish("x/y", "v1");
  std::vector<Digest> blocks = cli_.server().Blocks("x/y");
  ASSERT_EQ(blocks.size(), 2u);
  // The block of the second publish is the small one.
  const size_t small = cli_.server().Object("x/y", blocks[0])->size() < 1000 ? 0 : 1;
  ASSERT_TRUE(cli_.server().RemoveObject("x/y", blocks[small]));
  const CliRunner::Result result = cli_.Run({"verify", "x/y"});
  EXPECT_EQ(result.status, 1);
  EXPECT_EQ(result.out, "d: block " + blocks[small].ToString() + " is missing\n");
  EXPECT_THAT(result.err, HasSubstr("aetherfs: verify x/y: 1 path is not as in sha256:"));
}

TEST_F(VerifyCommandTest, DamagedBytesNameTheFilesThatNeedThem) {
  const std::vector<Digest> blocks = cli_.server().Blocks("x/y");
  cli_.server().CorruptDownloads(blocks[0], 1'000, /*also_around_caches=*/true);
  const CliRunner::Result result = cli_.Run({"verify", "x/y", "-o", "json"});
  EXPECT_EQ(result.status, 1);
  EXPECT_EQ(result.json()["ok"], false);
  EXPECT_FALSE(result.json()["differences"].empty());
}

TEST_F(VerifyCommandTest, DamageThatACacheDidIsNone) {
  cli_.server().CorruptDownloads(cli_.server().Blocks("x/y")[0], 1'000, /*also_around_caches=*/false);
  EXPECT_EQ(cli_.Run({"verify", "x/y"}).status, 0);
}

TEST_F(VerifyCommandTest, ServerThatGoesAwayIsNotADifference) {
  cli_.server().FailNext(FakeServerClient::Method::kDownload, absl::UnavailableError("gone"), 1'000);
  const CliRunner::Result result = cli_.Run({"verify", "x/y"});
  EXPECT_EQ(result.status, 5);
  EXPECT_EQ(result.out, "");
}

TEST_F(VerifyCommandTest, PulledDirectoryIsCheckedWithoutAServer) {
  ASSERT_EQ(cli_.Run({"pull", "x/y", "out"}).status, 0);
  cli_.server().SetAway(true);
  EXPECT_EQ(cli_.Run({"verify", "out"}).status, 0);
  std::string b = cli_.Read("out/sub/b");
  b[400'000] = static_cast<char>(b[400'000] ^ 1);
  cli_.Write("out/sub/b", b);
  ASSERT_EQ(unlink(cli_.Path("out/a").c_str()), 0);
  cli_.Write("out/extra", "x");
  ASSERT_EQ(chmod(cli_.Path("out/c").c_str(), 0600), 0);
  const CliRunner::Result result = cli_.Run({"verify", "./out"});
  EXPECT_EQ(result.status, 1);
  EXPECT_THAT(result.out, testing::MatchesRegex("a: missing\n"
                                                "c: mode 0600, not 0644\n"
                                                "extra: not in the snapshot\n"
                                                "sub/b: contents differ [^\n]*\n"));
  EXPECT_THAT(result.err, HasSubstr("aetherfs: verify ./out: 4 paths are not as in " + digest_));
  const Json json = cli_.Run({"verify", "out", "-o", "json"}).json();
  EXPECT_EQ(json["directory"], cli_.Path("out"));
  EXPECT_EQ(json["differences"][0]["path"], "a");
  EXPECT_EQ(json["differences"][0]["what"], "missing");
}

TEST_F(VerifyCommandTest, DirectoryOfUnknownOriginNeedsAReference) {
  const CliRunner::Result unknown = cli_.Run({"verify", "v1"});
  EXPECT_EQ(unknown.status, 1);
  EXPECT_THAT(unknown.err, HasSubstr("aetherfs verify REF DIR"));
  EXPECT_EQ(cli_.Run({"verify", "x/y", "v1"}).status, 0);
  EXPECT_EQ(cli_.Run({"verify", "x/y", "v1/sub"}).status, 1);
  EXPECT_EQ(cli_.Run({"verify", "./nothing"}).status, 3);
}

TEST_F(VerifyCommandTest, AgentsSymlinkTellsItsVersion) {
  const std::string snapshot = ".aetherfs/snapshots/x%2Fy/" + digest_.substr(7);
  cli_.Write("root/" + snapshot + "/a", "aaa", 0444);
  cli_.Write("root/" + snapshot + "/sub/b", cli_.Read("v1/sub/b"), 0444);
  cli_.Write("root/" + snapshot + "/c", cli_.Read("v1/c"), 0444);
  ASSERT_TRUE(MakeDirectories(cli_.Path("root/x/y")).ok());
  ASSERT_EQ(symlink(("../../" + snapshot).c_str(), cli_.Path("root/x/y/latest").c_str()), 0);
  const CliRunner::Result result = cli_.Run({"verify", "root/x/y/latest"});
  EXPECT_EQ(result.status, 0) << result.out << result.err;
  // With the manifest that the agent keeps, no server is needed.
  cli_.Write("root/.aetherfs/manifests/x%2Fy/" + digest_.substr(7),
             *cli_.server().Object("x/y", *Digest::Parse(digest_)));
  cli_.server().SetAway(true);
  EXPECT_EQ(cli_.Run({"verify", "root/x/y/latest"}).status, 0);
  cli_.Write("root/" + snapshot + "/a", "aab", 0444);
  const CliRunner::Result edited = cli_.Run({"verify", "root/x/y/latest"});
  EXPECT_EQ(edited.status, 1);
  EXPECT_THAT(edited.out, testing::StartsWith("a: contents differ"));
}

TEST_F(VerifyCommandTest, FilesThatASubscriptionLeavesOutAreNotMissed) {
  const std::string snapshot = "root/.aetherfs/snapshots/x%2Fy/" + digest_.substr(7) + "-0123abcd";
  cli_.Write(snapshot + "/a", "aaa", 0444);
  EXPECT_EQ(cli_.Run({"verify", snapshot}).status, 0);
  cli_.Write(snapshot + "/a", "aab", 0444);
  EXPECT_EQ(cli_.Run({"verify", snapshot}).status, 1);
}

}  // namespace
}  // namespace aetherfs
