#ifndef AETHERFS_TELEMETRY_PROCESS_METRICS_H_
#define AETHERFS_TELEMETRY_PROCESS_METRICS_H_

#include "aetherfs/telemetry/metrics.h"

namespace aetherfs {

// What the system says of this process, as gauges that Refresh() brings up to date, and build_info.
class ProcessMetrics {
 public:
  explicit ProcessMetrics(MetricsRegistry& registry);
  // Not thread-safe: scrapes come one at a time.
  void Refresh();

 private:
  Gauge resident_memory_bytes_;
  Gauge open_fds_;
  Counter cpu_seconds_;
  double counted_cpu_seconds_ = 0;
};

}  // namespace aetherfs

#endif  // AETHERFS_TELEMETRY_PROCESS_METRICS_H_
