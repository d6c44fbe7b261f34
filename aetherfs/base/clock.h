#ifndef AETHERFS_BASE_CLOCK_H_
#define AETHERFS_BASE_CLOCK_H_

#include "absl/time/time.h"

namespace aetherfs {

// Where time comes from, so that a test can script it. Thread-safe.
class Clock {
 public:
  virtual ~Clock() = default;
  virtual absl::Time Now() = 0;
  // Returns after `duration` has passed on this clock.
  virtual void SleepFor(absl::Duration duration) = 0;

  // The system's clock. Lives for ever.
  static Clock* System();
};

}  // namespace aetherfs

#endif  // AETHERFS_BASE_CLOCK_H_
