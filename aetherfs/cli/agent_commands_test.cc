#include <thread>

#include "aetherfs/cli/testing/cli_runner.h"
#include "aetherfs/cli/testing/fake_agent.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace aetherfs {
namespace {

using agent::v1::SubscriptionStatus;
using testing::ElementsAre;
using testing::HasSubstr;

const std::string kDigestA = "sha256:" + std::string(64, 'a');
const std::string kDigestB = "sha256:" + std::string(64, 'b');

class AgentCommandsTest : public testing::Test {
 protected:
  AgentCommandsTest() { cli_.set_agent(agent_.Channel()); }

  SubscriptionStatus StatusOf(const std::string& reference, SubscriptionStatus::State state) {
    SubscriptionStatus status;
    status.mutable_subscription()->set_reference(reference);
    status.set_state(state);
    status.set_active_path("/data/" + reference);
    return status;
  }

  FakeAgent agent_;
  CliRunner cli_;
};

TEST_F(AgentCommandsTest, SubscribeSendsTheSettings) {
  const CliRunner::Result result =
      cli_.Run({"subscribe", "maxmind/city:stable", "--path", "geo/city", "--keep", "3", "--check",
                "test -s x", "--notify", "reload 'it'", "--include", "*.mmdb,docs/**", "--exclude", "tmp"});
  EXPECT_EQ(result.status, 0) << result.err;
  const agent::v1::Subscription subscription = agent_.subscriptions().at("maxmind/city:stable");
  EXPECT_EQ(subscription.path(), "geo/city");
  EXPECT_EQ(subscription.keep(), 3u);
  EXPECT_THAT(subscription.check(), ElementsAre("/bin/sh", "-c", "test -s x"));
  EXPECT_THAT(subscription.notify(), ElementsAre("/bin/sh", "-c", "reload 'it'"));
  EXPECT_THAT(subscription.include(), ElementsAre("*.mmdb", "docs/**"));
  EXPECT_THAT(subscription.exclude(), ElementsAre("tmp"));
  EXPECT_THAT(cli_.agent_addresses(), ElementsAre("unix:///run/aetherfs/agent.sock"));
}

TEST_F(AgentCommandsTest, SubscribePrintsWhereEachIs) {
  EXPECT_EQ(cli_.Run({"subscribe", "a/b", "a/c"}).out,
            "REFERENCE   STATE    ACTIVE  SINCE  CONFIRMED  KEPT  PATH\n"
            "a/b:latest  waiting  -           -          -     0  /data/a/b:latest\n"
            "a/c:latest  waiting  -           -          -     0  /data/a/c:latest\n");
}

TEST_F(AgentCommandsTest, SubscribeWaitsUntilAllAreCurrent) {
  SubscriptionStatus failing = StatusOf("a/b:latest", SubscriptionStatus::STATE_FAILING);
  failing.set_error("disk full");
  SubscriptionStatus current = StatusOf("a/b:latest", SubscriptionStatus::STATE_CURRENT);
  current.set_active_digest(kDigestA);
  agent_.SetUpdates({StatusOf("a/b:latest", SubscriptionStatus::STATE_WAITING), failing, current,
                     StatusOf("a/c:latest", SubscriptionStatus::STATE_CURRENT)});
  const CliRunner::Result result = cli_.Run({"subscribe", "a/b", "a/c", "--wait", "-o", "json"});
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_EQ(result.json()["subscriptions"][0]["state"], "current");
  EXPECT_EQ(result.json()["subscriptions"][0]["digest"], kDigestA);
  EXPECT_EQ(result.json()["subscriptions"][1]["digest"], nullptr);
  EXPECT_EQ(result.err, "a/b:latest: disk full\n");
}

TEST_F(AgentCommandsTest, SubscribeGivesUpWaiting) {
  SubscriptionStatus failing = StatusOf("a/b:latest", SubscriptionStatus::STATE_FAILING);
  failing.set_error("no server");
  agent_.SetUpdates({failing});
  const CliRunner::Result result = cli_.Run({"subscribe", "a/b", "--wait", "--timeout", "100ms"});
  EXPECT_EQ(result.status, 5);
  EXPECT_THAT(result.err, HasSubstr("not current after 100ms: no server; the agent goes on trying"));
}

TEST_F(AgentCommandsTest, InterruptEndsTheWait) {
  std::thread interrupter([&] {
    agent_.WaitUntilWatching();
    cli_.interrupt().Trigger();
  });
  EXPECT_EQ(cli_.Run({"subscribe", "a/b", "--wait"}).status, 130);
  interrupter.join();
}

TEST_F(AgentCommandsTest, UnsubscribeForgets) {
  cli_.Run({"subscribe", "a/b", "a/c"});
  EXPECT_EQ(cli_.Run({"unsubscribe", "a/b", "a/c:latest", "--remove-files"}).status, 0);
  EXPECT_TRUE(agent_.subscriptions().empty());
  EXPECT_TRUE(agent_.last_unsubscribe().remove_files());
  const CliRunner::Result again = cli_.Run({"unsubscribe", "a/b"});
  EXPECT_EQ(again.status, 3);
  EXPECT_EQ(again.err,
            "aetherfs: unsubscribe a/b: a/b:latest: there is no such subscription; 'aetherfs status' lists "
            "what the "
            "agent has\n");
}

TEST_F(AgentCommandsTest, StatusShowsVersionsAgesAndErrors) {
  agent::v1::StatusResponse response;
  response.set_version("0.1.0");
  response.set_root("/data");
  response.add_servers("one:7400");
  response.add_servers("two:7400");
  response.set_connected(true);
  SubscriptionStatus* status = response.add_subscriptions();
  *status = StatusOf("maxmind/city:latest", SubscriptionStatus::STATE_CURRENT);
  status->set_active_digest(kDigestA);
  status->set_pinned_digest(kDigestA);
  status->set_activated_unix_micros(absl::ToUnixMicros(cli_.clock().Now() - absl::Seconds(65)));
  status->set_confirmed_unix_micros(absl::ToUnixMicros(cli_.clock().Now() - absl::Seconds(2)));
  status->add_kept_digests(kDigestA);
  status->add_bad_digests(kDigestB);
  status->mutable_last_update()->set_downloaded_bytes(7);
  status = response.add_subscriptions();
  *status = StatusOf("x/y:v1", SubscriptionStatus::STATE_FAILING);
  status->set_error("no\nserver");
  agent::v1::Publication* publication = response.add_publications();
  publication->set_publication_id("p1");
  publication->set_state(agent::v1::Publication::STATE_RUNNING);
  publication->mutable_request()->set_reference("x/z:latest");
  publication->mutable_request()->set_path("/build");
  publication->set_attempts(2);
  agent_.SetStatus(response);

  const CliRunner::Result text = cli_.Run({"status"});
  EXPECT_EQ(text.status, 0) << text.err;
  EXPECT_EQ(text.out,
            "agent    0.1.0 at unix:///run/aetherfs/agent.sock\n"
            "root     /data\n"
            "servers  one:7400, two:7400 (connected)\n"
            "\n"
            "REFERENCE            STATE            ACTIVE        SINCE  CONFIRMED  KEPT  PATH\n"
            "maxmind/city:latest  current, pinned  aaaaaaaaaaaa  1m05s       2.0s     1  "
            "/data/maxmind/city:latest\n"
            "x/y:v1               failing          -                 -          -     0  /data/x/y:v1\n"
            "maxmind/city:latest: the last update received 7 B in 0 requests and reused 0 B (0ms)\n"
            "maxmind/city:latest: the check refused bbbbbbbbbbbb\n"
            "x/y:v1: no\\x0aserver\n"
            "\n"
            "PUBLICATION  STATE    REFERENCE   VERSION  TRIES  PATH\n"
            "p1           running  x/z:latest  -            2  /build\n");
  const Json json = cli_.Run({"status", "-o", "json"}).json();
  EXPECT_EQ(json["connected"], true);
  EXPECT_EQ(json["subscriptions"][0]["digest"], kDigestA);
  EXPECT_EQ(json["subscriptions"][0]["activated"], "2027-01-15T07:58:55.000Z");
  EXPECT_EQ(json["subscriptions"][0]["last_update"]["downloaded_bytes"], 7);
  EXPECT_EQ(json["subscriptions"][1]["error"], "no\nserver");
  EXPECT_EQ(json["subscriptions"][1]["last_update"], nullptr);
  EXPECT_EQ(json["publications"][0]["state"], "running");
}

TEST_F(AgentCommandsTest, PinUnpinAndBackSayWhatIsActive) {
  EXPECT_EQ(cli_.Run({"pin", "a/b", std::string(64, 'a'), "-o", "json"})
                .json()["subscriptions"][0]["pinned_digest"],
            kDigestA);
  EXPECT_EQ(cli_.Run({"unpin", "a/b", "-o", "json"}).json()["subscriptions"][0]["pinned_digest"], nullptr);
  EXPECT_THAT(cli_.Run({"back", "a/b"}).out, HasSubstr("current, pinned  bbbbbbbbbbbb"));
}

TEST_F(AgentCommandsTest, ErrorsOfTheAgentHaveTheirStatus) {
  agent_.FailNext(grpc::Status(grpc::StatusCode::NOT_FOUND, "nothing before this one"));
  EXPECT_EQ(cli_.Run({"back", "a/b"}).status, 3);
  agent_.FailNext(grpc::Status(grpc::StatusCode::PERMISSION_DENIED, "not yours"));
  EXPECT_EQ(cli_.Run({"status"}).status, 6);
  agent_.FailNext(grpc::Status(grpc::StatusCode::UNAVAILABLE, "connection refused"));
  const CliRunner::Result away = cli_.Run({"status"});
  EXPECT_EQ(away.status, 5);
  EXPECT_EQ(away.err,
            "aetherfs: status: agent at unix:///run/aetherfs/agent.sock: connection refused; check that "
            "aetherfs-agent runs and that --agent is its address\n");
}

}  // namespace
}  // namespace aetherfs
