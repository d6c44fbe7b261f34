#include "aetherfs/client/patch_effort.h"

#include <algorithm>
#include <utility>

namespace aetherfs {
namespace {

constexpr double kMiB = 1024 * 1024;
// So much a publish may take longer for its delta, however fast it was: more the more is fresh, until that
// is so much that it can't have been fast.
constexpr absl::Duration kForLittle = absl::Milliseconds(800);
constexpr double kLittleMiB = 4;
constexpr absl::Duration kForOneMore = absl::Milliseconds(50);
constexpr double kMuchMiB = 56;
// Of what the rest took: some is left for the delta's own upload, and for what is tried longer than
// thought.
constexpr double kShareOfRest = 0.7;

// What was seen first, on two cores of 2.5 GHz.
constexpr std::array<absl::Duration, PatchEffort::kWays> kFirstPace = {
    absl::Milliseconds(12), absl::Milliseconds(20), absl::Milliseconds(30), absl::Milliseconds(350)};
constexpr double kWeightOfNew = 0.3;

constexpr int kFastestLevel = 1;
constexpr int kLongMatchesLevel = 9;
constexpr int kFineMatchesLevel = 12;
// The first level with the optimal parser.
constexpr int kOptimalLevel = 16;
// Patches smaller than this share of what they yield: nearly all is equal, and the cost lies in how matches
// are written.
constexpr double kNearlyEqual = 0.01;
// MiB of patch and base that the highest level's bounded tables can see.
constexpr double kLargestForBest = 8;

}  // namespace

absl::Duration PatienceFor(uint64_t fresh_bytes, absl::Duration rest) {
  const double mib = static_cast<double>(fresh_bytes) / kMiB;
  absl::Duration least;
  if (mib <= kMuchMiB) least = kForLittle + kForOneMore * std::max(0.0, mib - kLittleMiB);
  return std::max(least, rest * kShareOfRest);
}

PatchEffort::PatchEffort(Clock* clock, absl::Duration patience, size_t threads, uint64_t bytes)
    : clock_(clock),
      until_(clock->Now() + patience),
      threads_(static_cast<double>(std::max<size_t>(threads, 1))),
      left_mib_(static_cast<double>(bytes) / kMiB),
      pace_(kFirstPace) {}

absl::Time PatchEffort::Begin(uint64_t bytes) {
  absl::MutexLock lock(&mutex_);
  left_mib_ = std::max(0.0, left_mib_ - static_cast<double>(bytes) / kMiB);
  return clock_->Now();
}

bool PatchEffort::MayTry(Way way, double mib) const {
  const absl::Duration left = until_ - clock_->Now();
  absl::MutexLock lock(&mutex_);
  absl::Duration need = pace_[way] * mib;
  for (size_t faster = 0; faster < static_cast<size_t>(way); ++faster) {
    need += pace_[faster] * (left_mib_ / threads_);
  }
  return need <= left;
}

void PatchEffort::Took(Way way, double mib, absl::Duration time) {
  absl::MutexLock lock(&mutex_);
  pace_[way] = pace_[way] * (1 - kWeightOfNew) + time / mib * kWeightOfNew;
}

std::string PatchEffort::Encode(PatchEncoder& encoder, std::string_view prefix, std::string_view raw,
                                size_t most, bool hopeless, absl::Time begun) {
  const double mib = static_cast<double>(prefix.size() + raw.size()) / kMiB;
  std::string stored = encoder.Encode(prefix, raw, kFastestLevel, /*long_distance=*/true, most);
  Took(kFastest, mib, clock_->Now() - begun);
  if (hopeless) return stored;
  const auto attempt = [&](Way way, bool long_distance, int level) {
    if (!MayTry(way, mib)) return false;
    const absl::Time begin = clock_->Now();
    std::string better =
        encoder.Encode(prefix, raw, level, long_distance, stored.empty() ? most : stored.size());
    // Where there is too little room it ends early, which says nothing about the next one.
    if (better.empty()) return false;
    Took(way, mib, clock_->Now() - begin);
    stored = std::move(better);
    return true;
  };
  bool long_distance = attempt(kLongMatches, true, kLongMatchesLevel);
  if (attempt(kFineMatches, false, kFineMatchesLevel)) long_distance = false;
  const double share =
      stored.empty() ? 1 : static_cast<double>(stored.size()) / static_cast<double>(raw.size());
  if (share >= kNearlyEqual) {
    attempt(kBest, long_distance, kOptimalLevel);
  } else if (mib <= kLargestForBest) {
    attempt(kBest, long_distance, PatchEncoder::kMaxLevel);
  }
  return stored;
}

}  // namespace aetherfs
