#include "aetherfs/cli/testing/cli_runner.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace aetherfs {
namespace {

using testing::HasSubstr;

class ListCommandsTest : public testing::Test {
 protected:
  // The fake's journal has one entry a second from 2027-01-15T08:00:01Z on.
  void SetUp() override {
    cli_.Write("d/f", "hello");
    first_ = cli_.Publish("maxmind/city", "d", {"-m", "first \x1b[31m"});
    cli_.Write("d/f", "hello, world");
    second_ =
        cli_.Publish("maxmind/city", "d", {"-t", "latest,v2", "--label", "run=8", "--label", "by=cron"});
    ASSERT_EQ(cli_.Run({"tag", "maxmind/city@" + first_, "stable"}).status, 0);
    ASSERT_EQ(cli_.Run({"untag", "maxmind/city", "v2"}).status, 0);
  }
  // With the digests named.
  std::string Masked(std::string text) const {
    text = Replaced(std::move(text), first_, "sha256:FIRST");
    text = Replaced(std::move(text), second_, "sha256:SECOND");
    text = Replaced(std::move(text), first_.substr(7, 12), "FIRST_SHORT.");
    return Replaced(std::move(text), second_.substr(7, 12), "SECOND_SHORT");
  }
  CliRunner cli_;
  std::string first_;
  std::string second_;
};

TEST_F(ListCommandsTest, LsPrintsNamesThatBeginSo) {
  cli_.Publish("maxmind/asn", "d");
  cli_.Publish("@us/geo/x", "d");
  EXPECT_EQ(cli_.Run({"ls"}).out, "@us/geo/x\nmaxmind/asn\nmaxmind/city\n");
  EXPECT_EQ(cli_.Run({"ls", "maxmind/c"}).out, "maxmind/city\n");
  EXPECT_EQ(cli_.Run({"ls", "nothing"}).out, "");
  EXPECT_EQ(cli_.Run({"ls", "maxmind/", "-o", "json"}).out,
            "{\"datasets\":[\"maxmind/asn\",\"maxmind/city\"]}\n");
}

TEST_F(ListCommandsTest, TagsAreATable) {
  // Digests are replaced after the columns were aligned; those are as long as each other.
  EXPECT_EQ(
      Masked(cli_.Run({"tags", "maxmind/city"}).out),
      Masked(
          "TAG     DIGEST                                                                   FILES  SIZE  "
          "UPDATED\n"
          "latest  " +
          second_ +
          "      1  12 B  2027-01-15T08:00:02Z\n"
          "stable  " +
          first_ + "      1   5 B  2027-01-15T08:00:03Z\n"));
}

TEST_F(ListCommandsTest, TagsAsJson) {
  const Json json = cli_.Run({"tags", "maxmind/city", "-o", "json"}).json();
  EXPECT_EQ(json["dataset"], "maxmind/city");
  EXPECT_EQ(json["seq"], 4);
  ASSERT_EQ(json["tags"].size(), 2u);
  EXPECT_EQ(Masked(json["tags"][1].dump()),
            R"({"tag":"stable","digest":"sha256:FIRST","files":1,"bytes":5,"chunks":1,"blocks":1,"seq":3,)"
            R"("updated":"2027-01-15T08:00:03Z"})");
}

TEST_F(ListCommandsTest, LogIsNewestFirst) {
  EXPECT_EQ(
      Masked(cli_.Run({"log", "maxmind/city"}).out),
      "SEQ  TIME                  BY          VERSION       WHAT\n"
      "  4  2027-01-15T08:00:04Z  ada@build7                untag v2\n"
      "  3  2027-01-15T08:00:03Z  ada@build7  FIRST_SHORT.  tag stable -> FIRST_SHORT.\n"
      "  2  2027-01-15T08:00:02Z  ada@build7  SECOND_SHORT  publish latest, v2: 1 file, 12 B (12 B new)\n"
      "  1  2027-01-15T08:00:01Z  ada@build7  FIRST_SHORT.  publish latest: 1 file, 5 B (5 B new)  first "
      "\\x1b[31m\n");
}

TEST_F(ListCommandsTest, LogAsJsonStopsAtTheLimit) {
  const Json json = cli_.Run({"log", "maxmind/city", "-n", "3", "-o", "json"}).json();
  ASSERT_EQ(json["changes"].size(), 3u);
  EXPECT_EQ(json["changes"][0].dump(),
            R"({"seq":4,"time":"2027-01-15T08:00:04Z","author":"ada@build7","kind":"tag","moves":[],)"
            R"("deleted":["v2"]})");
  EXPECT_EQ(json["changes"][2]["kind"], "publish");
  EXPECT_EQ(json["changes"][2]["labels"].dump(), R"({"by":"cron","run":"8"})");
  EXPECT_EQ(json["changes"][2]["snapshot"]["digest"], second_);
}

TEST_F(ListCommandsTest, LogReadsAsManyPagesAsItNeeds) {
  for (int i = 0; i < 1500; ++i)
    cli_.server().SetTag("maxmind/city", "t", *Digest::Parse(i % 2 != 0 ? first_ : second_));
  EXPECT_EQ(cli_.Run({"log", "maxmind/city", "-n", "1400", "-o", "json"}).json()["changes"].size(), 1400u);
  EXPECT_EQ(cli_.Run({"log", "maxmind/city", "-n", "5000", "-o", "json"}).json()["changes"].size(), 1504u);
}

TEST_F(ListCommandsTest, LogTellsWhatCollectionCondemned) {
  cli_.server().Condemn("maxmind/city", cli_.server().Blocks("maxmind/city"));
  EXPECT_THAT(cli_.Run({"log", "maxmind/city", "-n", "1"}).out, HasSubstr("condemn 2 blocks, 0 manifests"));
  EXPECT_EQ(cli_.Run({"log", "maxmind/city", "-n", "1", "-o", "json"}).json()["changes"][0]["kind"],
            "condemn");
}

TEST_F(ListCommandsTest, InspectTellsHowItWasPublished) {
  std::string text = Masked(cli_.Run({"inspect", "maxmind/city"}).out);
  // How many bytes were sent depends on the formats' details.
  const size_t sent = text.find("new then");
  ASSERT_NE(sent, std::string::npos);
  text.erase(sent, text.find('\n', sent) + 1 - sent);
  EXPECT_EQ(text,
            "reference  maxmind/city:latest\n"
            "digest     sha256:SECOND\n"
            "files      1\n"
            "size       12 B (12 bytes)\n"
            "chunks     1 in 1 block\n"
            "published  2027-01-15T08:00:02Z by ada@build7\n"
            "as         latest, v2\n"
            "label      by=cron\n"
            "label      run=8\n");
}

TEST_F(ListCommandsTest, InspectAsJson) {
  const Json json = cli_.Run({"inspect", "maxmind/city:stable", "-o", "json"}).json();
  EXPECT_EQ(json["reference"], "maxmind/city:stable");
  EXPECT_EQ(json["digest"], first_);
  EXPECT_EQ(json["files"], 1);
  EXPECT_EQ(json["bytes"], 5);
  EXPECT_EQ(json["published"]["seq"], 1);
  EXPECT_EQ(json["published"]["author"], "ada@build7");
}

TEST_F(ListCommandsTest, TagPromotesAndSaysWhenThereWasNothingToDo) {
  CliRunner::Result result = cli_.Run({"tag", "maxmind/city", "prod"});
  EXPECT_EQ(result.status, 0);
  EXPECT_EQ(result.out, "maxmind/city:prod@" + second_ + "\n");
  EXPECT_EQ(result.err, "");
  result = cli_.Run({"tag", "maxmind/city", "prod"});
  EXPECT_EQ(result.err, "unchanged: prod pointed there already\n");
  EXPECT_EQ(cli_.Run({"tag", "maxmind/city:stable", "prod", "-o", "json"}).out,
            "{\"dataset\":\"maxmind/city\",\"tag\":\"prod\",\"digest\":\"" + first_ +
                "\",\"seq\":6,\"unchanged\":false}\n");
}

TEST_F(ListCommandsTest, TagMindsItsExpectation) {
  EXPECT_EQ(cli_.Run({"tag", "maxmind/city", "stable", "--expect-absent"}).status, 4);
  EXPECT_EQ(cli_.Run({"tag", "maxmind/city", "stable", "--expect", second_}).status, 4);
  EXPECT_EQ(cli_.Run({"tag", "maxmind/city", "stable", "--expect", first_}).status, 0);
  EXPECT_EQ(cli_.Run({"tag", "maxmind/city:nope", "stable"}).status, 3);
  EXPECT_EQ(cli_.Run({"tag", "maxmind/city", "no/tag"}).status, 2);
}

TEST_F(ListCommandsTest, UntagDeletes) {
  EXPECT_EQ(cli_.Run({"untag", "maxmind/city", "stable"}).out, "maxmind/city:stable\n");
  EXPECT_FALSE(cli_.server().TagDigest("maxmind/city", "stable").has_value());
  EXPECT_EQ(cli_.Run({"untag", "maxmind/city", "stable"}).status, 3);
  EXPECT_EQ(cli_.Run({"untag", "maxmind/city", "latest", "-o", "json"}).out,
            "{\"dataset\":\"maxmind/city\",\"deleted\":[\"latest\"],\"seq\":6}\n");
}

}  // namespace
}  // namespace aetherfs
