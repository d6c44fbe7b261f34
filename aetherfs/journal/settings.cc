#include "aetherfs/journal/settings.h"

#include <fmt/format.h>

#include <optional>

#include "aetherfs/base/status.h"

namespace aetherfs {
namespace {

// A decimal number up to `most`.
std::optional<uint64_t> ParseNumber(std::string_view text, uint64_t most) {
  if (text.empty()) return std::nullopt;
  uint64_t number = 0;
  for (const char c : text) {
    if (c < '0' || c > '9') return std::nullopt;
    number = number * 10 + static_cast<uint64_t>(c - '0');
    if (number > most) return std::nullopt;
  }
  return number;
}

}  // namespace

absl::StatusOr<std::string> CheckSetting(std::string_view key, std::string_view value) {
  if (key != kDeltasKeep) {
    return absl::InvalidArgumentError(
        fmt::format("there is no setting '{}'; there is {}", Printable(key), kDeltasKeep));
  }
  if (value.empty()) return std::string();
  const std::optional<uint64_t> number = ParseNumber(value, kMaxDeltasKeep);
  if (!number.has_value()) {
    return absl::InvalidArgumentError(fmt::format("{} is a number from 0 to {}, not '{}'", kDeltasKeep,
                                                  kMaxDeltasKeep, Printable(value)));
  }
  return fmt::format("{}", *number);
}

Settings WithDefaults(const Settings& settings) {
  Settings all = settings;
  all.insert_or_assign(std::string(kDeltasKeep), fmt::format("{}", DeltasToKeep(settings)));
  return all;
}

uint64_t DeltasToKeep(const Settings& settings) {
  const auto it = settings.find(kDeltasKeep);
  if (it == settings.end()) return kDefaultDeltasKeep;
  return ParseNumber(it->second, kMaxDeltasKeep).value_or(kDefaultDeltasKeep);
}

}  // namespace aetherfs
