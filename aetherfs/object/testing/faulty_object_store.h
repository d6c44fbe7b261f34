#ifndef AETHERFS_OBJECT_TESTING_FAULTY_OBJECT_STORE_H_
#define AETHERFS_OBJECT_TESTING_FAULTY_OBJECT_STORE_H_

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "aetherfs/object/object_operation.h"
#include "aetherfs/object/object_store.h"

namespace aetherfs {

// What goes wrong with calls of one kind. At most one of the effects on bytes (truncate_at, flip_bit_at)
// may be set; both are for Gets.
struct Fault {
  ObjectOperation operation = ObjectOperation::kGet;
  std::string key_contains = {};  // only calls whose key (List: prefix) contains it
  int skip = 0;                   // so many matching calls pass first
  int every = 1;                  // of the others, each so-manieth is hit
  int count = 1;                  // until so many were hit; -1: without end

  // The call fails with it. With `done`, it has been done nevertheless: an answer that was lost.
  absl::Status error = absl::OkStatus();
  bool done = false;
  // The sink gets so many bytes, then the Get fails with `error` (UNAVAILABLE if that is OK).
  std::optional<uint64_t> truncate_at = std::nullopt;
  // The lowest bit of that byte of what the Get hands on is flipped; the Get succeeds.
  std::optional<uint64_t> flip_bit_at = std::nullopt;
  // The call tells `reached` and waits for `release` before anything else. Both may be null and must
  // outlive the call; `reached` is told once.
  absl::Notification* reached = nullptr;
  absl::Notification* release = nullptr;
};

// A store that fails on command, deterministically, and counts calls. Thread-safe. A call is hit by the
// first fault that matches it, in the order of Inject().
class FaultyObjectStore : public ObjectStore {
 public:
  explicit FaultyObjectStore(std::shared_ptr<ObjectStore> store) : store_(std::move(store)) {}

  void Inject(Fault fault);
  void ClearFaults();
  // From now on every call fails with `error`, done or not by nobody; OK ends the outage.
  void SetOutage(absl::Status error);
  // From now on every Put fails with RESOURCE_EXHAUSTED, nothing stored.
  void SetFull(bool full);

  // Calls that came in, failed ones included; since the beginning or ResetCounts().
  int calls(ObjectOperation operation) const;
  int total_calls() const;
  void ResetCounts();

  absl::StatusOr<ObjectInfo> Get(std::string_view key, const GetOptions& options, ByteSink sink) override;
  absl::Status Put(std::string_view key, const std::vector<std::string_view>& pieces,
                   const PutOptions& options) override;
  absl::StatusOr<ObjectInfo> Head(std::string_view key, absl::Time deadline) override;
  absl::StatusOr<ListResult> List(const ListOptions& options) override;
  absl::Status Remove(std::string_view key, absl::Time deadline) override;

 private:
  // Counts the call, and waits if its fault says so. What is left of the fault is the caller's to do.
  std::optional<Fault> Enter(ObjectOperation operation, std::string_view key);

  const std::shared_ptr<ObjectStore> store_;
  mutable absl::Mutex mutex_;
  std::deque<Fault> faults_ ABSL_GUARDED_BY(mutex_);
  std::map<ObjectOperation, int> calls_ ABSL_GUARDED_BY(mutex_);
  absl::Status outage_ ABSL_GUARDED_BY(mutex_);
  bool full_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace aetherfs

#endif  // AETHERFS_OBJECT_TESTING_FAULTY_OBJECT_STORE_H_
