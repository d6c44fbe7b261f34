#include "aetherfs/client/patch_effort.h"

#include <random>
#include <string>

#include "aetherfs/base/testing/fake_clock.h"
#include "fmt/format.h"
#include "gtest/gtest.h"

namespace aetherfs {
namespace {

constexpr uint64_t kMiB = 1024 * 1024;
constexpr absl::Duration kLong = absl::Hours(1);

// A table, and what became of it: records go and come, and others get another value.
struct Tables {
  std::string old_bytes;
  std::string new_bytes;
};
Tables MakeTables() {
  std::mt19937_64 random(7);
  Tables tables;
  for (int i = 0; i < 6'000; ++i) {
    const std::string record = fmt::format("{},{}.{}.0.0,", i, random() % 256, random() % 256);
    const uint64_t value = random() % 100'000;
    tables.old_bytes += fmt::format("{}{}\n", record, value);
    if (const uint64_t chance = random() % 100; chance == 0) continue;
    tables.new_bytes += fmt::format("{}{}\n", record, random() % 50 == 0 ? random() % 100'000 : value);
  }
  return tables;
}

class PatchEffortTest : public ::testing::Test {
 protected:
  std::string Encode(PatchEffort& effort, absl::Time begun, size_t most = SIZE_MAX, bool hopeless = false) {
    return effort.Encode(encoder_, tables_.old_bytes, tables_.new_bytes, most, hopeless, begun);
  }
  // A delta of this one patch and of `others` more bytes that are not begun.
  size_t SizeWithin(absl::Duration patience, uint64_t others = 0) {
    PatchEffort effort(&clock_, patience, 2, Size() + others);
    return Encode(effort, effort.Begin(Size())).size();
  }
  uint64_t Size() const { return tables_.old_bytes.size() + tables_.new_bytes.size(); }

  const Tables tables_ = MakeTables();
  FakeClock clock_;
  PatchEncoder encoder_;
  const size_t fastest_ = encoder_.Encode(tables_.old_bytes, tables_.new_bytes, 1).size();
};

TEST_F(PatchEffortTest, WithoutTimeEveryPatchIsMadeInTheFastestWay) {
  EXPECT_EQ(SizeWithin(absl::ZeroDuration()), fastest_);
}

TEST_F(PatchEffortTest, WithTimeTheSmallestOfAllWaysIsTaken) {
  const size_t smallest = SizeWithin(kLong);
  EXPECT_LT(smallest, fastest_);
  for (const bool long_distance : {true, false}) {
    for (const int level : {9, 12, 16}) {
      EXPECT_LE(smallest,
                encoder_.Encode(tables_.old_bytes, tables_.new_bytes, level, long_distance).size())
          << level;
    }
  }
}

TEST_F(PatchEffortTest, TimeForSomeWaysMakesPatchesOfASizeBetween) {
  const size_t some = SizeWithin(absl::Milliseconds(50));  // too little for the slowest
  EXPECT_LT(some, fastest_);
  EXPECT_GT(some, SizeWithin(kLong));
}

TEST_F(PatchEffortTest, WhatIsNotBegunKeepsItsTime) {
  EXPECT_EQ(SizeWithin(absl::Seconds(2), 1024 * kMiB), fastest_);
  EXPECT_LT(SizeWithin(absl::Seconds(2)), fastest_);
}

TEST_F(PatchEffortTest, ThePaceIsWhatWasSeenReadingIncluded) {
  PatchEffort effort(&clock_, absl::Seconds(10), 2, Size() * 20);
  // Reads are slow: so many more that there is no time for anything but the fastest way.
  const absl::Time begun = effort.Begin(Size());
  clock_.Advance(absl::Seconds(4));
  EXPECT_EQ(Encode(effort, begun).size(), fastest_);
  // With the last one it turns out that there is.
  for (int i = 0; i < 18; ++i) effort.Begin(Size());
  EXPECT_LT(Encode(effort, effort.Begin(Size())).size(), fastest_);
}

TEST_F(PatchEffortTest, AfterItsTimeThereAreNoSecondTries) {
  PatchEffort effort(&clock_, absl::Seconds(10), 2, Size() * 2);
  EXPECT_LT(Encode(effort, effort.Begin(Size())).size(), fastest_);
  clock_.Advance(absl::Seconds(10));
  EXPECT_EQ(Encode(effort, effort.Begin(Size())).size(), fastest_);
}

TEST_F(PatchEffortTest, WhatIsHopelessIsTriedOnce) {
  PatchEffort effort(&clock_, kLong, 2, Size());
  EXPECT_EQ(Encode(effort, effort.Begin(Size()), SIZE_MAX, /*hopeless=*/true).size(), fastest_);
}

TEST_F(PatchEffortTest, NothingIsLargerThanItMayBe) {
  const size_t most = (SizeWithin(kLong) + fastest_) / 2;  // the fastest way takes more
  PatchEffort effort(&clock_, kLong, 2, Size() * 2);
  const size_t size = Encode(effort, effort.Begin(Size()), most).size();
  EXPECT_GT(size, 0u);
  EXPECT_LE(size, most);
  EXPECT_EQ(Encode(effort, effort.Begin(Size()), size / 2), "");
}

TEST(PatienceForTest, SmallChangesGetTheirTimeAndLargeOnesNoMoreThanTheRest) {
  EXPECT_EQ(PatienceFor(0, absl::ZeroDuration()), absl::Milliseconds(800));
  EXPECT_EQ(PatienceFor(4 * kMiB, absl::Milliseconds(100)), absl::Milliseconds(800));
  EXPECT_EQ(PatienceFor(4 * kMiB, absl::Seconds(10)), absl::Seconds(7));
  EXPECT_EQ(PatienceFor(24 * kMiB, absl::Milliseconds(100)), absl::Milliseconds(1800));
  EXPECT_EQ(PatienceFor(64 * kMiB, absl::Seconds(2)), absl::Milliseconds(1400));
}

}  // namespace
}  // namespace aetherfs
