#include "aetherfs/cli/progress.h"

#include <sstream>

#include "absl/synchronization/notification.h"
#include "aetherfs/base/quantity.h"
#include "gtest/gtest.h"

namespace aetherfs {
namespace {

TEST(ProgressTest, LineShowsBarShareRateAndTimeLeft) {
  const ProgressSample sample = {"downloading", 25 * kMiB, 100 * kMiB, "3 files"};
  EXPECT_EQ(RenderProgress(sample, 5.0 * kMiB, absl::Seconds(5), 100),
            "downloading  [========>                       ]   25%  25.0 MiB of 100.0 MiB  5.0 MiB/s  "
            "15.0s left");
  EXPECT_EQ(
      RenderProgress(sample, 5.0 * kMiB, absl::Seconds(5), 130),
      "downloading  [==========>                             ]   25%  25.0 MiB of 100.0 MiB  5.0 MiB/s  "
      "15.0s left  3 files");
}

TEST(ProgressTest, NarrowTerminalsLoseTheBarThenTheRest) {
  const ProgressSample sample = {"reading", 512 * kKiB, kMiB, ""};
  EXPECT_EQ(RenderProgress(sample, 0, absl::Seconds(2), 50), "reading   50%  512.0 KiB of 1.0 MiB  2.0s");
  EXPECT_EQ(RenderProgress(sample, 0, absl::Seconds(2), 20), "reading   50%  512.");
  EXPECT_EQ(RenderProgress(sample, 0, absl::Seconds(2), 0), "");
}

TEST(ProgressTest, UnknownTotalShowsWhatIsDone) {
  EXPECT_EQ(RenderProgress({"scanning", 0, 0, "12 files"}, 0, absl::Milliseconds(300), 80),
            "scanning    300ms  12 files");
  EXPECT_EQ(RenderProgress({"reading", kMiB, 0, ""}, kMiB, absl::Seconds(1), 80),
            "reading  1.0 MiB  1.0 MiB/s");
}

TEST(ProgressTest, DoneBeyondTheTotalStaysAtTheTotal) {
  EXPECT_EQ(RenderProgress({"reading", 2 * kMiB, kMiB, ""}, 0, absl::Seconds(1), 60),
            "reading  [================]  100%  1.0 MiB of 1.0 MiB  1.0s");
}

TEST(ProgressTest, RateIsOverTheLastSamples) {
  RateMeter meter;
  absl::Time time = absl::UnixEpoch();
  EXPECT_EQ(meter.BytesPerSecond(), 0);
  uint64_t done = 0;
  for (int i = 0; i < 100; ++i) {
    meter.Add(time, done);
    time += absl::Seconds(1);
    done += i < 50 ? 100 : 1000;
  }
  EXPECT_DOUBLE_EQ(meter.BytesPerSecond(), 1000);
}

TEST(ProgressTest, LineIsDrawnAndClearedAtTheEnd) {
  std::ostringstream out;
  absl::Notification sampled_twice;
  int samples = 0;
  {
    ProgressLine line(&out, {.shown = true, .interval = absl::Microseconds(100)}, [&] {
      if (++samples == 2) sampled_twice.Notify();
      return ProgressSample{"reading", 1, 2, ""};
    });
    sampled_twice.WaitForNotification();
  }
  EXPECT_NE(out.str().find("reading"), std::string::npos);
  EXPECT_TRUE(out.str().ends_with("\r\x1b[K"));
}

TEST(ProgressTest, LineThatIsNotShownWritesNothing) {
  std::ostringstream out;
  {
    ProgressLine line(&out, {.shown = false}, [] { return ProgressSample{"reading", 1, 2, ""}; });
  }
  EXPECT_EQ(out.str(), "");
}

}  // namespace
}  // namespace aetherfs
