#include "aetherfs/base/reference.h"

#include <algorithm>

#include "aetherfs/base/address.h"
#include "aetherfs/base/status.h"
#include "fmt/format.h"

namespace aetherfs {
namespace {

constexpr size_t kMaxSegments = 4;
constexpr size_t kMaxSegmentLength = 64;
constexpr size_t kMaxTagLength = 128;
constexpr size_t kMaxHostLength = 253 + 1 + 5;  // a DNS name, a colon and a port

bool IsLowerAlnum(char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); }
bool IsAlnum(char c) { return IsLowerAlnum(c) || (c >= 'A' && c <= 'Z'); }
bool IsPunctuation(char c) { return c == '.' || c == '_' || c == '-'; }

bool IsSegment(std::string_view text) {
  return !text.empty() && text.size() <= kMaxSegmentLength && IsLowerAlnum(text[0]) &&
         std::all_of(text.begin(), text.end(), [](char c) { return IsLowerAlnum(c) || IsPunctuation(c); });
}

bool IsHost(std::string_view text) {
  return text.find_first_of(".:") != std::string_view::npos || text == "localhost";
}

absl::Status ValidateHost(std::string_view host) {
  std::string_view name = host;
  if (const size_t colon = host.rfind(':'); colon != std::string_view::npos && !host.ends_with(']')) {
    if (ParsePort(host.substr(colon + 1)).value_or(0) == 0) {
      return absl::InvalidArgumentError(
          fmt::format("'{}' has no valid port: it is a number from 1 to 65535", Printable(host)));
    }
    name = host.substr(0, colon);
  }
  // No empty label: "..", say, is a slip in a path and nobody's host.
  const bool valid = !name.empty() && host.size() <= kMaxHostLength && name[0] != '.' &&
                     name.find("..") == std::string_view::npos &&
                     std::all_of(name.begin(), name.end(), [](char c) {
                       return IsAlnum(c) || c == '.' || c == '-' || c == '[' || c == ']' || c == ':';
                     });
  if (!valid) return absl::InvalidArgumentError(fmt::format("'{}' is not a host", Printable(host)));
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<DatasetName> DatasetName::Parse(std::string_view text) {
  std::string_view rest = text;
  size_t most = kMaxSegments;
  if (rest.starts_with('@')) {
    rest.remove_prefix(1);
    ++most;
  }
  size_t segments = 0;
  bool valid = true;
  const bool scoped = most > kMaxSegments;
  while (valid) {
    const size_t slash = rest.find('/');
    valid = IsSegment(rest.substr(0, slash)) && ++segments <= most;
    if (slash == std::string_view::npos) break;
    rest.remove_prefix(slash + 1);
  }
  if (!valid || (scoped && segments < 2)) {
    return absl::InvalidArgumentError(fmt::format(
        "'{}' is not a dataset name: it takes [@scope/] and 1 to 4 segments joined by '/', each of "
        "1 to 64 characters a-z 0-9 . _ - that begin with a letter or digit",
        Printable(text)));
  }
  return DatasetName(std::string(text));
}

std::string DatasetName::Escaped() const {
  std::string out;
  for (const char c : name_) {
    if (IsLowerAlnum(c) || IsPunctuation(c)) {
      out += c;
    } else {
      out += fmt::format("%{:02X}", static_cast<unsigned char>(c));
    }
  }
  return out;
}

absl::StatusOr<DatasetName> DatasetName::Unescape(std::string_view escaped) {
  std::string text;
  for (size_t i = 0; i < escaped.size(); ++i) {
    if (escaped.substr(i, 3) == "%2F") {
      text += '/';
      i += 2;
    } else if (escaped.substr(i, 3) == "%40") {
      text += '@';
      i += 2;
    } else {
      text += escaped[i];
    }
  }
  return Parse(text);
}

absl::Status ValidateTag(std::string_view text) {
  const bool valid =
      !text.empty() && text.size() <= kMaxTagLength && (IsAlnum(text[0]) || text[0] == '_') &&
      std::all_of(text.begin(), text.end(), [](char c) { return IsAlnum(c) || IsPunctuation(c); });
  if (valid) return absl::OkStatus();
  return absl::InvalidArgumentError(
      fmt::format("'{}' is not a tag: it takes 1 to 128 characters A-Z a-z 0-9 . _ - and begins with "
                  "a letter, a digit or '_'",
                  Printable(text)));
}

absl::StatusOr<Reference> Reference::Parse(std::string_view text) {
  Reference reference;
  std::string_view rest = text;
  // A scope begins with '@' too, but only at the beginning of a component; a digest's '@' never does.
  if (const size_t at = rest.rfind("@sha256:"); at != std::string_view::npos && at > 0) {
    ASSIGN_OR_RETURN(reference.digest, Digest::Parse(rest.substr(at + 1)));
    rest = rest.substr(0, at);
  }
  if (const size_t slash = rest.find('/');
      slash != std::string_view::npos && IsHost(rest.substr(0, slash))) {
    reference.host = rest.substr(0, slash);
    RETURN_IF_ERROR(ValidateHost(reference.host));
    rest.remove_prefix(slash + 1);
  }
  if (const size_t colon = rest.rfind(':'); colon != std::string_view::npos) {
    reference.tag = rest.substr(colon + 1);
    RETURN_IF_ERROR(ValidateTag(reference.tag));
    rest = rest.substr(0, colon);
  }
  ASSIGN_OR_RETURN(reference.dataset, DatasetName::Parse(rest));
  return reference;
}

std::string Reference::ToString() const {
  std::string out;
  if (!host.empty()) out += host + "/";
  out += dataset.str();
  if (!digest || !tag.empty()) out += ":" + TagOrDefault();
  if (digest) out += "@" + digest->ToString();
  return out;
}

}  // namespace aetherfs
