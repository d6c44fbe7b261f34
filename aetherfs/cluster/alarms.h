#ifndef AETHERFS_CLUSTER_ALARMS_H_
#define AETHERFS_CLUSTER_ALARMS_H_

#include <functional>
#include <memory>

#include "absl/time/time.h"

namespace aetherfs {

// Calls back after a while, from a thread that must not be blocked. Thread-safe.
class Alarms {
 public:
  virtual ~Alarms() = default;
  class Alarm {
   public:
    // It does not ring any more, unless it is just ringing.
    virtual ~Alarm() = default;
  };
  virtual std::unique_ptr<Alarm> After(absl::Duration delay, std::function<void()> ring) = 0;

  // gRPC's. Lives for ever.
  static Alarms* System();
};

}  // namespace aetherfs

#endif  // AETHERFS_CLUSTER_ALARMS_H_
