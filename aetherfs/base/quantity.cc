#include "aetherfs/base/quantity.h"

#include <charconv>
#include <cmath>
#include <limits>

#include "aetherfs/base/status.h"
#include "fmt/format.h"

namespace aetherfs {
namespace {

struct Unit {
  std::string_view name;
  double bytes;
};

constexpr Unit kUnits[] = {
    {"", 1},
    {"B", 1},
    {"kB", 1e3},
    {"KB", 1e3},
    {"MB", 1e6},
    {"GB", 1e9},
    {"TB", 1e12},
    {"KiB", double{kKiB}},
    {"MiB", double{kMiB}},
    {"GiB", double{kGiB}},
    {"TiB", double{kGiB} * 1024},
};

}  // namespace

absl::StatusOr<uint64_t> ParseSize(std::string_view text) {
  double number = 0;
  const auto [end, error] =
      std::from_chars(text.data(), text.data() + text.size(), number, std::chars_format::fixed);
  if (error == std::errc() && number >= 0) {
    const std::string_view suffix = text.substr(static_cast<size_t>(end - text.data()));
    for (const Unit& unit : kUnits) {
      const double bytes = number * unit.bytes;
      if (suffix == unit.name && bytes < 0x1p63) return static_cast<uint64_t>(std::llround(bytes));
    }
  }
  return absl::InvalidArgumentError(
      fmt::format("'{}' is not a size; write it like 512KiB, 64MiB or 1.5GiB", Printable(text)));
}

absl::StatusOr<absl::Duration> ParseDuration(std::string_view text) {
  absl::Duration duration;
  if (!absl::ParseDuration(absl::string_view(text.data(), text.size()), &duration) ||
      duration < absl::ZeroDuration() || duration == absl::InfiniteDuration()) {
    return absl::InvalidArgumentError(
        fmt::format("'{}' is not a time; write it like 250ms, 30s or 1m30s", Printable(text)));
  }
  return duration;
}

std::string FormatSize(uint64_t bytes) {
  if (bytes < kKiB) return fmt::format("{} B", bytes);
  double value = static_cast<double>(bytes);
  for (const std::string_view unit : {"KiB", "MiB", "GiB"}) {
    value /= 1024;
    if (value < 1023.95) return fmt::format("{:.1f} {}", value, unit);
  }
  return fmt::format("{:.1f} TiB", value / 1024);
}

std::string FormatElapsed(absl::Duration duration) {
  const double seconds = absl::ToDoubleSeconds(duration);
  // What would be rounded to 1000ms or 60.0s is written in the next unit.
  if (seconds < 0.9995) return fmt::format("{:.0f}ms", seconds * 1e3);
  if (seconds < 59.95) return fmt::format("{:.1f}s", seconds);
  const auto whole = static_cast<int64_t>(std::min(seconds, 1e15) + 0.05);
  if (whole < 3600) return fmt::format("{}m{:02}s", whole / 60, whole % 60);
  return fmt::format("{}h{:02}m", whole / 3600, whole / 60 % 60);
}

}  // namespace aetherfs
