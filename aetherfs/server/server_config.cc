#include "aetherfs/server/server_config.h"

#include <fmt/format.h>

#include <algorithm>

#include "aetherfs/base/address.h"
#include "aetherfs/base/quantity.h"
#include "aetherfs/base/status.h"
#include "aetherfs/cache/memory_part_cache.h"
#include "aetherfs/cluster/peer_list.h"

namespace aetherfs {
namespace {

constexpr absl::Duration kMinPollInterval = absl::Milliseconds(10);
constexpr absl::Duration kMaxPollInterval = absl::Hours(1);

}  // namespace

void AddServerOptions(ServerConfig& config, OptionSet& options) {
  options.Add("listen", &config.listen, "address for gRPC").ValueName("HOST:PORT");
  options.Add("http-listen", &config.http_listen, "address for metrics and health; empty: none")
      .ValueName("HOST:PORT");
  options
      .Add("store", &config.store,
           "file:///DIR, s3://BUCKET[/PREFIX][?endpoint=URL&region=R&path-style=BOOL] or memory:")
      .ValueName("URL");
  options.AddSize("cache-memory", &config.cache_memory,
                  "memory for parts of hot blocks, what is in flight included");
  options
      .Add("peers", &config.peers,
           "the servers that cache for each other, this one among them: HOST:PORT,... or dns:NAME:PORT")
      .ValueName("PEERS");
  options.Add("advertise", &config.advertise, "which of --peers this server is; found out if not given")
      .ValueName("HOST:PORT");
  options.Add("poll-interval", &config.poll_interval,
              "how often the journals of followed datasets are read");
  options.Add("drain-timeout", &config.drain_timeout, "after SIGTERM, what runs may take this long to end");
  options.Add("max-connection-age", &config.max_connection_age,
              "connections are closed gracefully at this age, so that clients spread over the servers");
  options.Add("log-level", &config.log_level, "what is logged")
      .Choices({"debug", "info", "warning", "error"});
  options.Add("log-format", &config.log_format, "how it is logged").Choices({"text", "json"});
}

absl::Status CheckServerConfig(const ServerConfig& config) {
  if (!IsListenAddress(config.listen)) {
    return absl::InvalidArgumentError(fmt::format(
        "--listen: '{}' is not an address; write it like 127.0.0.1:7400", Printable(config.listen)));
  }
  if (!config.http_listen.empty() && !IsListenAddress(config.http_listen)) {
    return absl::InvalidArgumentError(
        fmt::format("--http-listen: '{}' is not an address; write it like 127.0.0.1:7401",
                    Printable(config.http_listen)));
  }
  if (config.cache_memory < MemoryPartCache::kMinBudget) {
    return absl::InvalidArgumentError(
        fmt::format("--cache-memory: {} is too little, at least {} are needed",
                    FormatSize(config.cache_memory), FormatSize(MemoryPartCache::kMinBudget)));
  }
  const absl::StatusOr<PeerList> peers = ParsePeerList(config.peers);
  if (!peers.ok()) return Annotate(peers.status(), "--peers");
  if (!config.advertise.empty()) {
    if (peers->empty()) return absl::InvalidArgumentError("--advertise says nothing without --peers");
    const absl::StatusOr<std::string> address = ParseServerAddress(config.advertise);
    if (!address.ok()) return Annotate(address.status(), "--advertise");
    if (*address != config.advertise) {
      return absl::InvalidArgumentError(
          fmt::format("--advertise: '{}' has no port; write HOST:PORT", Printable(config.advertise)));
    }
    if (!peers->addresses.empty() &&
        std::find(peers->addresses.begin(), peers->addresses.end(), *address) == peers->addresses.end()) {
      return absl::InvalidArgumentError(
          fmt::format("--advertise: {} is not one of --peers, where the other servers look for it", *address));
    }
  }
  if (config.poll_interval < kMinPollInterval || config.poll_interval > kMaxPollInterval) {
    return absl::InvalidArgumentError(
        fmt::format("--poll-interval: {} is not between {} and {}", FormatElapsed(config.poll_interval),
                    FormatElapsed(kMinPollInterval), FormatElapsed(kMaxPollInterval)));
  }
  if (config.max_connection_age < absl::Seconds(1)) {
    return absl::InvalidArgumentError("--max-connection-age: at least 1s is needed");
  }
  return absl::OkStatus();
}

}  // namespace aetherfs
