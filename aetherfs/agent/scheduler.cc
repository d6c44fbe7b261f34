#include "aetherfs/agent/scheduler.h"

#include <pthread.h>

#include "absl/time/clock.h"

namespace aetherfs {

Scheduler::Scheduler() : thread_([this] { Run(); }) {}

Scheduler::~Scheduler() {
  {
    absl::MutexLock lock(&mutex_);
    ending_ = true;
    changed_.SignalAll();
  }
  thread_.join();
}

void Scheduler::After(absl::Duration delay, std::function<void()> call) {
  absl::MutexLock lock(&mutex_);
  calls_.emplace(absl::Now() + delay, std::move(call));
  changed_.SignalAll();
}

void Scheduler::Run() {
  pthread_setname_np(pthread_self(), "timer");
  for (;;) {
    std::function<void()> call;
    {
      absl::MutexLock lock(&mutex_);
      while (!ending_ && (calls_.empty() || calls_.begin()->first > absl::Now())) {
        const absl::Time due = calls_.empty() ? absl::InfiniteFuture() : calls_.begin()->first;
        changed_.WaitWithDeadline(&mutex_, due);
      }
      if (ending_) return;
      call = std::move(calls_.begin()->second);
      calls_.erase(calls_.begin());
    }
    call();
  }
}

}  // namespace aetherfs
