#ifndef AETHERFS_OBJECT_TESTING_STEPPING_OBJECT_STORE_H_
#define AETHERFS_OBJECT_TESTING_STEPPING_OBJECT_STORE_H_

#include <algorithm>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "aetherfs/object/memory/memory_object_store.h"

namespace aetherfs {

// A store in memory whose Gets, once Hold() was called, hand out so many bytes as a test says, and fail
// when it says so. Thread-safe. The test must let every Get end.
class SteppingObjectStore : public MemoryObjectStore {
 public:
  void Hold() {
    absl::MutexLock lock(&mutex_);
    held_ = true;
  }
  // The Gets under way and to come may hand out `bytes` more, together.
  void Give(uint64_t bytes) {
    absl::MutexLock lock(&mutex_);
    allowed_ += bytes;
  }
  // They fail now, instead of waiting for more. OK: they wait again.
  void SetFailure(absl::Status failure) {
    absl::MutexLock lock(&mutex_);
    failure_ = std::move(failure);
  }

  absl::StatusOr<ObjectInfo> Get(std::string_view key, const GetOptions& options, ByteSink sink) override {
    return MemoryObjectStore::Get(key, options, [&](std::string_view bytes) -> absl::Status {
      while (!bytes.empty()) {
        const absl::StatusOr<uint64_t> taken = Take(bytes.size());
        if (!taken.ok()) return taken.status();
        const absl::Status status = sink(bytes.substr(0, *taken));
        if (!status.ok()) return status;
        bytes.remove_prefix(*taken);
      }
      return absl::OkStatus();
    });
  }

 private:
  absl::StatusOr<uint64_t> Take(uint64_t wanted) {
    absl::MutexLock lock(&mutex_);
    const auto may_go = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
      return !held_ || allowed_ > 0 || !failure_.ok();
    };
    mutex_.Await(absl::Condition(&may_go));
    if (!held_) return wanted;
    if (allowed_ == 0) return failure_;
    const uint64_t taken = std::min(wanted, allowed_);
    allowed_ -= taken;
    return taken;
  }

  absl::Mutex mutex_;
  bool held_ ABSL_GUARDED_BY(mutex_) = false;
  uint64_t allowed_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::Status failure_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace aetherfs

#endif  // AETHERFS_OBJECT_TESTING_STEPPING_OBJECT_STORE_H_
