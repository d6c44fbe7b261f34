#ifndef AETHERFS_BASE_TESTING_FAKE_CLOCK_H_
#define AETHERFS_BASE_TESTING_FAKE_CLOCK_H_

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "aetherfs/base/clock.h"

namespace aetherfs {

// A clock that stands still until told; sleeping moves it on at once and is added up. Thread-safe.
class FakeClock : public Clock {
 public:
  explicit FakeClock(absl::Time start = absl::FromUnixSeconds(1'800'000'000)) : now_(start) {}

  absl::Time Now() override {
    absl::MutexLock lock(&mutex_);
    return now_;
  }
  void SleepFor(absl::Duration duration) override {
    absl::MutexLock lock(&mutex_);
    now_ += duration;
    slept_ += duration;
  }
  void Advance(absl::Duration duration) {
    absl::MutexLock lock(&mutex_);
    now_ += duration;
  }
  absl::Duration slept() {
    absl::MutexLock lock(&mutex_);
    return slept_;
  }

 private:
  absl::Mutex mutex_;
  absl::Time now_ ABSL_GUARDED_BY(mutex_);
  absl::Duration slept_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace aetherfs

#endif  // AETHERFS_BASE_TESTING_FAKE_CLOCK_H_
