#include "aetherfs/client/sample_index.h"

#include <algorithm>
#include <random>
#include <string>

#include "gtest/gtest.h"

namespace aetherfs {
namespace {

using Range = DeltaPatch::BaseRange;

constexpr uint32_t kEntry = 7;
constexpr uint32_t kMost = 2 * 1024 * 1024;

std::string RandomBytes(size_t size, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::string bytes(size, '\0');
  for (char& byte : bytes) byte = static_cast<char>(random());
  return bytes;
}

SampleIndex IndexOf(const std::string& base) {
  constexpr size_t kPiece = 1024 * 1024;
  SampleIndex index(base.size());
  for (size_t at = 0; at < base.size(); at += kPiece) {
    index.Add(std::string_view(base).substr(at, kPiece), at);
  }
  index.Seal();
  return index;
}

// How many of the bytes [begin, begin + size) the ranges have.
uint64_t Covered(const std::vector<Range>& ranges, uint64_t begin, uint64_t size) {
  uint64_t covered = 0;
  for (const Range& range : ranges) {
    const uint64_t from = std::max(begin, range.offset);
    const uint64_t to = std::min(begin + size, range.offset + range.size);
    if (from < to) covered += to - from;
  }
  return covered;
}

TEST(SampleIndexTest, PagesThatMovedFarAreFound) {
  constexpr size_t kPage = 64 * 1024;
  const std::string base = RandomBytes(8 * 1024 * 1024, 1);
  // Every fourth page, the last one first: nothing is where it was, and in no order.
  std::string target;
  for (size_t page = base.size() / kPage; page >= 4; page -= 4)
    target += base.substr((page - 1) * kPage, kPage);
  const std::vector<Range> expected = {{kEntry, 0, 1024 * 1024}};

  const std::vector<Range> found = IndexOf(base).Choose(target, kEntry, expected, 2 * kMost);

  for (size_t page = base.size() / kPage; page >= 4; page -= 4) {
    EXPECT_EQ(Covered(found, (page - 1) * kPage, kPage), kPage) << page;
  }
}

TEST(SampleIndexTest, WhatKeptItsOrderIsOneStretchWithWhatLiesBetween) {
  const std::string base = RandomBytes(8 * 1024 * 1024, 2);
  constexpr size_t kBegin = 3'000'000;
  std::string target = base.substr(kBegin, 1024 * 1024);
  target.insert(500'000, "something new in the middle");
  target.replace(100'000, 50'000, RandomBytes(50'000, 3));
  const std::vector<Range> expected = {{kEntry, 2'000'000, 4'000'000}};

  const std::vector<Range> found = IndexOf(base).Choose(target, kEntry, expected, kMost);

  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(Covered(found, kBegin, 1024 * 1024), 1024u * 1024u);
  EXPECT_LT(found[0].size, 1024u * 1024u + 16 * SampleIndex::kSegment);
}

TEST(SampleIndexTest, WhereNothingIsAlikeItIsWhatWasExpected) {
  const SampleIndex index = IndexOf(RandomBytes(4 * 1024 * 1024, 4));
  const std::vector<Range> expected = {{kEntry, 123, 456'789}};
  EXPECT_EQ(index.Choose(RandomBytes(1024 * 1024, 5), kEntry, expected, kMost), expected);
}

TEST(SampleIndexTest, OfAStringWithManyPlacesTheNearestCounts) {
  // The same page again and again: each must be matched with its own place, not with one of them.
  const std::string page = RandomBytes(64 * 1024, 6);
  std::string base;
  for (int i = 0; i < 64; ++i) base += page;
  const std::vector<Range> expected = {{kEntry, 2'000'000, 1'000'000}};

  const std::vector<Range> found =
      IndexOf(base).Choose(base.substr(2'000'000, 1'000'000), kEntry, expected, kMost);

  EXPECT_GE(Covered(found, 2'000'000, 1'000'000), 900'000u);
}

TEST(SampleIndexTest, RangesAreInOrderWithinTheFileAndTheLimit) {
  for (uint64_t seed = 10; seed < 20; ++seed) {
    const std::string base = RandomBytes(3'333'333 + seed, seed);
    std::string target = base;
    std::mt19937_64 random(seed);
    for (int cut = 0; cut < 20; ++cut) {
      std::rotate(target.begin(), target.begin() + static_cast<ptrdiff_t>(random() % target.size()),
                  target.end());
      target.replace(random() % target.size(), 1000, RandomBytes(900, seed + static_cast<uint64_t>(cut)));
    }
    const std::vector<Range> found =
        IndexOf(base).Choose(target, kEntry, {{kEntry, 0, static_cast<uint32_t>(base.size())}}, kMost);
    uint64_t total = 0;
    uint64_t end = 0;
    for (const Range& range : found) {
      EXPECT_EQ(range.entry, kEntry);
      EXPECT_GE(range.offset, end);
      end = range.offset + range.size;
      total += range.size;
    }
    EXPECT_LE(end, base.size());
    EXPECT_LE(total, kMost);
  }
}

}  // namespace
}  // namespace aetherfs
