#include "aetherfs/config/arguments.h"

#include <algorithm>

#include "aetherfs/base/status.h"
#include "aetherfs/config/nearest.h"
#include "fmt/format.h"

namespace aetherfs {

absl::Status ArgumentParser::Read(const std::vector<std::string>& args) {
  args_ = args;
  // Help and version answer whatever else is wrong, so the first error waits until all is read.
  absl::Status first_error;
  bool flags_over = false;
  while (next_ < args_.size()) {
    const std::string arg = args_[next_++];
    if (flags_over || arg.size() < 2 || arg[0] != '-') {
      first_error.Update(ReadWord(arg));
    } else if (arg == "--") {
      flags_over = true;
    } else if (arg[1] == '-') {
      first_error.Update(ReadLong(arg));
    } else {
      first_error.Update(ReadShorts(arg));
    }
  }
  if (wants_help_ || wants_version_) return help_error_;
  RETURN_IF_ERROR(first_error);
  return CheckPositionalCount();
}

absl::Status ArgumentParser::ReadLong(std::string_view arg) {
  const size_t equals = arg.find('=');
  const std::string flag(arg.substr(0, equals));
  const std::string name = flag.substr(2);
  if (arg == "--help") return wants_help_ = true, absl::OkStatus();
  if (arg == "--version") return wants_version_ = true, absl::OkStatus();
  const Option* option = scope_->FindLong(name);
  if (option == nullptr) return UnknownFlag(name);
  if (option->secret()) {
    if (equals == std::string_view::npos && next_ < args_.size()) ++next_;
    return absl::InvalidArgumentError(fmt::format(
        "{}: a secret is not taken from a flag, which every user of this machine can see; set {} in "
        "the environment or '{}' in the configuration file",
        flag, option->EnvironmentName(), option->name()));
  }
  if (equals != std::string_view::npos) {
    Give(*option, std::string(arg.substr(equals + 1)));
  } else if (option->binding().kind() == ValueBinding::Kind::kBool) {
    Give(*option, "true");
  } else {
    ASSIGN_OR_RETURN(std::string value, NextValue(flag, *option));
    Give(*option, std::move(value));
  }
  return absl::OkStatus();
}

absl::Status ArgumentParser::ReadShorts(std::string_view arg) {
  for (size_t i = 1; i < arg.size(); ++i) {
    const std::string flag = fmt::format("-{}", arg[i]);
    if (arg[i] == 'h') {
      wants_help_ = true;
      continue;
    }
    const Option* option = scope_->FindShort(arg[i]);
    if (option == nullptr) {
      return absl::InvalidArgumentError(
          fmt::format("unknown flag '{}'; for a word that begins with '-', put -- "
                      "before it",
                      Printable(i == 1 ? arg : std::string_view(flag))));
    }
    if (option->binding().kind() == ValueBinding::Kind::kBool) {
      Give(*option, "true");
      continue;
    }
    std::string value(arg.substr(i + 1));
    if (value.empty()) {
      ASSIGN_OR_RETURN(value, NextValue(flag, *option));
    }
    Give(*option, std::move(value));
    break;
  }
  return absl::OkStatus();
}

absl::Status ArgumentParser::ReadWord(const std::string& word) {
  if (root_.commands_.empty() || scope_ != &root_) {
    positionals_.push_back(word);
    return absl::OkStatus();
  }
  if (word == "help" && root_.FindCommand(word) == nullptr) {
    wants_help_ = help_word_ = true;
    return absl::OkStatus();
  }
  const OptionSet* command = root_.FindCommand(word);
  if (command == nullptr) {
    std::vector<std::string> names;
    for (const auto& c : root_.commands_) names.push_back(c->name_);
    const absl::Status error = absl::InvalidArgumentError(
        fmt::format("unknown command '{}'{}", Printable(word), DidYouMean(word, names)));
    if (help_word_) help_error_.Update(error);
    return error;
  }
  scope_ = command;
  return absl::OkStatus();
}

absl::StatusOr<std::string> ArgumentParser::NextValue(const std::string& flag, const Option& option) {
  if (next_ >= args_.size()) {
    return absl::InvalidArgumentError(
        fmt::format("{} needs a value: {} {}", flag, flag, option.ValueWord()));
  }
  return args_[next_++];
}

absl::Status ArgumentParser::UnknownFlag(std::string_view name) const {
  std::vector<std::string> names = {"help", "version"};
  for (const OptionSet* set = scope_; set != nullptr; set = set->parent_) {
    for (const auto& option : set->options_) {
      if (!option->secret()) names.push_back(option->name());
    }
  }
  if (scope_ == &root_) {
    for (const auto& command : root_.commands_) {
      if (command->FindLong(name) != nullptr) {
        return absl::InvalidArgumentError(
            fmt::format("unknown flag '--{}' here; it belongs after the command '{}'", Printable(name),
                        command->name_));
      }
    }
  }
  return absl::InvalidArgumentError(
      fmt::format("unknown flag '--{}'{}", Printable(name), DidYouMean(name, names, "--")));
}

absl::Status ArgumentParser::CheckPositionalCount() const {
  if (!root_.commands_.empty() && scope_ == &root_) {
    return absl::InvalidArgumentError(fmt::format("no command given; '{} --help' lists them", root_.name_));
  }
  size_t least = 0;
  bool unbounded = false;
  for (const auto& positional : scope_->positionals_) {
    if (!positional->optional()) ++least;
    unbounded |= positional->binding().is_list();
  }
  if (positionals_.size() < least) {
    return absl::InvalidArgumentError(fmt::format("argument {} is missing; usage: {}",
                                                  scope_->positionals_[positionals_.size()]->name(),
                                                  scope_->UsageLine()));
  }
  if (!unbounded && positionals_.size() > scope_->positionals_.size()) {
    return absl::InvalidArgumentError(fmt::format("unexpected argument '{}'; usage: {}",
                                                  Printable(positionals_[scope_->positionals_.size()]),
                                                  scope_->UsageLine()));
  }
  return absl::OkStatus();
}

void ArgumentParser::Give(const Option& option, std::string value) {
  for (Given& given : given_) {
    if (given.option == &option) return given.values.push_back(std::move(value));
  }
  given_.push_back({&option, {std::move(value)}});
}

std::optional<std::string> ArgumentParser::LastValue(const Option& option) const {
  for (const Given& given : given_) {
    if (given.option == &option) return given.values.back();
  }
  return std::nullopt;
}

absl::Status ArgumentParser::Apply(ParseOutcome& outcome) const {
  for (const Given& given : given_) {
    const absl::Status stored = given.option->Store(given.values, true);
    if (!stored.ok()) return Annotate(stored, fmt::format("--{}", given.option->name()));
    outcome.sources[given.option->name()] = OptionSource::kFlag;
  }
  for (size_t i = 0; i < scope_->positionals_.size() && i < positionals_.size(); ++i) {
    const Option& option = *scope_->positionals_[i];
    std::vector<std::string> values = {positionals_[i]};
    if (option.binding().is_list()) {
      values.assign(positionals_.begin() + static_cast<std::ptrdiff_t>(i), positionals_.end());
    }
    const absl::Status stored = option.Store(values, false);
    if (!stored.ok()) return Annotate(stored, option.name());
  }
  if (scope_ != &root_) outcome.command = scope_->name_;
  return absl::OkStatus();
}

}  // namespace aetherfs
