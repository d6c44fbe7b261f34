#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <algorithm>
#include <atomic>
#include <deque>
#include <optional>
#include <string>
#include <thread>

#include "absl/synchronization/notification.h"
#include "aetherfs/cache/memory_part_cache.h"
#include "aetherfs/cache/store_part_source.h"
#include "aetherfs/object/memory/memory_object_store.h"

namespace aetherfs {
namespace {

class StringPart : public Part {
 public:
  StringPart(std::string bytes, uint64_t object_size)
      : bytes_(std::move(bytes)), object_size_(object_size) {}
  std::string_view bytes() const override { return bytes_; }
  uint64_t object_size() const override { return object_size_; }

 private:
  const std::string bytes_;
  const uint64_t object_size_;
};

// Answers when told to.
class HeldSource : public PartSource {
 public:
  struct Request {
    PartKey key;
    Options options;
    Done done;
  };
  void Get(const PartKey& key, const Options& options, Done done) override {
    requests.push_back({key, options, std::move(done)});
    ++count;
  }
  // The oldest request.
  void Answer(size_t size = kPartSize) { AnswerOf(size, size); }
  void AnswerOf(size_t object_size, size_t size) {
    Request request = std::move(requests.front());
    requests.pop_front();
    request.done(PartPtr(std::make_shared<StringPart>(std::string(size, 'p'), object_size)),
                 PartOrigin::kStore);
  }
  void Fail(absl::Status status) {
    Request request = std::move(requests.front());
    requests.pop_front();
    request.done(std::move(status), PartOrigin::kStore);
  }

  std::deque<Request> requests;
  int count = 0;
};

struct Answer {
  std::optional<absl::StatusOr<PartPtr>> part;
  PartOrigin origin = PartOrigin::kStore;
  bool ok() const { return part.has_value() && part->ok(); }
};

PartKey Key(int object, uint64_t index = 0) { return {"object" + std::to_string(object), index}; }

class MemoryPartCacheTest : public ::testing::Test {
 protected:
  void Get(const PartKey& key, Answer& answer, bool bypass = false) {
    PartSource::Options options;
    options.bypass_cache = bypass;
    cache_.Get(key, options, [&answer](absl::StatusOr<PartPtr> part, PartOrigin origin) {
      answer.part = std::move(part);
      answer.origin = origin;
    });
  }
  void Load(const PartKey& key) {
    Answer answer;
    Get(key, answer);
    if (!answer.part.has_value()) source_.Answer();
    ASSERT_TRUE(answer.ok());
  }
  bool IsKept(const PartKey& key) {
    Answer answer;
    Get(key, answer);
    if (answer.part.has_value()) return true;
    source_.Answer();
    return false;
  }

  HeldSource source_;
  MemoryPartCache cache_{&source_, 4 * kPartSize};
};

TEST_F(MemoryPartCacheTest, SecondReadComesFromMemory) {
  Answer first, second;
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
  Answer answers[3];
  for (Answer& answer : answers) Get(Key(1), answer);
  EXPECT_EQ(source_.count, 1);
  source_.Answer();
  for (const Answer& answer : answers) EXPECT_TRUE(answer.ok());
  EXPECT_EQ(cache_.stats().collapsed, 2u);
}

TEST_F(MemoryPartCacheTest, FailureIsToldToAllAndNotKept) {
  Answer answers[2];
  for (Answer& answer : answers) Get(Key(1), answer);
  source_.Fail(absl::UnavailableError("away"));
  for (const Answer& answer : answers) {
    EXPECT_EQ(answer.part->status().code(), absl::StatusCode::kUnavailable);
  }
  EXPECT_EQ(cache_.stats().used_bytes, 0u);
  Load(Key(1));
  EXPECT_EQ(source_.count, 2);
}

TEST_F(MemoryPartCacheTest, BypassFetchesAgainAndReplaces) {
  Load(Key(1));
  Answer around;
  Get(Key(1), around, true);
  ASSERT_EQ(source_.count, 2);
  EXPECT_TRUE(source_.requests.front().options.bypass_cache);
  source_.Answer(50);
  ASSERT_TRUE(around.ok());
  Answer again;
  Get(Key(1), again);
  ASSERT_TRUE(again.ok());
  EXPECT_EQ((**again.part)->bytes().size(), 50u);
}

TEST_F(MemoryPartCacheTest, BypassDropsTheObjectsPartsOfAnotherSize) {
  const auto load = [this](const PartKey& key, size_t object_size, size_t size, bool bypass = false) {
    Answer answer;
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
  Answer around;
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

TEST_F(MemoryPartCacheTest, MissesWaitForRoomThatReadersGiveBack) {
  std::vector<Answer> held(4);
  for (int i = 0; i < 4; ++i) {
    Get(Key(i), held[static_cast<size_t>(i)]);
    source_.Answer();
  }
  Answer waits;
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
  Answer answers[6];
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
  Answer answer;
  Get(Key(1), answer);
  ASSERT_TRUE(answer.ok());
  EXPECT_EQ((**answer.part)->bytes(), "abcd");
  EXPECT_EQ((**answer.part)->object_size(), 4u);
  EXPECT_EQ(source_.count, 0);
}

TEST(MemoryPartCacheLifeTest, PartsMayOutliveTheCache) {
  HeldSource source;
  Answer answer;
  {
    MemoryPartCache cache(&source, 4 * kPartSize);
    cache.Get(Key(1), {}, [&](absl::StatusOr<PartPtr> part, PartOrigin) { answer.part = std::move(part); });
    source.Answer(5);
  }
  ASSERT_TRUE(answer.ok());
  EXPECT_EQ((**answer.part)->bytes(), "ppppp");
}

// Waits for what the pool does.
absl::StatusOr<PartPtr> Fetch(PartSource& source, const PartKey& key, bool bypass = false) {
  std::optional<absl::StatusOr<PartPtr>> result;
  absl::Notification there;
  PartSource::Options options;
  options.bypass_cache = bypass;
  source.Get(key, options, [&](absl::StatusOr<PartPtr> part, PartOrigin) {
    result = std::move(part);
    there.Notify();
  });
  there.WaitForNotification();
  return *std::move(result);
}

TEST(StorePartSourceTest, CutsObjectsIntoParts) {
  MemoryObjectStore store;
  ThreadPool pool("parts", 2);
  StorePartSource source(&store, &pool);
  std::string object(2 * kPartSize + 5, 'a');
  object[kPartSize] = 'b';
  object.back() = 'c';
  ASSERT_TRUE(store.Put("o", {object}, {}).ok());
  for (uint64_t index = 0; index < 3; ++index) {
    const auto part = Fetch(source, {"o", index});
    ASSERT_TRUE(part.ok()) << part.status();
    EXPECT_EQ((*part)->object_size(), object.size());
    EXPECT_EQ((*part)->bytes(), std::string_view(object).substr(index * kPartSize, kPartSize));
  }
  EXPECT_EQ(Fetch(source, {"o", 3}).status().code(), absl::StatusCode::kOutOfRange);
  EXPECT_EQ(Fetch(source, {"o", UINT64_MAX}).status().code(), absl::StatusCode::kOutOfRange);
  EXPECT_EQ(Fetch(source, {"none", 0}).status().code(), absl::StatusCode::kNotFound);
}

TEST(StorePartSourceTest, ObjectOfExactlyOnePartHasNoSecond) {
  MemoryObjectStore store;
  ThreadPool pool("parts", 2);
  StorePartSource source(&store, &pool);
  ASSERT_TRUE(store.Put("o", {std::string(kPartSize, 'x')}, {}).ok());
  EXPECT_TRUE(Fetch(source, {"o", 0}).ok());
  EXPECT_EQ(Fetch(source, {"o", 1}).status().code(), absl::StatusCode::kOutOfRange);
}

TEST(StorePartSourceTest, ObjectThatIsNotAsLongAsItWasIsDataLoss) {
  MemoryObjectStore store;
  ThreadPool pool("parts", 2);
  StorePartSource source(&store, &pool);
  ASSERT_TRUE(store.Put("o", {"abc"}, {}).ok());
  source.NoteObjectSize("o", 2);
  EXPECT_EQ(Fetch(source, {"o", 0}).status().code(), absl::StatusCode::kDataLoss);
  EXPECT_TRUE(Fetch(source, {"o", 0}, true).ok());
}

// Counts what is asked of a store.
class CountingStore : public MemoryObjectStore {
 public:
  absl::StatusOr<ObjectInfo> Head(std::string_view key, absl::Time deadline) override {
    ++heads;
    return MemoryObjectStore::Head(key, deadline);
  }
  std::atomic<int> heads = 0;
};

TEST(StorePartSourceTest, SizeIsRememberedOnceAGetAgrees) {
  CountingStore store;
  ThreadPool pool("parts", 2);
  StorePartSource source(&store, &pool);
  ASSERT_TRUE(store.Put("o", {std::string(2 * kPartSize, 'x')}, {}).ok());
  EXPECT_TRUE(Fetch(source, {"o", 0}).ok());
  EXPECT_TRUE(Fetch(source, {"o", 1}).ok());
  EXPECT_EQ(store.heads, 1);
  EXPECT_TRUE(Fetch(source, {"o", 1}, true).ok());
  EXPECT_EQ(store.heads, 2) << "a call that bypasses caches looks anew";
}

TEST(StorePartSourceTest, HarmedObjectThatWasRepairedIsReadAgain) {
  const std::string whole(kPartSize + 100, 'x');
  for (const std::string& harmed : {whole.substr(0, 1000), std::string(), whole + "more"}) {
    MemoryObjectStore store;
    ThreadPool pool("parts", 2);
    StorePartSource source(&store, &pool);
    ASSERT_TRUE(store.Put("o", {whole}, {}).ok());
    ASSERT_TRUE(Fetch(source, {"o", 1}).ok());
    ASSERT_TRUE(store.Put("o", {harmed}, {}).ok());
    EXPECT_FALSE(Fetch(source, {"o", 1}).ok());  // what is remembered does not fit
    if (harmed.size() < whole.size()) {
      EXPECT_EQ(Fetch(source, {"o", 1}).status().code(), absl::StatusCode::kOutOfRange);
      EXPECT_EQ(Fetch(source, {"o", 1}, true).status().code(), absl::StatusCode::kOutOfRange);
    }
    ASSERT_TRUE(store.Put("o", {whole}, {}).ok());
    auto part = Fetch(source, {"o", 1});
    if (!part.ok()) part = Fetch(source, {"o", 1});  // another wrong size may have been remembered
    ASSERT_TRUE(part.ok()) << part.status();
    EXPECT_EQ((*part)->bytes().size(), 100u);
  }
}

TEST(StorePartSourceTest, ObjectThatIsGoneAndComesBackIsReadAgain) {
  CountingStore store;
  ThreadPool pool("parts", 2);
  StorePartSource source(&store, &pool);
  ASSERT_TRUE(store.Put("o", {"abc"}, {}).ok());
  ASSERT_TRUE(Fetch(source, {"o", 0}).ok());
  ASSERT_TRUE(store.Remove("o", absl::InfiniteFuture()).ok());
  EXPECT_EQ(Fetch(source, {"o", 0}).status().code(), absl::StatusCode::kNotFound);
  ASSERT_TRUE(store.Put("o", {"abcdef"}, {}).ok());
  EXPECT_TRUE(Fetch(source, {"o", 0}).ok());
}

TEST(CachedStoreTest, ManyThreadsReadRightBytesWithinASmallBudget) {
  MemoryObjectStore store;
  constexpr int kObjects = 12;
  for (int i = 0; i < kObjects; ++i) {
    ASSERT_TRUE(
        store.Put(Key(i).object_key, {std::string(kPartSize + 10, static_cast<char>('a' + i))}, {}).ok());
  }
  ThreadPool pool("parts", 4);
  StorePartSource source(&store, &pool);
  MemoryPartCache cache(&source, 4 * kPartSize);
  std::vector<std::thread> threads;
  for (int t = 0; t < 6; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 60; ++i) {
        const int object = (t * 7 + i * 5) % kObjects;
        const auto part = Fetch(cache, Key(object, static_cast<uint64_t>(i % 2)));
        ASSERT_TRUE(part.ok()) << part.status();
        EXPECT_EQ((*part)->bytes().front(), 'a' + object);
        EXPECT_EQ((*part)->bytes().back(), 'a' + object);
        EXPECT_LE(cache.stats().used_bytes, cache.budget_bytes());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(cache.stats().waiting, 0u);
}

}  // namespace
}  // namespace aetherfs
