#ifndef AETHERFS_CLI_COMMAND_H_
#define AETHERFS_CLI_COMMAND_H_

#include <memory>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "aetherfs/cli/context.h"
#include "aetherfs/config/option_set.h"

namespace aetherfs {

// One command of the tool: declares its options and arguments as members of its own, then runs once with
// what they were given. Not thread-safe.
class CliCommand {
 public:
  virtual ~CliCommand() = default;
  virtual std::string_view name() const = 0;
  virtual std::string_view summary() const = 0;
  // Whole lines, each a command that works; shown at the end of its help.
  virtual std::string_view examples() const = 0;
  virtual void Declare(OptionSet& options) = 0;
  // Prints its result; errors are printed by the caller, behind the command's name and subject.
  virtual absl::Status Run(CliContext& context) = 0;
};

// In the order in which the help lists them.
std::vector<std::unique_ptr<CliCommand>> AllCommands();

// One file each.
std::unique_ptr<CliCommand> MakePublishCommand();
std::unique_ptr<CliCommand> MakePullCommand();
std::unique_ptr<CliCommand> MakeVerifyCommand();
std::unique_ptr<CliCommand> MakeWatchCommand();
std::unique_ptr<CliCommand> MakeLsCommand();
std::unique_ptr<CliCommand> MakeTagsCommand();
std::unique_ptr<CliCommand> MakeLogCommand();
std::unique_ptr<CliCommand> MakeInspectCommand();
std::unique_ptr<CliCommand> MakeDiffCommand();
std::unique_ptr<CliCommand> MakeTagCommand();
std::unique_ptr<CliCommand> MakeUntagCommand();
std::unique_ptr<CliCommand> MakeSettingsCommand();
std::unique_ptr<CliCommand> MakeSubscribeCommand();
std::unique_ptr<CliCommand> MakeUnsubscribeCommand();
std::unique_ptr<CliCommand> MakeStatusCommand();
std::unique_ptr<CliCommand> MakePinCommand();
std::unique_ptr<CliCommand> MakeUnpinCommand();
std::unique_ptr<CliCommand> MakeBackCommand();
std::unique_ptr<CliCommand> MakeVersionCommand();

}  // namespace aetherfs

#endif  // AETHERFS_CLI_COMMAND_H_
