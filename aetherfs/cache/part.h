#ifndef AETHERFS_CACHE_PART_H_
#define AETHERFS_CACHE_PART_H_

#include <atomic>
#include <compare>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "aetherfs/cache/part_buffers.h"

namespace aetherfs {

struct PartKey {
  std::string object_key;  // in the object store
  uint64_t index = 0;      // the part covers [index * kPartSize, …)
  friend bool operator==(const PartKey&, const PartKey&) = default;
  friend auto operator<=>(const PartKey&, const PartKey&) = default;
  template <typename H>
  friend H AbslHashValue(H h, const PartKey& k) {
    return H::combine(std::move(h), k.object_key, k.index);
  }
};

// The bytes of one part, which may still be arriving: readers use the prefix that is there and are woken
// when there is more. Arrived bytes never change or move. A part ends once, well (all bytes are there and
// whoever filled it had no objection) or badly (it will not get longer); only one that ended well may be
// kept. Shared; whoever holds a pointer keeps the bytes alive.
//
// Thread-safe, also for several fillers at once: they all write what the part should hold, so what one was
// late with is skipped. Callbacks run once, with no lock held, in the thread that brought what they waited
// for, or at once in the caller's if it is there already; they must not block. Whoever fills a part must
// end it: one that goes before takes along, uncalled, whoever waits for it.
class Part {
 public:
  // Of `size` (1 to kPartSize) bytes, none of which is there yet, of an object of `object_size`.
  Part(PartBuffers::Buffer buffer, uint64_t object_size);
  ~Part();
  Part(const Part&) = delete;
  Part& operator=(const Part&) = delete;

  uint64_t size() const { return buffer_.size(); }
  uint64_t object_size() const { return object_size_; }

  // What has arrived: a prefix of the part.
  std::string_view bytes() const { return {buffer_.data(), arrived_.load(std::memory_order_acquire)}; }
  // It ended well.
  bool complete() const;
  // Why it ended badly; OK otherwise.
  absl::Status status() const;
  // XXH3-64 of all bytes; computed when first asked for. Only of a complete part.
  uint64_t checksum() const;

  // Calls when bytes().size() > `offset`, or it ended.
  void WhenMoreThan(uint64_t offset, std::function<void()> wake) const;
  // Calls when it ended; with status().
  void WhenEnded(std::function<void(const absl::Status&)> ended) const;

  // Calls once the memory of the bytes is given back, after the last pointer to the part has gone. False,
  // and `released` is not kept, if somebody asked for that before.
  bool AtRelease(std::function<void()> released) const;
  // Takes that back. Only while nobody but the caller has the part.
  void ForgetRelease() const;

  // Takes of `bytes`, which lie at `offset` of the part, those that follow what has arrived. INTERNAL if
  // they leave a gap or reach behind the last byte. Ignored once the part has ended.
  absl::Status Write(uint64_t offset, std::string_view bytes);
  // Ends it, unless it has ended. With OK: all bytes must have arrived, or it ends with DATA_LOSS.
  // `checksum`: what the bytes ought to have, if that is known; DATA_LOSS if they have not.
  void End(const absl::Status& status, std::optional<uint64_t> checksum = std::nullopt);

 private:
  struct Waiter {
    uint64_t offset;
    std::function<void()> wake;
  };

  // Goes after the buffer.
  struct Release {
    ~Release() {
      if (call) call();
    }
    std::function<void()> call;
  };

  mutable absl::Mutex mutex_;
  mutable Release release_ ABSL_GUARDED_BY(mutex_);
  const PartBuffers::Buffer buffer_;
  const uint64_t object_size_;
  std::atomic<uint64_t> arrived_ = 0;  // grows under the lock
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status status_ ABSL_GUARDED_BY(mutex_);
  mutable std::optional<uint64_t> checksum_ ABSL_GUARDED_BY(mutex_);
  mutable std::vector<Waiter> waiters_ ABSL_GUARDED_BY(mutex_);
};
using PartPtr = std::shared_ptr<const Part>;

}  // namespace aetherfs

#endif  // AETHERFS_CACHE_PART_H_
