#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "aetherfs/base/random.h"
#include "aetherfs/cli/testing/cli_runner.h"
#include "aetherfs/client/testing/tree.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace aetherfs {
namespace {

using testing::ContainsRegex;
using testing::HasSubstr;

TEST(DiffCommandTest, TellsWhatWasAddedRemovedAndChanged) {
  CliRunner cli;
  cli.Write("d/changed", "old");
  cli.Write("d/gone", "12345");
  cli.Write("d/mode", "x");
  cli.Write("d/same", "same");
  cli.Write("d/sub/same", "same");
  ASSERT_EQ(symlink("same", cli.Path("d/link").c_str()), 0);
  ASSERT_EQ(mkdir(cli.Path("d/hollow").c_str(), 0755), 0);
  cli.Publish("a/b:v1", "d");
  cli.Write("d/changed", "newer");
  ASSERT_EQ(unlink(cli.Path("d/gone").c_str()), 0);
  cli.Write("d/mode", "x", 0755);
  cli.Write("d/sub/added", "added");
  ASSERT_EQ(unlink(cli.Path("d/link").c_str()), 0);
  ASSERT_EQ(symlink("sub/same", cli.Path("d/link").c_str()), 0);
  ASSERT_EQ(rmdir(cli.Path("d/hollow").c_str()), 0);
  const timespec times[2] = {{1, 0}, {1, 0}};
  ASSERT_EQ(utimensat(AT_FDCWD, cli.Path("d/same").c_str(), times, 0), 0);
  cli.Publish("a/b:v2", "d");

  const CliRunner::Result result = cli.Run({"diff", "a/b:v1", "a/b:v2"});
  EXPECT_EQ(result.status, 0) << result.err;
  const std::string expected =
      "~ changed  3 B -> 5 B  (contents)\n"
      "- gone  5 B\n"
      "- hollow/  0 B\n"
      "~ link  0 B  (target same -> sub/same)\n"
      "~ mode  1 B  (mode 0644 -> 0755)\n"
      "+ sub/added  5 B\n"
      "1 added, 2 removed, 3 changed, 2 unchanged (1 with another time)\n"
      "10 B in files that differ, 10 B of it new\n"
      "to receive: ";
  EXPECT_EQ(result.out.substr(0, expected.size()), expected);

  const Json json = cli.Run({"diff", "a/b:v1", "a/b:v2", "-o", "json"}).json();
  EXPECT_EQ(json["old"]["reference"], "a/b:v1");
  EXPECT_EQ(json["new"]["digest"], cli.server().TagDigest("a/b", "v2")->ToString());
  EXPECT_EQ(json["added"].dump(), R"([{"path":"sub/added","bytes":5}])");
  EXPECT_EQ(json["removed"].dump(), R"([{"path":"gone","bytes":5},{"path":"hollow/","bytes":0}])");
  EXPECT_EQ(json["changed"][0].dump(),
            R"({"path":"changed","what":"contents","old_bytes":3,"new_bytes":5})");
  EXPECT_EQ(json["changed_bytes"], 10);
  EXPECT_EQ(json["new_chunk_bytes"], 10);
  EXPECT_GE(json["download_bytes"], 10);
}

TEST(DiffCommandTest, SameVersionHasNoDifference) {
  CliRunner cli;
  cli.Write("d/f", "x");
  cli.Publish("a/b", "d");
  EXPECT_EQ(cli.Run({"diff", "a/b", "a/b:latest"}).out,
            "0 added, 0 removed, 0 changed, 1 unchanged\n"
            "0 B in files that differ, 0 B of it new\n"
            "to receive: 0 B in blocks\n");
}

TEST(DiffCommandTest, BytesCountOnlyChunksThatTheOldVersionLacks) {
  CliRunner cli;
  std::string big = Random::System()->Bytes(2'000'000);
  cli.Write("d/big", big);
  cli.Publish("a/b:v1", "d");
  big.back() = static_cast<char>(big.back() ^ 1);
  cli.Write("d/big", big);
  cli.Publish("a/b:v2", "d");
  const Json json = cli.Run({"diff", "a/b:v1", "a/b:v2", "-o", "json"}).json();
  EXPECT_EQ(json["changed_bytes"], 2'000'000);
  EXPECT_LE(json["new_chunk_bytes"], 256 * 1024);
  EXPECT_LE(json["download_bytes"], 260 * 1024);
}

TEST(DiffCommandTest, TellsWhatAnUpdateCostsByDeltas) {
  CliRunner cli;
  std::string text = RandomText(1'000'000, 1);
  cli.Write("d/f", text);
  const std::string first = cli.Publish("a/b", "d");
  for (const size_t at : {200'000, 700'000}) {
    text.replace(at, 7, "changed");
    cli.Write("d/f", text);
    cli.Publish("a/b", "d");
  }
  EXPECT_THAT(cli.Run({"diff", "a/b@" + first, "a/b"}).out,
              ContainsRegex(
                  "to receive: .* as a chain of 2 deltas, manifest included \\(otherwise .* in blocks\\)"));
  const Json update = cli.Run({"diff", "a/b@" + first, "a/b", "-o", "json"}).json()["update"];
  EXPECT_EQ(update["by"], "deltas");
  EXPECT_EQ(update["deltas"], 2);
  EXPECT_EQ(update["delta_requests"], 2);
  EXPECT_GT(update["delta_bytes"], 0);
  EXPECT_GT(update["block_bytes"], update["delta_bytes"]);
  const CliRunner::Result back = cli.Run({"diff", "a/b", "a/b@" + first});
  EXPECT_THAT(back.out, HasSubstr(" in blocks\n"));
  EXPECT_EQ(cli.Run({"diff", "a/b", "a/b@" + first, "-o", "json"}).json()["update"]["by"], "blocks");
}

TEST(DiffCommandTest, MissingSideIsNamed) {
  CliRunner cli;
  cli.Write("d/f", "x");
  cli.Publish("a/b", "d");
  const CliRunner::Result result = cli.Run({"diff", "a/b", "a/b:v9"});
  EXPECT_EQ(result.status, 3);
  EXPECT_THAT(result.err, HasSubstr("a/b:v9: dataset a/b has no tag v9"));
}

}  // namespace
}  // namespace aetherfs
