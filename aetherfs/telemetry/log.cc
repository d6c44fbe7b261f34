#include "aetherfs/telemetry/log.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <memory>

#include "aetherfs/base/status.h"
#include "aetherfs/telemetry/json_text.h"
#include "fmt/format.h"
#include "spdlog/sinks/stdout_sinks.h"
#include "spdlog/spdlog.h"

namespace aetherfs {
namespace {

struct LevelName {
  LogLevel level;
  std::string_view name;   // in flags and JSON
  std::string_view shown;  // in text
};

constexpr LevelName kLevels[] = {
    {LogLevel::kDebug, "debug", "DEBUG"},
    {LogLevel::kInfo, "info", "INFO"},
    {LogLevel::kWarning, "warning", "WARNING"},
    {LogLevel::kError, "error", "ERROR"},
};

std::atomic<LogLevel> g_level{LogLevel::kInfo};
std::atomic<LogFormat> g_format{LogFormat::kText};

// spdlog's sink is what makes concurrent lines whole. Never destroyed: threads may log until the very end.
spdlog::logger& Sink() {
  static spdlog::logger* const logger = [] {
    auto* made = new spdlog::logger("aetherfs", std::make_shared<spdlog::sinks::stderr_sink_mt>());
    made->set_pattern("%v");
    made->set_level(spdlog::level::trace);
    made->flush_on(spdlog::level::trace);
    return made;
  }();
  return *logger;
}

bool NeedsQuotes(std::string_view value) {
  return value.empty() || std::any_of(value.begin(), value.end(), [](char c) {
           const auto byte = static_cast<unsigned char>(c);
           return byte <= ' ' || byte >= 0x7f || c == '"' || c == '=' || c == '\\';
         });
}

std::string WithoutQuotes(const std::string& quoted) { return quoted.substr(1, quoted.size() - 2); }

}  // namespace

absl::StatusOr<LogLevel> ParseLogLevel(std::string_view text) {
  for (const LevelName& level : kLevels) {
    if (text == level.name) return level.level;
  }
  return absl::InvalidArgumentError(
      fmt::format("'{}' is not a log level; write debug, info, warning or error", Printable(text)));
}

absl::StatusOr<LogFormat> ParseLogFormat(std::string_view text) {
  if (text == "text") return LogFormat::kText;
  if (text == "json") return LogFormat::kJson;
  return absl::InvalidArgumentError(
      fmt::format("'{}' is not a log format; write text or json", Printable(text)));
}

LogField::LogField(std::string_view k, double v)
    : key(k), value(fmt::format("{:.6g}", v)), bare(std::isfinite(v)) {}

LogField::LogField(std::string_view k, const absl::Status& v) : key(k), value(Describe(v)) {}

LogField::LogField(std::string_view k, absl::Duration v) : LogField(k, absl::ToDoubleSeconds(v)) {}

void InitLogging(LogLevel level, LogFormat format) {
  g_level.store(level, std::memory_order_relaxed);
  g_format.store(format, std::memory_order_relaxed);
}

bool LogIsOn(LogLevel level) { return level >= g_level.load(std::memory_order_relaxed); }

void Log(LogLevel level, std::string_view message, LogFields fields) {
  if (!LogIsOn(level)) return;
  const std::string line =
      FormatLogLine(g_format.load(std::memory_order_relaxed), absl::Now(), level, message, fields);
  Sink().log(spdlog::level::info, spdlog::string_view_t(line.data(), line.size()));
}

std::string FormatLogLine(LogFormat format, absl::Time time, LogLevel level, std::string_view message,
                          LogFields fields) {
  const std::string stamp = absl::FormatTime("%Y-%m-%dT%H:%M:%E3SZ", time, absl::UTCTimeZone());
  const LevelName& name = kLevels[static_cast<size_t>(level)];
  if (format == LogFormat::kJson) {
    std::string line =
        fmt::format(R"({{"time":"{}","level":"{}","message":{})", stamp, name.name, JsonString(message));
    for (const LogField& field : fields) {
      line += "," + JsonString(field.key) + ":" + (field.bare ? field.value : JsonString(field.value));
    }
    return line + "}";
  }
  std::string line = fmt::format("{} {} {}", stamp, name.shown, WithoutQuotes(JsonString(message)));
  for (const LogField& field : fields) {
    line +=
        fmt::format(" {}={}", field.key, NeedsQuotes(field.value) ? JsonString(field.value) : field.value);
  }
  return line;
}

}  // namespace aetherfs
