#include "aetherfs/cluster/peer_list.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netdb.h>

#include <algorithm>
#include <set>

#include "absl/strings/str_replace.h"
#include "aetherfs/base/address.h"
#include "aetherfs/base/status.h"

namespace aetherfs {
namespace {

constexpr std::string_view kDnsPrefix = "dns:";
constexpr std::string_view kIpv4InIpv6 = "::ffff:";
constexpr size_t kMaxPeers = 256;

class SystemResolver : public HostResolver {
 public:
  absl::StatusOr<std::vector<std::string>> Resolve(const std::string& host) override {
    addrinfo hints{};
    hints.ai_family = AF_UNSPEC;
    hints.ai_socktype = SOCK_STREAM;
    addrinfo* found = nullptr;
    const int failed = getaddrinfo(host.c_str(), nullptr, &hints, &found);
    if (failed == EAI_NONAME) return absl::NotFoundError(fmt::format("there is no host {}", host));
    if (failed != 0) {
      return absl::UnavailableError(fmt::format("looking up {}: {}", host, gai_strerror(failed)));
    }
    std::set<std::string> addresses;
    for (const addrinfo* entry = found; entry != nullptr; entry = entry->ai_next) {
      char text[NI_MAXHOST];
      if (getnameinfo(entry->ai_addr, entry->ai_addrlen, text, sizeof(text), nullptr, 0, NI_NUMERICHOST) == 0) {
        addresses.insert(text);
      }
    }
    freeaddrinfo(found);
    return std::vector<std::string>(addresses.begin(), addresses.end());
  }
};

}  // namespace

absl::StatusOr<PeerList> ParsePeerList(const std::vector<std::string>& items) {
  PeerList list;
  if (items.size() == 1 && items.front().starts_with(kDnsPrefix)) {
    const std::string_view text = items.front();
    const std::string_view rest = text.substr(kDnsPrefix.size());
    const size_t colon = rest.rfind(':');
    const std::optional<uint16_t> port =
        colon == std::string_view::npos ? std::nullopt : ParsePort(rest.substr(colon + 1));
    if (!port.has_value() || *port == 0 || colon == 0 || !ParseServerAddress(rest).ok()) {
      return absl::InvalidArgumentError(
          fmt::format("'{}': write dns:NAME:PORT, like dns:aetherfs.default.svc:7400", Printable(text)));
    }
    list.dns_name = HostOf(std::string(rest));
    list.dns_port = *port;
    return list;
  }
  for (const std::string& item : items) {
    if (item.starts_with(kDnsPrefix)) {
      return absl::InvalidArgumentError(
          fmt::format("'{}' stands alone or not at all", Printable(item)));
    }
    ASSIGN_OR_RETURN(std::string address, ParseServerAddress(item));
    if (std::find(list.addresses.begin(), list.addresses.end(), address) != list.addresses.end()) {
      return absl::InvalidArgumentError(fmt::format("'{}' stands there twice", address));
    }
    list.addresses.push_back(std::move(address));
  }
  if (list.addresses.size() > kMaxPeers) {
    return absl::InvalidArgumentError(
        fmt::format("{} peers, at most {} are allowed", list.addresses.size(), kMaxPeers));
  }
  return list;
}

HostResolver* HostResolver::System() {
  static auto* const resolver = new SystemResolver;
  return resolver;
}

std::string HostOf(const std::string& address) {
  std::string host = address.substr(0, address.rfind(':'));
  if (host.size() >= 2 && host.front() == '[' && host.back() == ']') host = host.substr(1, host.size() - 2);
  return host;
}

std::string JoinHostPort(const std::string& host, uint16_t port) {
  return host.find(':') == std::string::npos ? fmt::format("{}:{}", host, port)
                                             : fmt::format("[{}]:{}", host, port);
}

std::string IpOfGrpcPeer(const std::string& peer) {
  const size_t colon = peer.find(':');
  if (colon == std::string::npos) return "";
  const std::string kind = peer.substr(0, colon);
  std::string rest = absl::StrReplaceAll(peer.substr(colon + 1), {{"%5B", "["}, {"%5D", "]"}});
  if (kind != "ipv4" && kind != "ipv6") return "";
  std::string host = HostOf(rest);
  if (const size_t scope = host.find("%25"); scope != std::string::npos) host.resize(scope);
  if (host.starts_with(kIpv4InIpv6) && host.find('.') != std::string::npos) host = host.substr(kIpv4InIpv6.size());
  return host;
}

}  // namespace aetherfs
