#include "aetherfs/cli/text.h"

#include <algorithm>

#include "aetherfs/base/utf8.h"
#include "fmt/format.h"

namespace aetherfs {
namespace {

constexpr std::string_view kGap = "  ";

std::string Padded(const std::string& text, size_t width, bool right) {
  const std::string padding(width - std::min(width, DisplayWidth(text)), ' ');
  return right ? padding + text : text + padding;
}

}  // namespace

size_t DisplayWidth(std::string_view text) {
  return static_cast<size_t>(std::count_if(
      text.begin(), text.end(), [](char c) { return (static_cast<uint8_t>(c) & 0xC0) != 0x80; }));
}

std::string TerminalText(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const size_t length = Utf8SequenceLength(text.substr(at));
    const auto byte = static_cast<uint8_t>(text[at]);
    // C1 control characters are U+0080 to U+009F: C2 80 to C2 9F.
    const bool c1 = length == 2 && byte == 0xC2 && static_cast<uint8_t>(text[at + 1]) < 0xA0;
    if (length == 0 || byte < 0x20 || byte == 0x7f || c1) {
      out += fmt::format("\\x{:02x}", byte);
      ++at;
    } else {
      out.append(text.substr(at, length));
      at += length;
    }
  }
  return out;
}

std::string TimeText(absl::Time time) {
  if (time == absl::UnixEpoch()) return "-";
  return absl::FormatTime("%Y-%m-%dT%H:%M:%SZ", time, absl::UTCTimeZone());
}

std::string TimeTextMillis(absl::Time time) {
  return absl::FormatTime("%Y-%m-%dT%H:%M:%E3SZ", time, absl::UTCTimeZone());
}

std::string CountOf(uint64_t count, std::string_view noun) {
  return fmt::format("{} {}{}", count, noun, count == 1 ? "" : "s");
}

std::string JoinWords(const std::vector<std::string>& words, std::string_view separator) {
  std::string out;
  for (const std::string& word : words) {
    if (&word != &words.front()) out += separator;
    out += word;
  }
  return out;
}

void Table::Print(std::ostream& out) const {
  if (rows_.empty()) return;
  std::vector<size_t> widths;
  for (size_t i = 0; i < columns_.size(); ++i) {
    size_t width = DisplayWidth(columns_[i].header);
    for (const auto& row : rows_) width = std::max(width, DisplayWidth(row[i]));
    widths.push_back(width);
  }
  const auto print_line = [&](const auto& cell_of) {
    std::string line;
    for (size_t i = 0; i < columns_.size(); ++i) {
      if (i > 0) line += kGap;
      line += Padded(cell_of(i), widths[i], columns_[i].right);
    }
    line.erase(line.find_last_not_of(' ') + 1);
    out << line << '\n';
  };
  print_line([&](size_t i) -> const std::string& { return columns_[i].header; });
  for (const auto& row : rows_) print_line([&](size_t i) -> const std::string& { return row[i]; });
}

void FieldList::Add(std::string name, std::string value) {
  if (!value.empty()) fields_.emplace_back(std::move(name), std::move(value));
}

void FieldList::Print(std::ostream& out) const {
  size_t width = 0;
  for (const auto& [name, value] : fields_) width = std::max(width, DisplayWidth(name));
  for (const auto& [name, value] : fields_) out << Padded(name, width, false) << kGap << value << '\n';
}

}  // namespace aetherfs
