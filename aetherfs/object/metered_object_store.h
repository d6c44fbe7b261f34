#ifndef AETHERFS_OBJECT_METERED_OBJECT_STORE_H_
#define AETHERFS_OBJECT_METERED_OBJECT_STORE_H_

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "aetherfs/base/clock.h"
#include "aetherfs/object/object_operation.h"
#include "aetherfs/object/object_store.h"

namespace aetherfs {

// Where measurements go. Thread-safe; must not block for long.
class ObjectStoreMetrics {
 public:
  virtual ~ObjectStoreMetrics() = default;
  // A call ended. `bytes`: of bodies, those handed to the sink of a Get (also if it failed) or those of a
  // Put that succeeded; 0 for the others.
  virtual void Observe(ObjectOperation operation, absl::StatusCode code, uint64_t bytes,
                       absl::Duration duration) = 0;
};

// Observes every call. Below a RetryingObjectStore it sees attempts, above it calls. Durations include the
// time that a Get's sink took. Thread-safe. Metrics and clock outlive it.
class MeteredObjectStore : public ObjectStore {
 public:
  MeteredObjectStore(std::shared_ptr<ObjectStore> store, ObjectStoreMetrics* metrics,
                     Clock* clock = Clock::System());

  absl::StatusOr<ObjectInfo> Get(std::string_view key, const GetOptions& options, ByteSink sink) override;
  absl::Status Put(std::string_view key, const std::vector<std::string_view>& pieces,
                   const PutOptions& options) override;
  absl::StatusOr<ObjectInfo> Head(std::string_view key, absl::Time deadline) override;
  absl::StatusOr<ListResult> List(const ListOptions& options) override;
  absl::Status Remove(std::string_view key, absl::Time deadline) override;

 private:
  const std::shared_ptr<ObjectStore> store_;
  ObjectStoreMetrics& metrics_;
  Clock& clock_;
};

}  // namespace aetherfs

#endif  // AETHERFS_OBJECT_METERED_OBJECT_STORE_H_
