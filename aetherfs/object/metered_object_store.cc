#include "aetherfs/object/metered_object_store.h"

#include <utility>

namespace aetherfs {

MeteredObjectStore::MeteredObjectStore(std::shared_ptr<ObjectStore> store, ObjectStoreMetrics* metrics,
                                       Clock* clock)
    : store_(std::move(store)), metrics_(*metrics), clock_(*clock) {}

absl::StatusOr<ObjectInfo> MeteredObjectStore::Get(std::string_view key, const GetOptions& options,
                                                   ByteSink sink) {
  const absl::Time begin = clock_.Now();
  uint64_t bytes = 0;
  absl::StatusOr<ObjectInfo> info = store_->Get(key, options, [&](std::string_view data) {
    bytes += data.size();
    return sink(data);
  });
  metrics_.Observe(ObjectOperation::kGet, info.status().code(), bytes, clock_.Now() - begin);
  return info;
}

absl::Status MeteredObjectStore::Put(std::string_view key, const std::vector<std::string_view>& pieces,
                                     const PutOptions& options) {
  const absl::Time begin = clock_.Now();
  absl::Status status = store_->Put(key, pieces, options);
  uint64_t bytes = 0;
  if (status.ok()) {
    for (const std::string_view piece : pieces) bytes += piece.size();
  }
  metrics_.Observe(ObjectOperation::kPut, status.code(), bytes, clock_.Now() - begin);
  return status;
}

absl::StatusOr<ObjectInfo> MeteredObjectStore::Head(std::string_view key, absl::Time deadline) {
  const absl::Time begin = clock_.Now();
  absl::StatusOr<ObjectInfo> info = store_->Head(key, deadline);
  metrics_.Observe(ObjectOperation::kHead, info.status().code(), 0, clock_.Now() - begin);
  return info;
}

absl::StatusOr<ListResult> MeteredObjectStore::List(const ListOptions& options) {
  const absl::Time begin = clock_.Now();
  absl::StatusOr<ListResult> page = store_->List(options);
  metrics_.Observe(ObjectOperation::kList, page.status().code(), 0, clock_.Now() - begin);
  return page;
}

absl::Status MeteredObjectStore::Remove(std::string_view key, absl::Time deadline) {
  const absl::Time begin = clock_.Now();
  absl::Status status = store_->Remove(key, deadline);
  metrics_.Observe(ObjectOperation::kRemove, status.code(), 0, clock_.Now() - begin);
  return status;
}

}  // namespace aetherfs
