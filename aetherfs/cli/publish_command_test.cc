#include "aetherfs/cli/testing/cli_runner.h"
#include "aetherfs/cli/testing/fake_agent.h"
#include "aetherfs/client/testing/tree.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace aetherfs {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

TEST(PublishCommandTest, PrintsAReferenceForEachTag) {
  CliRunner cli;
  cli.Write("d/f", "hello");
  const CliRunner::Result result =
      cli.Run({"publish", "maxmind/city:v1", "d", "-t", "stable,v1", "-t", "latest"});
  EXPECT_EQ(result.status, 0) << result.err;
  const std::string digest = cli.server().TagDigest("maxmind/city", "v1")->ToString();
  EXPECT_EQ(Replaced(result.out, digest, "DIGEST"),
            "maxmind/city:v1@DIGEST\n"
            "maxmind/city:stable@DIGEST\n"
            "maxmind/city:latest@DIGEST\n");
  EXPECT_THAT(result.err, HasSubstr("published 1 file, 5 B: 5 B in 1 chunk new, "));
  EXPECT_EQ(cli.server().TagDigest("maxmind/city", "latest"),
            cli.server().TagDigest("maxmind/city", "stable"));
}

TEST(PublishCommandTest, TagIsLatestIfNoneIsGiven) {
  CliRunner cli;
  cli.Write("d/f", "hello");
  cli.Publish("a/b", "d");
  cli.Publish("a/c", "d", {"-t", "v2"});
  EXPECT_TRUE(cli.server().TagDigest("a/b", "latest").has_value());
  EXPECT_TRUE(cli.server().TagDigest("a/c", "v2").has_value());
  EXPECT_FALSE(cli.server().TagDigest("a/c", "latest").has_value());
}

TEST(PublishCommandTest, JsonHasTheFieldsThatScriptsRelyOn) {
  CliRunner cli;
  cli.Write("d/f", "hello");
  cli.Write("d/sub/g", "world!");
  const CliRunner::Result result = cli.Run({"publish", "a/b", "d", "-t", "v1", "-o", "json"});
  ASSERT_EQ(result.status, 0) << result.err;
  const Json json = result.json();
  std::vector<std::string> keys;
  for (const auto& item : json.items()) keys.push_back(item.key());
  EXPECT_THAT(
      keys, ElementsAre("dataset", "tags", "digest", "files", "bytes", "chunks", "new_chunks", "new_bytes",
                        "uploaded_bytes", "delta_bytes", "seq", "unchanged", "seconds"));
  EXPECT_EQ(json["dataset"], "a/b");
  EXPECT_EQ(json["tags"], Json::parse(R"(["v1"])"));
  EXPECT_EQ(json["digest"], cli.server().TagDigest("a/b", "v1")->ToString());
  EXPECT_EQ(json["files"], 2);
  EXPECT_EQ(json["bytes"], 11);
  EXPECT_EQ(json["chunks"], 2);
  EXPECT_EQ(json["new_bytes"], 11);
  EXPECT_GT(json["uploaded_bytes"], 11);
  EXPECT_EQ(json["seq"], 1);
  EXPECT_EQ(json["unchanged"], false);
}

TEST(PublishCommandTest, PublishOfSameContentChangesNothingAndSaysSo) {
  CliRunner cli;
  cli.Write("d/f", "hello");
  cli.Publish("a/b", "d");
  const CliRunner::Result again = cli.Run({"publish", "a/b", "d"});
  EXPECT_EQ(again.status, 0);
  EXPECT_EQ(WithoutTimes(again.err), "unchanged: 1 file, 5 B; nothing to publish (…)\n");
  EXPECT_EQ(cli.Run({"publish", "a/b", "d", "-o", "json"}).json()["unchanged"], true);
  for (const char* const given : {"--message=new source", "--label=source=new"}) {
    EXPECT_THAT(cli.Run({"publish", "a/b", "d", given}).err, HasSubstr("recorded nowhere")) << given;
  }
}

TEST(PublishCommandTest, MessageLabelsAndAuthorReachTheServer) {
  CliRunner cli;
  cli.Write("d/f", "hello");
  cli.Publish("a/b", "d", {"-m", "why, not", "--label", "run=8,12", "--label", "empty="});
  const dataset::v1::PublishRequest request = cli.server().last_publish();
  EXPECT_EQ(request.message(), "why, not");
  EXPECT_EQ(request.author(), "ada@build7");
  EXPECT_EQ(request.labels().at("run"), "8,12");
  EXPECT_EQ(request.labels().at("empty"), "");
  EXPECT_EQ(request.nonce().size(), 16u);
}

TEST(PublishCommandTest, ExpectationThatDoesNotHoldIsAConflict) {
  CliRunner cli;
  cli.Write("d/f", "one");
  EXPECT_EQ(cli.Run({"publish", "a/b", "d", "--expect-absent"}).status, 0);
  const std::string first = cli.server().TagDigest("a/b", "latest")->ToString();
  cli.Write("d/f", "two!");
  const CliRunner::Result absent = cli.Run({"publish", "a/b", "d", "--expect-absent"});
  EXPECT_EQ(absent.status, 4) << absent.err;
  EXPECT_THAT(absent.err, HasSubstr("aetherfs: publish a/b: "));
  EXPECT_EQ(cli.Run({"publish", "a/b", "d", "--expect", "sha256:" + std::string(64, '1')}).status, 4);
  EXPECT_EQ(cli.Run({"publish", "a/b", "d", "--expect", first}).status, 0);
}

TEST(PublishCommandTest, MissingPathIsNamed) {
  CliRunner cli;
  const CliRunner::Result result = cli.Run({"publish", "a/b", "nothing-here"});
  EXPECT_EQ(result.status, 3);
  EXPECT_THAT(result.err, HasSubstr("nothing-here"));
}

TEST(PublishCommandTest, DeltaThatCannotBeKeptIsANote) {
  CliRunner cli;
  std::string text = RandomText(1'000'000, 1);
  cli.Write("d/f", text);
  cli.Publish("a/b", "d");
  text.replace(500'000, 7, "changed");
  cli.Write("d/f", text);
  int uploads = 0;
  cli.server().SetTransferHook([&](FakeServerClient::Method method, const Digest&) {
    // A block, the manifest; then comes the delta.
    if (method == FakeServerClient::Method::kUpload && ++uploads == 2) {
      cli.server().FailNext(FakeServerClient::Method::kUpload, absl::UnavailableError("the store is full"));
    }
  });
  const CliRunner::Result result = cli.Run({"publish", "a/b", "d"});
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_THAT(result.err, HasSubstr("published 1 file"));
  EXPECT_THAT(result.err, HasSubstr("\nnote: no delta from version "));
  EXPECT_THAT(result.err, HasSubstr("the store is full"));
  cli.Write("d/f", RandomText(1'000'000, 2));
  EXPECT_THAT(cli.Run({"publish", "a/b", "d"}).err, Not(HasSubstr("note: ")));
}

TEST(PublishCommandTest, CacheDirectoryThatCannotBeWrittenIsDoneWithout) {
  CliRunner cli;
  cli.Write("d/f", "hello");
  cli.Write("not-a-directory", "");
  const CliRunner::Result result = cli.Run({"publish", "a/b", "d", "--cache-dir", "not-a-directory/cache"});
  EXPECT_EQ(result.status, 0) << result.err;
}

TEST(PublishCommandTest, InterruptEndsAPublishWith130) {
  CliRunner cli;
  cli.Write("d/f", "hello");
  cli.server().SetTransferHook([&](FakeServerClient::Method, const Digest&) { cli.interrupt().Trigger(); });
  const CliRunner::Result result = cli.Run({"publish", "a/b", "d"});
  EXPECT_EQ(result.status, 130);
  EXPECT_THAT(result.err, HasSubstr("interrupted"));
  EXPECT_FALSE(cli.server().TagDigest("a/b", "latest").has_value());
}

TEST(PublishCommandTest, AgentDoesItIfOneIsGiven) {
  CliRunner cli;
  FakeAgent agent;
  cli.set_agent(agent.Channel());
  agent::v1::PublishResponse response;
  response.mutable_result()->set_dataset("a/b");
  response.mutable_result()->add_tags("v1");
  response.mutable_result()->set_digest("sha256:00");
  response.mutable_result()->set_files(3);
  agent.SetPublishResponse(response);
  const CliRunner::Result result = cli.Run(
      {"publish", "a/b:v1", "d", "-t", "v2", "--agent", "unix:///a.sock", "--expect-absent", "--no-delta"});
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_EQ(result.out, "a/b:v1@sha256:00\n");
  EXPECT_THAT(cli.agent_addresses(), ElementsAre("unix:///a.sock"));
  EXPECT_TRUE(cli.connections().empty());
  const agent::v1::PublishRequest request = agent.last_publish();
  EXPECT_EQ(request.reference(), "a/b:v1");
  EXPECT_EQ(request.path(), cli.Path("d"));
  EXPECT_THAT(request.tags(), ElementsAre("v1", "v2"));
  EXPECT_TRUE(request.expect_absent());
  EXPECT_TRUE(request.no_delta());
  EXPECT_FALSE(request.asynchronous());
}

TEST(PublishCommandTest, AsynchronousPublishPrintsItsName) {
  CliRunner cli;
  FakeAgent agent;
  cli.set_agent(agent.Channel());
  agent::v1::PublishResponse response;
  response.set_publication_id("p-17");
  agent.SetPublishResponse(response);
  cli.variables()["AETHERFS_AGENT"] = "unix:///a.sock";
  EXPECT_EQ(cli.Run({"publish", "a/b", "d", "--async"}).out, "p-17\n");
  EXPECT_TRUE(agent.last_publish().asynchronous());
  EXPECT_EQ(cli.Run({"publish", "a/b", "d", "--async", "-o", "json"}).out,
            "{\"publication_id\":\"p-17\",\"state\":\"waiting\"}\n");
}

}  // namespace
}  // namespace aetherfs
