#ifndef AETHERFS_CLI_TEXT_H_
#define AETHERFS_CLI_TEXT_H_

#include <cstdint>
#include <ostream>
#include <string>
#include <string_view>
#include <vector>

#include "absl/time/time.h"

namespace aetherfs {

// How values look to people. Pure functions.

// Columns that a terminal needs for `text`: its code points.
size_t DisplayWidth(std::string_view text);

// All of `text`, with control characters and invalid UTF-8 escaped: names that come from elsewhere must
// not drive the terminal.
std::string TerminalText(std::string_view text);

// "2026-09-24T10:00:00Z", in UTC; "-" for the time that is not known (zero).
std::string TimeText(absl::Time time);
inline std::string UnixMicrosText(int64_t micros) { return TimeText(absl::FromUnixMicros(micros)); }
// With milliseconds.
std::string TimeTextMillis(absl::Time time);

// "1 file", "12 files".
std::string CountOf(uint64_t count, std::string_view noun);

// The element of `words` joined by `separator`.
std::string JoinWords(const std::vector<std::string>& words, std::string_view separator);

// Rows in aligned columns. The last column is not padded. Not thread-safe.
class Table {
 public:
  struct Column {
    std::string header;
    bool right = false;  // numbers
  };
  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}

  // As many cells as there are columns.
  void AddRow(std::vector<std::string> cells) { rows_.push_back(std::move(cells)); }
  // The header, then the rows; nothing at all if there is no row.
  void Print(std::ostream& out) const;

 private:
  std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

// "name   value" lines, the values aligned. Lines with an empty value are left out.
class FieldList {
 public:
  void Add(std::string name, std::string value);
  void Print(std::ostream& out) const;

 private:
  std::vector<std::pair<std::string, std::string>> fields_;
};

}  // namespace aetherfs

#endif  // AETHERFS_CLI_TEXT_H_
