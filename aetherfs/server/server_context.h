#ifndef AETHERFS_SERVER_SERVER_CONTEXT_H_
#define AETHERFS_SERVER_SERVER_CONTEXT_H_

#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "aetherfs/base/clock.h"
#include "aetherfs/base/random.h"
#include "aetherfs/base/thread_pool.h"
#include "aetherfs/cache/memory_part_cache.h"
#include "aetherfs/cache/store_part_source.h"
#include "aetherfs/cluster/cluster_view.h"
#include "aetherfs/object/object_store.h"
#include "aetherfs/server/hash_pool.h"
#include "aetherfs/server/server_metrics.h"
#include "aetherfs/server/snapshot_catalog.h"
#include "aetherfs/server/upload_budget.h"

namespace aetherfs {

class DatasetHub;

// Whether publishes are accepted: only once the store was seen to honour create-if-absent. Thread-safe.
class PublishGate {
 public:
  // OK, or FAILED_PRECONDITION (the store is not fit) or UNAVAILABLE (not known yet) with the reason.
  absl::Status status() const {
    absl::MutexLock lock(&mutex_);
    return status_;
  }
  void Set(absl::Status status) {
    absl::MutexLock lock(&mutex_);
    status_ = std::move(status);
  }

 private:
  mutable absl::Mutex mutex_;
  absl::Status status_ ABSL_GUARDED_BY(mutex_) =
      absl::UnavailableError("the object store has not been looked at yet");
};

// What the services of one server share. Everything is thread-safe and outlives them.
struct ServerContext {
  Clock* clock = nullptr;
  Random* random = nullptr;
  ObjectStore* store = nullptr;
  ThreadPool* control = nullptr;  // journals, commits, lookups: short work
  ThreadPool* data = nullptr;     // blocks: reads, writes, existence
  HashPool* hash = nullptr;
  UploadBudget* upload_budget = nullptr;
  StorePartSource* store_parts = nullptr;
  MemoryPartCache* parts = nullptr;
  ClusterViewSource* cluster = nullptr;  // null: this server is alone
  SnapshotCatalog* catalog = nullptr;
  DatasetHub* hub = nullptr;
  ServerMetrics* metrics = nullptr;
  PublishGate* gate = nullptr;
};

}  // namespace aetherfs

#endif  // AETHERFS_SERVER_SERVER_CONTEXT_H_
