#ifndef AETHERFS_CLUSTER_HEDGE_POLICY_H_
#define AETHERFS_CLUSTER_HEDGE_POLICY_H_

#include <array>
#include <cstddef>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace aetherfs {

// When a second server is asked for a part that the first one is slow with (Dean, Barroso: The Tail at
// Scale, 2013): after twice the time in which nearly all requests have brought their first bytes, and for at
// most one request in twenty, so that a cluster that is slow as a whole is not made slower, and the store is
// hardly read more often. Thread-safe.
class HedgePolicy {
 public:
  static constexpr double kBudget = 0.05;  // hedges per request
  static constexpr double kMaxSaved = 5;   // hedges that may be made in a row
  static constexpr double kPercentile = 0.99;
  static constexpr double kFactor = 2;
  static constexpr size_t kSamples = 256;
  static constexpr size_t kMinSamples = 32;  // below that the longest delay is used
  static constexpr absl::Duration kShortestDelay = absl::Milliseconds(50);
  static constexpr absl::Duration kLongestDelay = absl::Seconds(5);

  // A request begins; returns how long its first bytes may take before it deserves a hedge.
  absl::Duration Begin();
  // Its first bytes came.
  void Observe(absl::Duration first_bytes);
  // Whether a hedge may be made now; takes it from the budget.
  bool TryHedge();

 private:
  absl::Mutex mutex_;
  std::array<absl::Duration, kSamples> samples_ ABSL_GUARDED_BY(mutex_);
  size_t observed_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::Duration delay_ ABSL_GUARDED_BY(mutex_) = kLongestDelay;
  double saved_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace aetherfs

#endif  // AETHERFS_CLUSTER_HEDGE_POLICY_H_
