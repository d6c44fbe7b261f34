#ifndef AETHERFS_CLUSTER_PEER_H_
#define AETHERFS_CLUSTER_PEER_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "aetherfs/cache/part.h"
#include "aetherfs/peer/v1/peer.pb.h"

namespace aetherfs {

// What this server speaks (proto/aetherfs/peer/v1/peer.proto). 1: Hello, GetPart, Announce; 2: also
// GetPart.cached_only. Newer versions only add; a server never asks an older one for what it does not know.
inline constexpr uint32_t kPeerProtocol = 2;
inline constexpr uint32_t kPeerProtocolCachedOnly = 2;

// A call under way at another server.
class PeerCall {
 public:
  virtual ~PeerCall() = default;
  // It ends soon, with CANCELLED unless it has ended. From any thread; may be called after its end.
  virtual void Cancel() = 0;
};

// Another server as this one speaks to it. Thread-safe; nothing blocks. Callbacks come from gRPC's threads
// and must not block; each call's come one after the other, its end last.
class Peer {
 public:
  virtual ~Peer() = default;

  // "HOST:PORT": its name in the cluster.
  virtual const std::string& address() const = 0;

  // Whether it serves (gRPC health checking): OK, FAILED_PRECONDITION if it says no, or what went wrong.
  virtual void Check(absl::Time deadline, std::function<void(const absl::Status&)> done) = 0;
  virtual void Hello(const peer::v1::HelloRequest& request, absl::Time deadline,
                     std::function<void(absl::StatusOr<peer::v1::HelloResponse>)> done) = 0;
  virtual void Announce(const peer::v1::AnnounceRequest& request, absl::Time deadline,
                        std::function<void(const absl::Status&)> done) = 0;

  struct PartHandler {
    // The peer has the request and works on it.
    std::function<void()> accepted;
    // Once, before any bytes.
    std::function<void(uint64_t object_size)> size;
    // The part's next bytes, valid during the call. An error ends the call with it.
    std::function<absl::Status(std::string_view bytes)> bytes;
    // OK if the peer says that this was all; then the checksum of the whole part, if it tells.
    std::function<void(const absl::Status&, std::optional<uint64_t> checksum)> done;
  };
  virtual std::shared_ptr<PeerCall> GetPart(const PartKey& key, bool cached_only, absl::Time deadline,
                                            PartHandler handler) = 0;
};

}  // namespace aetherfs

#endif  // AETHERFS_CLUSTER_PEER_H_
