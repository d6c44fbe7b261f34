#ifndef AETHERFS_CLUSTER_PEER_LIST_H_
#define AETHERFS_CLUSTER_PEER_LIST_H_

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace aetherfs {

// Where the servers of a cluster are found.
struct PeerList {
  // "HOST:PORT" each: the list itself.
  std::vector<std::string> addresses;
  // Or a name whose addresses are servers (a headless Service of Kubernetes), all on one port.
  std::string dns_name;
  uint16_t dns_port = 0;

  bool empty() const { return addresses.empty() && dns_name.empty(); }
};

// Addresses ("a:7400"), or "dns:NAME:PORT" alone; none is an empty list. INVALID_ARGUMENT says what is
// wrong. Pure.
absl::StatusOr<PeerList> ParsePeerList(const std::vector<std::string>& items);

// Looks up names, so that a test can script it. Thread-safe; blocks.
class HostResolver {
 public:
  virtual ~HostResolver() = default;
  // The addresses of a host, IPv4 and IPv6, as text without brackets, sorted; of an address, itself.
  // NOT_FOUND if there are none, UNAVAILABLE if nobody could tell.
  virtual absl::StatusOr<std::vector<std::string>> Resolve(const std::string& host) = 0;

  // The system's. Lives for ever.
  static HostResolver* System();
};

// The two halves of "HOST:PORT", the host without brackets; and back, with brackets where they are needed.
std::string HostOf(const std::string& address);
std::string JoinHostPort(const std::string& host, uint16_t port);
// What gRPC calls a peer ("ipv4:10.0.0.1:4711", "ipv6:%5B::1%5D:4711") as an address without port; IPv4 in
// IPv6 as IPv4. Empty if it is neither.
std::string IpOfGrpcPeer(const std::string& peer);

}  // namespace aetherfs

#endif  // AETHERFS_CLUSTER_PEER_LIST_H_
