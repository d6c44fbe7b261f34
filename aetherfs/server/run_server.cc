#include "aetherfs/server/run_server.h"

#include <fmt/format.h>
#include <malloc.h>

#include <cstdio>
#include <memory>
#include <utility>

#include "absl/synchronization/notification.h"
#include "aetherfs/base/status.h"
#include "aetherfs/object/open.h"
#include "aetherfs/os/signals.h"
#include "aetherfs/server/server_app.h"
#include "aetherfs/server/server_config.h"
#include "aetherfs/telemetry/log.h"
#include "aetherfs/telemetry/version.h"

namespace aetherfs {
namespace {

constexpr int kFailed = 1;
constexpr int kWrongUsage = 2;

// Every thread with an arena of its own would keep what it once used.
constexpr int kMallocArenas = 2;
// Upload segments and parts are mapped on their own, so that they leave no holes in the heap: the large
// ones among them are kept and used again by their owners.
constexpr int kMallocMapFrom = 512 * 1024;
constexpr int kMallocTrimAt = 4 * 1024 * 1024;

int Fail(const absl::Status& status, int exit_status) {
  fmt::print(stderr, "aetherfs-server: {}\n", Message(status));
  return exit_status;
}

absl::Status Serve(const ServerConfig& config, SignalListener& signals) {
  ASSIGN_OR_RETURN(std::shared_ptr<ObjectStore> store, OpenObjectStore(config.store));
  ASSIGN_OR_RETURN(const std::unique_ptr<ServerApp> app, ServerApp::Start(config, std::move(store)));
  absl::Notification terminated;
  signals.Start({.terminate = [&terminated] { terminated.Notify(); },
                 // Certificates, tokens and policy will be read again here.
                 .reload = [] { LogInfo("SIGHUP: there is nothing to read again"); }});
  LogInfo("serving", {{"version", VersionText()},
                      {"listen", app->address()},
                      {"http_listen", app->http_address()},
                      {"store", config.store}});
  terminated.WaitForNotification();
  LogInfo("shutting down", {{"drain_timeout", config.drain_timeout}});
  app->Shutdown(config.drain_timeout);
  LogInfo("done");
  return absl::OkStatus();
}

}  // namespace

int RunServer(int argc, const char* const* argv) {
  mallopt(M_ARENA_MAX, kMallocArenas);
  mallopt(M_MMAP_THRESHOLD, kMallocMapFrom);
  mallopt(M_TRIM_THRESHOLD, kMallocTrimAt);
  SignalListener signals;
  ServerConfig config;
  OptionSet options("aetherfs-server", "serves datasets: DatasetAPI and BlockAPI over an object store");
  AddServerOptions(config, options);
  const absl::StatusOr<ParseOutcome> outcome =
      options.Parse(ArgumentsOf(argc, argv), SystemEnvironment(), SystemFileReader());
  if (!outcome.ok()) return Fail(outcome.status(), kWrongUsage);
  if (outcome->action == ParseOutcome::Action::kShowHelp) {
    fmt::print("{}{}", outcome->help_text, outcome->help_text.ends_with('\n') ? "" : "\n");
    return 0;
  }
  if (outcome->action == ParseOutcome::Action::kShowVersion) {
    fmt::print("aetherfs-server {}\n", VersionText());
    return 0;
  }
  const absl::StatusOr<LogLevel> level = ParseLogLevel(config.log_level);
  const absl::StatusOr<LogFormat> format = ParseLogFormat(config.log_format);
  if (!level.ok() || !format.ok()) return Fail(level.ok() ? format.status() : level.status(), kWrongUsage);
  InitLogging(*level, *format);
  if (const absl::Status checked = CheckServerConfig(config); !checked.ok())
    return Fail(checked, kWrongUsage);
  if (const absl::Status served = Serve(config, signals); !served.ok()) {
    return Fail(served, absl::IsInvalidArgument(served) ? kWrongUsage : kFailed);
  }
  return 0;
}

}  // namespace aetherfs
