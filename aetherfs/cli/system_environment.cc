#include "aetherfs/cli/system_environment.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <pwd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <climits>
#include <cstdlib>
#include <iostream>
#include <vector>

#include "aetherfs/rpc/channel.h"
#include "fmt/format.h"

namespace aetherfs {
namespace {

constexpr size_t kDefaultWidth = 80;

std::string CurrentDirectory() {
  char buffer[PATH_MAX];
  return getcwd(buffer, sizeof(buffer)) != nullptr ? buffer : "/";
}

size_t TerminalWidth() {
  winsize size{};
  return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : kDefaultWidth;
}

std::string UserAtHost() {
  char host[HOST_NAME_MAX + 1] = {};
  if (gethostname(host, sizeof(host) - 1) != 0 || host[0] == '\0') {
    return fmt::format("uid {}", geteuid());
  }
  // The environment first: asking the system's directory of users may ask a network.
  for (const char* name : {"USER", "LOGNAME"}) {
    const char* user = getenv(name);
    if (user != nullptr && *user != '\0') return fmt::format("{}@{}", user, host);
  }
  const passwd* entry = getpwuid(geteuid());
  return entry != nullptr ? fmt::format("{}@{}", entry->pw_name, host)
                          : fmt::format("uid {}@{}", geteuid(), host);
}

}  // namespace

CliEnvironment SystemCliEnvironment(int argc, const char* const* argv, Interrupt* interrupt) {
  CliEnvironment environment;
  environment.args = ArgumentsOf(argc, argv);
  environment.variables = SystemEnvironment();
  environment.read_file = SystemFileReader();
  std::ios::sync_with_stdio(false);
  environment.out = &std::cout;
  environment.err = &std::cerr;
  const char* terminal = getenv("TERM");
  environment.err_is_terminal =
      isatty(STDERR_FILENO) != 0 && (terminal == nullptr || std::string_view(terminal) != "dumb");
  environment.err_width = environment.err_is_terminal ? TerminalWidth() : kDefaultWidth;
  environment.working_directory = CurrentDirectory();
  environment.user = UserAtHost;
  environment.clock = Clock::System();
  environment.random = Random::System();
  environment.interrupt = interrupt;
  environment.connect_server =
      [](const ServerClientOptions& options) -> absl::StatusOr<std::shared_ptr<ServerClient>> {
    static auto* const kept = new std::vector<std::shared_ptr<ServerClient>>;
    absl::StatusOr<std::unique_ptr<ServerClient>> client = ServerClient::Create(options);
    if (!client.ok()) return client.status();
    kept->push_back(*std::move(client));
    return kept->back();
  };
  environment.connect_agent = [](const std::string& address) {
    static auto* const kept = new std::vector<std::shared_ptr<grpc::Channel>>;
    kept->push_back(
        grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), ClientChannelArguments()));
    return kept->back();
  };
  return environment;
}

}  // namespace aetherfs
