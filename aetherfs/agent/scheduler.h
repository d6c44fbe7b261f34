#ifndef AETHERFS_AGENT_SCHEDULER_H_
#define AETHERFS_AGENT_SCHEDULER_H_

#include <cstdint>
#include <functional>
#include <map>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace aetherfs {

// Calls functions later, in one thread, "timer": they must be quick and must not block. Thread-safe.
class Scheduler {
 public:
  Scheduler();
  // Waits for a call that runs; what is not due yet is dropped.
  ~Scheduler();
  Scheduler(const Scheduler&) = delete;
  Scheduler& operator=(const Scheduler&) = delete;

  void After(absl::Duration delay, std::function<void()> call);

 private:
  void Run();

  absl::Mutex mutex_;
  std::multimap<absl::Time, std::function<void()>> calls_ ABSL_GUARDED_BY(mutex_);
  bool ending_ ABSL_GUARDED_BY(mutex_) = false;
  absl::CondVar changed_;
  std::thread thread_;
};

}  // namespace aetherfs

#endif  // AETHERFS_AGENT_SCHEDULER_H_
