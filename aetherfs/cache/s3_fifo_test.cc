#include "aetherfs/cache/s3_fifo.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <list>
#include <random>
#include <unordered_map>
#include <vector>

namespace aetherfs {
namespace {

bool Any(int) { return true; }

// A cache of `capacity` keys of weight 1 that only counts.
class CountingS3Fifo {
 public:
  explicit CountingS3Fifo(uint64_t capacity) : capacity_(capacity), policy_(capacity) {}
  bool Access(int key) {
    if (policy_.contains(key)) {
      policy_.Touch(key);
      return true;
    }
    while (policy_.weight() >= capacity_) policy_.Evict(Any);
    policy_.Insert(key, 1);
    return false;
  }

 private:
  const uint64_t capacity_;
  S3Fifo<int> policy_;
};

class CountingLru {
 public:
  explicit CountingLru(uint64_t capacity) : capacity_(capacity) {}
  bool Access(int key) {
    const auto it = index_.find(key);
    if (it != index_.end()) {
      order_.splice(order_.end(), order_, it->second);
      return true;
    }
    if (order_.size() >= capacity_) {
      index_.erase(order_.front());
      order_.pop_front();
    }
    order_.push_back(key);
    index_[key] = std::prev(order_.end());
    return false;
  }

 private:
  const uint64_t capacity_;
  std::list<int> order_;
  std::unordered_map<int, std::list<int>::iterator> index_;
};

template <typename Cache>
double HitRatio(const std::vector<int>& trace, uint64_t capacity) {
  Cache cache(capacity);
  size_t hits = 0;
  for (const int key : trace) hits += cache.Access(key) ? 1 : 0;
  return static_cast<double>(hits) / static_cast<double>(trace.size());
}

std::vector<int> ZipfTrace(int keys, double skew, size_t length, uint32_t seed) {
  std::vector<double> weights;
  for (int rank = 1; rank <= keys; ++rank) weights.push_back(1 / std::pow(rank, skew));
  std::mt19937 random(seed);
  std::discrete_distribution<int> distribution(weights.begin(), weights.end());
  std::vector<int> trace(length);
  for (int& key : trace) key = distribution(random);
  return trace;
}

TEST(S3FifoTest, BeatsLruOnALoopLargerThanTheCache) {
  for (const int loop : {1100, 1300, 1500, 1900}) {
    std::vector<int> trace;
    for (int i = 0; i < 20 * loop; ++i) trace.push_back(i % loop);
    const double lru = HitRatio<CountingLru>(trace, 1000);
    const double s3_fifo = HitRatio<CountingS3Fifo>(trace, 1000);
    RecordProperty("loop_" + std::to_string(loop), std::to_string(s3_fifo));
    EXPECT_EQ(lru, 0) << loop;
    EXPECT_GT(s3_fifo, 0.3) << loop;
  }
}

TEST(S3FifoTest, IsNoWorseThanLruOnAZipfTrace) {
  for (const double skew : {0.7, 0.9, 1.0, 1.2}) {
    for (const uint64_t capacity : {100u, 1000u}) {
      const std::vector<int> trace = ZipfTrace(10'000, skew, 300'000, 7);
      const double lru = HitRatio<CountingLru>(trace, capacity);
      const double s3_fifo = HitRatio<CountingS3Fifo>(trace, capacity);
      EXPECT_GT(s3_fifo, lru) << "skew " << skew << ", " << capacity << " of 10000";
    }
  }
}

TEST(S3FifoTest, ScanPushesOutNothingThatIsUsed) {
  CountingS3Fifo cache(100);
  for (int round = 0; round < 4; ++round) {
    for (int key = 0; key < 80; ++key) cache.Access(key);
  }
  for (int key = 1000; key < 3000; ++key) cache.Access(key);
  int left = 0;
  for (int key = 0; key < 80; ++key) left += cache.Access(key) ? 1 : 0;
  EXPECT_EQ(left, 80);
}

TEST(S3FifoTest, OldestThatWasNotUsedGoesFirst) {
  S3Fifo<int> policy(10);
  for (int key = 0; key < 5; ++key) policy.Insert(key, 2);
  policy.Touch(0);  // once is not enough
  EXPECT_EQ(policy.Evict(Any), 0);
  policy.Touch(1);
  policy.Touch(1);
  EXPECT_EQ(policy.Evict(Any), 2);
  EXPECT_EQ(policy.main_weight(), 2u) << "1 was promoted on the way";
  EXPECT_EQ(policy.weight(), 6u);
  EXPECT_FALSE(policy.contains(2));
  EXPECT_TRUE(policy.contains(1));
}

TEST(S3FifoTest, MainGoesAroundAsLongAsItIsUsed) {
  S3Fifo<int> policy(10);
  for (int key = 0; key < 3; ++key) {
    policy.Insert(key, 1);
    policy.Touch(key);
    policy.Touch(key);
  }
  EXPECT_EQ(policy.Evict(Any), 0) << "all are in the main queue then, and none was used since";
  policy.Touch(1);
  EXPECT_EQ(policy.Evict(Any), 2);
  EXPECT_EQ(policy.Evict(Any), 1);
  EXPECT_EQ(policy.Evict(Any), std::nullopt);
}

TEST(S3FifoTest, WhatComesBackSoonIsKept) {
  S3Fifo<int> policy(10);
  policy.Insert(1, 5);
  EXPECT_EQ(policy.Evict(Any), 1);
  EXPECT_EQ(policy.ghosts(), 1u);
  policy.Insert(1, 5);
  EXPECT_EQ(policy.main_weight(), 5u);
  EXPECT_EQ(policy.ghosts(), 0u);
}

TEST(S3FifoTest, ProbationIsForWhatComesBackToo) {
  S3Fifo<int> policy(10);
  policy.Insert(1, 5);
  EXPECT_EQ(policy.Evict(Any), 1);
  policy.Insert(1, 5, /*on_probation=*/true);
  EXPECT_EQ(policy.main_weight(), 0u);
}

TEST(S3FifoTest, NoMoreIsRememberedThanTheCacheHolds) {
  S3Fifo<int> policy(10);
  for (int key = 0; key < 6; ++key) {
    policy.Insert(key, 4);
    EXPECT_EQ(policy.Evict(Any), key);
  }
  EXPECT_EQ(policy.ghosts(), 2u);
  policy.Insert(3, 4);
  EXPECT_EQ(policy.main_weight(), 0u) << "forgotten";
  policy.Insert(4, 4);
  EXPECT_EQ(policy.main_weight(), 4u);
}

TEST(S3FifoTest, NumberOfGhostsIsBounded) {
  S3Fifo<int> policy(UINT64_MAX);
  const int count = static_cast<int>(S3Fifo<int>::kMaxGhosts) + 100;
  for (int key = 0; key < count; ++key) {
    policy.Insert(key, 1);
    policy.Evict(Any);
  }
  EXPECT_EQ(policy.ghosts(), S3Fifo<int>::kMaxGhosts);
}

TEST(S3FifoTest, WhatIsRemovedIsNotRemembered) {
  S3Fifo<int> policy(10);
  policy.Insert(1, 5);
  policy.Remove(1);
  policy.Remove(1);
  policy.Touch(1);
  EXPECT_EQ(policy.weight(), 0u);
  EXPECT_EQ(policy.size(), 0u);
  EXPECT_EQ(policy.ghosts(), 0u);
}

TEST(S3FifoTest, WhatMayNotGoStays) {
  S3Fifo<int> policy(10);
  for (int key = 0; key < 4; ++key) policy.Insert(key, 1);
  policy.Touch(3);
  policy.Touch(3);
  const auto odd = [](int key) { return key % 2 == 1; };
  EXPECT_EQ(policy.Evict(odd), 1);
  EXPECT_EQ(policy.Evict(odd), 3) << "it is in the main queue, and has no use left there";
  EXPECT_EQ(policy.Evict(odd), std::nullopt);
  EXPECT_EQ(policy.size(), 2u);
}

}  // namespace
}  // namespace aetherfs
