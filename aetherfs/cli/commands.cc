#include "aetherfs/cli/command.h"

namespace aetherfs {

std::vector<std::unique_ptr<CliCommand>> AllCommands() {
  std::vector<std::unique_ptr<CliCommand>> commands;
  commands.push_back(MakePublishCommand());
  commands.push_back(MakePullCommand());
  commands.push_back(MakeSubscribeCommand());
  commands.push_back(MakeUnsubscribeCommand());
  commands.push_back(MakeWatchCommand());
  commands.push_back(MakeLsCommand());
  commands.push_back(MakeTagsCommand());
  commands.push_back(MakeLogCommand());
  commands.push_back(MakeInspectCommand());
  commands.push_back(MakeDiffCommand());
  commands.push_back(MakeTagCommand());
  commands.push_back(MakeUntagCommand());
  commands.push_back(MakeSettingsCommand());
  commands.push_back(MakeStatusCommand());
  commands.push_back(MakePinCommand());
  commands.push_back(MakeUnpinCommand());
  commands.push_back(MakeBackCommand());
  commands.push_back(MakeVerifyCommand());
  commands.push_back(MakeVersionCommand());
  return commands;
}

}  // namespace aetherfs
