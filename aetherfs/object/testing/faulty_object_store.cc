#include "aetherfs/object/testing/faulty_object_store.h"

#include <algorithm>
#include <utility>

#include "aetherfs/base/status.h"

namespace aetherfs {

void FaultyObjectStore::Inject(Fault fault) {
  absl::MutexLock lock(&mutex_);
  faults_.push_back(std::move(fault));
}

void FaultyObjectStore::ClearFaults() {
  absl::MutexLock lock(&mutex_);
  faults_.clear();
}

void FaultyObjectStore::SetOutage(absl::Status error) {
  absl::MutexLock lock(&mutex_);
  outage_ = std::move(error);
}

void FaultyObjectStore::SetFull(bool full) {
  absl::MutexLock lock(&mutex_);
  full_ = full;
}

int FaultyObjectStore::calls(ObjectOperation operation) const {
  absl::MutexLock lock(&mutex_);
  const auto found = calls_.find(operation);
  return found == calls_.end() ? 0 : found->second;
}

int FaultyObjectStore::total_calls() const {
  absl::MutexLock lock(&mutex_);
  int total = 0;
  for (const auto& [operation, count] : calls_) total += count;
  return total;
}

void FaultyObjectStore::ResetCounts() {
  absl::MutexLock lock(&mutex_);
  calls_.clear();
}

std::optional<Fault> FaultyObjectStore::Enter(ObjectOperation operation, std::string_view key) {
  std::optional<Fault> hit;
  {
    absl::MutexLock lock(&mutex_);
    ++calls_[operation];
    if (!outage_.ok()) return Fault{.operation = operation, .error = outage_};
    if (full_ && operation == ObjectOperation::kPut) {
      return Fault{.operation = operation, .error = absl::ResourceExhaustedError("the store is full")};
    }
    for (Fault& fault : faults_) {
      if (fault.operation != operation || fault.count == 0) continue;
      if (key.find(fault.key_contains) == std::string_view::npos) continue;
      if (fault.skip > 0) {
        --fault.skip;
        continue;
      }
      fault.skip = fault.every - 1;
      if (fault.count > 0) --fault.count;
      hit = fault;
      fault.reached = nullptr;
      break;
    }
    std::erase_if(faults_, [](const Fault& fault) { return fault.count == 0; });
  }
  if (hit.has_value() && hit->reached != nullptr) hit->reached->Notify();
  if (hit.has_value() && hit->release != nullptr) hit->release->WaitForNotification();
  return hit;
}

absl::StatusOr<ObjectInfo> FaultyObjectStore::Get(std::string_view key, const GetOptions& options,
                                                  ByteSink sink) {
  const std::optional<Fault> fault = Enter(ObjectOperation::kGet, key);
  if (!fault.has_value()) return store_->Get(key, options, sink);
  if (fault->truncate_at.has_value()) {
    const absl::Status cut =
        fault->error.ok() ? absl::UnavailableError("the connection was cut") : fault->error;
    uint64_t left = *fault->truncate_at;
    const absl::StatusOr<ObjectInfo> info =
        store_->Get(key, options, [&](std::string_view data) -> absl::Status {
          const std::string_view piece = data.substr(0, left);
          left -= piece.size();
          if (!piece.empty()) RETURN_IF_ERROR(sink(piece));
          return piece.size() < data.size() ? cut : absl::OkStatus();
        });
    return info.ok() ? absl::StatusOr<ObjectInfo>(cut) : info;
  }
  if (fault->flip_bit_at.has_value()) {
    uint64_t at = 0;
    return store_->Get(key, options, [&](std::string_view data) {
      std::string copy(data);
      if (*fault->flip_bit_at >= at && *fault->flip_bit_at < at + copy.size()) {
        copy[*fault->flip_bit_at - at] ^= 1;
      }
      at += copy.size();
      return sink(copy);
    });
  }
  if (fault->error.ok() || fault->done) {
    absl::StatusOr<ObjectInfo> info = store_->Get(key, options, sink);
    if (fault->error.ok()) return info;
  }
  return fault->error;
}

absl::Status FaultyObjectStore::Put(std::string_view key, const std::vector<std::string_view>& pieces,
                                    const PutOptions& options) {
  const std::optional<Fault> fault = Enter(ObjectOperation::kPut, key);
  if (fault.has_value() && !fault->error.ok() && !fault->done) return fault->error;
  const absl::Status status = store_->Put(key, pieces, options);
  return fault.has_value() && !fault->error.ok() ? fault->error : status;
}

absl::StatusOr<ObjectInfo> FaultyObjectStore::Head(std::string_view key, absl::Time deadline) {
  const std::optional<Fault> fault = Enter(ObjectOperation::kHead, key);
  if (fault.has_value() && !fault->error.ok()) return fault->error;
  return store_->Head(key, deadline);
}

absl::StatusOr<ListResult> FaultyObjectStore::List(const ListOptions& options) {
  const std::optional<Fault> fault = Enter(ObjectOperation::kList, options.prefix);
  if (fault.has_value() && !fault->error.ok()) return fault->error;
  return store_->List(options);
}

absl::Status FaultyObjectStore::Remove(std::string_view key, absl::Time deadline) {
  const std::optional<Fault> fault = Enter(ObjectOperation::kRemove, key);
  if (fault.has_value() && !fault->error.ok() && !fault->done) return fault->error;
  const absl::Status status = store_->Remove(key, deadline);
  return fault.has_value() && !fault->error.ok() ? fault->error : status;
}

}  // namespace aetherfs
