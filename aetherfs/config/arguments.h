#ifndef AETHERFS_CONFIG_ARGUMENTS_H_
#define AETHERFS_CONFIG_ARGUMENTS_H_

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "aetherfs/config/option_set.h"

namespace aetherfs {

// Reads a command line against an OptionSet: first Read(), which stores nothing, so that the layers below
// can be applied in between, then Apply(). Part of OptionSet::Parse(). Not thread-safe.
class ArgumentParser {
 public:
  explicit ArgumentParser(const OptionSet& options) : root_(options), scope_(&options) {}

  // INVALID_ARGUMENT for what is not declared.
  absl::Status Read(const std::vector<std::string>& args);
  // Stores what was read.
  absl::Status Apply(ParseOutcome& outcome) const;

  bool wants_help() const { return wants_help_; }
  bool wants_version() const { return wants_version_; }
  // Null if none was named.
  const OptionSet* command() const { return scope_ == &root_ ? nullptr : scope_; }
  std::optional<std::string> LastValue(const Option& option) const;

 private:
  struct Given {
    const Option* option;
    std::vector<std::string> values;
  };

  // These take from args_ at next_.
  absl::Status ReadLong(std::string_view arg);
  absl::Status ReadShorts(std::string_view arg);
  absl::Status ReadWord(const std::string& word);
  absl::StatusOr<std::string> NextValue(const std::string& flag, const Option& option);
  absl::Status UnknownFlag(std::string_view name) const;
  absl::Status CheckPositionalCount() const;
  void Give(const Option& option, std::string value);

  const OptionSet& root_;
  const OptionSet* scope_;  // root_ or the command
  std::vector<std::string> args_;
  size_t next_ = 0;
  bool wants_help_ = false;
  bool help_word_ = false;   // it was asked for by the command "help"
  absl::Status help_error_;  // and for a command that there is not
  bool wants_version_ = false;
  std::vector<Given> given_;
  std::vector<std::string> positionals_;
};

}  // namespace aetherfs

#endif  // AETHERFS_CONFIG_ARGUMENTS_H_
