// The help text of an OptionSet.

#include <algorithm>

#include "aetherfs/config/option_set.h"
#include "fmt/format.h"

namespace aetherfs {
namespace {

constexpr size_t kWidth = 100;
constexpr size_t kIndent = 30;

struct Row {
  std::string left;
  std::string right;
};

// Words of `text` in lines of at most `width`, all but the first indented.
std::string Wrap(const std::string& text, size_t width) {
  std::string result;
  size_t column = 0;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find(' ', begin), text.size());
    const size_t word = end - begin;
    if (column > 0 && column + 1 + word > width) {
      result += "\n" + std::string(kIndent, ' ');
      column = 0;
    } else if (column > 0) {
      result += ' ';
      ++column;
    }
    result.append(text, begin, word);
    column += word;
    begin = end + 1;
  }
  return result;
}

void AppendSection(std::string_view title, const std::vector<Row>& rows, std::string& out) {
  if (rows.empty()) return;
  out += fmt::format("\n{}:\n", title);
  for (const Row& row : rows) {
    std::string left = "  " + row.left;
    if (left.size() + 2 > kIndent) {
      left += "\n" + std::string(kIndent, ' ');
    } else {
      left.resize(kIndent, ' ');
    }
    out += left + Wrap(row.right, kWidth - kIndent) + "\n";
  }
}

std::string FlagWords(const Option& option) {
  std::string words =
      option.short_name() != 0 ? fmt::format("-{}, ", option.short_name()) : std::string("    ");
  words += "--" + option.name();
  const std::string value = option.ValueWord();
  if (!value.empty()) words += " " + value;
  return words;
}

Row FlagRow(const Option& option, bool of_command) {
  std::string right = option.help();
  std::vector<std::string> notes;
  const std::string& initial = option.binding().default_text();
  const bool is_off = option.binding().kind() == ValueBinding::Kind::kBool && initial == "false";
  if (option.binding().is_list()) notes.push_back("repeatable");
  if (!initial.empty() && !is_off && !option.secret()) notes.push_back("default " + initial);
  if (!of_command && (!option.flag_only() || option.name() == "config"))
    notes.push_back("env " + option.EnvironmentName());
  std::string joined;
  for (const std::string& note : notes) joined += (joined.empty() ? "" : "; ") + note;
  if (!joined.empty()) right += " (" + joined + ")";
  return {FlagWords(option), right};
}

}  // namespace

std::string OptionSet::UsageLine() const {
  std::string usage = parent_ != nullptr ? parent_->name_ + " " + name_ : name_;
  usage += " [FLAG]...";
  if (!commands_.empty()) usage += " COMMAND";
  for (const auto& positional : positionals_) {
    std::string word = positional->name();
    if (positional->optional()) word = "[" + word + "]";
    if (positional->binding().is_list()) word += "...";
    usage += " " + word;
  }
  return usage;
}

std::string OptionSet::HelpText() const {
  std::string out = fmt::format("{}: {}\n\nUsage: {}\n", name_, summary_, UsageLine());
  std::vector<Row> commands, arguments, flags, global_flags, secrets, keys;
  for (const auto& command : commands_) commands.push_back({command->name_, command->summary_});
  for (const auto& positional : positionals_) arguments.push_back({positional->name(), positional->help()});
  for (const OptionSet* set = this; set != nullptr; set = set->parent_) {
    for (const auto& option : set->options_) {
      if (option->secret()) {
        secrets.push_back({option->EnvironmentName(), option->help()});
      } else {
        (set == this ? flags : global_flags).push_back(FlagRow(*option, set->parent_ != nullptr));
      }
    }
    for (const Structured& structured : set->structured_) keys.push_back({structured.key, structured.help});
  }
  std::vector<Row>& last = parent_ != nullptr ? global_flags : flags;
  last.push_back({"-h, --help", "show this text"});
  last.push_back({"    --version", "show the version"});
  AppendSection("Commands", commands, out);
  AppendSection("Arguments", arguments, out);
  AppendSection("Flags", flags, out);
  AppendSection("Flags of every command", global_flags, out);
  AppendSection("Secrets, from the environment or the configuration file only", secrets, out);
  AppendSection("Keys of the configuration file only", keys, out);
  if (!epilog_.empty()) out += "\n" + epilog_ + "\n";
  return out;
}

}  // namespace aetherfs
