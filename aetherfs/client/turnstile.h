#ifndef AETHERFS_CLIENT_TURNSTILE_H_
#define AETHERFS_CLIENT_TURNSTILE_H_

#include <cstdint>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace aetherfs {

// Lets threads through one at a time, in the order of their numbers: 0, 1, 2, … What is done between
// Enter() and Leave() happens in that order, whatever the threads' timing. Thread-safe.
class Turnstile {
 public:
  // Waits for `number`'s turn. False, at once, after Break().
  bool Enter(uint64_t number) {
    absl::MutexLock lock(&mutex_);
    const auto ready = [this, number]()
                           ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return broken_ || next_ == number; };
    mutex_.Await(absl::Condition(&ready));
    return !broken_;
  }
  void Leave() {
    absl::MutexLock lock(&mutex_);
    ++next_;
  }
  // Nobody waits any more, nobody gets through.
  void Break() {
    absl::MutexLock lock(&mutex_);
    broken_ = true;
  }

 private:
  absl::Mutex mutex_;
  uint64_t next_ ABSL_GUARDED_BY(mutex_) = 0;
  bool broken_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace aetherfs

#endif  // AETHERFS_CLIENT_TURNSTILE_H_
