#include "aetherfs/cache/store_part_source.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/synchronization/notification.h"
#include "aetherfs/cache/memory_part_cache.h"
#include "aetherfs/cache/testing/held_part_source.h"
#include "aetherfs/object/memory/memory_object_store.h"
#include "aetherfs/object/testing/stepping_object_store.h"

namespace aetherfs {
namespace {

// Waits for all of it.
absl::StatusOr<PartPtr> Fetch(PartSource& source, const PartKey& key, bool bypass = false) {
  std::optional<absl::StatusOr<PartPtr>> result;
  absl::Notification there;
  PartSource::Options options;
  options.bypass_cache = bypass;
  source.Get(key, options, [&](absl::StatusOr<PartPtr> part, PartOrigin) {
    result = std::move(part);
    if (!result->ok()) return there.Notify();
    (**result)->WhenEnded([&](const absl::Status& status) {
      if (!status.ok()) result = status;
      there.Notify();
    });
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

// What a Get gives, as it comes.
struct WatchedPart {
  explicit WatchedPart(PartSource& source) {
    source.Get({"o", 0}, {}, [this](absl::StatusOr<PartPtr> given, PartOrigin) {
      part = std::move(given);
      there.Notify();
    });
  }
  std::string BytesOnceMoreThan(uint64_t offset) {
    there.WaitForNotification();
    absl::Notification more;
    (**part)->WhenMoreThan(offset, [&] { more.Notify(); });
    more.WaitForNotification();
    return std::string((**part)->bytes());
  }
  absl::Status End() {
    there.WaitForNotification();
    absl::Notification ended;
    (**part)->WhenEnded([&](const absl::Status&) { ended.Notify(); });
    ended.WaitForNotification();
    return (**part)->status();
  }
  std::optional<absl::StatusOr<PartPtr>> part;
  absl::Notification there;
};

TEST(StorePartSourceTest, BytesAreGivenAsTheyArrive) {
  SteppingObjectStore store;
  store.Hold();
  ThreadPool pool("parts", 1);
  StorePartSource source(&store, &pool);
  ASSERT_TRUE(store.Put("o", {"0123456789abcdefghij01234"}, {}).ok());
  WatchedPart watched(source);
  store.Give(10);
  EXPECT_EQ(watched.BytesOnceMoreThan(0), "0123456789");
  EXPECT_EQ((**watched.part)->size(), 25u);
  store.Give(10);
  EXPECT_EQ(watched.BytesOnceMoreThan(10), "0123456789abcdefghij");
  store.Give(10);
  EXPECT_TRUE(watched.End().ok());
  EXPECT_TRUE((**watched.part)->complete());
}

TEST(StorePartSourceTest, ReadThatBreaksEndsThePart) {
  SteppingObjectStore store;
  store.Hold();
  ThreadPool pool("parts", 1);
  StorePartSource source(&store, &pool);
  ASSERT_TRUE(store.Put("o", {"0123456789abcdefghij"}, {}).ok());
  WatchedPart watched(source);
  store.Give(10);
  EXPECT_EQ(watched.BytesOnceMoreThan(0), "0123456789");
  store.SetFailure(absl::UnavailableError("the connection broke"));
  EXPECT_EQ(watched.End().code(), absl::StatusCode::kUnavailable);
  store.Give(20);
  EXPECT_TRUE(Fetch(source, {"o", 0}).ok());
  EXPECT_EQ(source.stats().bytes, 30u);
  EXPECT_EQ(source.stats().unique_bytes, 20u);
}

TEST(StorePartSourceTest, FailureBeforeTheFirstByteIsNoPart) {
  SteppingObjectStore store;
  store.Hold();
  ThreadPool pool("parts", 1);
  StorePartSource source(&store, &pool);
  ASSERT_TRUE(store.Put("o", {"0123456789abcdefghij"}, {}).ok());
  store.SetFailure(absl::PermissionDeniedError("no"));
  EXPECT_EQ(Fetch(source, {"o", 0}).status().code(), absl::StatusCode::kPermissionDenied);
}

TEST(StorePartSourceTest, NothingIsCachedHere) {
  MemoryObjectStore store;
  ThreadPool pool("parts", 1);
  StorePartSource source(&store, &pool);
  ASSERT_TRUE(store.Put("o", {"abc"}, {}).ok());
  PartAnswer answer;
  PartSource::Options options;
  options.scope = PartScope::kCached;
  source.Get({"o", 0}, options, answer.Taker());
  EXPECT_EQ(answer.calls, 1) << "at once";
  EXPECT_EQ(answer.code(), absl::StatusCode::kUnavailable);
}

TEST(StorePartSourceTest, EachPartsBytesAreUniqueOnce) {
  MemoryObjectStore store;
  ThreadPool pool("parts", 2);
  StorePartSource source(&store, &pool);
  ASSERT_TRUE(store.Put("o", {std::string(kPartSize + 10, 'x')}, {}).ok());
  ASSERT_TRUE(store.Put("p", {std::string(7, 'x')}, {}).ok());
  for (const PartKey& key : {PartKey{"o", 0}, PartKey{"o", 1}, PartKey{"p", 0}, PartKey{"o", 1}}) {
    ASSERT_TRUE(Fetch(source, key).ok());
  }
  EXPECT_EQ(source.stats().unique_bytes, kPartSize + 17);
  EXPECT_EQ(source.stats().bytes, kPartSize + 27);
}

TEST(UniquePartsTest, OldOnesAreForgottenWithinTheBound) {
  UniqueParts unique(100);
  for (uint64_t i = 0; i < 100; ++i) EXPECT_TRUE(unique.Insert({"o", i}));
  for (uint64_t i = 0; i < 100; ++i) EXPECT_FALSE(unique.Insert({"o", i}));
  for (uint64_t i = 100; i < 201; ++i) EXPECT_TRUE(unique.Insert({"o", i}));
  EXPECT_FALSE(unique.Insert({"o", 150}));
  EXPECT_TRUE(unique.Insert({"o", 0})) << "forgotten";
}

TEST(CachedStoreTest, ManyThreadsReadRightBytesWithinASmallBudget) {
  MemoryObjectStore store;
  constexpr int kObjects = 12;
  for (int i = 0; i < kObjects; ++i) {
    ASSERT_TRUE(store
                    .Put("object" + std::to_string(i),
                         {std::string(kPartSize + 10, static_cast<char>('a' + i))}, {})
                    .ok());
  }
  ThreadPool pool("parts", 4);
  StorePartSource source(&store, &pool);
  MemoryPartCache cache(&source, 4 * kPartSize);
  std::vector<std::thread> threads;
  for (int t = 0; t < 6; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 60; ++i) {
        const int object = (t * 7 + i * 5) % kObjects;
        const auto part = Fetch(cache, {"object" + std::to_string(object), static_cast<uint64_t>(i % 2)});
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
