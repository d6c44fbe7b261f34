#include "aetherfs/client/endpoint_health.h"

#include "aetherfs/base/testing/fake_clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace aetherfs {
namespace {

using ::testing::ElementsAre;
using Policy = EndpointHealth::Policy;

class ZeroRandom : public Random {
 public:
  uint64_t Next() override { return 0; }
};

class EndpointHealthTest : public ::testing::Test {
 protected:
  FakeClock clock_;
  ZeroRandom random_;
  EndpointHealth health_{3, &clock_, &random_};
};

TEST_F(EndpointHealthTest, StickyStaysAndSpreadGoesRound) {
  EXPECT_THAT(health_.Order(Policy::kSticky), ElementsAre(0, 1, 2));
  EXPECT_THAT(health_.Order(Policy::kSticky), ElementsAre(0, 1, 2));
  EXPECT_THAT(health_.Order(Policy::kSpread), ElementsAre(0, 1, 2));
  EXPECT_THAT(health_.Order(Policy::kSpread), ElementsAre(1, 2, 0));
  EXPECT_THAT(health_.Order(Policy::kSpread), ElementsAre(2, 0, 1));
}

TEST_F(EndpointHealthTest, ServerThatFailedComesLastForAWhile) {
  health_.Failed(0);
  EXPECT_THAT(health_.Order(Policy::kSticky), ElementsAre(1, 2, 0));
  EXPECT_THAT(health_.Order(Policy::kSpread), ElementsAre(1, 2, 0));
  clock_.Advance(EndpointHealth::kFirstAvoidance + absl::Milliseconds(1));
  EXPECT_THAT(health_.Order(Policy::kSticky), ElementsAre(1, 2, 0)) << "there is no reason to go back";
  health_.Failed(1);
  EXPECT_THAT(health_.Order(Policy::kSticky), ElementsAre(2, 0, 1));
}

TEST_F(EndpointHealthTest, FailuresInARowAreAvoidedForLonger) {
  for (int i = 0; i < 20; ++i) health_.Failed(1);
  clock_.Advance(EndpointHealth::kLongestAvoidance - absl::Milliseconds(1));
  EXPECT_EQ(health_.Order(Policy::kSticky).back(), 1u);
  clock_.Advance(absl::Milliseconds(2));
  EXPECT_THAT(health_.Order(Policy::kSticky), ElementsAre(0, 1, 2));
  health_.Succeeded(1);
  health_.Failed(1);
  clock_.Advance(EndpointHealth::kFirstAvoidance + absl::Milliseconds(1));
  EXPECT_THAT(health_.Order(Policy::kSticky), ElementsAre(0, 1, 2));
}

TEST_F(EndpointHealthTest, WhenAllFailTheOneThatIsBackSoonestComesFirst) {
  health_.Failed(1);
  health_.Failed(1);
  health_.Failed(0);
  health_.Failed(2);
  health_.Failed(2);
  health_.Failed(2);
  EXPECT_THAT(health_.Order(Policy::kSticky), ElementsAre(0, 1, 2));
}

}  // namespace
}  // namespace aetherfs
