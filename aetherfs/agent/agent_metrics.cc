#include "aetherfs/agent/agent_metrics.h"

namespace aetherfs {

AgentMetrics::AgentMetrics(MetricsRegistry& registry)
    : updates(registry.AddCounter("aetherfs_agent_updates_total", "Updates of subscriptions, by result.",
                                  {"result"})),
      update_seconds(registry.AddHistogram("aetherfs_agent_update_seconds",
                                           "From the start of an update until the version is active.")),
      downloaded_bytes(registry
                           .AddCounter("aetherfs_agent_update_bytes_total",
                                       "Bytes of updates, by where they came from.", {"source"})
                           .With({"server"})),
      reused_bytes(registry
                       .AddCounter("aetherfs_agent_update_bytes_total",
                                   "Bytes of updates, by where they came from.", {"source"})
                       .With({"disk"})),
      integrity_failures(registry
                             .AddCounter("aetherfs_agent_integrity_failures_total",
                                         "Bytes that did not have their digest, received or on this disk.")
                             .Only()),
      delta_bytes(registry
                      .AddCounter("aetherfs_agent_update_bytes_total",
                                  "Bytes of updates, by where they came from.", {"source"})
                      .With({"delta"})),
      delta_failures(
          registry
              .AddCounter("aetherfs_agent_delta_failures_total",
                          "Deltas, or parts of them, that could not be used; blocks were instead.")
              .Only()),
      publications(registry.AddCounter("aetherfs_agent_publications_total",
                                       "Publishes through this agent, by result.", {"result"})),
      state(registry.AddGauge("aetherfs_agent_subscription_state",
                              "1 for the state that the subscription is in, 0 for the others.",
                              {"subscription", "state"})),
      active_age(registry.AddGauge("aetherfs_agent_active_age_seconds",
                                   "Since the active version became active; absent while there is none.",
                                   {"subscription"})),
      confirmed_age(registry.AddGauge(
          "aetherfs_agent_confirmed_age_seconds",
          "Since a server last said what is current; absent before the first time.", {"subscription"})) {}

}  // namespace aetherfs
