#include "aetherfs/agent/agent_app.h"

#include <malloc.h>

#include <cstdio>
#include <functional>
#include <memory>
#include <utility>

#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "aetherfs/agent/agent.h"
#include "aetherfs/agent/agent_config.h"
#include "aetherfs/agent/agent_listener.h"
#include "aetherfs/agent/agent_service.h"
#include "aetherfs/base/status.h"
#include "aetherfs/os/signals.h"
#include "aetherfs/telemetry/health.h"
#include "aetherfs/telemetry/http_server.h"
#include "aetherfs/telemetry/log.h"
#include "aetherfs/telemetry/version.h"
#include "fmt/format.h"

// What the process is made of, from the outside in:
//   signals ── http ── AgentListener (gRPC) ── AgentService ── Agent ── ServerClient

namespace aetherfs {
namespace {

constexpr int kExitFailed = 1;
constexpr int kExitUsage = 2;
constexpr absl::Duration kRpcGrace = absl::Seconds(1);
constexpr int kArenas = 2;  // the allocator's: each costs memory, and a sidecar has little to do at once

int Fail(int exit_status, const absl::Status& status) {
  fmt::print(stderr, "aetherfs-agent: {}\n", Message(status));
  return exit_status;
}

absl::Status Run(const AgentConfig& config, const std::function<absl::StatusOr<AgentConfig>()>& reread,
                 std::unique_ptr<SignalListener> signals) {
  absl::Notification ended;
  std::atomic<bool> end_told{false};
  const auto end = [&] {
    if (!end_told.exchange(true)) ended.Notify();
  };
  MetricsRegistry metrics;
  Health health;
  health.SetUnmet("start", "the agent is starting");
  ServerClientOptions client_options;
  client_options.servers = config.servers;
  ASSIGN_OR_RETURN(const std::unique_ptr<ServerClient> client, ServerClient::Create(client_options));

  AgentOptions options;
  options.root = config.root;
  options.servers = config.servers;
  options.keep = config.keep;
  ASSIGN_OR_RETURN(
      const std::unique_ptr<Agent> agent,
      Agent::Create(options, client.get(), &metrics, &health, Clock::System(), Random::System()));
  AgentService service(agent.get(), end);
  ASSIGN_OR_RETURN(const std::unique_ptr<AgentListener> listener,
                   AgentListener::Start(config.listen, &service));
  std::unique_ptr<HttpServer> http;
  if (!config.http_listen.empty()) {
    HttpServerOptions http_options;
    http_options.listen = config.http_listen;
    RegisterStandardEndpoints(http_options.routes, &health, &metrics);
    absl::StatusOr<std::unique_ptr<HttpServer>> started = HttpServer::Start(std::move(http_options));
    if (!started.ok()) return Annotate(started.status(), "--http-listen");
    http = *std::move(started);
  }
  RETURN_IF_ERROR(agent->Declare(config.Declared()));
  health.Remove("start");
  LogInfo("agent is running", {{"version", VersionText()},
                               {"root", config.root},
                               {"listen", fmt::format("{}", fmt::join(listener->addresses(), ","))},
                               {"http", http != nullptr ? http->address() : "off"}});
  signals->Start({.terminate = end, .reload = [&] {
                    const absl::StatusOr<AgentConfig> again = reread();
                    const absl::Status status =
                        again.ok() ? agent->Declare(again->Declared()) : again.status();
                    if (status.ok()) {
                      LogInfo("configuration read again", {});
                    } else {
                      LogError("configuration not taken over; the one before stays", {{"error", status}});
                    }
                  }});
  ended.WaitForNotification();
  LogInfo("agent is ending", {});
  if (!agent->Drain(absl::Now() + config.drain_timeout)) {
    LogWarning("publishes are unfinished; recorded ones go on at the next start", {});
  }
  client->Cancel();  // calls to servers that are away would hold up the end
  agent->Stop();
  listener->Stop(kRpcGrace);
  if (http != nullptr) http->Stop();
  signals.reset();  // from here on nothing may call into what is destroyed
  return absl::OkStatus();
}

}  // namespace

int RunAgent(int argc, char** argv) {
  ::mallopt(M_ARENA_MAX, kArenas);
  auto signals = std::make_unique<SignalListener>();
  const auto parse = [&] {
    return ParseAgentConfig(ArgumentsOf(argc, argv), SystemEnvironment(), SystemFileReader());
  };
  const absl::StatusOr<AgentCommandLine> line = parse();
  if (!line.ok()) return Fail(kExitUsage, line.status());
  if (line->outcome.action == ParseOutcome::Action::kShowHelp) {
    fmt::print("{}", line->outcome.help_text);
    return 0;
  }
  if (line->outcome.action == ParseOutcome::Action::kShowVersion) {
    fmt::print("aetherfs-agent {}\n", VersionText());
    return 0;
  }
  InitLogging(ParseLogLevel(line->config.log_level).value_or(LogLevel::kInfo),
              ParseLogFormat(line->config.log_format).value_or(LogFormat::kText));
  const auto reread = [&]() -> absl::StatusOr<AgentConfig> {
    ASSIGN_OR_RETURN(AgentCommandLine again, parse());
    return std::move(again.config);
  };
  const absl::Status status = Run(line->config, reread, std::move(signals));
  return status.ok() ? 0 : Fail(absl::IsInvalidArgument(status) ? kExitUsage : kExitFailed, status);
}

}  // namespace aetherfs
