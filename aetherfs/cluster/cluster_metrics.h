#ifndef AETHERFS_CLUSTER_CLUSTER_METRICS_H_
#define AETHERFS_CLUSTER_CLUSTER_METRICS_H_

#include "aetherfs/telemetry/metrics.h"

namespace aetherfs {

// What a server counts of its peers (docs/operations.md lists the names). Thread-safe. `registry` must
// outlive it.
struct ClusterMetrics {
  explicit ClusterMetrics(MetricsRegistry& registry);

  GaugeFamily& peer_healthy;       // by peer: 1 or 0
  Counter peer_parts;              // parts asked of peers
  Counter peer_failures;           // of these attempts, those that failed
  Counter peer_bytes;              // received from peers
  Counter hedges;                  // second attempts because the first was slow
  Counter hedges_won;              // of these, those that were first with the whole part
  Counter handovers;               // parts that came from a previous owner's cache
  Counter fallbacks;               // parts read from the store because their owners failed
  Counter fallbacks_refused;       // of these, those for which there was no budget
  Counter integrity_failures;      // parts from peers that failed their checksum
  Counter announcements_sent;      // journal entries, each to each peer
  Counter announcements_lost;      // of these, those that were dropped or not answered
  Counter announcements_received;
};

}  // namespace aetherfs

#endif  // AETHERFS_CLUSTER_CLUSTER_METRICS_H_
