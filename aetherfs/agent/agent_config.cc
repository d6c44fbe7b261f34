#include "aetherfs/agent/agent_config.h"

#include <algorithm>
#include <filesystem>

#include "aetherfs/agent/agent.h"
#include "aetherfs/agent/subscription_spec.h"
#include "aetherfs/base/address.h"
#include "aetherfs/base/status.h"
#include "aetherfs/config/field_set.h"
#include "fmt/format.h"

namespace aetherfs {
namespace {

absl::Status ReadSubscription(const YamlNode& node, std::vector<agent::v1::Subscription>* subscriptions) {
  std::string reference, path;
  uint32_t keep = 0;
  std::vector<std::string> check, notify, include, exclude;
  FieldSet fields;
  fields.Require("reference", &reference);
  fields.Add("path", &path);
  fields.AddInt("keep", &keep, {1, kMaxKeep});
  fields.Add("check", &check);
  fields.Add("notify", &notify);
  fields.Add("include", &include);
  fields.Add("exclude", &exclude);
  RETURN_IF_ERROR(fields.Read(node));
  agent::v1::Subscription subscription;
  subscription.set_reference(reference);
  subscription.set_path(path);
  subscription.set_keep(keep);
  subscription.mutable_check()->Add(check.begin(), check.end());
  subscription.mutable_notify()->Add(notify.begin(), notify.end());
  subscription.mutable_include()->Add(include.begin(), include.end());
  subscription.mutable_exclude()->Add(exclude.begin(), exclude.end());
  const absl::Status valid = SubscriptionSpec::Parse(subscription, 1).status();
  if (!valid.ok()) return node.Error(Message(valid));
  subscriptions->push_back(std::move(subscription));
  return absl::OkStatus();
}

// What the options' types cannot tell; completes what may be left out.
absl::Status Check(AgentConfig& config) {
  for (const std::string& reference : config.subscribe) {
    agent::v1::Subscription subscription;
    subscription.set_reference(reference);
    const absl::Status valid = SubscriptionSpec::Parse(subscription, config.keep).status();
    if (!valid.ok()) return Annotate(valid, "--subscribe");
  }
  if (config.servers.empty()) return absl::InvalidArgumentError("--server: at least one server is needed");
  for (std::string& server : config.servers) {
    absl::StatusOr<std::string> address = ParseServerAddress(server);
    if (!address.ok()) return Annotate(address.status(), "--server");
    server = *std::move(address);
  }
  if (config.listen.empty()) return absl::InvalidArgumentError("--listen: at least one address is needed");
  for (const std::string& listen : config.listen) {
    if (listen.starts_with("unix:///") || IsListenAddress(listen)) continue;
    return absl::InvalidArgumentError(
        fmt::format("--listen: '{}' is no address; write unix:///path or HOST:PORT", Printable(listen)));
  }
  if (!config.http_listen.empty() && !IsListenAddress(config.http_listen)) {
    return absl::InvalidArgumentError(fmt::format("--http-listen: '{}' is not an address; write HOST:PORT",
                                                  Printable(config.http_listen)));
  }
  if (config.root.empty()) return absl::InvalidArgumentError("--root: a directory is needed");
  config.root = std::filesystem::absolute(config.root).lexically_normal().string();
  return absl::OkStatus();
}

}  // namespace

std::vector<agent::v1::Subscription> AgentConfig::Declared() const {
  std::vector<agent::v1::Subscription> declared = subscriptions;
  for (const std::string& text : subscribe) {
    const absl::StatusOr<std::string> wanted = CanonicalReference(text);
    const bool there = std::any_of(declared.begin(), declared.end(), [&](const auto& subscription) {
      const absl::StatusOr<std::string> other = CanonicalReference(subscription.reference());
      return wanted.ok() && other.ok() && *wanted == *other;
    });
    if (there) continue;
    declared.emplace_back().set_reference(text);
  }
  return declared;
}

absl::StatusOr<AgentCommandLine> ParseAgentConfig(const std::vector<std::string>& args,
                                                  const EnvironmentLookup& environment,
                                                  const FileReader& read_file) {
  AgentCommandLine line;
  AgentConfig& config = line.config;
  OptionSet options("aetherfs-agent",
                    "keeps datasets current in a directory, and publishes for local programs");
  options.Add("server", &config.servers, "servers, one of which is enough").ValueName("HOST:PORT");
  options.Add("listen", &config.listen, "addresses for AgentAPI: unix:///path or HOST:PORT")
      .ValueName("ADDRESS");
  options.Add("root", &config.root, "directory that this agent owns").ValueName("DIR");
  options.Add("http-listen", &config.http_listen, "address for health and metrics; off when empty")
      .ValueName("HOST:PORT");
  options.Add("subscribe", &config.subscribe, "reference to keep current; repeatable").ValueName("REF");
  options.AddInt("keep", &config.keep, {1, kMaxKeep}, "versions kept on disk, the active one included");
  options.Add("drain-timeout", &config.drain_timeout, "how long the end waits for what runs")
      .ValueName("TIME");
  options.Add("log-level", &config.log_level, "what is logged")
      .Choices({"debug", "info", "warning", "error"});
  options.Add("log-format", &config.log_format, "how it is logged").Choices({"text", "json"});
  options.AddStructured("subscriptions", "list of {reference, path, keep, check, notify, include, exclude}",
                        [&](const YamlNode& node) {
                          return ReadSequence(node, "subscriptions", Agent::kMaxSubscriptions,
                                              [&](const YamlNode& item) {
                                                return ReadSubscription(item, &config.subscriptions);
                                              });
                        });
  ASSIGN_OR_RETURN(line.outcome, options.Parse(args, environment, read_file));
  if (line.outcome.action != ParseOutcome::Action::kRun) return line;
  RETURN_IF_ERROR(Check(config));
  return line;
}

}  // namespace aetherfs
