#ifndef AETHERFS_CLI_INTERRUPT_H_
#define AETHERFS_CLI_INTERRUPT_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace aetherfs {

// The user's wish to stop, as Ctrl-C tells it: a flag for loops to look at, and calls for what blocks.
// Thread-safe. Callbacks run in the triggering thread, outside of any lock.
class Interrupt {
 public:
  Interrupt() = default;
  Interrupt(const Interrupt&) = delete;
  Interrupt& operator=(const Interrupt&) = delete;

  // While it lives its callback is called when the interrupt comes. Must not outlive the Interrupt.
  class Registration {
   public:
    Registration(Interrupt* interrupt, uint64_t id) : interrupt_(interrupt), id_(id) {}
    Registration(Registration&& other) noexcept : interrupt_(other.interrupt_), id_(other.id_) {
      other.interrupt_ = nullptr;
    }
    Registration& operator=(Registration&&) = delete;
    ~Registration();

   private:
    Interrupt* interrupt_;
    uint64_t id_;
  };

  // `callback` runs at most once, at once if the interrupt came already. It may be running while its
  // registration goes, so it must hold (not borrow) what it uses.
  [[nodiscard]] Registration OnTrigger(std::function<void()> callback);

  // Sets the flag, then calls what is registered. The first call counts.
  void Trigger();

  bool triggered() const { return flag_.load(std::memory_order_acquire); }
  const std::atomic<bool>* flag() const { return &flag_; }

 private:
  std::atomic<bool> flag_{false};
  absl::Mutex mutex_;
  uint64_t next_id_ ABSL_GUARDED_BY(mutex_) = 0;
  std::map<uint64_t, std::function<void()>> callbacks_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace aetherfs

#endif  // AETHERFS_CLI_INTERRUPT_H_
