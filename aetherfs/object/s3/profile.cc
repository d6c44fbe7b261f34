#include "aetherfs/object/s3/profile.h"

#include <cerrno>
#include <cstdio>
#include <memory>
#include <utility>

#include "absl/strings/ascii.h"
#include "aetherfs/base/quantity.h"
#include "aetherfs/base/status.h"
#include "fmt/format.h"

namespace aetherfs {
namespace {

constexpr size_t kMaxFileBytes = 1 * kMiB;

struct CloseFile {
  void operator()(std::FILE* file) const { std::fclose(file); }
};

std::string_view Trim(std::string_view text) {
  const absl::string_view trimmed = absl::StripAsciiWhitespace(absl::string_view(text.data(), text.size()));
  return {trimmed.data(), trimmed.size()};
}

// "[profile x]" in the config file, "[x]" in the credentials file; both may be "[ x ]".
std::string SectionName(std::string_view line) {
  std::string out;
  for (const char c : Trim(line.substr(1, line.find(']') - 1))) {
    if (c != ' ' && c != '\t') {
      out += c;
    } else if (!out.empty() && out.back() != ' ') {
      out += ' ';
    }
  }
  return out;
}

std::string PathOf(const Environment& environment, const std::string& variable, std::string_view in_home) {
  if (const auto path = environment(variable)) return *path;
  if (const auto home = environment("HOME")) return fmt::format("{}/{}", *home, in_home);
  return "";
}

}  // namespace

std::string Profile::Setting(const std::string& key) const {
  const auto found_setting = settings.find(key);
  return found_setting == settings.end() ? "" : found_setting->second;
}

std::map<std::string, std::string> ParseIniSection(std::string_view text, std::string_view section,
                                                   bool* found) {
  std::map<std::string, std::string> settings;
  bool inside = false;
  while (!text.empty()) {
    const size_t end = text.find('\n');
    const std::string_view raw = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    const std::string_view line = Trim(raw);
    if (line.empty() || line[0] == '#' || line[0] == ';') continue;
    if (line[0] == '[') {
      inside = SectionName(line) == section;
      *found = *found || inside;
      continue;
    }
    const size_t equals = line.find('=');
    const bool nested = raw[0] == ' ' || raw[0] == '\t';
    if (!inside || nested || equals == std::string_view::npos) continue;
    std::string_view value = Trim(line.substr(equals + 1));
    const size_t comment = std::min(value.find(" #"), value.find(" ;"));
    value = Trim(value.substr(0, comment));
    settings[absl::AsciiStrToLower(std::string(Trim(line.substr(0, equals))))] = std::string(value);
  }
  return settings;
}

absl::StatusOr<std::string> ReadSmallFile(const std::string& path) {
  const std::unique_ptr<std::FILE, CloseFile> file(std::fopen(path.c_str(), "rbe"));
  if (file == nullptr) return ErrnoStatus(errno, fmt::format("read '{}'", path));
  std::string content(kMaxFileBytes + 1, '\0');
  content.resize(std::fread(content.data(), 1, content.size(), file.get()));
  if (std::ferror(file.get())) return absl::UnavailableError(fmt::format("read '{}': failed", path));
  if (content.size() > kMaxFileBytes) {
    return absl::ResourceExhaustedError(fmt::format("read '{}': it has more than 1 MiB", path));
  }
  return content;
}

absl::StatusOr<Profile> ReadProfile(const Environment& environment) {
  Profile profile = {.name = "default"};
  for (const char* variable : {"AWS_DEFAULT_PROFILE", "AWS_PROFILE"}) {
    if (const auto name = environment(variable)) {
      profile.name = *name;
      profile.named = true;
    }
  }
  const std::pair<std::string, std::string> files[] = {
      {PathOf(environment, "AWS_SHARED_CREDENTIALS_FILE", ".aws/credentials"), profile.name},
      {PathOf(environment, "AWS_CONFIG_FILE", ".aws/config"),
       profile.name == "default" ? profile.name : "profile " + profile.name},
  };
  for (const auto& [path, section] : files) {
    if (path.empty()) continue;
    const absl::StatusOr<std::string> text = ReadSmallFile(path);
    if (absl::IsNotFound(text.status())) continue;
    RETURN_IF_ERROR(text.status());
    profile.settings.merge(ParseIniSection(*text, section, &profile.found));
  }
  return profile;
}

}  // namespace aetherfs
