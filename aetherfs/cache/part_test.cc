#include "aetherfs/cache/part.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <xxhash.h>

#include <algorithm>
#include <string>
#include <thread>
#include <vector>

#include "aetherfs/cache/testing/held_part_source.h"

namespace aetherfs {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(PartTest, PrefixGrowsUntilItIsWhole) {
  auto part = EmptyPart(10, 25);
  EXPECT_EQ(part->size(), 10u);
  EXPECT_EQ(part->object_size(), 25u);
  EXPECT_EQ(part->bytes(), "");
  ASSERT_TRUE(part->Write(0, "abcd").ok());
  const std::string_view prefix = part->bytes();
  EXPECT_EQ(prefix, "abcd");
  ASSERT_TRUE(part->Write(4, "efghij").ok());
  EXPECT_EQ(part->bytes(), "abcdefghij");
  EXPECT_EQ(part->bytes().data(), prefix.data()) << "what has arrived does not move";
  EXPECT_FALSE(part->complete()) << "nobody has said that it is right";
  part->End(absl::OkStatus());
  EXPECT_TRUE(part->complete());
  EXPECT_EQ(part->checksum(), XXH3_64bits("abcdefghij", 10));
}

TEST(PartTest, WhatIsThereAlreadyIsSkipped) {
  auto part = EmptyPart(6, 6);
  ASSERT_TRUE(part->Write(0, "abc").ok());
  ASSERT_TRUE(part->Write(0, "ab").ok());
  ASSERT_TRUE(part->Write(1, "bcd").ok());
  EXPECT_EQ(part->bytes(), "abcd");
  ASSERT_TRUE(part->Write(0, "abcdef").ok());
  EXPECT_EQ(part->bytes(), "abcdef");
}

TEST(PartTest, GapsAndBytesBehindTheEndAreRefused) {
  auto part = EmptyPart(6, 6);
  ASSERT_TRUE(part->Write(0, "ab").ok());
  EXPECT_EQ(part->Write(3, "d").code(), absl::StatusCode::kInternal);
  EXPECT_EQ(part->Write(2, "cdefg").code(), absl::StatusCode::kInternal);
  EXPECT_EQ(part->Write(UINT64_MAX, "cd").code(), absl::StatusCode::kInternal);
  EXPECT_EQ(part->bytes(), "ab");
}

TEST(PartTest, WaitersAreWokenOnceWhenThereIsMore) {
  auto part = EmptyPart(10, 10);
  std::vector<std::string> woken;
  part->WhenMoreThan(0, [&] { woken.push_back("0"); });
  part->WhenMoreThan(3, [&] { woken.push_back("3"); });
  part->WhenMoreThan(9, [&] { woken.push_back("9"); });
  ASSERT_TRUE(part->Write(0, "abc").ok());
  EXPECT_THAT(woken, ElementsAre("0"));
  part->WhenMoreThan(1, [&] { woken.push_back("1, at once"); });
  ASSERT_TRUE(part->Write(3, "d").ok());
  EXPECT_THAT(woken, ElementsAre("0", "1, at once", "3"));
  ASSERT_TRUE(part->Write(4, "efghij").ok());
  part->End(absl::OkStatus());
  EXPECT_THAT(woken, ElementsAre("0", "1, at once", "3", "9"));
}

TEST(PartTest, WaitersMayUseThePart) {
  auto part = EmptyPart(4, 4);
  std::vector<std::string> seen;
  std::function<void()> look = [&] {
    seen.emplace_back(part->bytes());
    part->status().IgnoreError();
    if (!part->complete()) part->WhenMoreThan(part->bytes().size(), look);
  };
  part->WhenMoreThan(0, look);
  ASSERT_TRUE(part->Write(0, "ab").ok());
  ASSERT_TRUE(part->Write(2, "cd").ok());
  part->End(absl::OkStatus());
  EXPECT_THAT(seen, ElementsAre("ab", "abcd", "abcd"));
}

TEST(PartTest, EndWakesEverybody) {
  auto part = EmptyPart(10, 10);
  ASSERT_TRUE(part->Write(0, "abc").ok());
  std::vector<absl::StatusCode> ends;
  int woken = 0;
  part->WhenMoreThan(5, [&] { ++woken; });
  part->WhenEnded([&](const absl::Status& status) { ends.push_back(status.code()); });
  part->End(absl::UnavailableError("away"));
  part->WhenEnded([&](const absl::Status& status) { ends.push_back(status.code()); });
  EXPECT_EQ(woken, 1);
  EXPECT_THAT(ends, ElementsAre(absl::StatusCode::kUnavailable, absl::StatusCode::kUnavailable));
  EXPECT_FALSE(part->complete());
  EXPECT_EQ(part->bytes(), "abc") << "what has arrived stays";
}

TEST(PartTest, OnlyTheEndEndsIt) {
  auto part = EmptyPart(3, 3);
  int ends = 0;
  part->WhenEnded([&](const absl::Status&) { ++ends; });
  ASSERT_TRUE(part->Write(0, "abc").ok());
  EXPECT_EQ(ends, 0) << "all bytes are there, but whoever brought them may yet object";
  part->End(absl::DataLossError("no"));
  part->End(absl::OkStatus());
  EXPECT_EQ(ends, 1);
  EXPECT_EQ(part->status().code(), absl::StatusCode::kDataLoss) << "the first end counts";
  EXPECT_FALSE(part->complete());
}

TEST(PartTest, NothingArrivesBehindTheEnd) {
  auto part = EmptyPart(3, 3);
  ASSERT_TRUE(part->Write(0, "a").ok());
  part->End(absl::UnavailableError("away"));
  EXPECT_TRUE(part->Write(1, "bc").ok()) << "one who is late is not to blame";
  EXPECT_EQ(part->bytes(), "a");
}

TEST(PartTest, GoodEndOfAPartThatIsNotWholeIsDataLoss) {
  auto part = EmptyPart(3, 3);
  ASSERT_TRUE(part->Write(0, "ab").ok());
  part->End(absl::OkStatus());
  EXPECT_EQ(part->status().code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(part->status().message()), HasSubstr("2 of 3 bytes"));
}

TEST(PartTest, ChecksumThatDiffersIsDataLoss) {
  auto right = EmptyPart(3, 3);
  ASSERT_TRUE(right->Write(0, "abc").ok());
  right->End(absl::OkStatus(), XXH3_64bits("abc", 3));
  EXPECT_TRUE(right->complete());
  auto wrong = EmptyPart(3, 3);
  ASSERT_TRUE(wrong->Write(0, "abd").ok());
  wrong->End(absl::OkStatus(), XXH3_64bits("abc", 3));
  EXPECT_EQ(wrong->status().code(), absl::StatusCode::kDataLoss);
  EXPECT_FALSE(wrong->complete());
}

TEST(PartTest, RacingFillersGiveEachByteOnce) {
  constexpr size_t kSize = 1 << 20;
  std::string bytes(kSize, 0);
  for (size_t i = 0; i < kSize; ++i) bytes[i] = static_cast<char>(i * 31 >> 3);
  auto part = EmptyPart(kSize, kSize);
  std::atomic<int> ends = 0, wakes = 0;
  part->WhenEnded([&](const absl::Status&) { ++ends; });
  for (uint64_t at = 0; at < kSize; at += 1000) part->WhenMoreThan(at, [&] { ++wakes; });
  std::vector<std::thread> fillers;
  for (size_t step : {997u, 4096u, 31u * 1024u}) {
    fillers.emplace_back([&, step] {
      for (size_t at = 0; at < kSize; at += step) {
        EXPECT_TRUE(part->Write(at, std::string_view(bytes).substr(at, step)).ok());
        const std::string_view there = part->bytes();
        EXPECT_GE(there.size(), std::min(at + step, kSize));
        EXPECT_EQ(there.back(), bytes[there.size() - 1]);
      }
      part->End(absl::OkStatus(), XXH3_64bits(bytes.data(), bytes.size()));
    });
  }
  for (std::thread& filler : fillers) filler.join();
  EXPECT_TRUE(part->complete());
  EXPECT_TRUE(part->bytes() == bytes);
  EXPECT_EQ(ends, 1);
  EXPECT_EQ(wakes, (kSize + 999) / 1000);
}

TEST(PartTest, WaitersOfAPartThatGoesAreLetGoUncalled) {
  auto part = EmptyPart(3, 3);
  auto held = std::make_shared<int>(0);
  part->WhenMoreThan(1, [held] { ++*held; });
  part->WhenEnded([held](const absl::Status&) { ++*held; });
  EXPECT_EQ(held.use_count(), 3);
  part.reset();
  EXPECT_EQ(held.use_count(), 1);
  EXPECT_EQ(*held, 0);
}

TEST(PartTest, ReleaseIsToldOnceWhenNobodyHasItAnyMore) {
  int released = 0;
  PartPtr part = WholePart("abc", 3);
  PartPtr other = part;
  EXPECT_TRUE(part->AtRelease([&] { ++released; }));
  EXPECT_FALSE(part->AtRelease([&] { released += 100; })) << "somebody else counts it";
  part.reset();
  EXPECT_EQ(released, 0);
  other.reset();
  EXPECT_EQ(released, 1);
}

TEST(PartTest, ReleaseCanBeTakenBack) {
  int released = 0;
  PartPtr part = WholePart("abc", 3);
  EXPECT_TRUE(part->AtRelease([&] { ++released; }));
  part->ForgetRelease();
  part.reset();
  EXPECT_EQ(released, 0);
}

}  // namespace
}  // namespace aetherfs
