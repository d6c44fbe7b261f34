#ifndef AETHERFS_SERVER_TESTING_SWITCHABLE_STORE_H_
#define AETHERFS_SERVER_TESTING_SWITCHABLE_STORE_H_

#include <atomic>
#include <string_view>
#include <vector>

#include "aetherfs/object/memory/memory_object_store.h"

namespace aetherfs {

// A store in memory that a test takes away and brings back, or makes ignore create-if-absent. Thread-safe.
class SwitchableStore : public ObjectStore {
 public:
  // Away: every call fails with an error that is not tried again, so that tests need not wait.
  void SetAway(bool away) { away_ = away; }
  void SetIgnoresIfAbsent(bool ignores) { ignores_if_absent_ = ignores; }
  MemoryObjectStore& memory() { return memory_; }

  absl::StatusOr<ObjectInfo> Get(std::string_view key, const GetOptions& options, ByteSink sink) override {
    if (away_) return Away();
    return memory_.Get(key, options, sink);
  }
  absl::Status Put(std::string_view key, const std::vector<std::string_view>& pieces,
                   const PutOptions& options) override {
    if (away_) return Away();
    PutOptions changed = options;
    if (ignores_if_absent_) changed.if_absent = false;
    return memory_.Put(key, pieces, changed);
  }
  absl::StatusOr<ObjectInfo> Head(std::string_view key, absl::Time deadline) override {
    if (away_) return Away();
    return memory_.Head(key, deadline);
  }
  absl::StatusOr<ListResult> List(const ListOptions& options) override {
    if (away_) return Away();
    return memory_.List(options);
  }
  absl::Status Remove(std::string_view key, absl::Time deadline) override {
    if (away_) return Away();
    return memory_.Remove(key, deadline);
  }

 private:
  static absl::Status Away() { return absl::DeadlineExceededError("the store is away"); }

  MemoryObjectStore memory_;
  std::atomic<bool> away_ = false;
  std::atomic<bool> ignores_if_absent_ = false;
};

}  // namespace aetherfs

#endif  // AETHERFS_SERVER_TESTING_SWITCHABLE_STORE_H_
