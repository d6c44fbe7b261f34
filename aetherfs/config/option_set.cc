#include "aetherfs/config/option_set.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <set>

#include "aetherfs/base/status.h"
#include "aetherfs/config/arguments.h"
#include "aetherfs/config/field_set.h"
#include "aetherfs/config/nearest.h"
#include "fmt/format.h"

namespace aetherfs {
namespace {

bool IsOptionName(std::string_view name) {
  if (name.empty() || name.front() == '-' || name.back() == '-') return false;
  return std::all_of(name.begin(), name.end(),
                     [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-'; });
}

}  // namespace

EnvironmentLookup SystemEnvironment() {
  return [](const std::string& name) -> std::optional<std::string> {
    const char* value = std::getenv(name.c_str());
    if (value == nullptr) return std::nullopt;
    return std::string(value);
  };
}

FileReader SystemFileReader() {
  return [](const std::string& path) -> absl::StatusOr<std::string> {
    const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0) return ErrnoStatus(errno, "open");
    std::string content(kMaxConfigFileBytes + 1, '\0');
    size_t size = 0;
    while (size < content.size()) {
      const ssize_t got = read(fd, content.data() + size, content.size() - size);
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) {
        const int error = errno;
        close(fd);
        return ErrnoStatus(error, "read");
      }
      if (got == 0) break;
      size += static_cast<size_t>(got);
    }
    close(fd);
    if (size > kMaxConfigFileBytes) {
      return absl::ResourceExhaustedError(
          fmt::format("longer than the {} bytes allowed", kMaxConfigFileBytes));
    }
    content.resize(size);
    return content;
  };
}

std::vector<std::string> ArgumentsOf(int argc, const char* const* argv) {
  return argc > 1 ? std::vector<std::string>(argv + 1, argv + argc) : std::vector<std::string>();
}

OptionSet::OptionSet(std::string program, std::string summary)
    : name_(std::move(program)), summary_(std::move(summary)) {}

OptionSet::OptionSet(const OptionSet* parent, std::string name, std::string summary)
    : parent_(parent), name_(std::move(name)), summary_(std::move(summary)), has_config_file_(false) {}

Option& OptionSet::Add(std::string name, std::string* target, std::string help) {
  return AddOption(std::move(name), ValueBinding::Of(target), std::move(help));
}

Option& OptionSet::Add(std::string name, bool* target, std::string help) {
  return AddOption(std::move(name), ValueBinding::Of(target), std::move(help));
}

Option& OptionSet::Add(std::string name, absl::Duration* target, std::string help) {
  return AddOption(std::move(name), ValueBinding::Of(target), std::move(help));
}

Option& OptionSet::Add(std::string name, std::vector<std::string>* target, std::string help) {
  return AddOption(std::move(name), ValueBinding::Of(target), std::move(help));
}

Option& OptionSet::AddSize(std::string name, uint64_t* target, std::string help) {
  return AddOption(std::move(name), ValueBinding::OfSize(target), std::move(help));
}

Option& OptionSet::AddOption(std::string name, ValueBinding binding, std::string help) {
  options_.push_back(std::make_unique<Option>(std::move(name), std::move(binding), std::move(help)));
  return *options_.back();
}

void OptionSet::AddStructured(std::string key, std::string help,
                              std::function<absl::Status(const YamlNode&)> read) {
  structured_.push_back({std::move(key), std::move(help), std::move(read)});
}

Option& OptionSet::AddPositional(std::string name, std::string* target, std::string help) {
  return AddPositionalOption(std::move(name), ValueBinding::Of(target), std::move(help));
}

Option& OptionSet::AddPositional(std::string name, std::vector<std::string>* target, std::string help) {
  return AddPositionalOption(std::move(name), ValueBinding::Of(target), std::move(help));
}

Option& OptionSet::AddPositionalOption(std::string name, ValueBinding binding, std::string help) {
  positionals_.push_back(std::make_unique<Option>(std::move(name), std::move(binding), std::move(help)));
  return *positionals_.back();
}

OptionSet& OptionSet::AddCommand(std::string name, std::string summary) {
  commands_.push_back(std::unique_ptr<OptionSet>(new OptionSet(this, std::move(name), std::move(summary))));
  return *commands_.back();
}

const Option* OptionSet::FindLong(std::string_view name) const {
  for (const auto& option : options_) {
    if (option->name() == name) return option.get();
  }
  return parent_ != nullptr ? parent_->FindLong(name) : nullptr;
}

const Option* OptionSet::FindShort(char c) const {
  for (const auto& option : options_) {
    if (option->short_name() == c && c != 0) return option.get();
  }
  return parent_ != nullptr ? parent_->FindShort(c) : nullptr;
}

OptionSet* OptionSet::FindCommand(std::string_view name) const {
  for (const auto& command : commands_) {
    if (command->name_ == name) return command.get();
  }
  return nullptr;
}

// A slip in the declarations is a bug of the program: reported at the first run, whatever the arguments.
absl::Status OptionSet::CheckDeclarations() const {
  std::set<std::string> names = {"help", "version"};
  std::set<char> shorts = {'h'};
  for (const OptionSet* set = this; set != nullptr; set = set->parent_) {
    for (const auto& option : set->options_) {
      const char c = option->short_name();
      if (!IsOptionName(option->name()) || !names.insert(option->name()).second ||
          (c != 0 && !shorts.insert(c).second)) {
        return absl::InternalError(
            fmt::format("{}: option '{}' is declared twice or badly", name_, option->name()));
      }
    }
    for (const Structured& structured : set->structured_) {
      if (!names.insert(structured.key).second) {
        return absl::InternalError(fmt::format("{}: key '{}' is declared twice", name_, structured.key));
      }
    }
  }
  bool seen_optional = false;
  for (size_t i = 0; i < positionals_.size(); ++i) {
    const Option& positional = *positionals_[i];
    const bool list_before_end = positional.binding().is_list() && i + 1 < positionals_.size();
    if (list_before_end || (seen_optional && !positional.optional())) {
      return absl::InternalError(
          fmt::format("{}: argument {} cannot be told from the next", name_, positional.name()));
    }
    seen_optional = positional.optional();
  }
  for (const auto& command : commands_) RETURN_IF_ERROR(command->CheckDeclarations());
  return absl::OkStatus();
}

absl::Status OptionSet::ApplyYaml(const YamlNode& document, ParseOutcome& outcome) {
  if (document.kind == YamlNode::Kind::kNull) return absl::OkStatus();
  if (document.kind != YamlNode::Kind::kMap) return document.Error("expected a map of 'key: value' lines");
  for (const YamlField& field : document.fields) {
    YamlNode place = field.value;
    place.line = field.key_line;
    const auto structured = std::find_if(structured_.begin(), structured_.end(),
                                         [&](const Structured& s) { return s.key == field.key; });
    if (structured != structured_.end()) {
      RETURN_IF_ERROR(structured->read(field.value));
      outcome.sources[field.key] = OptionSource::kConfigFile;
      continue;
    }
    const Option* option = FindLong(field.key);
    if (option == nullptr) {
      std::vector<std::string> known;
      for (const auto& o : options_) {
        if (!o->flag_only()) known.push_back(o->name());
      }
      for (const Structured& s : structured_) known.push_back(s.key);
      return place.Error(
          fmt::format("unknown key '{}'{}", Printable(field.key), DidYouMean(field.key, known)));
    }
    if (option->flag_only()) {
      return place.Error(fmt::format("'{}' can only be given as the flag --{}", field.key, field.key));
    }
    std::vector<std::string> values;
    if (option->binding().is_list()) {
      ASSIGN_OR_RETURN(values, field.value.Texts(field.key));
    } else {
      ASSIGN_OR_RETURN(std::string text, field.value.Text(field.key));
      values.push_back(std::move(text));
    }
    // A lone scalar for a list is read as a flag's value is.
    const absl::Status stored = option->Store(values, field.value.kind == YamlNode::Kind::kScalar);
    if (!stored.ok()) return field.value.Error(fmt::format("{}: {}", field.key, Message(stored)));
    outcome.sources[field.key] = OptionSource::kConfigFile;
  }
  return absl::OkStatus();
}

absl::Status OptionSet::ApplyConfigFile(const std::string& path, const FileReader& read_file,
                                        ParseOutcome& outcome) {
  absl::StatusOr<std::string> content = read_file(path);
  if (!content.ok()) {
    return Annotate(content.status(), fmt::format("read configuration file '{}'", Printable(path)));
  }
  if (content->size() > kMaxConfigFileBytes) {
    return absl::ResourceExhaustedError(
        fmt::format("read configuration file '{}': longer than the {} bytes allowed", Printable(path),
                    kMaxConfigFileBytes));
  }
  ASSIGN_OR_RETURN(const YamlNode document, ParseYaml(*content, path));
  outcome.config_file = path;
  return ApplyYaml(document, outcome);
}

absl::Status OptionSet::ApplyEnvironment(const EnvironmentLookup& environment, ParseOutcome& outcome) {
  for (const auto& option : options_) {
    if (option->flag_only()) continue;
    const std::string name = option->EnvironmentName();
    const std::optional<std::string> value = environment(name);
    // Set but empty is how scripts and container tools write "not set".
    if (!value.has_value() || value->empty()) continue;
    const absl::Status stored = option->Store({*value}, true);
    if (!stored.ok()) return Annotate(stored, name);
    outcome.sources[option->name()] = OptionSource::kEnvironment;
  }
  return absl::OkStatus();
}

absl::StatusOr<ParseOutcome> OptionSet::Parse(const std::vector<std::string>& args,
                                              const EnvironmentLookup& environment,
                                              const FileReader& read_file) {
  if (has_config_file_) {
    Add("config", &config_file_, "YAML file with any of these options").ValueName("FILE").FlagOnly();
    has_config_file_ = false;
  }
  RETURN_IF_ERROR(CheckDeclarations());
  ArgumentParser parser(*this);
  RETURN_IF_ERROR(parser.Read(args));
  ParseOutcome outcome;
  if (parser.wants_version()) {
    outcome.action = ParseOutcome::Action::kShowVersion;
    return outcome;
  }
  if (parser.wants_help()) {
    outcome.action = ParseOutcome::Action::kShowHelp;
    outcome.help_text = (parser.command() != nullptr ? *parser.command() : *this).HelpText();
    return outcome;
  }
  std::string config_file;
  if (const Option* config = FindLong("config"); config != nullptr) {
    config_file = parser.LastValue(*config).value_or(environment(config->EnvironmentName()).value_or(""));
  }
  if (!config_file.empty()) RETURN_IF_ERROR(ApplyConfigFile(config_file, read_file, outcome));
  RETURN_IF_ERROR(ApplyEnvironment(environment, outcome));
  RETURN_IF_ERROR(parser.Apply(outcome));
  return outcome;
}

}  // namespace aetherfs
