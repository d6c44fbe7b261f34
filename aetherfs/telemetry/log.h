#ifndef AETHERFS_TELEMETRY_LOG_H_
#define AETHERFS_TELEMETRY_LOG_H_

#include <concepts>
#include <initializer_list>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

// Structured logging to stderr: a constant message and what varies as fields, one line each,
//   LogWarning("journal poll failed", {{"dataset", name.str()}, {"error", status}});
//   2031-05-06T07:08:09.123Z WARNING journal poll failed dataset=maps/city error="UNAVAILABLE: …"
// Thread-safe. Never put a secret into a field. May block as stderr does.

namespace aetherfs {

enum class LogLevel { kDebug, kInfo, kWarning, kError };
enum class LogFormat { kText, kJson };

// "debug", "info", "warning", "error"; INVALID_ARGUMENT for anything else.
absl::StatusOr<LogLevel> ParseLogLevel(std::string_view text);
// "text", "json"; INVALID_ARGUMENT for anything else.
absl::StatusOr<LogFormat> ParseLogFormat(std::string_view text);

// Before any of it, kInfo and kText hold.
void InitLogging(LogLevel level, LogFormat format);

struct LogField {
  LogField(std::string_view k, std::string_view v) : key(k), value(v) {}
  LogField(std::string_view k, const char* v) : key(k), value(v) {}
  LogField(std::string_view k, const std::string& v) : key(k), value(v) {}
  LogField(std::string_view k, bool v) : key(k), value(v ? "true" : "false"), bare(true) {}
  template <std::integral T>
    requires(!std::same_as<T, bool>)
  LogField(std::string_view k, T v) : key(k), value(std::to_string(v)), bare(true) {}
  LogField(std::string_view k, double v);
  LogField(std::string_view k, const absl::Status& v);
  // In seconds.
  LogField(std::string_view k, absl::Duration v);

  std::string_view key;  // a constant: lower-case words joined by '_'
  std::string value;
  bool bare = false;  // a JSON number or truth value
};

using LogFields = std::initializer_list<LogField>;

// Whether a line of that level would be written: asks before costly fields are made.
bool LogIsOn(LogLevel level);
void Log(LogLevel level, std::string_view message, LogFields fields = {});

inline void LogDebug(std::string_view message, LogFields fields = {}) {
  Log(LogLevel::kDebug, message, fields);
}
inline void LogInfo(std::string_view message, LogFields fields = {}) {
  Log(LogLevel::kInfo, message, fields);
}
inline void LogWarning(std::string_view message, LogFields fields = {}) {
  Log(LogLevel::kWarning, message, fields);
}
inline void LogError(std::string_view message, LogFields fields = {}) {
  Log(LogLevel::kError, message, fields);
}

// The line, without its end, that Log() writes. Whatever the fields hold, it is one line of valid UTF-8.
std::string FormatLogLine(LogFormat format, absl::Time time, LogLevel level, std::string_view message,
                          LogFields fields);

}  // namespace aetherfs

#endif  // AETHERFS_TELEMETRY_LOG_H_
