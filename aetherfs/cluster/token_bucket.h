#ifndef AETHERFS_CLUSTER_TOKEN_BUCKET_H_
#define AETHERFS_CLUSTER_TOKEN_BUCKET_H_

#include <algorithm>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "aetherfs/base/clock.h"

namespace aetherfs {

// Lets `rate` things a second pass, and `burst` at once after a rest. Thread-safe.
class TokenBucket {
 public:
  TokenBucket(double rate, double burst, Clock* clock)
      : rate_(rate), burst_(burst), clock_(*clock), tokens_(burst), filled_(clock->Now()) {}

  bool TryTake() {
    const absl::Time now = clock_.Now();
    absl::MutexLock lock(&mutex_);
    if (now > filled_) {
      tokens_ = std::min(burst_, tokens_ + rate_ * absl::ToDoubleSeconds(now - filled_));
      filled_ = now;
    }
    if (tokens_ < 1) return false;
    tokens_ -= 1;
    return true;
  }

 private:
  const double rate_;
  const double burst_;
  Clock& clock_;
  absl::Mutex mutex_;
  double tokens_ ABSL_GUARDED_BY(mutex_);
  absl::Time filled_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace aetherfs

#endif  // AETHERFS_CLUSTER_TOKEN_BUCKET_H_
