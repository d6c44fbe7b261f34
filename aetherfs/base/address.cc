#include "aetherfs/base/address.h"

#include <algorithm>
#include <charconv>

#include "aetherfs/base/status.h"
#include "fmt/format.h"

namespace aetherfs {
namespace {

// Where the ':' before the port is; npos if there is none. That of "[::1]" is not.
size_t PortColon(std::string_view text) {
  const size_t colon = text.rfind(':');
  return colon != std::string_view::npos && text.find(']', colon) == std::string_view::npos
             ? colon
             : std::string_view::npos;
}

// A name, an IPv4 address, or an IPv6 address in brackets. Only what nobody can mean is refused.
bool IsHost(std::string_view host) {
  const bool brackets = host.size() > 2 && host.front() == '[' && host.back() == ']';
  if (brackets) host = host.substr(1, host.size() - 2);
  return !host.empty() && std::all_of(host.begin(), host.end(), [brackets](char c) {
    const bool alnum = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    return alnum || c == '.' || c == '-' || c == '_' || (brackets && (c == ':' || c == '%'));
  });
}

}  // namespace

std::optional<uint16_t> ParsePort(std::string_view text) {
  uint16_t port = 0;
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), port);
  if (failure != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return port;
}

absl::StatusOr<std::string> ParseServerAddress(std::string_view text) {
  const size_t colon = PortColon(text);
  const std::string_view host = text.substr(0, colon);
  if (!IsHost(host)) {
    return absl::InvalidArgumentError(fmt::format(
        "'{}' is not a server's address; write HOST:PORT, an IPv6 address in brackets", Printable(text)));
  }
  if (colon == std::string_view::npos) return fmt::format("{}:{}", host, kDefaultServerPort);
  if (ParsePort(text.substr(colon + 1)).value_or(0) == 0) {
    return absl::InvalidArgumentError(fmt::format(
        "'{}' has no valid port; write HOST:PORT, the port a number from 1 to 65535", Printable(text)));
  }
  return std::string(text);
}

bool IsListenAddress(std::string_view text) {
  const size_t colon = PortColon(text);
  return colon != std::string_view::npos && (colon == 0 || IsHost(text.substr(0, colon))) &&
         ParsePort(text.substr(colon + 1)).has_value();
}

}  // namespace aetherfs
