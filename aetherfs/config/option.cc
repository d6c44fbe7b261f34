#include "aetherfs/config/option.h"

#include <algorithm>
#include <charconv>

#include "aetherfs/base/quantity.h"
#include "aetherfs/base/status.h"
#include "fmt/format.h"
#include "fmt/ranges.h"

namespace aetherfs {
namespace {

constexpr std::string_view kEnvironmentPrefix = "AETHERFS_";

absl::StatusOr<bool> ParseBool(std::string_view text) {
  for (const std::string_view yes : {"true", "yes", "on", "1"}) {
    if (text == yes) return true;
  }
  for (const std::string_view no : {"false", "no", "off", "0"}) {
    if (text == no) return false;
  }
  return absl::InvalidArgumentError(
      fmt::format("'{}' is not a truth value; write true or false", Printable(text)));
}

absl::StatusOr<int64_t> ParseInt(std::string_view text, IntRange range) {
  int64_t value = 0;
  const char* last = text.data() + text.size();
  const auto [end, error] = std::from_chars(text.data(), last, value);
  if (text.empty() || error != std::errc() || end != last || value < range.min || value > range.max) {
    return absl::InvalidArgumentError(
        fmt::format("'{}' is not a whole number from {} to {}", Printable(text), range.min, range.max));
  }
  return value;
}

// As the user would write it: exact, unlike FormatSize.
std::string SizeText(uint64_t bytes) {
  if (bytes == 0) return "0";
  if (bytes % kGiB == 0) return fmt::format("{}GiB", bytes / kGiB);
  if (bytes % kMiB == 0) return fmt::format("{}MiB", bytes / kMiB);
  if (bytes % kKiB == 0) return fmt::format("{}KiB", bytes / kKiB);
  return fmt::format("{}", bytes);
}

std::string_view TrimSpaces(std::string_view text) {
  const size_t first = text.find_first_not_of(" \t");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

// An empty text has no elements; an empty element is a slip.
absl::Status SplitInto(std::string_view text, std::vector<std::string>& elements) {
  if (TrimSpaces(text).empty()) return absl::OkStatus();
  size_t begin = 0;
  while (true) {
    const size_t comma = std::min(text.find(',', begin), text.size());
    const std::string_view element = TrimSpaces(text.substr(begin, comma - begin));
    if (element.empty()) {
      return absl::InvalidArgumentError(
          fmt::format("'{}' has an empty element between its commas", Printable(text)));
    }
    elements.emplace_back(element);
    if (comma == text.size()) return absl::OkStatus();
    begin = comma + 1;
  }
}

}  // namespace

ValueBinding ValueBinding::Of(std::string* target) {
  ValueBinding binding;
  binding.default_text_ = *target;
  binding.set_text_ = [target](std::string_view text) {
    target->assign(text);
    return absl::OkStatus();
  };
  return binding;
}

ValueBinding ValueBinding::Of(bool* target) {
  ValueBinding binding;
  binding.kind_ = Kind::kBool;
  binding.default_text_ = *target ? "true" : "false";
  binding.set_text_ = [target](std::string_view text) -> absl::Status {
    ASSIGN_OR_RETURN(*target, ParseBool(text));
    return absl::OkStatus();
  };
  return binding;
}

ValueBinding ValueBinding::Of(absl::Duration* target) {
  ValueBinding binding;
  binding.kind_ = Kind::kDuration;
  binding.default_text_ = absl::FormatDuration(*target);
  binding.set_text_ = [target](std::string_view text) -> absl::Status {
    ASSIGN_OR_RETURN(*target, ParseDuration(text));
    return absl::OkStatus();
  };
  return binding;
}

ValueBinding ValueBinding::Of(std::vector<std::string>* target) {
  ValueBinding binding;
  binding.kind_ = Kind::kList;
  binding.default_text_ = fmt::format("{}", fmt::join(*target, ","));
  binding.set_list_ = [target](std::vector<std::string> elements) { *target = std::move(elements); };
  return binding;
}

ValueBinding ValueBinding::OfSize(uint64_t* target) {
  ValueBinding binding;
  binding.kind_ = Kind::kSize;
  binding.default_text_ = SizeText(*target);
  binding.set_text_ = [target](std::string_view text) -> absl::Status {
    ASSIGN_OR_RETURN(*target, ParseSize(text));
    return absl::OkStatus();
  };
  return binding;
}

ValueBinding ValueBinding::OfInt(int64_t initial, IntRange range, std::function<void(int64_t)> set) {
  ValueBinding binding;
  binding.kind_ = Kind::kInt;
  binding.default_text_ = fmt::format("{}", initial);
  binding.set_text_ = [range, set = std::move(set)](std::string_view text) -> absl::Status {
    ASSIGN_OR_RETURN(const int64_t value, ParseInt(text, range));
    set(value);
    return absl::OkStatus();
  };
  return binding;
}

std::string Option::ValueWord() const {
  if (!value_name_.empty()) return value_name_;
  switch (binding_.kind()) {
    case ValueBinding::Kind::kBool:
      return "";
    case ValueBinding::Kind::kInt:
      return "N";
    case ValueBinding::Kind::kSize:
      return "SIZE";
    case ValueBinding::Kind::kDuration:
      return "TIME";
    case ValueBinding::Kind::kString:
    case ValueBinding::Kind::kList:
      break;
  }
  return choices_.empty() ? "TEXT" : fmt::format("{}", fmt::join(choices_, "|"));
}

std::string Option::EnvironmentName() const {
  std::string name(kEnvironmentPrefix);
  for (const char c : name_) {
    name += c == '-' ? '_' : (c >= 'a' && c <= 'z') ? static_cast<char>(c - 'a' + 'A') : c;
  }
  return name;
}

absl::Status Option::CheckChoice(std::string_view value) const {
  if (choices_.empty() || std::find(choices_.begin(), choices_.end(), value) != choices_.end()) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      fmt::format("'{}' is not one of {}", Printable(value), fmt::join(choices_, ", ")));
}

absl::Status Option::Store(const std::vector<std::string>& values, bool split) const {
  absl::Status status;
  if (binding_.is_list()) {
    std::vector<std::string> elements;
    for (const std::string& value : values) {
      if (split && !whole_) {
        status.Update(SplitInto(value, elements));
      } else {
        elements.push_back(value);
      }
    }
    for (const std::string& element : elements) status.Update(CheckChoice(element));
    if (status.ok()) binding_.SetList(std::move(elements));
  } else if (!values.empty()) {
    status = CheckChoice(values.back());
    if (status.ok()) status = binding_.SetText(values.back());
  }
  if (!status.ok() && secret_)
    return absl::InvalidArgumentError("the value is not valid (it is secret and not shown)");
  return status;
}

}  // namespace aetherfs
