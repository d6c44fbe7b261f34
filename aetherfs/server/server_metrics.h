#ifndef AETHERFS_SERVER_SERVER_METRICS_H_
#define AETHERFS_SERVER_SERVER_METRICS_H_

#include <cstdint>
#include <functional>
#include <string_view>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "aetherfs/object/metered_object_store.h"
#include "aetherfs/telemetry/metrics.h"

namespace aetherfs {

// What a server counts (docs/operations.md lists the names). Thread-safe. `registry` must outlive it.
class ServerMetrics : public ObjectStoreMetrics {
 public:
  explicit ServerMetrics(MetricsRegistry& registry);

  // A call ended. `method` is a constant: "Publish".
  void ObserveCall(std::string_view method, absl::StatusCode code, absl::Duration duration) const;
  // A request to the store ended.
  void Observe(ObjectOperation operation, absl::StatusCode code, uint64_t bytes,
               absl::Duration duration) override;

  Counter uploaded_bytes;    // received, of objects
  Counter downloaded_bytes;  // sent, of objects
  Counter integrity_failures_upload;
  Counter integrity_failures_store;
  Counter integrity_failures_client;  // downloads that were repeated around the caches
  Counter journal_appends;
  Counter journal_conflicts;  // an expectation did not hold
  Counter journal_unchanged;  // nothing to append
  Counter journal_failures;
  Counter journal_polls;
  Counter stale_answers;
  Counter stalled_downloads;
  Gauge store_fit;  // 1 once create-if-absent was proved

 private:
  CounterFamily& calls_;
  HistogramFamily& call_seconds_;
  CounterFamily& store_requests_;
  CounterFamily& store_bytes_;
  HistogramFamily& store_seconds_;
};

}  // namespace aetherfs

#endif  // AETHERFS_SERVER_SERVER_METRICS_H_
