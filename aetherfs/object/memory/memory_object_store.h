#ifndef AETHERFS_OBJECT_MEMORY_MEMORY_OBJECT_STORE_H_
#define AETHERFS_OBJECT_MEMORY_MEMORY_OBJECT_STORE_H_

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "aetherfs/base/clock.h"
#include "aetherfs/base/quantity.h"
#include "aetherfs/object/object_store.h"

namespace aetherfs {

// Objects in this process's memory, gone with it: for tests and trials. Checks PutOptions::sha256.
// Thread-safe; never blocks for long. A Get works on the object as it was when the Get began, whatever is
// put or removed meanwhile. RESOURCE_EXHAUSTED if a put would exceed the capacity.
class MemoryObjectStore : public ObjectStore {
 public:
  static constexpr uint64_t kDefaultCapacityBytes = 16 * kGiB;

  explicit MemoryObjectStore(Clock* clock = Clock::System(),
                             uint64_t capacity_bytes = kDefaultCapacityBytes)
      : clock_(*clock), capacity_bytes_(capacity_bytes) {}

  absl::StatusOr<ObjectInfo> Get(std::string_view key, const GetOptions& options, ByteSink sink) override;
  absl::Status Put(std::string_view key, const std::vector<std::string_view>& pieces,
                   const PutOptions& options) override;
  absl::StatusOr<ObjectInfo> Head(std::string_view key, absl::Time deadline) override;
  absl::StatusOr<ListResult> List(const ListOptions& options) override;
  absl::Status Remove(std::string_view key, absl::Time deadline) override;

 private:
  using Content = std::shared_ptr<const std::string>;

  absl::StatusOr<Content> Find(std::string_view key);

  Clock& clock_;
  const uint64_t capacity_bytes_;
  absl::Mutex mutex_;
  std::map<std::string, Content, std::less<>> objects_ ABSL_GUARDED_BY(mutex_);
  uint64_t used_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace aetherfs

#endif  // AETHERFS_OBJECT_MEMORY_MEMORY_OBJECT_STORE_H_
