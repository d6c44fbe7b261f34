#include "aetherfs/server/server_metrics.h"

#include <string>

namespace aetherfs {

ServerMetrics::ServerMetrics(MetricsRegistry& registry)
    : calls_(registry.AddCounter("aetherfs_server_calls_total", "calls that ended", {"method", "code"})),
      call_seconds_(registry.AddHistogram("aetherfs_server_call_seconds",
                                          "how long calls took, streams included", LatencyBuckets(),
                                          {"method"})),
      store_requests_(registry.AddCounter("aetherfs_store_requests_total", "requests to the object store",
                                          {"operation", "code"})),
      store_bytes_(registry.AddCounter("aetherfs_store_bytes_total",
                                       "bytes of bodies to and from the object store", {"operation"})),
      store_seconds_(registry.AddHistogram("aetherfs_store_request_seconds",
                                           "how long requests to the store took", LatencyBuckets(),
                                           {"operation"})) {
  uploaded_bytes =
      registry.AddCounter("aetherfs_server_uploaded_bytes_total", "bytes of objects received").Only();
  downloaded_bytes =
      registry.AddCounter("aetherfs_server_downloaded_bytes_total", "bytes of objects sent").Only();
  auto& integrity = registry.AddCounter("aetherfs_integrity_failures_total",
                                        "bytes that are not what their name says", {"source"});
  integrity_failures_upload = integrity.With({"upload"});
  integrity_failures_store = integrity.With({"store"});
  integrity_failures_client = integrity.With({"client"});
  auto& appends = registry.AddCounter("aetherfs_journal_appends_total", "changes asked for", {"result"});
  journal_appends = appends.With({"written"});
  journal_conflicts = appends.With({"conflict"});
  journal_unchanged = appends.With({"unchanged"});
  journal_failures = appends.With({"failed"});
  journal_polls =
      registry.AddCounter("aetherfs_journal_polls_total", "reads of journals for subscribers").Only();
  stale_answers = registry
                      .AddCounter("aetherfs_server_stale_answers_total",
                                  "answers from memory because the store was away")
                      .Only();
  stalled_downloads = registry
                          .AddCounter("aetherfs_server_stalled_downloads_total",
                                      "downloads ended because their reader stood still")
                          .Only();
  store_fit =
      registry.AddGauge("aetherfs_store_fit", "1 if the store was seen to honour create-if-absent").Only();
}

void ServerMetrics::ObserveCall(std::string_view method, absl::StatusCode code,
                                absl::Duration duration) const {
  calls_.With({std::string(method), absl::StatusCodeToString(code)}).Increment();
  call_seconds_.With({std::string(method)}).Observe(absl::ToDoubleSeconds(duration));
}

void ServerMetrics::Observe(ObjectOperation operation, absl::StatusCode code, uint64_t bytes,
                            absl::Duration duration) {
  const std::string name(ObjectOperationName(operation));
  store_requests_.With({name, absl::StatusCodeToString(code)}).Increment();
  if (bytes > 0) store_bytes_.With({name}).Increment(static_cast<double>(bytes));
  store_seconds_.With({name}).Observe(absl::ToDoubleSeconds(duration));
  if (code == absl::StatusCode::kDataLoss) integrity_failures_store.Increment();
}

}  // namespace aetherfs
