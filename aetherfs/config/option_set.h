#ifndef AETHERFS_CONFIG_OPTION_SET_H_
#define AETHERFS_CONFIG_OPTION_SET_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "aetherfs/config/option.h"
#include "aetherfs/config/yaml.h"

namespace aetherfs {

inline constexpr size_t kMaxConfigFileBytes = 1 << 20;

// Where a process's surroundings come from, so that a test can script them.
using EnvironmentLookup = std::function<std::optional<std::string>(const std::string& name)>;
using FileReader = std::function<absl::StatusOr<std::string>(const std::string& path)>;

EnvironmentLookup SystemEnvironment();
// NOT_FOUND and the like as of errno; RESOURCE_EXHAUSTED beyond kMaxConfigFileBytes.
FileReader SystemFileReader();
// argv without argv[0].
std::vector<std::string> ArgumentsOf(int argc, const char* const* argv);

enum class OptionSource { kDefault, kConfigFile, kEnvironment, kFlag };

// What the arguments ask for.
struct ParseOutcome {
  enum class Action { kRun, kShowHelp, kShowVersion };
  Action action = Action::kRun;
  std::string help_text;  // kShowHelp: what to print on stdout
  std::string command;    // kRun: which one, of a program that has commands
  std::string config_file;
  // By option name, the command's and the global ones; all others are at their defaults.
  std::map<std::string, OptionSource, std::less<>> sources;

  bool WasSet(std::string_view name) const { return sources.find(name) != sources.end(); }
};

// The options of a program, declared in code and bound to variables, and where their values come from:
// a flag beats the environment beats the YAML file (`--config`) beats what the variable held at Add().
// Rules in docs/configuration.md. A program may have commands, with options and positional arguments of
// their own; the global options may stand before or after the command's name.
//
//   ServerConfig config;
//   OptionSet options("aetherfs-server", "serves datasets");
//   options.Add("listen", &config.listen, "address for gRPC").ValueName("HOST:PORT");
//   options.AddSize("cache-memory", &config.cache_memory, "bytes of cache in memory");
//   options.AddInt("keep", &config.keep, {1, 1000}, "versions kept on disk");
//   ASSIGN_OR_RETURN(ParseOutcome outcome,
//                    options.Parse(ArgumentsOf(argc, argv), SystemEnvironment(), SystemFileReader()));
//
// Bound variables must outlive Parse(). Not thread-safe. Blocks only in the file reader.
class OptionSet {
 public:
  OptionSet(std::string program, std::string summary);
  OptionSet(const OptionSet&) = delete;
  OptionSet& operator=(const OptionSet&) = delete;

  // `name` is the flag without "--" and the YAML key: lower-case words with '-' between them. What is
  // handed back lives as long as this set.
  Option& Add(std::string name, std::string* target, std::string help);
  Option& Add(std::string name, bool* target, std::string help);
  Option& Add(std::string name, absl::Duration* target, std::string help);
  Option& Add(std::string name, std::vector<std::string>* target, std::string help);
  Option& AddSize(std::string name, uint64_t* target, std::string help);
  template <std::integral T>
  Option& AddInt(std::string name, T* target, IntRange range, std::string help) {
    return AddOption(std::move(name), ValueBinding::OfInt(target, range), std::move(help));
  }

  // A YAML key that has no flag and no environment variable; `read` gets its value (a map or sequence:
  // see field_set.h for strict reading) once, during Parse().
  void AddStructured(std::string key, std::string help, std::function<absl::Status(const YamlNode&)> read);

  // In the order of the command line; `name` is for people, "REF". A list takes all that are left, at
  // least one unless Optional(), and must be the last.
  Option& AddPositional(std::string name, std::string* target, std::string help);
  Option& AddPositional(std::string name, std::vector<std::string>* target, std::string help);

  // A command of this program. Its options are flags only. Lives as long as this set.
  OptionSet& AddCommand(std::string name, std::string summary);

  // Shown at the end of the help text.
  void SetEpilog(std::string text) { epilog_ = std::move(text); }
  // Without it there is no `--config`.
  void DisableConfigFile() { has_config_file_ = false; }

  // Call once. `--help` (`-h`, `help [COMMAND]` where there are commands) and `--version` win over all
  // else. INVALID_ARGUMENT names what is wrong and where (`--flag`, `AETHERFS_NAME`, `file:line: key`),
  // with the nearest known name if it is unknown; the file reader's error if the file cannot be read.
  // After an error the bound variables hold anything.
  absl::StatusOr<ParseOutcome> Parse(const std::vector<std::string>& args,
                                     const EnvironmentLookup& environment, const FileReader& read_file);

  // The whole listing, with defaults and environment names.
  std::string HelpText() const;

 private:
  friend class ArgumentParser;
  struct Structured {
    std::string key;
    std::string help;
    std::function<absl::Status(const YamlNode&)> read;
  };
  OptionSet(const OptionSet* parent, std::string name, std::string summary);

  Option& AddOption(std::string name, ValueBinding binding, std::string help);
  Option& AddPositionalOption(std::string name, ValueBinding binding, std::string help);
  const Option* FindLong(std::string_view name) const;
  const Option* FindShort(char c) const;
  OptionSet* FindCommand(std::string_view name) const;
  absl::Status CheckDeclarations() const;
  absl::Status ApplyConfigFile(const std::string& path, const FileReader& read_file, ParseOutcome& outcome);
  absl::Status ApplyYaml(const YamlNode& document, ParseOutcome& outcome);
  absl::Status ApplyEnvironment(const EnvironmentLookup& environment, ParseOutcome& outcome);
  std::string UsageLine() const;

  const OptionSet* const parent_ = nullptr;
  const std::string name_;
  const std::string summary_;
  std::string epilog_;
  bool has_config_file_ = true;
  std::string config_file_;
  std::vector<std::unique_ptr<Option>> options_;
  std::vector<std::unique_ptr<Option>> positionals_;
  std::vector<Structured> structured_;
  std::vector<std::unique_ptr<OptionSet>> commands_;
};

}  // namespace aetherfs

#endif  // AETHERFS_CONFIG_OPTION_SET_H_
