#ifndef AETHERFS_AGENT_AGENT_METRICS_H_
#define AETHERFS_AGENT_AGENT_METRICS_H_

#include <string>

#include "aetherfs/telemetry/metrics.h"

namespace aetherfs {

// What an agent counts. Thread-safe; belongs to whoever owns the registry.
struct AgentMetrics {
  explicit AgentMetrics(MetricsRegistry& registry);

  CounterFamily& updates;  // result: done, failed, refused, corrupt, disk_full
  HistogramFamily& update_seconds;
  Counter downloaded_bytes;  // update bytes by source
  Counter reused_bytes;
  Counter integrity_failures;
  Counter delta_bytes;
  Counter delta_failures;       // deltas, or parts of them, that were no use
  CounterFamily& publications;  // result: done, failed, retried
  GaugeFamily& state;           // subscription, state: 1 for the one that holds
  GaugeFamily& active_age;      // subscription
  GaugeFamily& confirmed_age;   // subscription
};

}  // namespace aetherfs

#endif  // AETHERFS_AGENT_AGENT_METRICS_H_
