#ifndef AETHERFS_AGENT_AGENT_CONFIG_H_
#define AETHERFS_AGENT_AGENT_CONFIG_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "aetherfs/agent/v1/agent.pb.h"
#include "aetherfs/config/option_set.h"

namespace aetherfs {

// What `aetherfs-agent` is told by flags, environment and its configuration file (docs/configuration.md). A
// value.
struct AgentConfig {
  std::vector<std::string> servers = {"127.0.0.1:7400"};
  std::vector<std::string> listen = {"unix:///run/aetherfs/agent.sock"};
  std::string root = "/var/lib/aetherfs/agent";
  std::string http_listen;
  std::vector<std::string> subscribe;  // references
  uint32_t keep = 2;
  absl::Duration drain_timeout = absl::Seconds(30);
  std::string log_level = "info";
  std::string log_format = "text";
  std::vector<agent::v1::Subscription> subscriptions;  // the file's

  // Of `subscribe` and of the file; a reference in both has the file's settings.
  std::vector<agent::v1::Subscription> Declared() const;
};

struct AgentCommandLine {
  AgentConfig config;
  ParseOutcome outcome;
};
// INVALID_ARGUMENT, naming the flag, key or value that is wrong. Reads the file, if one is named.
absl::StatusOr<AgentCommandLine> ParseAgentConfig(const std::vector<std::string>& args,
                                                  const EnvironmentLookup& environment,
                                                  const FileReader& read_file);

}  // namespace aetherfs

#endif  // AETHERFS_AGENT_AGENT_CONFIG_H_
