// The small parts of the cluster layer.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "aetherfs/base/testing/fake_clock.h"
#include "aetherfs/cluster/announcer.h"
#include "aetherfs/cluster/hedge_policy.h"
#include "aetherfs/cluster/peer_list.h"
#include "aetherfs/cluster/testing/fake_peer.h"
#include "aetherfs/cluster/token_bucket.h"

namespace aetherfs {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

TEST(PeerListTest, ListsAndNames) {
  EXPECT_TRUE(ParsePeerList({})->empty());
  EXPECT_THAT(ParsePeerList({"a:1", "[::1]:2", "10.0.0.1:3"})->addresses, ElementsAre("a:1", "[::1]:2", "10.0.0.1:3"));
  const PeerList named = *ParsePeerList({"dns:aetherfs.default.svc:7400"});
  EXPECT_EQ(named.dns_name, "aetherfs.default.svc");
  EXPECT_EQ(named.dns_port, 7400);
  EXPECT_FALSE(named.empty());
}

TEST(PeerListTest, WhatIsNoListIsRefusedByName) {
  for (const char* bad : {"", "a:x", "a:0", "dns:", "dns:a", "dns::7400", "dns:a:0", "dns:a:b", "a:1 "}) {
    const auto list = ParsePeerList({bad});
    EXPECT_EQ(list.status().code(), absl::StatusCode::kInvalidArgument) << bad;
  }
  EXPECT_EQ(ParsePeerList({"a:1", "dns:a:1"}).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(ParsePeerList({"a:1", "b:1", "a:1"}).status().message(), HasSubstr("'a:1' stands there twice"));
}

TEST(PeerListTest, AddressesOfCallers) {
  EXPECT_EQ(IpOfGrpcPeer("ipv4:10.0.0.1:4711"), "10.0.0.1");
  EXPECT_EQ(IpOfGrpcPeer("ipv6:%5Bfd00::1%5D:4711"), "fd00::1");
  EXPECT_EQ(IpOfGrpcPeer("ipv6:[::ffff:10.0.0.1]:4711"), "10.0.0.1");
  EXPECT_EQ(IpOfGrpcPeer("unix:/run/socket"), "");
  EXPECT_EQ(IpOfGrpcPeer(""), "");
  EXPECT_EQ(JoinHostPort("fd00::1", 7400), "[fd00::1]:7400");
  EXPECT_EQ(HostOf("[fd00::1]:7400"), "fd00::1");
}

TEST(PeerListTest, SystemResolverKnowsThisMachine) {
  EXPECT_THAT(*HostResolver::System()->Resolve("localhost"), Contains("127.0.0.1"));
  EXPECT_THAT(*HostResolver::System()->Resolve("10.1.2.3"), ElementsAre("10.1.2.3"));
}

TEST(HedgePolicyTest, DelayFollowsThePercentile) {
  HedgePolicy policy;
  EXPECT_EQ(policy.Begin(), HedgePolicy::kLongestDelay);
  for (int i = 0; i < 240; ++i) policy.Observe(absl::Milliseconds(i % 100 < 98 ? 80 : 300));
  EXPECT_EQ(policy.Begin(), absl::Milliseconds(600));
  for (int i = 0; i < 256; ++i) policy.Observe(absl::Milliseconds(1));
  EXPECT_EQ(policy.Begin(), HedgePolicy::kShortestDelay);
  for (int i = 0; i < 256; ++i) policy.Observe(absl::Seconds(9));
  EXPECT_EQ(policy.Begin(), HedgePolicy::kLongestDelay);
}

TEST(HedgePolicyTest, OneHedgeInTwentyRequests) {
  HedgePolicy policy;
  EXPECT_FALSE(policy.TryHedge());
  int hedges = 0;
  for (int i = 0; i < 2000; ++i) {
    policy.Begin();
    if (policy.TryHedge()) ++hedges;
  }
  EXPECT_NEAR(hedges, 100, 1);
  for (int i = 0; i < 10'000; ++i) policy.Begin();
  hedges = 0;
  while (policy.TryHedge()) ++hedges;
  EXPECT_EQ(hedges, HedgePolicy::kMaxSaved);
}

TEST(TokenBucketTest, BurstThenRate) {
  FakeClock clock;
  TokenBucket bucket(2, 3, &clock);
  const auto taken = [&bucket] {
    int count = 0;
    while (bucket.TryTake()) ++count;
    return count;
  };
  EXPECT_EQ(taken(), 3);
  clock.Advance(absl::Milliseconds(500));
  EXPECT_EQ(taken(), 1);
  clock.Advance(absl::Hours(1));
  EXPECT_EQ(taken(), 3);
}

class AnnouncerTest : public ::testing::Test {
 protected:
  AnnouncerTest() {
    view_.current.members = {{"a:1", a_, kPeerProtocol}, {"b:1", b_, 1}, {"me:1", nullptr, kPeerProtocol}};
  }

  FakeClock clock_;
  MetricsRegistry registry_;
  ClusterMetrics metrics_{registry_};
  FixedClusterView view_;
  std::shared_ptr<FakePeer> a_ = std::make_shared<FakePeer>("a:1");
  std::shared_ptr<FakePeer> b_ = std::make_shared<FakePeer>("b:1");
  Announcer announcer_{&view_, &clock_, &metrics_};
};

TEST_F(AnnouncerTest, EveryPeerIsToldInOrderOneMessageAtATime) {
  announcer_.Announce("geo", "1");
  announcer_.Announce("geo", "2");
  announcer_.Announce("models", "1");
  ASSERT_THAT(a_->announced, SizeIs(1));
  ASSERT_THAT(b_->announced, SizeIs(1));
  a_->announce_done[0](absl::OkStatus());
  ASSERT_THAT(a_->announced, SizeIs(2));
  ASSERT_EQ(a_->announced[1].announcements_size(), 2);
  EXPECT_EQ(a_->announced[1].announcements(0).entry(), "2");
  EXPECT_EQ(a_->announced[1].announcements(1).dataset(), "models");
  a_->announce_done[1](absl::OkStatus());
  EXPECT_THAT(a_->announced, SizeIs(2));
  EXPECT_THAT(b_->announced, SizeIs(1));  // it has not answered
  // What one peer did not get is lost for it, and the next entries reach it all the same.
  b_->announce_done[0](absl::UnavailableError("gone"));
  ASSERT_THAT(b_->announced, SizeIs(2));
  b_->announce_done[1](absl::OkStatus());
  EXPECT_EQ(metrics_.announcements_lost.value(), 1);
  EXPECT_EQ(metrics_.announcements_sent.value(), 6);
}

TEST_F(AnnouncerTest, PeerThatDoesNotAnswerHoldsABoundedNumberOfEntries) {
  for (size_t i = 0; i < Announcer::kMaxPending + 11; ++i) announcer_.Announce("geo", std::to_string(i));
  EXPECT_EQ(metrics_.announcements_lost.value(), 2 * 10);  // the first one is under way
  std::exchange(a_->announce_done[0], nullptr)(absl::OkStatus());
  ASSERT_THAT(a_->announced, SizeIs(2));
  EXPECT_EQ(a_->announced[1].announcements_size(), static_cast<int>(Announcer::kMaxBatch));
  EXPECT_EQ(a_->announced[1].announcements(0).entry(), "11");
  for (FakePeer* peer : {a_.get(), b_.get()}) {
    for (size_t i = 0; i < peer->announce_done.size(); ++i) {
      // Answers bring more messages, and so more to answer.
      if (auto done = std::exchange(peer->announce_done[i], nullptr); done) done(absl::OkStatus());
    }
  }
}

TEST_F(AnnouncerTest, LargeEntriesGoInMessagesOfTheirOwnOrNotAtAll) {
  announcer_.Announce("geo", "small");
  announcer_.Announce("geo", std::string(Announcer::kMaxBatchBytes, 'x'));
  announcer_.Announce("geo", "small");
  announcer_.Announce("geo", std::string(Announcer::kMaxBatchBytes + 1, 'x'));
  for (const auto& peer : {a_, b_}) {
    for (size_t i = 0; i < peer->announce_done.size(); ++i) {
      if (auto done = std::exchange(peer->announce_done[i], nullptr); done) done(absl::OkStatus());
    }
    ASSERT_THAT(peer->announced, SizeIs(3));
    for (const auto& request : peer->announced) EXPECT_EQ(request.announcements_size(), 1);
  }
}

}  // namespace
}  // namespace aetherfs
