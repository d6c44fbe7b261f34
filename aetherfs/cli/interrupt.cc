#include "aetherfs/cli/interrupt.h"

#include <utility>

namespace aetherfs {

Interrupt::Registration::~Registration() {
  if (interrupt_ == nullptr) return;
  absl::MutexLock lock(&interrupt_->mutex_);
  interrupt_->callbacks_.erase(id_);
}

Interrupt::Registration Interrupt::OnTrigger(std::function<void()> callback) {
  uint64_t id = 0;
  bool late = false;
  {
    absl::MutexLock lock(&mutex_);
    id = next_id_++;
    // Read under the lock: either Trigger() finds the callback, or this finds the flag.
    late = triggered();
    if (!late) callbacks_.emplace(id, std::move(callback));
  }
  if (late) callback();
  return Registration(this, id);
}

void Interrupt::Trigger() {
  std::map<uint64_t, std::function<void()>> callbacks;
  {
    absl::MutexLock lock(&mutex_);
    flag_.store(true, std::memory_order_release);
    callbacks.swap(callbacks_);
  }
  for (const auto& [id, callback] : callbacks) callback();
}

}  // namespace aetherfs
