#include "aetherfs/cluster/peer_part_source.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <xxhash.h>

#include <map>
#include <optional>

#include "aetherfs/base/testing/fake_clock.h"
#include "aetherfs/cluster/testing/fake_peer.h"

namespace aetherfs {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr uint64_t kObjectSize = kPartSize + 1000;
const PartKey kKey{"datasets/geo/blocks/1", 1};  // 1000 bytes long

std::string Content() { return std::string(400, 'a') + std::string(600, 'b'); }
uint64_t ChecksumOf(const std::string& bytes) { return XXH3_64bits(bytes.data(), bytes.size()); }

// A store whose answers the test gives.
class ScriptedStore : public PartSource {
 public:
  void Get(const PartKey&, const Options& options, Done done) override {
    asked.push_back(options);
    waiting.push_back(std::move(done));
  }
  // Answers the last request with a part that has these bytes of Content() already.
  std::shared_ptr<Part> Answer(size_t arrived) {
    auto part = std::make_shared<Part>(buffers.Allocate(Content().size()), kObjectSize);
    EXPECT_TRUE(part->Write(0, Content().substr(0, arrived)).ok());
    waiting.back()(part, PartOrigin::kStore);
    return part;
  }

  std::vector<Options> asked;
  std::vector<Done> waiting;
  PartBuffers buffers;
};

class PeerPartSourceTest : public ::testing::Test {
 protected:
  PeerPartSourceTest() {
    // Ranks for kKey are what they are; the test calls the peers by their rank.
    std::vector<ClusterMember> members;
    for (const char* address : {"a:1", "b:1", "c:1"}) {
      members.push_back({address, std::make_shared<FakePeer>(address), kPeerProtocol});
    }
    members = ClusterView::Ranked(members, kKey);
    for (const ClusterMember& member : members) peers_.push_back(dynamic_cast<FakePeer*>(member.peer.get()));
    ranked_ = members;
    view_.current.members = members;
  }

  // What the store was asked for and did not answer is over before the source goes.
  void TearDown() override { store_.waiting.clear(); }

  // This server is the one of that rank.
  void BeMember(size_t rank) { view_.current.members[rank].peer = nullptr; }

  void Get(PartScope scope = PartScope::kAnywhere, bool bypass = false) {
    PartSource::Options options;
    options.scope = scope;
    options.bypass_cache = bypass;
    source_.Get(kKey, options, [this](absl::StatusOr<PartPtr> part, PartOrigin origin) {
      EXPECT_FALSE(result_.has_value());
      result_ = std::move(part);
      origin_ = origin;
    });
  }

  FakePeer::PartRequest& Request(size_t rank, size_t index = 0) { return *peers_[rank]->requests.at(index); }

  void ExpectWhole(PartOrigin origin) {
    ASSERT_TRUE(result_.has_value());
    ASSERT_TRUE(result_->ok()) << result_->status();
    EXPECT_TRUE((**result_)->complete()) << (**result_)->status();
    EXPECT_EQ((**result_)->bytes(), Content());
    EXPECT_EQ((**result_)->object_size(), kObjectSize);
    EXPECT_EQ(origin_, origin);
  }

  FakeClock clock_;
  ManualAlarms alarms_;
  MetricsRegistry registry_;
  ClusterMetrics metrics_{registry_};
  FixedClusterView view_;
  std::vector<ClusterMember> ranked_;
  std::vector<FakePeer*> peers_;  // by rank
  ScriptedStore store_;
  std::optional<absl::StatusOr<PartPtr>> result_;
  std::optional<PartOrigin> origin_;
  PeerPartSource source_{&view_, &store_, &alarms_, &clock_, &metrics_};
};

TEST_F(PeerPartSourceTest, PartComesFromItsOwnerAsItArrives) {
  BeMember(2);
  Get();
  ASSERT_THAT(peers_[0]->requests, SizeIs(1));
  EXPECT_THAT(peers_[1]->requests, IsEmpty());
  EXPECT_EQ(Request(0).key, kKey);
  EXPECT_FALSE(Request(0).cached_only);
  Request(0).Accept();
  EXPECT_FALSE(result_.has_value());
  Request(0).Size(kObjectSize);
  ASSERT_TRUE(result_.has_value() && result_->ok());
  const PartPtr part = **result_;
  EXPECT_EQ(part->bytes(), "");
  ASSERT_TRUE(Request(0).Bytes(Content().substr(0, 400)).ok());
  EXPECT_EQ(part->bytes(), Content().substr(0, 400));
  ASSERT_TRUE(Request(0).Bytes(Content().substr(400)).ok());
  EXPECT_FALSE(part->complete());
  Request(0).Done(absl::OkStatus(), ChecksumOf(Content()));
  ExpectWhole(PartOrigin::kPeer);
  EXPECT_THAT(store_.asked, IsEmpty());
}

TEST_F(PeerPartSourceTest, WhatWaitsForNobodyAsksNobody) {
  BeMember(0);
  view_.current.previous = {ranked_[1], ranked_[2]};
  view_.current.previous_until = clock_.Now() + absl::Seconds(1);
  Get(PartScope::kCached);
  ASSERT_TRUE(result_.has_value());
  EXPECT_TRUE(absl::IsUnavailable(result_->status())) << result_->status();
  EXPECT_THAT(peers_[1]->requests, IsEmpty());
  EXPECT_THAT(store_.asked, IsEmpty());
}

TEST_F(PeerPartSourceTest, OwnerReadsTheStore) {
  BeMember(0);
  EXPECT_EQ(view_.view()->ScopeForClients(kKey), PartScope::kStore);
  Get();
  ASSERT_THAT(store_.asked, SizeIs(1));
  store_.Answer(1000)->End(absl::OkStatus());
  ExpectWhole(PartOrigin::kStore);
}

TEST_F(PeerPartSourceTest, RequestOfAPeerIsNeverForwarded) {
  BeMember(2);
  EXPECT_EQ(view_.view()->ScopeForClients(kKey), PartScope::kAnywhere);
  Get(PartScope::kStore);
  EXPECT_THAT(store_.asked, SizeIs(1));
  for (FakePeer* peer : peers_) EXPECT_THAT(peer->requests, IsEmpty());
}

TEST_F(PeerPartSourceTest, BypassGoesToTheStore) {
  BeMember(2);
  Get(PartScope::kAnywhere, /*bypass=*/true);
  ASSERT_THAT(store_.asked, SizeIs(1));
  EXPECT_TRUE(store_.asked[0].bypass_cache);
  EXPECT_THAT(peers_[0]->requests, IsEmpty());
}

TEST_F(PeerPartSourceTest, NextInRankFollowsAnOwnerThatFails) {
  BeMember(2);
  Get();
  Request(0).Done(absl::UnavailableError("connection refused"));
  EXPECT_THAT(view_.suspected, ElementsAre(ranked_[0].address));
  ASSERT_THAT(peers_[1]->requests, SizeIs(1));
  Request(1).Size(kObjectSize);
  ASSERT_TRUE(Request(1).Bytes(Content()).ok());
  Request(1).Done(absl::OkStatus(), ChecksumOf(Content()));
  ExpectWhole(PartOrigin::kPeer);
  EXPECT_THAT(store_.asked, IsEmpty());
}

TEST_F(PeerPartSourceTest, NextInRankGoesOnInTheMiddle) {
  BeMember(2);
  Get();
  Request(0).Size(kObjectSize);
  ASSERT_TRUE(Request(0).Bytes(Content().substr(0, 300)).ok());
  Request(0).Done(absl::UnavailableError("gone"));
  ASSERT_THAT(peers_[1]->requests, SizeIs(1));
  EXPECT_TRUE((**result_)->status().ok());
  Request(1).Size(kObjectSize);
  ASSERT_TRUE(Request(1).Bytes(Content().substr(0, 200)).ok());
  EXPECT_EQ((**result_)->bytes().size(), 300u);
  ASSERT_TRUE(Request(1).Bytes(Content().substr(200)).ok());
  Request(1).Done(absl::OkStatus(), ChecksumOf(Content()));
  ExpectWhole(PartOrigin::kPeer);
}

TEST_F(PeerPartSourceTest, StoreGoesOnInTheMiddleWhenAllFail) {
  BeMember(1);  // one peer ranks before this server
  Get();
  Request(0).Size(kObjectSize);
  ASSERT_TRUE(Request(0).Bytes(Content().substr(0, 300)).ok());
  Request(0).Done(absl::UnavailableError("gone"));
  ASSERT_THAT(store_.asked, SizeIs(1));
  EXPECT_EQ(store_.asked[0].scope, PartScope::kStore);
  const std::shared_ptr<Part> stored = store_.Answer(500);
  EXPECT_EQ((**result_)->bytes().size(), 500u);
  ASSERT_TRUE(stored->Write(500, Content().substr(500)).ok());
  EXPECT_EQ((**result_)->bytes().size(), 1000u);
  EXPECT_FALSE((**result_)->complete());
  stored->End(absl::OkStatus());
  ExpectWhole(PartOrigin::kPeer);
  EXPECT_EQ(metrics_.fallbacks.value(), 1);
}

TEST_F(PeerPartSourceTest, BytesOfAPeerThatTheStoreDoesNotHaveEndBadly) {
  BeMember(1);
  Get();
  Request(0).Size(kObjectSize);
  ASSERT_TRUE(Request(0).Bytes(std::string(300, 'x')).ok());
  Request(0).Done(absl::UnavailableError("gone"));
  store_.Answer(1000)->End(absl::OkStatus());
  EXPECT_EQ((**result_)->status().code(), absl::StatusCode::kDataLoss);
}

TEST_F(PeerPartSourceTest, ErrorOfTheStoreIsTheResultWhenAllFail) {
  BeMember(1);
  Get();
  Request(0).Done(absl::NotFoundError("no such object"));
  EXPECT_THAT(view_.suspected, IsEmpty());  // it answered
  store_.waiting.back()(absl::NotFoundError("no such object"), PartOrigin::kStore);
  ASSERT_TRUE(result_.has_value());
  EXPECT_EQ(result_->status().code(), absl::StatusCode::kNotFound);
}

TEST_F(PeerPartSourceTest, WrongChecksumEndsBadly) {
  BeMember(2);
  Get();
  Request(0).Size(kObjectSize);
  std::string bytes = Content();
  bytes[17] ^= 1;
  ASSERT_TRUE(Request(0).Bytes(bytes).ok());
  Request(0).Done(absl::OkStatus(), ChecksumOf(Content()));
  EXPECT_EQ((**result_)->status().code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(metrics_.integrity_failures.value(), 1);
}

TEST_F(PeerPartSourceTest, PeerThatSendsTooLittleOrTooMuchFails) {
  BeMember(2);
  Get();
  Request(0).Size(kObjectSize);
  ASSERT_TRUE(Request(0).Bytes(Content().substr(0, 100)).ok());
  Request(0).Done(absl::OkStatus(), 1);
  ASSERT_THAT(peers_[1]->requests, SizeIs(1));
  Request(1).Size(kObjectSize);
  const absl::Status refused = Request(1).Bytes(Content() + "x");
  EXPECT_EQ(refused.code(), absl::StatusCode::kDataLoss);
  Request(1).Done(refused);
  EXPECT_THAT(store_.asked, SizeIs(1));
}

TEST_F(PeerPartSourceTest, PeerThatTellsNoChecksumIsBelieved) {
  BeMember(2);
  Get();
  Request(0).Size(kObjectSize);
  ASSERT_TRUE(Request(0).Bytes(Content()).ok());
  Request(0).Done(absl::OkStatus());
  ExpectWhole(PartOrigin::kPeer);
}

TEST_F(PeerPartSourceTest, SilentPeerIsGivenUp) {
  BeMember(2);
  Get();
  clock_.Advance(PeerPartSource::kAcceptTimeout);
  alarms_.RingFirst();
  EXPECT_TRUE(Request(0).cancelled);
  EXPECT_THAT(view_.suspected, ElementsAre(ranked_[0].address));
  EXPECT_THAT(peers_[1]->requests, SizeIs(1));
}

TEST_F(PeerPartSourceTest, PeerThatAcceptedHasTimeToReadTheStore) {
  BeMember(2);
  Get();
  Request(0).Accept();
  clock_.Advance(PeerPartSource::kAcceptTimeout);
  alarms_.RingFirst();
  EXPECT_FALSE(Request(0).cancelled);
  clock_.Advance(PeerPartSource::kStallTimeout);
  alarms_.RingFirst();
  EXPECT_TRUE(Request(0).cancelled);
}

TEST_F(PeerPartSourceTest, SlowOwnerIsHedgedWithinTheBudget) {
  BeMember(2);
  // Twenty requests earn one hedge.
  for (int i = 0; i < 20; ++i) {
    result_.reset();
    Get();
    FakePeer::PartRequest& request = Request(0, static_cast<size_t>(i));
    request.Size(kObjectSize);
    ASSERT_TRUE(request.Bytes(Content()).ok());
    request.Done(absl::OkStatus());
  }
  result_.reset();
  Get();
  Request(0, 20).Accept();
  EXPECT_THAT(alarms_.pending(), ElementsAre(PeerPartSource::kAcceptTimeout));
  clock_.Advance(PeerPartSource::kAcceptTimeout);
  alarms_.RingFirst();
  EXPECT_THAT(alarms_.pending(), ElementsAre(HedgePolicy::kLongestDelay - PeerPartSource::kAcceptTimeout));
  EXPECT_THAT(peers_[1]->requests, IsEmpty());
  clock_.Advance(HedgePolicy::kLongestDelay - PeerPartSource::kAcceptTimeout);
  alarms_.RingFirst();
  ASSERT_THAT(peers_[1]->requests, SizeIs(1));
  EXPECT_FALSE(Request(0, 20).cancelled);
  // Both bring bytes; who is first with all of them wins.
  Request(0, 20).Size(kObjectSize);
  ASSERT_TRUE(Request(0, 20).Bytes(Content().substr(0, 100)).ok());
  Request(1).Size(kObjectSize);
  ASSERT_TRUE(Request(1).Bytes(Content()).ok());
  Request(1).Done(absl::OkStatus(), ChecksumOf(Content()));
  ExpectWhole(PartOrigin::kPeer);
  EXPECT_TRUE(Request(0, 20).cancelled);
  EXPECT_EQ(metrics_.hedges_won.value(), 1);

  result_.reset();
  Get();
  Request(0, 21).Accept();
  clock_.Advance(HedgePolicy::kLongestDelay);
  alarms_.RingFirst();
  EXPECT_THAT(peers_[1]->requests, SizeIs(1));  // the budget is used up
  EXPECT_EQ(metrics_.hedges.value(), 1);
}

TEST_F(PeerPartSourceTest, OutageIsNotPassedOnToTheStore) {
  BeMember(1);
  for (int i = 0; i < static_cast<int>(PeerPartSource::kFallbackBurst) + 5; ++i) {
    result_.reset();
    Get();
    Request(0, static_cast<size_t>(i)).Done(absl::UnavailableError("gone"));
  }
  EXPECT_THAT(store_.asked, SizeIs(static_cast<size_t>(PeerPartSource::kFallbackBurst)));
  ASSERT_TRUE(result_.has_value());
  EXPECT_EQ(result_->status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(metrics_.fallbacks_refused.value(), 5);
  clock_.Advance(absl::Seconds(1));
  Get();
  peers_[0]->requests.back()->Done(absl::UnavailableError("gone"));
  EXPECT_THAT(store_.asked, SizeIs(static_cast<size_t>(PeerPartSource::kFallbackBurst) + 1));
}

TEST_F(PeerPartSourceTest, NewOwnerAsksThePreviousOneForWhatItHas) {
  // Before, the one that ranks second owned the part, for this server was not there.
  BeMember(0);
  view_.current.previous = {ranked_[1], ranked_[2]};
  view_.current.previous_until = clock_.Now() + absl::Seconds(1);
  Get(PartScope::kStore);
  ASSERT_THAT(peers_[1]->requests, SizeIs(1));
  EXPECT_TRUE(Request(1).cached_only);
  Request(1).Size(kObjectSize);
  ASSERT_TRUE(Request(1).Bytes(Content()).ok());
  Request(1).Done(absl::OkStatus(), ChecksumOf(Content()));
  ExpectWhole(PartOrigin::kPeer);
  EXPECT_EQ(metrics_.handovers.value(), 1);
  EXPECT_THAT(store_.asked, IsEmpty());
}

TEST_F(PeerPartSourceTest, NewOwnerReadsTheStoreWhenThePreviousOneHasNothing) {
  BeMember(0);
  view_.current.previous = {ranked_[1], ranked_[2]};
  view_.current.previous_until = clock_.Now() + absl::Seconds(1);
  Get();
  Request(1).Done(absl::UnavailableError("not in a cache"));
  EXPECT_THAT(view_.suspected, IsEmpty());
  ASSERT_THAT(store_.asked, SizeIs(1));
  store_.Answer(1000)->End(absl::OkStatus());
  ExpectWhole(PartOrigin::kStore);
  EXPECT_EQ(metrics_.fallbacks.value(), 0);

  clock_.Advance(absl::Seconds(2));
  result_.reset();
  Get();
  EXPECT_THAT(peers_[1]->requests, SizeIs(1));  // it is not asked any more
  EXPECT_THAT(store_.asked, SizeIs(2));
}

TEST_F(PeerPartSourceTest, OlderPeerIsNotAskedForWhatItDoesNotKnow) {
  BeMember(0);
  view_.current.members[1].protocol = 1;
  view_.current.previous = {ranked_[1], ranked_[2]};
  view_.current.previous_until = clock_.Now() + absl::Seconds(1);
  Get();
  EXPECT_THAT(peers_[1]->requests, IsEmpty());
  EXPECT_THAT(store_.asked, SizeIs(1));
}

TEST_F(PeerPartSourceTest, StopEndsWhatIsUnderWay) {
  BeMember(2);
  Get();
  Request(0).Size(kObjectSize);
  source_.Stop();
  EXPECT_TRUE(Request(0).cancelled);
  EXPECT_EQ((**result_)->status().code(), absl::StatusCode::kCancelled);
  result_.reset();
  Get();
  ASSERT_TRUE(result_.has_value());
  EXPECT_EQ(result_->status().code(), absl::StatusCode::kCancelled);
}

}  // namespace
}  // namespace aetherfs
