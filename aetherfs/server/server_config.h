#ifndef AETHERFS_SERVER_SERVER_CONFIG_H_
#define AETHERFS_SERVER_SERVER_CONFIG_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "aetherfs/base/quantity.h"
#include "aetherfs/config/option_set.h"

namespace aetherfs {

// What an operator can say about a server. The values here are the defaults.
struct ServerConfig {
  std::string listen = "127.0.0.1:7400";
  std::string http_listen = "127.0.0.1:7401";  // empty: none
  std::string store = "file:///var/lib/aetherfs/store";
  uint64_t cache_memory = 256 * kMiB;
  std::vector<std::string> peers;  // the servers of the cluster; empty: none but this one
  std::string advertise;           // which of them this is; empty: it finds out
  absl::Duration poll_interval = absl::Seconds(5);
  absl::Duration drain_timeout = absl::Seconds(30);
  absl::Duration max_connection_age = absl::Minutes(30);
  std::string log_level = "info";
  std::string log_format = "text";
};

// Declares all of it as options; `config` must outlive their parsing.
void AddServerOptions(ServerConfig& config, OptionSet& options);
// INVALID_ARGUMENT names the option.
absl::Status CheckServerConfig(const ServerConfig& config);

}  // namespace aetherfs

#endif  // AETHERFS_SERVER_SERVER_CONFIG_H_
