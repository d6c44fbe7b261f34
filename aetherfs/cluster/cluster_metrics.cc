#include "aetherfs/cluster/cluster_metrics.h"

namespace aetherfs {

ClusterMetrics::ClusterMetrics(MetricsRegistry& registry)
    : peer_healthy(registry.AddGauge("aetherfs_peer_healthy", "1 if the peer works", {"peer"})),
      peer_parts(registry.AddCounter("aetherfs_peer_parts_total", "parts asked of peers").Only()),
      peer_failures(
          registry.AddCounter("aetherfs_peer_failures_total", "requests for parts that peers failed").Only()),
      peer_bytes(registry.AddCounter("aetherfs_peer_received_bytes_total", "bytes received from peers").Only()),
      hedges(registry.AddCounter("aetherfs_peer_hedges_total", "second requests because a peer was slow")
                 .Only()),
      hedges_won(registry.AddCounter("aetherfs_peer_hedges_won_total", "hedges that were first").Only()),
      handovers(registry
                    .AddCounter("aetherfs_peer_handovers_total",
                                "parts that came from the cache of whoever owned them before")
                    .Only()),
      fallbacks(registry
                    .AddCounter("aetherfs_peer_fallbacks_total",
                                "parts read from the store because their owners failed")
                    .Only()),
      fallbacks_refused(registry
                            .AddCounter("aetherfs_peer_fallbacks_refused_total",
                                        "parts not read from the store, to spare it")
                            .Only()),
      integrity_failures(registry
                             .AddCounter("aetherfs_peer_integrity_failures_total",
                                         "parts from peers that failed their checksum")
                             .Only()),
      announcements_sent(
          registry.AddCounter("aetherfs_announcements_sent_total", "journal entries told to peers").Only()),
      announcements_lost(registry
                             .AddCounter("aetherfs_announcements_lost_total",
                                         "journal entries that did not reach a peer; it finds them by polling")
                             .Only()),
      announcements_received(
          registry.AddCounter("aetherfs_announcements_received_total", "journal entries told by peers")
              .Only()) {}

}  // namespace aetherfs
