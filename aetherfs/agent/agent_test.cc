#include "aetherfs/agent/agent.h"

#include <sys/stat.h>

#include <fstream>
#include <random>

#include "absl/synchronization/notification.h"
#include "aetherfs/agent/testing/agent_fixture.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace aetherfs {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

using AgentTest = AgentFixture;

TEST_F(AgentTest, DeclaredSubscriptionBecomesActiveAndThenReady) {
  std::mt19937_64 random(3);
  const TestTree tree = RandomTree(random, 30);
  StartAgent({Subscription("maps/city")});
  EXPECT_FALSE(health_.IsReady());
  const Digest digest = PublishTree(tree);
  const SubscriptionStatus status = WaitForActive(digest);
  EXPECT_EQ(Consumed(), Expected(tree, true));
  EXPECT_EQ(status.active_path(), LinkPath());
  EXPECT_GT(status.last_update().downloaded_bytes(), 0);
  EXPECT_TRUE(health_.IsReady());
}

TEST_F(AgentTest, NewVersionReplacesTheOldOneAndReusesItsFiles) {
  TestTree tree = {{"same", {EntryType::kFile, std::string(50'000, 's')}},
                   {"file", {EntryType::kFile, "one"}}};
  const Digest one = PublishTree(tree);
  StartAgent({Subscription("maps/city")});
  WaitForActive(one);
  struct stat before, after;
  ASSERT_EQ(::stat(LinkPath("maps/city/latest/same").c_str(), &before), 0);
  tree["file"] = {EntryType::kFile, "two"};
  const Digest two = PublishTree(tree);
  const SubscriptionStatus status = WaitForActive(two);
  EXPECT_EQ(ConsumedFile(), "two");
  EXPECT_EQ(status.last_update().reused_bytes(), 50'000);
  ASSERT_EQ(::stat(LinkPath("maps/city/latest/same").c_str(), &after), 0);
  EXPECT_EQ(before.st_ino, after.st_ino);
}

TEST_F(AgentTest, OnlyAsManyVersionsAsWantedAreKept) {
  StartAgent({Subscription("maps/city")});
  std::vector<Digest> versions;
  for (int i = 0; i < 5; ++i) {
    versions.push_back(PublishTree(OneFile("version " + std::to_string(i))));
    WaitForActive(versions.back());
  }
  const SubscriptionStatus status =
      WaitFor("maps/city:latest", [](const auto& s) { return s.kept_digests_size() == 2; });
  EXPECT_THAT(status.kept_digests(), ElementsAre(versions[4].ToString(), versions[3].ToString()));
  EXPECT_THAT(*ListDirectory(JoinPath(options_.root, ".aetherfs/snapshots/maps%2Fcity")), SizeIs(2));
}

TEST_F(AgentTest, AtStartWhatIsOnDiskIsServedWithNoServerInReach) {
  const Digest one = PublishTree(OneFile("one"));
  StartAgent({Subscription("maps/city")});
  WaitForActive(one);
  StopAgent();
  server_.SetAway(true);
  StartAgent({Subscription("maps/city")});
  EXPECT_EQ(agent_->StatusOf("maps/city")->active_digest(), one.ToString());
  EXPECT_EQ(ConsumedFile(), "one");
  EXPECT_TRUE(health_.IsReady());
}

TEST_F(AgentTest, LostSymlinkIsRestoredAtStart) {
  const Digest one = PublishTree(OneFile("one"));
  StartAgent({Subscription("maps/city")});
  WaitForActive(one);
  StopAgent();
  ASSERT_TRUE(RemoveFile(LinkPath()).ok());
  server_.SetAway(true);
  StartAgent({Subscription("maps/city")});
  EXPECT_EQ(ConsumedFile(), "one");
}

TEST_F(AgentTest, DanglingSymlinkIsMadeRightAtStart) {
  const Digest one = PublishTree(OneFile("one"));
  StartAgent({Subscription("maps/city")});
  WaitForActive(one);
  const Digest two = PublishTree(OneFile("two"));
  WaitForActive(two);
  StopAgent();
  ASSERT_TRUE(RemoveTree(JoinPath(options_.root, ".aetherfs/snapshots/maps%2Fcity/" + two.Hex())).ok());
  server_.SetAway(true);
  StartAgent({Subscription("maps/city")});
  EXPECT_EQ(agent_->StatusOf("maps/city")->active_digest(), one.ToString());
  EXPECT_EQ(ConsumedFile(), "one");
  server_.SetAway(false);
  WaitForActive(two);
}

TEST_F(AgentTest, ApiSubscriptionSurvivesARestart) {
  StartAgent();
  ASSERT_TRUE(agent_->Subscribe(Subscription("maps/city")).ok());
  const Digest one = PublishTree(OneFile("one"));
  WaitForActive(one);
  StopAgent();
  const Digest two = PublishTree(OneFile("two"));
  StartAgent();
  WaitForActive(two);
  EXPECT_EQ(ConsumedFile(), "two");
}

TEST_F(AgentTest, UnreachableServerIsRetried) {
  server_.FailNext(FakeServerClient::Method::kDownload, absl::UnavailableError("away"), 3);
  const Digest one = PublishTree(OneFile("one"));
  StartAgent({Subscription("maps/city")});
  WaitForActive(one);
}

TEST_F(AgentTest, CorruptBytesAreNeverActivatedAndTriedAgain) {
  const Digest one = PublishTree(OneFile("one"));
  StartAgent({Subscription("maps/city")});
  WaitForActive(one);
  const TestSnapshot two = StoreSnapshot(server_, "maps/city", OneFile("two"));
  server_.CorruptDownloads(two.manifest.blocks[0].digest, 20, true);
  server_.SetTag("maps/city", "latest", two.digest);
  WaitForFailure();
  EXPECT_EQ(ConsumedFile(), "one");
  WaitForActive(two.digest);  // once the bytes are right
  EXPECT_EQ(ConsumedFile(), "two");
  EXPECT_THAT(metrics_.Scrape(), HasSubstr("aetherfs_agent_updates_total{result=\"corrupt\"}"));
}

TEST_F(AgentTest, VersionThatTheCheckRefusesIsBadForEver) {
  agent::v1::Subscription subscription = Subscription("maps/city");
  for (const char* word : {"/bin/sh", "-c", "test \"$(cat \"$AETHERFS_DIR/file\")\" != bad"})
    subscription.add_check(word);
  const Digest one = PublishTree(OneFile("good"));
  StartAgent({subscription});
  WaitForActive(one);
  const Digest bad = PublishTree(OneFile("bad"));
  SubscriptionStatus status = WaitForFailure();
  EXPECT_THAT(status.bad_digests(), ElementsAre(bad.ToString()));
  EXPECT_EQ(status.active_digest(), one.ToString());
  EXPECT_EQ(ConsumedFile(), "good");
  EXPECT_TRUE(absl::IsFailedPrecondition(agent_->Pin("maps/city", bad.ToString()).status()));
  StopAgent();
  StartAgent({subscription});
  status = WaitFor("maps/city:latest", [&](const auto& s) { return s.wanted_digest() == bad.ToString(); });
  EXPECT_THAT(status.bad_digests(), ElementsAre(bad.ToString()));
  EXPECT_EQ(status.active_digest(), one.ToString());
  const Digest three = PublishTree(OneFile("better"));
  WaitForActive(three);
}

TEST_F(AgentTest, NotifyCommandRunsAfterASwitch) {
  const std::string told = JoinPath(temporary_.path(), "told");
  agent::v1::Subscription subscription = Subscription("maps/city");
  subscription.add_notify("/bin/sh");
  subscription.add_notify("-c");
  subscription.add_notify("cat $AETHERFS_DIR/file > " + told +
                          ".new; echo \" $AETHERFS_DATASET $AETHERFS_TAG $AETHERFS_DIGEST\" >> " + told +
                          ".new; mv " + told + ".new " + told);
  const Digest one = PublishTree(OneFile("one"));
  ASSERT_EQ(::mkfifo((told + ".fifo").c_str(), 0600), 0);
  subscription.set_notify(2, subscription.notify(2) + "; echo done > " + told + ".fifo");
  StartAgent({subscription});
  std::string done;
  std::ifstream(told + ".fifo") >> done;  // blocks until the command is through
  EXPECT_EQ(ReadWholeFile(told, 1000).value_or(""), "one maps/city latest " + one.ToString() + "\n");
}

TEST_F(AgentTest, PinHoldsAndUnpinGoesOn) {
  const Digest one = PublishTree(OneFile("one"));
  StartAgent({Subscription("maps/city")});
  WaitForActive(one);
  ASSERT_TRUE(agent_->Pin("maps/city", one.ToString()).ok());
  const Digest two = PublishTree(OneFile("two"));
  WaitFor("maps/city:latest", [&](const auto& s) { return s.wanted_digest() == two.ToString(); });
  EXPECT_EQ(ConsumedFile(), "one");
  StopAgent();
  StartAgent({Subscription("maps/city")});
  WaitFor("maps/city:latest", [&](const auto& s) { return s.wanted_digest() == two.ToString(); });
  EXPECT_EQ(agent_->StatusOf("maps/city")->pinned_digest(), one.ToString());
  EXPECT_EQ(ConsumedFile(), "one");
  ASSERT_TRUE(agent_->Unpin("maps/city").ok());
  WaitForActive(two);
}

TEST_F(AgentTest, PinOfAVersionThatIsNotHereFetchesIt) {
  const Digest one = PublishTree(OneFile("one"));
  const Digest two = PublishTree(OneFile("two"));
  StartAgent({Subscription("maps/city")});
  WaitForActive(two);
  ASSERT_TRUE(agent_->Pin("maps/city", one.ToString()).ok());
  WaitForActive(one);
  EXPECT_EQ(ConsumedFile(), "one");
  const auto missing = agent_->Pin("maps/city", Digest().ToString());
  EXPECT_TRUE(absl::IsNotFound(missing.status())) << missing.status();
}

TEST_F(AgentTest, BackGoesFurtherBackEachTimeAtOnce) {
  options_.keep = 3;
  StartAgent({Subscription("maps/city")});
  std::vector<Digest> versions;
  for (const char* contents : {"one", "two", "three"}) {
    versions.push_back(PublishTree(OneFile(contents)));
    WaitForActive(versions.back());
  }
  server_.SetAway(true);
  ASSERT_TRUE(agent_->Back("maps/city").ok());
  EXPECT_EQ(ConsumedFile(), "two");
  ASSERT_TRUE(agent_->Back("maps/city").ok());
  EXPECT_EQ(ConsumedFile(), "one");
  EXPECT_TRUE(absl::IsNotFound(agent_->Back("maps/city").status()));
  ASSERT_TRUE(agent_->Unpin("maps/city").ok());
  WaitForActive(versions[2]);
}

TEST_F(AgentTest, FilteredSubscriptionHasADirectoryOfItsOwn) {
  const TestTree tree = {{"a.csv", {EntryType::kFile, "a"}}, {"b.txt", {EntryType::kFile, "b"}}};
  const Digest digest = PublishTree(tree, "maps/city", "latest");
  server_.SetTag("maps/city", "stable", digest);
  agent::v1::Subscription filtered = Subscription("maps/city:stable");
  filtered.add_include("*.csv");
  StartAgent({Subscription("maps/city"), filtered});
  WaitForActive(digest);
  WaitForActive(digest, "maps/city:stable");
  EXPECT_EQ(Consumed(), Expected(tree, true));
  EXPECT_EQ(Consumed("maps/city/stable"), Expected({{"a.csv", {EntryType::kFile, "a"}}}, true));
}

TEST_F(AgentTest, TwoTagsThatMoveToTheSameVersionTogetherBothGetThere) {
  agent::v1::Subscription stable = Subscription("maps/city:stable");
  StartAgent({Subscription("maps/city"), stable});
  std::mt19937_64 random(5);
  for (int round = 0; round < 5; ++round) {
    const TestTree tree = RandomTree(random, 20);
    const Digest digest = PublishTree(tree);
    server_.SetTag("maps/city", "stable", digest);
    WaitForActive(digest);
    WaitForActive(digest, "maps/city:stable");
    EXPECT_EQ(Consumed(), Expected(tree, true));
    EXPECT_EQ(agent_->StatusOf("maps/city")->error(), "");
  }
  EXPECT_THAT(metrics_.Scrape(), ::testing::Not(HasSubstr("result=\"failed\"")));
}

TEST_F(AgentTest, ConflictingPathsAreRefused) {
  StartAgent({Subscription("a:b")});
  EXPECT_TRUE(absl::IsInvalidArgument(agent_->Subscribe(Subscription("a/b")).status()));
  agent::v1::Subscription elsewhere = Subscription("a/b");
  elsewhere.set_path("elsewhere");
  EXPECT_TRUE(agent_->Subscribe(elsewhere).ok());
  EXPECT_TRUE(absl::IsInvalidArgument(agent_->Declare({Subscription("x:y"), Subscription("x/y")})));
  EXPECT_TRUE(absl::IsInvalidArgument(agent_->Declare({Subscription("x"), Subscription("x:latest")})));
}

TEST_F(AgentTest, SameReferenceAgainReplacesTheSettings) {
  StartAgent();
  ASSERT_TRUE(agent_->Subscribe(Subscription("maps/city")).ok());
  const Digest one = PublishTree(OneFile("one"));
  WaitForActive(one);
  agent::v1::Subscription moved = Subscription("maps/city");
  moved.set_path("moved/here");
  server_.SetAway(true);
  ASSERT_TRUE(agent_->Subscribe(moved).ok());
  EXPECT_EQ(ConsumedFile("moved/here/file"), "one");
  EXPECT_FALSE(Exists(LinkPath()));
}

TEST_F(AgentTest, UnsubscribeLeavesTheFilesUnlessTold) {
  StartAgent();
  ASSERT_TRUE(agent_->Subscribe(Subscription("maps/city")).ok());
  const Digest one = PublishTree(OneFile("one"));
  WaitForActive(one);
  ASSERT_TRUE(agent_->Unsubscribe("maps/city", false).ok());
  EXPECT_EQ(ConsumedFile(), "one");
  EXPECT_TRUE(absl::IsNotFound(agent_->Unsubscribe("maps/city", false)));
  StopAgent();
  StartAgent();
  EXPECT_EQ(ConsumedFile(), "one");
  ASSERT_TRUE(agent_->Subscribe(Subscription("maps/city")).ok());
  WaitForActive(one);
  ASSERT_TRUE(agent_->Unsubscribe("maps/city", true).ok());
  EXPECT_FALSE(Exists(LinkPath("maps")));
  EXPECT_THAT(*ListDirectory(JoinPath(options_.root, ".aetherfs/snapshots/maps%2Fcity")), SizeIs(0));
}

TEST_F(AgentTest, ReloadTakesAwayAndAddsDeclaredSubscriptions) {
  const Digest city = PublishTree(OneFile("city"));
  const Digest road = PublishTree(OneFile("road"), "maps/road");
  StartAgent({Subscription("maps/city")});
  WaitForActive(city);
  EXPECT_TRUE(absl::IsFailedPrecondition(agent_->Unsubscribe("maps/city", false)));
  ASSERT_TRUE(agent_->Declare({Subscription("maps/road")}).ok());
  WaitForActive(road, "maps/road:latest");
  EXPECT_TRUE(absl::IsNotFound(agent_->StatusOf("maps/city").status()));
  EXPECT_EQ(ConsumedFile(), "city");  // nobody took it away
  EXPECT_TRUE(health_.IsReady());
}

TEST_F(AgentTest, TagThatIsGoneLeavesTheLastVersion) {
  const Digest one = PublishTree(OneFile("one"));
  StartAgent({Subscription("maps/city"), Subscription("maps/none")});
  WaitForActive(one);
  const SubscriptionStatus none =
      WaitFor("maps/none:latest", [](const auto& s) { return !s.error().empty(); });
  EXPECT_EQ(none.state(), SubscriptionStatus::STATE_WAITING);
  dataset::v1::UpdateTagsRequest request;
  request.set_dataset("maps/city");
  request.add_deletes("latest");
  request.set_nonce("0123456789abcdef");
  ASSERT_TRUE(server_.UpdateTags(request).ok());
  const SubscriptionStatus gone =
      WaitFor("maps/city:latest", [](const auto& s) { return s.wanted_digest().empty(); });
  EXPECT_EQ(gone.active_digest(), one.ToString());
  EXPECT_EQ(ConsumedFile(), "one");
}

TEST_F(AgentTest, SecondAgentOnTheSameRootIsRefused) {
  StartAgent();
  const auto second =
      Agent::Create(options_, &server_, &metrics_, &health_, Clock::System(), Random::System());
  EXPECT_TRUE(absl::IsFailedPrecondition(second.status())) << second.status();
}

TEST_F(AgentTest, UnreadableStateIsSetAsideAndFilesStay) {
  const Digest one = PublishTree(OneFile("one"));
  StartAgent({Subscription("maps/city")});
  WaitForActive(one);
  StopAgent();
  std::ofstream(JoinPath(options_.root, ".aetherfs/state"), std::ios::trunc) << "nonsense";
  server_.SetAway(true);
  StartAgent({Subscription("maps/city")});
  EXPECT_EQ(agent_->StatusOf("maps/city")->active_digest(), one.ToString());
  EXPECT_TRUE(Exists(JoinPath(options_.root, ".aetherfs/state.unreadable")));
}

// Many versions in a row: a consumer that reads all the time never sees a mixture.
TEST_F(AgentTest, ConsumersNeverSeeAMixture) {
  const auto tree = [](int i) {
    return TestTree{{"a", {EntryType::kFile, std::to_string(i)}},
                    {"b/c", {EntryType::kFile, std::to_string(i)}}};
  };
  StartAgent({Subscription("maps/city")});
  WaitForActive(PublishTree(tree(0)));
  std::atomic<bool> ending{false};
  std::atomic<int> mixtures{0};
  std::thread consumer([&] {
    while (!ending) {
      // What a consumer does that wants one version: resolves the symlink once.
      const auto directory = OpenFile(LinkPath() + "/.", 0200000 /* O_DIRECTORY */);
      if (!directory.ok()) {
        ++mixtures;
        continue;
      }
      const std::string at = "/proc/self/fd/" + std::to_string(directory->get());
      const auto a = ReadWholeFile(at + "/a", 100);
      const auto b = ReadWholeFile(at + "/b/c", 100);
      if (a.ok() && b.ok() && *a != *b) ++mixtures;  // an old version may be gone, but never mixed
    }
  });
  for (int i = 1; i < 30; ++i) WaitForActive(PublishTree(tree(i)));
  ending = true;
  consumer.join();
  EXPECT_EQ(mixtures, 0);
}

class AgentPublishTest : public AgentFixture {
 protected:
  agent::v1::PublishRequest Request(bool asynchronous) {
    const std::string path = JoinPath(temporary_.path(), "produced");
    EXPECT_TRUE(MakeDirectories(path).ok());
    std::ofstream(JoinPath(path, "file")) << "produced";
    agent::v1::PublishRequest request;
    request.set_reference("maps/city");
    request.set_path(path);
    request.set_asynchronous(asynchronous);
    return request;
  }
  absl::StatusOr<agent::v1::PublishResponse> Publish(const agent::v1::PublishRequest& request) {
    absl::Notification done;
    absl::StatusOr<agent::v1::PublishResponse> response;
    agent_->Publish(request, [&](absl::StatusOr<agent::v1::PublishResponse> result) {
      response = std::move(result);
      done.Notify();
    });
    done.WaitForNotification();
    return response;
  }
};

TEST_F(AgentPublishTest, PublishedIsConsumed) {
  StartAgent({Subscription("maps/city")});
  const auto response = Publish(Request(false));
  ASSERT_TRUE(response.ok()) << response.status();
  WaitForActive(*Digest::Parse(response->result().digest()));
  EXPECT_EQ(ConsumedFile(), "produced");
}

TEST_F(AgentPublishTest, AsynchronousPublishSurvivesARestartWithTheSameNonce) {
  server_.SetAway(true);
  StartAgent();
  const auto response = Publish(Request(true));
  ASSERT_TRUE(response.ok()) << response.status();
  EXPECT_FALSE(response->publication_id().empty());
  EXPECT_FALSE(agent_->Drain(absl::Now() + absl::Milliseconds(20)));
  StopAgent();
  server_.SetAway(false);
  StartAgent();
  EXPECT_TRUE(agent_->Drain(absl::Now() + kPatience));
  const auto publication = agent_->GetPublication(response->publication_id());
  ASSERT_TRUE(publication.ok()) << publication.status();
  EXPECT_EQ(publication->state(), agent::v1::Publication::STATE_DONE) << publication->ShortDebugString();
  EXPECT_EQ(server_.TagDigest("maps/city", "latest")->ToString(), publication->result().digest());
  EXPECT_TRUE(absl::IsNotFound(agent_->GetPublication("nonsense").status()));
  StopAgent();
  StartAgent();  // a finished one is remembered, and not done again
  EXPECT_EQ(agent_->GetPublication(response->publication_id())->state(),
            agent::v1::Publication::STATE_DONE);
  EXPECT_EQ(server_.Calls(FakeServerClient::Method::kPublish), 1);
}

TEST_F(AgentPublishTest, PublishThatCanNeverSucceedFailsForGood) {
  StartAgent();
  agent::v1::PublishRequest request = Request(true);
  request.set_path("/does/not/exist");
  const auto response = Publish(request);
  ASSERT_TRUE(response.ok()) << response.status();
  EXPECT_TRUE(agent_->Drain(absl::Now() + kPatience));
  const auto publication = agent_->GetPublication(response->publication_id());
  EXPECT_EQ(publication->state(), agent::v1::Publication::STATE_FAILED);
  EXPECT_THAT(publication->error(), HasSubstr("/does/not/exist"));
}

TEST_F(AgentPublishTest, WrongWordsAreRefusedAtOnce) {
  StartAgent();
  for (const bool asynchronous : {false, true}) {
    agent::v1::PublishRequest request = Request(asynchronous);
    request.set_path("relative");
    EXPECT_TRUE(absl::IsInvalidArgument(Publish(request).status()));
    request = Request(asynchronous);
    request.set_reference("NOT A REFERENCE");
    EXPECT_TRUE(absl::IsInvalidArgument(Publish(request).status()));
    request = Request(asynchronous);
    request.add_tags("no good tag");
    EXPECT_TRUE(absl::IsInvalidArgument(Publish(request).status()));
  }
}

TEST_F(AgentPublishTest, DrainingAgentTakesNoNewWork) {
  StartAgent();
  EXPECT_TRUE(agent_->Drain(absl::Now() + kPatience));
  EXPECT_TRUE(absl::IsUnavailable(Publish(Request(false)).status()));
  EXPECT_TRUE(absl::IsUnavailable(agent_->Subscribe(Subscription("maps/city")).status()));
  EXPECT_FALSE(health_.IsReady());
}

TEST_F(AgentPublishTest, UnreadableRecordIsSetAside) {
  StartAgent();
  StopAgent();
  std::ofstream(JoinPath(options_.root, ".aetherfs/publications/0001")) << "nonsense";
  StartAgent();
  EXPECT_TRUE(Exists(JoinPath(options_.root, ".aetherfs/publications/0001.unreadable")));
}

}  // namespace
}  // namespace aetherfs
