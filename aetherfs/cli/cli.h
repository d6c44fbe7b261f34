#ifndef AETHERFS_CLI_CLI_H_
#define AETHERFS_CLI_CLI_H_

#include <functional>
#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "aetherfs/base/clock.h"
#include "aetherfs/base/random.h"
#include "aetherfs/cli/interrupt.h"
#include "aetherfs/client/server_client.h"
#include "aetherfs/config/option_set.h"

namespace grpc {
class Channel;
}

namespace aetherfs {

// All that the command line touches besides files: a whole run of the tool is a function of this, so that
// it can run inside a test. Pointers are borrowed and must not be null.
struct CliEnvironment {
  std::vector<std::string> args;  // without the program's name
  EnvironmentLookup variables;
  FileReader read_file;         // for --config
  std::ostream* out = nullptr;  // data
  std::ostream* err = nullptr;  // progress and messages
  bool err_is_terminal = false;
  size_t err_width = 80;              // columns
  std::string working_directory;      // absolute
  std::function<std::string()> user;  // "user@host", who the log says did it
  Clock* clock = nullptr;
  Random* random = nullptr;
  Interrupt* interrupt = nullptr;
  std::function<absl::StatusOr<std::shared_ptr<ServerClient>>(const ServerClientOptions&)> connect_server;
  std::function<std::shared_ptr<grpc::Channel>(const std::string& address)> connect_agent;
};

// Runs one command and returns the process's exit status (exit_status.h). Blocks until it is done; ends
// early, with 130, when the interrupt comes. Nothing is thrown.
int RunCli(const CliEnvironment& environment);

}  // namespace aetherfs

#endif  // AETHERFS_CLI_CLI_H_
