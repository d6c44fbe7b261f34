#include "aetherfs/cache/disk_part_cache.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "aetherfs/base/testing/fake_clock.h"
#include "aetherfs/cache/testing/any_part_source.h"
#include "aetherfs/cache/testing/fake_part_files.h"
#include "aetherfs/cache/testing/held_part_source.h"
#include "aetherfs/format/testing/samples.h"

namespace aetherfs {
namespace {

constexpr uint64_t kBlock = DiskPartCache::kDiskBlock;

PartKey Key(uint64_t object, uint64_t index = 0) { return {"object" + std::to_string(object), index}; }

const PartSource::Options kAround{.bypass_cache = true};
const PartSource::Options kCachedOnly{.scope = PartScope::kCached};

class DiskPartCacheTest : public ::testing::Test {
 protected:
  void Start(uint64_t size = 100 * kBlock) {
    DiskPartCacheOptions options;
    options.size_bytes = size;
    StartOver(options, std::make_unique<FakePartFiles>(disk_), &below_);
  }
  void StartOver(const DiskPartCacheOptions& options, std::unique_ptr<PartFiles> files, PartSource* below) {
    cache_.reset();
    cache_ = std::make_unique<DiskPartCache>(std::move(files), options, below, &clock_);
  }
  GivenPart Get(const PartKey& key, const PartSource::Options& options = {}) {
    return GetPart(*cache_, key, options);
  }
  // Has it written.
  void Load(const PartKey& key) {
    EXPECT_EQ(Get(key).bytes(), below_.Bytes(key));
    cache_->AwaitIdle();
  }
  bool IsKept(const PartKey& key) { return Get(key, kCachedOnly).part.ok(); }

  FakeClock clock_;
  AnyPartSource below_;
  const std::shared_ptr<FakeDisk> disk_ = std::make_shared<FakeDisk>();
  std::unique_ptr<DiskPartCache> cache_;
};

TEST_F(DiskPartCacheTest, SecondReadComesFromDisk) {
  Start();
  const GivenPart first = Get(Key(1));
  EXPECT_EQ(first.origin, PartOrigin::kStore);
  cache_->AwaitIdle();
  const GivenPart second = Get(Key(1));
  EXPECT_EQ(second.origin, PartOrigin::kDisk);
  EXPECT_EQ(second.bytes(), below_.Bytes(Key(1)));
  ASSERT_TRUE(second.part.ok());
  EXPECT_TRUE((*second.part)->complete());
  EXPECT_EQ((*second.part)->object_size(), 1000u);
  EXPECT_EQ((*second.part)->checksum(), (*first.part)->checksum());
  EXPECT_EQ(below_.count, 1);
  const DiskPartCache::Stats stats = cache_->stats();
  EXPECT_EQ(stats.hits, 1u);
  EXPECT_EQ(stats.misses, 1u);
  EXPECT_EQ(stats.written, 1u);
  EXPECT_EQ(stats.written_bytes, 1000u);
  EXPECT_EQ(stats.kept_parts, 1u);
  EXPECT_EQ(stats.used_bytes, kBlock);
  EXPECT_EQ(stats.limit_bytes, 100 * kBlock);
}

TEST_F(DiskPartCacheTest, PartsSurviveARestart) {
  below_.object_size = kPartSize + 1;
  Start(8 * kPartSize);
  const std::vector<PartKey> keys = {Key(1), Key(1, 1), Key(2)};
  for (const PartKey& key : keys) Load(key);
  Start(8 * kPartSize);
  cache_->AwaitIdle();
  for (const PartKey& key : keys) {
    const GivenPart given = Get(key, kCachedOnly);
    EXPECT_EQ(given.origin, PartOrigin::kDisk);
    EXPECT_TRUE(given.bytes() == below_.Bytes(key));
  }
  EXPECT_EQ(below_.count, 3);
  EXPECT_EQ(cache_->stats().used_bytes, 2 * (kPartSize + kBlock) + kBlock);
}

TEST_F(DiskPartCacheTest, RestartWithASmallerSizeDropsTheOldest) {
  Start();
  for (uint64_t i = 0; i < 10; ++i) Load(Key(i));
  Start(4 * kBlock);
  cache_->AwaitIdle();
  EXPECT_EQ(disk_->files(), 4u);
  for (uint64_t i = 0; i < 10; ++i) EXPECT_EQ(IsKept(Key(i)), i >= 6) << i;
}

TEST_F(DiskPartCacheTest, OwnPartsThatAnotherServerHadAreWritten) {
  below_.origin = PartOrigin::kPeer;
  Start();
  EXPECT_EQ(Get(Key(1), {.scope = PartScope::kStore}).origin, PartOrigin::kPeer);
  cache_->AwaitIdle();
  EXPECT_TRUE(IsKept(Key(1)));
}

TEST_F(DiskPartCacheTest, OtherPartsOfPeersAreNotWritten) {
  below_.origin = PartOrigin::kPeer;
  Start();
  EXPECT_EQ(Get(Key(1)).origin, PartOrigin::kPeer);
  cache_->AwaitIdle();
  EXPECT_EQ(disk_->files(), 0u);
}

TEST_F(DiskPartCacheTest, CachedOnlyRequestsEndHere) {
  Start();
  const GivenPart given = Get(Key(1), kCachedOnly);
  EXPECT_TRUE(absl::IsUnavailable(given.part.status()));
  EXPECT_EQ(below_.count, 0);
}

TEST_F(DiskPartCacheTest, PartIsGivenWhileItArrivesAndWrittenOnceItIsWhole) {
  HeldPartSource held;
  StartOver({.size_bytes = 100 * kBlock}, std::make_unique<FakePartFiles>(disk_), &held);
  PartAnswer answers[2];
  cache_->Get(Key(1), {}, answers[0].Taker());
  const std::shared_ptr<Part> part = held.Begin(4);
  ASSERT_TRUE(part->Write(0, "ab").ok());
  EXPECT_EQ(answers[0].bytes(), "ab");
  cache_->AwaitIdle();
  EXPECT_EQ(disk_->files(), 0u);
  ASSERT_TRUE(part->Write(2, "cd").ok());
  part->End(absl::OkStatus());
  cache_->AwaitIdle();
  EXPECT_EQ(Get(Key(1), kCachedOnly).bytes(), "abcd");

  cache_->Get(Key(2), {}, answers[1].Taker());
  held.Begin(4)->End(absl::UnavailableError("away"));
  cache_->AwaitIdle();
  EXPECT_EQ(disk_->files(), 1u) << "what ended badly is not kept";
}

TEST_F(DiskPartCacheTest, FailuresOfWhatIsBelowAreHandedOn) {
  HeldPartSource held;
  StartOver({.size_bytes = 100 * kBlock}, std::make_unique<FakePartFiles>(disk_), &held);
  PartAnswer answer;
  cache_->Get(Key(1), {}, answer.Taker());
  held.Fail(absl::NotFoundError("none"));
  EXPECT_EQ(answer.code(), absl::StatusCode::kNotFound);
}

TEST_F(DiskPartCacheTest, WhatIsUsedStaysWhenOthersComeAndGo) {
  Start(20 * kBlock);
  Load(Key(0));
  for (uint64_t i = 1; i < 100; ++i) {
    Load(Key(i));
    EXPECT_EQ(Get(Key(0)).origin, PartOrigin::kDisk) << i;
  }
  EXPECT_EQ(cache_->stats().evictions, 80u);
  EXPECT_EQ(cache_->stats().used_bytes, 20 * kBlock);
  EXPECT_EQ(disk_->files(), 20u);
  EXPECT_LE(disk_->most_bytes(), 20 * kBlock);
}

TEST_F(DiskPartCacheTest, DiskSmallerThanPromisedMakesTheCacheSmaller) {
  disk_->set_capacity(16 * kBlock);
  Start(100 * kBlock);
  for (uint64_t i = 0; i < 50; ++i) Load(Key(i));
  DiskPartCache::Stats stats = cache_->stats();
  EXPECT_EQ(stats.failures, 1u);
  EXPECT_EQ(stats.limit_bytes, 14 * kBlock);
  EXPECT_EQ(stats.used_bytes, 14 * kBlock);
  EXPECT_EQ(stats.written, 49u) << "it goes on";
  EXPECT_TRUE(IsKept(Key(49)));

  disk_->set_capacity(8 * kBlock);  // others fill it
  for (uint64_t i = 50; i < 100; ++i) Load(Key(i));
  EXPECT_LT(cache_->stats().limit_bytes, 9 * kBlock);
  EXPECT_LE(cache_->stats().used_bytes, 8 * kBlock);
  EXPECT_TRUE(IsKept(Key(99)));

  disk_->set_capacity(1000 * kBlock);
  clock_.Advance(DiskPartCache::kSmallerFor);
  EXPECT_EQ(cache_->stats().limit_bytes, 100 * kBlock);
  for (uint64_t i = 100; i < 250; ++i) Load(Key(i));
  EXPECT_EQ(cache_->stats().used_bytes, 100 * kBlock);
}

TEST_F(DiskPartCacheTest, DiskWithNoRoomAtAllIsNoError) {
  disk_->set_capacity(0);
  Start();
  for (uint64_t i = 0; i < 5; ++i) Load(Key(i));
  EXPECT_EQ(cache_->stats().limit_bytes, 0u);
  EXPECT_EQ(disk_->calls(FakeDisk::kWrite), 1) << "it is left alone for a while";
  EXPECT_EQ(cache_->stats().skipped, 5u);
}

TEST_F(DiskPartCacheTest, ErrorOfTheDiskStopsWritingForAWhile) {
  Start();
  Load(Key(0));
  disk_->Fail(FakeDisk::kWrite, absl::DataLossError("input/output error"));
  for (uint64_t i = 1; i < 5; ++i) Load(Key(i));
  EXPECT_EQ(disk_->calls(FakeDisk::kWrite), 2);
  EXPECT_EQ(cache_->stats().failures, 1u);
  EXPECT_EQ(cache_->stats().skipped, 4u);
  EXPECT_TRUE(IsKept(Key(0))) << "reading goes on";
  EXPECT_EQ(cache_->stats().used_bytes, kBlock);
  disk_->Heal(FakeDisk::kWrite);
  Load(Key(5));
  EXPECT_FALSE(IsKept(Key(5)));
  clock_.Advance(DiskPartCache::kPause);
  Load(Key(5));
  EXPECT_TRUE(IsKept(Key(5)));
}

TEST_F(DiskPartCacheTest, WhatCannotBeReadComesFromBelowAndGoes) {
  Start();
  Load(Key(1));
  Load(Key(2));
  disk_->Fail(FakeDisk::kRead, absl::UnavailableError("too many open files"));
  Load(Key(1));
  disk_->Heal(FakeDisk::kRead);
  EXPECT_TRUE(IsKept(Key(1))) << "it was not the file's fault";
  disk_->Fail(FakeDisk::kRead, absl::DataLossError("input/output error"));
  EXPECT_EQ(Get(Key(2)).bytes(), below_.Bytes(Key(2)));
  EXPECT_EQ(cache_->stats().failures, 2u);
  EXPECT_EQ(cache_->stats().corrupt, 0u);
  disk_->Heal(FakeDisk::kRead);
  cache_->AwaitIdle();
  Load(Key(2));
  EXPECT_TRUE(IsKept(Key(2)));
}

TEST_F(DiskPartCacheTest, WhatCannotBeRemovedGoesOnToCount) {
  Start(10 * kBlock);
  for (uint64_t i = 0; i < 10; ++i) Load(Key(i));
  disk_->Fail(FakeDisk::kRemove, absl::DataLossError("input/output error"));
  for (uint64_t i = 10; i < 20; ++i) {
    Load(Key(i));
    clock_.Advance(DiskPartCache::kPause);
  }
  EXPECT_EQ(disk_->files(), 10u);
  EXPECT_EQ(cache_->stats().used_bytes, 10 * kBlock);
  disk_->Heal(FakeDisk::kRemove);
  Load(Key(20));
  EXPECT_TRUE(IsKept(Key(20)));
  EXPECT_LE(disk_->most_bytes(), 10 * kBlock);
}

TEST_F(DiskPartCacheTest, DirectoryThatCannotBeListedIsNotWrittenTo) {
  Start();
  Load(Key(1));
  disk_->Fail(FakeDisk::kScan, absl::DataLossError("input/output error"));
  Start();
  Load(Key(2));
  clock_.Advance(absl::Hours(1));
  Load(Key(3));
  EXPECT_EQ(disk_->files(), 1u);
  EXPECT_EQ(cache_->stats().failures, 1u);
}

TEST_F(DiskPartCacheTest, RequestAroundTheCachesReplacesThePart) {
  Start();
  Load(Key(1));
  below_.version = 2;
  EXPECT_EQ(Get(Key(1), kAround).bytes(), below_.Bytes(Key(1)));
  EXPECT_EQ(below_.bypassed, 1);
  cache_->AwaitIdle();
  const GivenPart given = Get(Key(1), kCachedOnly);
  EXPECT_EQ(given.bytes(), below_.Bytes(Key(1)));
  EXPECT_EQ(disk_->files(), 1u);
}

TEST_F(DiskPartCacheTest, RequestAroundTheCachesThatFailsLeavesNothing) {
  HeldPartSource held;
  Start();
  Load(Key(1));
  StartOver({.size_bytes = 100 * kBlock}, std::make_unique<FakePartFiles>(disk_), &held);
  cache_->AwaitIdle();
  PartAnswer answer;
  cache_->Get(Key(1), kAround, answer.Taker());
  held.Fail(absl::UnavailableError("away"));
  EXPECT_FALSE(IsKept(Key(1)));
  cache_->AwaitIdle();
  EXPECT_FALSE(disk_->Has(Key(1)));
}

TEST_F(DiskPartCacheTest, RequestAroundTheCachesDropsPartsOfAnotherSize) {
  below_.object_size = 2 * kPartSize + 5;
  Start(20 * kPartSize);
  for (uint64_t i = 0; i < 3; ++i) Load(Key(1, i));
  Load(Key(2));
  Get(Key(1, 0), kAround);
  cache_->AwaitIdle();
  EXPECT_TRUE(IsKept(Key(1, 1))) << "of the same size";
  below_.object_size = kPartSize + 5;
  Get(Key(1, 0), kAround);
  cache_->AwaitIdle();
  EXPECT_TRUE(IsKept(Key(1, 0)));
  EXPECT_FALSE(disk_->Has(Key(1, 1)));
  EXPECT_FALSE(disk_->Has(Key(1, 2)));
  EXPECT_TRUE(IsKept(Key(2))) << "another object";
}

TEST_F(DiskPartCacheTest, FileGoesOnlyWhenNobodyReadsItAnyMore) {
  Start();
  Load(Key(1));
  const std::string old = below_.Bytes(Key(1));
  disk_->Hold(FakeDisk::kRead);
  GivenPart read;
  std::thread reader([&] { read = Get(Key(1)); });
  disk_->AwaitCall(FakeDisk::kRead);
  below_.version = 2;
  EXPECT_EQ(Get(Key(1), kAround).bytes(), below_.Bytes(Key(1)));
  cache_->AwaitIdle();
  EXPECT_TRUE(disk_->Has(Key(1)));
  EXPECT_EQ(disk_->calls(FakeDisk::kWrite), 1);
  disk_->Release(FakeDisk::kRead);
  reader.join();
  EXPECT_EQ(read.bytes(), old);
  EXPECT_EQ(cache_->stats().corrupt, 0u);
  cache_->AwaitIdle();
  EXPECT_FALSE(disk_->Has(Key(1)));
  Load(Key(1));
  EXPECT_TRUE(IsKept(Key(1)));
}

TEST_F(DiskPartCacheTest, RequestsDuringTheScanGoBelow) {
  Start();
  Load(Key(1));
  Load(Key(2));
  disk_->Hold(FakeDisk::kScan);
  Start();
  EXPECT_TRUE(cache_->stats().scanning);
  EXPECT_EQ(Get(Key(1)).origin, PartOrigin::kStore);
  below_.version = 2;
  EXPECT_EQ(Get(Key(2), kAround).origin, PartOrigin::kStore);
  EXPECT_EQ(Get(Key(3)).origin, PartOrigin::kStore);
  disk_->Release(FakeDisk::kScan);
  cache_->AwaitIdle();
  EXPECT_FALSE(cache_->stats().scanning);
  EXPECT_EQ(disk_->calls(FakeDisk::kWrite), 4)
      << "what was found is not written again, unless it was replaced";
  EXPECT_EQ(Get(Key(2), kCachedOnly).bytes(), below_.Bytes(Key(2)));
  EXPECT_EQ(Get(Key(3), kCachedOnly).bytes(), below_.Bytes(Key(3)));
  below_.version = 1;
  EXPECT_EQ(Get(Key(1), kCachedOnly).bytes(), below_.Bytes(Key(1)));
}

TEST_F(DiskPartCacheTest, NoMoreWaitsToBeWrittenThanMay) {
  disk_->Hold(FakeDisk::kWrite);
  StartOver({.size_bytes = 100 * kBlock, .max_unwritten_bytes = 3500},
            std::make_unique<FakePartFiles>(disk_), &below_);
  for (uint64_t i = 0; i < 10; ++i) Get(Key(i));
  EXPECT_EQ(cache_->stats().skipped, 7u);
  disk_->Release(FakeDisk::kWrite);
  cache_->AwaitIdle();
  EXPECT_EQ(disk_->files(), 3u);
  Load(Key(9));
  EXPECT_TRUE(IsKept(Key(9)));
}

TEST_F(DiskPartCacheTest, StopWritesWhatWaitsAndThenGoesBelow) {
  Start();
  Load(Key(0));
  disk_->Hold(FakeDisk::kWrite);
  disk_->Hold(FakeDisk::kRead);
  for (uint64_t i = 1; i < 4; ++i) Get(Key(i));
  GivenPart read;
  std::thread reader([&] { read = Get(Key(0)); });
  disk_->AwaitCall(FakeDisk::kRead);
  std::thread stopper([&] { cache_->Stop(); });
  disk_->Release(FakeDisk::kRead);
  disk_->Release(FakeDisk::kWrite);
  stopper.join();
  reader.join();
  EXPECT_EQ(read.origin, PartOrigin::kDisk);
  EXPECT_EQ(disk_->files(), 4u);
  EXPECT_EQ(Get(Key(0)).origin, PartOrigin::kStore);
  EXPECT_FALSE(IsKept(Key(0)));
  EXPECT_EQ(Get(Key(0), kAround).origin, PartOrigin::kStore);
  EXPECT_EQ(Get(Key(9)).origin, PartOrigin::kStore);
  EXPECT_EQ(disk_->files(), 4u);
}

TEST_F(DiskPartCacheTest, StopDuringTheScanStaysWithinTheSize) {
  Start();
  for (uint64_t i = 0; i < 4; ++i) Load(Key(i));
  disk_->Hold(FakeDisk::kScan);
  Start(4 * kBlock);
  Get(Key(9));
  std::thread stopper([&] { cache_->Stop(); });
  // Once it is stopped nothing more is taken.
  for (uint64_t i = 100; cache_->stats().skipped == 0; ++i) Get(Key(i));
  disk_->Release(FakeDisk::kScan);
  stopper.join();
  EXPECT_LE(disk_->most_bytes(), 4 * kBlock);
}

TEST_F(DiskPartCacheTest, NeverMoreThanTheSizeWhateverHappens) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    SCOPED_TRACE(seed);
    SeededSequence random(seed);
    const auto disk = std::make_shared<FakeDisk>();
    const uint64_t size = (8 + random.Below(60)) * kBlock;
    AnyPartSource below;
    below.object_size = 3 * kBlock;
    const auto start = [&] {
      StartOver({.size_bytes = size, .max_unwritten_bytes = 20 * kBlock},
                std::make_unique<FakePartFiles>(disk), &below);
    };
    start();
    for (int step = 0; step < 600; ++step) {
      switch (random.Below(40)) {
        case 0:
          start();
          break;
        case 1:
          disk->Fail(FakeDisk::Call(random.Below(3)), absl::DataLossError("input/output error"));
          break;
        case 2:
          disk->set_capacity(random.Below(80) * kBlock);
          break;
        case 3:
        case 4:
        case 5:
          for (int call = 0; call < 3; ++call) disk->Heal(FakeDisk::Call(call));
          disk->set_capacity(1000 * kBlock);
          break;
        case 6:
          clock_.Advance(DiskPartCache::kPause);
          break;
        case 7:
          clock_.Advance(DiskPartCache::kSmallerFor);
          break;
        case 8:
          cache_->AwaitIdle();
          EXPECT_LE(cache_->stats().used_bytes, size);
          break;
        default: {
          // Each key has a size of its own.
          const uint64_t object = random.Below(40);
          below.object_size = 1 + object * 311;
          const PartKey key = Key(object);
          const PartSource::Options options = random.Below(10) == 0 ? kAround : PartSource::Options();
          ASSERT_EQ(Get(key, options).bytes(), below.Bytes(key));
        }
      }
    }
    cache_->AwaitIdle();
    cache_.reset();
    EXPECT_LE(disk->most_bytes(), size);
    EXPECT_GT(disk->most_bytes(), size / 2);
  }
}

TEST_F(DiskPartCacheTest, ManyThreadsGetTheRightBytes) {
  Start(20 * kBlock);
  const auto expected = [](const PartKey& key) { return AnyPartSource().Bytes(key); };
  std::vector<std::thread> threads;
  std::atomic<int> wrong = 0;
  for (uint64_t thread = 0; thread < 4; ++thread) {
    threads.emplace_back([&, thread] {
      SeededSequence random(thread);
      for (int i = 0; i < 2000; ++i) {
        const PartKey key = Key(random.Below(30));
        if (Get(key, random.Below(20) == 0 ? kAround : PartSource::Options()).bytes() != expected(key))
          ++wrong;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  cache_->AwaitIdle();
  EXPECT_EQ(wrong, 0);
  const DiskPartCache::Stats stats = cache_->stats();
  EXPECT_EQ(stats.corrupt + stats.failures, 0u);
  EXPECT_GT(stats.hits, 0u);
  EXPECT_LE(disk_->most_bytes(), 20 * kBlock);
}

}  // namespace
}  // namespace aetherfs
