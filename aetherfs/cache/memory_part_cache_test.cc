#include "aetherfs/cache/memory_part_cache.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "aetherfs/cache/testing/held_part_source.h"

namespace aetherfs {
namespace {

PartKey Key(int object, uint64_t index = 0) { return {"object" + std::to_string(object), index}; }

class MemoryPartCacheTest : public ::testing::Test {
 protected:
  void Get(const PartKey& key, PartAnswer& answer, bool bypass = false) {
    PartSource::Options options;
    options.bypass_cache = bypass;
    cache_.Get(key, options, answer.Taker());
  }
  void Load(const PartKey& key) {
    PartAnswer answer;
    Get(key, answer);
    if (!answer.part.has_value()) source_.Answer();
    ASSERT_TRUE(answer.ok());
  }
  bool IsKept(const PartKey& key) {
    PartAnswer answer;
    Get(key, answer);
    if (answer.part.has_value()) return true;
    source_.Answer();
    return false;
  }

  HeldPartSource source_;
  MemoryPartCache cache_{&source_, 4 * kPartSize};
};

TEST_F(MemoryPartCacheTest, SecondReadComesFromMemory) {
  PartAnswer first, second;
  Get(Key(1), first);
  EXPECT_FALSE(first.part.has_value());
  source_.Answer(100);
  ASSERT_TRUE(first.ok());
  EXPECT_EQ(first.origin, PartOrigin::kStore);
  Get(Key(1), second);
  ASSERT_TRUE(second.ok());
  EXPECT_EQ(second.origin, PartOrigin::kMemory);
  EXPECT_EQ(second.part->value(), first.part->value());
  EXPECT_EQ(source_.count, 1);
  EXPECT_EQ(cache_.stats().hits, 1u);
  EXPECT_EQ(cache_.stats().hit_bytes, 100u);
  EXPECT_EQ(cache_.stats().used_bytes, 100u);
}

TEST_F(MemoryPartCacheTest, ConcurrentMissesAreOneFetch) {
  PartAnswer answers[3];
  for (PartAnswer& answer : answers) Get(Key(1), answer);
  EXPECT_EQ(source_.count, 1);
  source_.Answer();
  for (const PartAnswer& answer : answers) EXPECT_TRUE(answer.ok());
  EXPECT_EQ(cache_.stats().collapsed, 2u);
}

TEST_F(MemoryPartCacheTest, FailureIsToldToAllAndNotKept) {
  PartAnswer answers[2];
  for (PartAnswer& answer : answers) Get(Key(1), answer);
  source_.Fail(absl::UnavailableError("away"));
  for (const PartAnswer& answer : answers) {
    EXPECT_EQ(answer.part->status().code(), absl::StatusCode::kUnavailable);
  }
  EXPECT_EQ(cache_.stats().used_bytes, 0u);
  Load(Key(1));
  EXPECT_EQ(source_.count, 2);
}

TEST_F(MemoryPartCacheTest, BypassFetchesAgainAndReplaces) {
  Load(Key(1));
  PartAnswer around;
  Get(Key(1), around, true);
  ASSERT_EQ(source_.count, 2);
  EXPECT_TRUE(source_.requests.front().options.bypass_cache);
  source_.Answer(50);
  ASSERT_TRUE(around.ok());
  PartAnswer again;
  Get(Key(1), again);
  ASSERT_TRUE(again.ok());
  EXPECT_EQ((**again.part)->bytes().size(), 50u);
}

TEST_F(MemoryPartCacheTest, BypassDropsTheObjectsPartsOfAnotherSize) {
  const auto load = [this](const PartKey& key, size_t object_size, size_t size, bool bypass = false) {
    PartAnswer answer;
    Get(key, answer, bypass);
    ASSERT_EQ(source_.requests.size(), 1u);
    source_.AnswerOf(object_size, size);
    ASSERT_TRUE(answer.ok());
  };
  load(Key(1, 0), 3000, 1000);
  load(Key(1, 1), 3000, 1000);
  load(Key(1, 2), 2000, 1000);
  load(Key(10, 0), 3000, 1000);
  load(Key(0, 0), 3000, 1000);
  load(Key(1, 0), 2000, 1000, true);
  EXPECT_EQ(cache_.stats().used_bytes, 4000u) << "what was dropped does not count any more";
  EXPECT_TRUE(IsKept(Key(1, 0)));
  EXPECT_TRUE(IsKept(Key(1, 2)));
  EXPECT_TRUE(IsKept(Key(10, 0))) << "another object";
  EXPECT_TRUE(IsKept(Key(0, 0))) << "another object";
  EXPECT_FALSE(IsKept(Key(1, 1)));
}

TEST_F(MemoryPartCacheTest, BypassThatFailsDropsNothing) {
  Load(Key(1));
  PartAnswer around;
  Get(Key(1), around, true);
  source_.Fail(absl::UnavailableError("away"));
  EXPECT_FALSE(around.ok());
  EXPECT_TRUE(IsKept(Key(1)));
}

TEST_F(MemoryPartCacheTest, StaysWithinItsBudget) {
  for (int i = 0; i < 20; ++i) {
    Load(Key(i));
    EXPECT_LE(cache_.stats().used_bytes, cache_.budget_bytes());
  }
  EXPECT_EQ(cache_.stats().evictions, 16u);
  EXPECT_TRUE(IsKept(Key(19)));
}

TEST_F(MemoryPartCacheTest, WhatIsUsedOftenOutlivesAScan) {
  Load(Key(1));
  for (int i = 0; i < 3; ++i) Load(Key(1));
  for (int i = 10; i < 30; ++i) Load(Key(i));
  EXPECT_TRUE(IsKept(Key(1)));
}

TEST_F(MemoryPartCacheTest, WhatComesBackOutlivesAScanUnlessItIsAPeersToKeep) {
  for (const PartOrigin origin : {PartOrigin::kStore, PartOrigin::kPeer}) {
    MemoryPartCache cache(&source_, 4 * kPartSize);
    const auto load = [&](int object) {
      PartAnswer answer;
      cache.Get(Key(object), {}, answer.Taker());
      const bool was_kept = answer.ok();
      if (!was_kept) source_.AnswerOf(kPartSize, kPartSize, origin);
      return was_kept;
    };
    load(1);
    for (int i = 10; i < 14; ++i) load(i);
    EXPECT_FALSE(load(1)) << "gone, and back";
    for (int i = 20; i < 24; ++i) load(i);
    EXPECT_EQ(load(1), origin == PartOrigin::kStore);
  }
}

TEST_F(MemoryPartCacheTest, WhatManyAskForAtOnceIsInUse) {
  PartAnswer answers[3];
  for (PartAnswer& answer : answers) Get(Key(1), answer);
  source_.Answer();
  for (PartAnswer& answer : answers) answer.part.reset();
  for (int i = 10; i < 30; ++i) Load(Key(i));
  EXPECT_TRUE(IsKept(Key(1)));
}

TEST_F(MemoryPartCacheTest, MissesWaitForRoomThatReadersGiveBack) {
  std::vector<PartAnswer> held(4);
  for (int i = 0; i < 4; ++i) {
    Get(Key(i), held[static_cast<size_t>(i)]);
    source_.Answer();
  }
  PartAnswer waits;
  Get(Key(9), waits);
  EXPECT_EQ(source_.requests.size(), 0u);
  EXPECT_EQ(cache_.stats().waiting, 1u);
  EXPECT_EQ(cache_.stats().used_bytes, cache_.budget_bytes());
  held[0].part.reset();
  ASSERT_EQ(source_.requests.size(), 1u);
  source_.Answer();
  EXPECT_TRUE(waits.ok());
  EXPECT_LE(cache_.stats().used_bytes, cache_.budget_bytes());
}

TEST_F(MemoryPartCacheTest, FetchesUnderWayCountToo) {
  PartAnswer answers[6];
  for (int i = 0; i < 6; ++i) Get(Key(i), answers[i]);
  EXPECT_EQ(source_.count, 4);
  source_.Answer(10);  // needs less than was reserved, but not so much less that another fits
  EXPECT_EQ(source_.count, 4);
  EXPECT_TRUE(answers[0].ok());
  answers[0].part.reset();
  source_.Answer(10);
  while (!source_.requests.empty()) source_.Answer(10);
  for (int i = 1; i < 6; ++i) EXPECT_TRUE(answers[i].ok());
}

TEST_F(MemoryPartCacheTest, OfferedObjectIsServedFromMemory) {
  cache_.Offer("object1", {"ab", "cd"});
  PartAnswer answer;
  Get(Key(1), answer);
  ASSERT_TRUE(answer.ok());
  EXPECT_EQ((**answer.part)->bytes(), "abcd");
  EXPECT_EQ((**answer.part)->object_size(), 4u);
  EXPECT_EQ(source_.count, 0);
}

TEST(MemoryPartCacheLifeTest, PartsMayOutliveTheCache) {
  HeldPartSource source;
  PartAnswer answer;
  {
    MemoryPartCache cache(&source, 4 * kPartSize);
    cache.Get(Key(1), {}, answer.Taker());
    source.Answer(5);
  }
  ASSERT_TRUE(answer.ok());
  EXPECT_EQ((**answer.part)->bytes(), "ppppp");
}

class GrowingPartsTest : public MemoryPartCacheTest {
 protected:
  using Scope = PartScope;
  void Ask(const PartKey& key, PartAnswer& answer, PartScope scope, bool bypass = false) {
    PartSource::Options options;
    options.scope = scope;
    options.bypass_cache = bypass;
    cache_.Get(key, options, answer.Taker());
  }
};

TEST_F(GrowingPartsTest, WhoeverComesToAFetchThatHasBegunGetsWhatIsThere) {
  PartAnswer first, second;
  Get(Key(1), first);
  auto part = source_.Begin(6);
  ASSERT_TRUE(first.ok());
  ASSERT_TRUE(part->Write(0, "abc").ok());
  Get(Key(1), second);
  EXPECT_EQ(second.bytes(), "abc");
  EXPECT_EQ(second.origin, PartOrigin::kStore);
  EXPECT_EQ(source_.count, 1);
  EXPECT_EQ(cache_.stats().collapsed, 1u);
  EXPECT_EQ(cache_.stats().used_bytes, 6u) << "it counts in full";
  EXPECT_EQ(cache_.stats().kept_bytes, 0u) << "but is not kept yet";
  ASSERT_TRUE(part->Write(3, "def").ok());
  part->End(absl::OkStatus());
  EXPECT_EQ(first.bytes(), "abcdef");
  EXPECT_EQ(cache_.stats().kept_bytes, 6u);
  PartAnswer third;
  Get(Key(1), third);
  EXPECT_EQ(third.origin, PartOrigin::kMemory);
}

TEST_F(GrowingPartsTest, PartThatEndsBadlyIsDropped) {
  PartAnswer first;
  Get(Key(1), first);
  auto part = source_.Begin(6);
  ASSERT_TRUE(part->Write(0, "abc").ok());
  part->End(absl::UnavailableError("away"));
  EXPECT_EQ((**first.part)->status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(cache_.stats().failures, 1u);
  EXPECT_EQ(cache_.stats().kept_bytes, 0u);
  part.reset();
  EXPECT_EQ(cache_.stats().used_bytes, 6u) << "its reader has it still";
  first.part.reset();
  EXPECT_EQ(cache_.stats().used_bytes, 0u);
  Load(Key(1));
  EXPECT_EQ(source_.count, 2);
}

TEST_F(GrowingPartsTest, PartThatHasEndedBadlyAlreadyIsAnError) {
  PartAnswer answer;
  Get(Key(1), answer);
  auto part = EmptyPart(6, 6);
  part->End(absl::DataLossError("no"));
  source_.requests.front().done(PartPtr(part), PartOrigin::kStore);
  EXPECT_EQ(answer.code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(cache_.stats().failures, 1u);
}

TEST_F(GrowingPartsTest, ReaderThatGivesUpFailsNobody) {
  PartAnswer leaves, stays;
  Get(Key(1), leaves);
  Get(Key(1), stays);
  auto part = source_.Begin(3);
  leaves.part.reset();
  ASSERT_TRUE(part->Write(0, "abc").ok());
  part->End(absl::OkStatus());
  part.reset();
  EXPECT_EQ(stays.bytes(), "abc");
  stays.part.reset();
  EXPECT_TRUE(IsKept(Key(1)));
}

TEST_F(GrowingPartsTest, RequestThatMayNotWaitForPeersJoinsNoneThatMay) {
  PartAnswer anywhere, store;
  Ask(Key(1), anywhere, Scope::kAnywhere);
  Ask(Key(1), store, Scope::kStore);
  ASSERT_EQ(source_.requests.size(), 2u);
  EXPECT_EQ(source_.requests[0].options.scope, Scope::kAnywhere);
  EXPECT_EQ(source_.requests[1].options.scope, Scope::kStore);
  // Also not when the peer has begun to answer.
  auto from_peer = source_.Begin(3, PartOrigin::kPeer);
  PartAnswer late;
  Ask(Key(1), late, Scope::kStore);
  EXPECT_FALSE(late.part.has_value());
  auto from_store = source_.Begin(3);
  ASSERT_TRUE(store.ok() && late.ok());
  EXPECT_EQ(late.part->value(), store.part->value());
  EXPECT_NE(late.part->value(), anywhere.part->value());
  for (const auto& part : {from_peer, from_store}) {
    ASSERT_TRUE(part->Write(0, "abc").ok());
    part->End(absl::OkStatus());
  }
  EXPECT_EQ(cache_.stats().kept_bytes, 3u) << "one of the two is enough";
}

TEST_F(GrowingPartsTest, RequestThatMayWaitForPeersJoinsAnyFetch) {
  PartAnswer store, anywhere;
  Ask(Key(1), store, Scope::kStore);
  Ask(Key(1), anywhere, Scope::kAnywhere);
  EXPECT_EQ(source_.count, 1);
  source_.Answer(10);
  EXPECT_TRUE(store.ok());
  EXPECT_TRUE(anywhere.ok());
}

TEST_F(GrowingPartsTest, PartThatComesFromTheStoreIsReadOnceWhoeverAsked) {
  PartAnswer anywhere, store;
  Ask(Key(1), anywhere, Scope::kAnywhere);
  auto part = source_.Begin(3, PartOrigin::kStore);
  Ask(Key(1), store, Scope::kStore);
  ASSERT_TRUE(store.ok());
  EXPECT_EQ(store.part->value(), anywhere.part->value());
  part->End(absl::UnavailableError("away"));
}

TEST_F(GrowingPartsTest, CachedIsWhatIsThereWhole) {
  PartAnswer growing, cached;
  Ask(Key(1), growing, Scope::kStore);
  auto part = source_.Begin(3);
  Ask(Key(1), cached, Scope::kCached);
  ASSERT_EQ(source_.requests.size(), 1u) << "what is below may have it";
  EXPECT_EQ(source_.requests.front().options.scope, Scope::kCached);
  source_.Fail(absl::UnavailableError("not cached"));
  EXPECT_EQ(cached.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(cache_.stats().failures, 0u);
  ASSERT_TRUE(part->Write(0, "abc").ok());
  part->End(absl::OkStatus());
  Ask(Key(1), cached, Scope::kCached);
  EXPECT_TRUE(cached.ok());
  EXPECT_EQ(cached.origin, PartOrigin::kMemory);
}

TEST_F(GrowingPartsTest, CachedDoesNotWaitForRoom) {
  PartAnswer fill[4], cached;
  for (int i = 0; i < 4; ++i) Get(Key(i), fill[i]);
  Ask(Key(9), cached, Scope::kCached);
  EXPECT_EQ(cached.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(cache_.stats().waiting, 0u);
  for (int i = 0; i < 4; ++i) source_.Answer(1);
}

TEST_F(GrowingPartsTest, AroundTheCachesIsAroundThePeers) {
  PartAnswer anywhere, around, again;
  Ask(Key(1), anywhere, Scope::kAnywhere);
  Ask(Key(1), around, Scope::kAnywhere, true);
  Ask(Key(1), again, Scope::kStore, true);
  ASSERT_EQ(source_.requests.size(), 2u);
  EXPECT_EQ(source_.requests[1].options.scope, Scope::kStore);
  EXPECT_TRUE(source_.requests[1].options.bypass_cache);
  source_.Answer(1);
  source_.Answer(2);
  EXPECT_EQ(again.bytes(), "pp");
}

TEST_F(GrowingPartsTest, MemoryCountsUntilTheFillerHasLetGoToo) {
  PartAnswer answer;
  Get(Key(1), answer);
  auto part = source_.Begin();
  part->End(absl::UnavailableError("away"));
  answer.part.reset();
  EXPECT_EQ(cache_.stats().used_bytes, kPartSize);
  part.reset();
  EXPECT_EQ(cache_.stats().used_bytes, 0u);
}

TEST_F(GrowingPartsTest, SamePartFromTwoFetchesCountsOnce) {
  PartAnswer anywhere, store;
  Ask(Key(1), anywhere, Scope::kAnywhere);
  Ask(Key(1), store, Scope::kStore);
  {
    const PartPtr part = WholePart("abc", 3);
    for (auto& request : source_.requests) request.done(part, PartOrigin::kPeer);
    source_.requests.clear();
  }
  EXPECT_EQ(cache_.stats().used_bytes, 3u);
  anywhere.part.reset();
  store.part.reset();
  EXPECT_EQ(cache_.stats().used_bytes, 3u);
  EXPECT_TRUE(IsKept(Key(1)));
}

TEST_F(GrowingPartsTest, WhatWasGivenIsCountedByOrigin) {
  PartAnswer answers[5];
  Get(Key(1), answers[0]);
  Get(Key(1), answers[1]);
  source_.AnswerOf(10, 10, PartOrigin::kPeer);
  Get(Key(1), answers[2]);
  Get(Key(2), answers[3]);
  source_.AnswerOf(5, 5, PartOrigin::kDisk);
  Get(Key(3), answers[4]);
  source_.Fail(absl::NotFoundError("none"));
  const auto stats = cache_.stats();
  EXPECT_THAT(stats.given_parts, ::testing::ElementsAre(1, 1, 2, 0));
  EXPECT_THAT(stats.given_bytes, ::testing::ElementsAre(10, 5, 20, 0));
}

// Two servers that each wait for the other with all of their memory would wait for ever.
TEST(ReservedMemoryTest, RoomIsLeftForThoseWhoWaitForNoPeer) {
  HeldPartSource source;
  MemoryPartCache cache(&source, 4 * kPartSize, Clock::System(), kPartSize);
  PartAnswer anywhere[4], store[2];
  PartSource::Options options;
  for (int i = 0; i < 4; ++i) cache.Get(Key(i), options, anywhere[i].Taker());
  EXPECT_EQ(source.count, 3);
  options.scope = PartScope::kStore;
  cache.Get(Key(10), options, store[0].Taker());
  ASSERT_EQ(source.count, 4) << "it does not queue behind the one that waits";
  cache.Get(Key(11), options, store[1].Taker());
  EXPECT_EQ(source.count, 4);
  EXPECT_EQ(cache.stats().waiting, 2u);
  source.requests[3].done(WholePart(std::string(kPartSize, 'p'), kPartSize), PartOrigin::kStore);
  source.requests.pop_back();
  ASSERT_TRUE(store[0].ok());
  store[0].part.reset();
  EXPECT_EQ(source.count, 5);
  EXPECT_EQ(source.requests.back().key, Key(11));
  while (!source.requests.empty()) source.Answer(1);
  EXPECT_TRUE(anywhere[3].ok());
}

// Fails while it is asked.
class FailingSource : public PartSource {
 public:
  void Get(const PartKey&, const Options&, Done done) override {
    if (held == nullptr) {
      held = std::move(done);
    } else {
      done(absl::ResourceExhaustedError("too many"), PartOrigin::kStore);
    }
  }
  Done held;
};

TEST(ManyWaitersTest, SourceThatFailsAtOnceIsAskedForAllOfThem) {
  FailingSource source;
  MemoryPartCache cache(&source, 4 * kPartSize, Clock::System(), 2 * kPartSize);
  PartAnswer first, filled;
  cache.Get(Key(0), {}, first.Taker());
  // Two parts of room for these: one is taken by the first, the other by a part that somebody reads.
  cache.Offer("read", {std::string(kPartSize, 'r')});
  cache.Offer("read too", {std::string(kPartSize, 'r')});
  PartAnswer read[2];
  cache.Get({"read", 0}, {}, read[0].Taker());
  cache.Get({"read too", 0}, {}, read[1].Taker());
  std::vector<PartAnswer> waiters(MemoryPartCache::kMaxWaiting);
  for (size_t i = 0; i < waiters.size(); ++i) cache.Get({"o", i}, {}, waiters[i].Taker());
  ASSERT_EQ(cache.stats().waiting, waiters.size());
  for (PartAnswer& answer : read) answer.part.reset();
  source.held(absl::UnavailableError("away"), PartOrigin::kStore);
  EXPECT_EQ(cache.stats().waiting, 0u);
  for (const PartAnswer& waiter : waiters) EXPECT_EQ(waiter.code(), absl::StatusCode::kResourceExhausted);
}

}  // namespace
}  // namespace aetherfs
