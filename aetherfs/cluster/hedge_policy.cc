#include "aetherfs/cluster/hedge_policy.h"

#include <algorithm>
#include <vector>

namespace aetherfs {
namespace {

constexpr size_t kRecomputeEvery = 16;

}  // namespace

absl::Duration HedgePolicy::Begin() {
  absl::MutexLock lock(&mutex_);
  saved_ = std::min(saved_ + kBudget, kMaxSaved);
  return delay_;
}

void HedgePolicy::Observe(absl::Duration first_bytes) {
  absl::MutexLock lock(&mutex_);
  samples_[observed_++ % kSamples] = first_bytes;
  if (observed_ < kMinSamples || observed_ % kRecomputeEvery != 0) return;
  std::vector<absl::Duration> sorted(samples_.begin(),
                                     samples_.begin() + static_cast<ptrdiff_t>(std::min(observed_, kSamples)));
  const auto at = sorted.begin() + static_cast<ptrdiff_t>(static_cast<double>(sorted.size()) * kPercentile);
  std::nth_element(sorted.begin(), at, sorted.end());
  delay_ = std::clamp(*at * kFactor, kShortestDelay, kLongestDelay);
}

bool HedgePolicy::TryHedge() {
  absl::MutexLock lock(&mutex_);
  if (saved_ < 1) return false;
  saved_ -= 1;
  return true;
}

}  // namespace aetherfs
