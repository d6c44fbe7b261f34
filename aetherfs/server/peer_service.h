#ifndef AETHERFS_SERVER_PEER_SERVICE_H_
#define AETHERFS_SERVER_PEER_SERVICE_H_

#include "aetherfs/cluster/cluster_metrics.h"
#include "aetherfs/cluster/membership.h"
#include "aetherfs/peer/v1/peer.grpc.pb.h"
#include "aetherfs/server/server_context.h"

namespace aetherfs {

// PeerAPI (proto/aetherfs/peer/v1/peer.proto), for servers that are members by this server's own list:
// whoever calls from another address is refused with PERMISSION_DENIED. Parts are bytes. No thread waits
// for a caller. What it is given must outlive it.
class PeerService : public peer::v1::PeerAPI::WithRawCallbackMethod_GetPart<peer::v1::PeerAPI::CallbackService> {
 public:
  static constexpr int kMaxAnnouncements = 64;

  PeerService(const ServerContext* server, Membership* membership, ClusterMetrics* metrics);

  grpc::ServerUnaryReactor* Hello(grpc::CallbackServerContext* context, const peer::v1::HelloRequest* request,
                                  peer::v1::HelloResponse* response) override;
  grpc::ServerWriteReactor<grpc::ByteBuffer>* GetPart(grpc::CallbackServerContext* context,
                                                      const grpc::ByteBuffer* request) override;
  grpc::ServerUnaryReactor* Announce(grpc::CallbackServerContext* context,
                                     const peer::v1::AnnounceRequest* request,
                                     peer::v1::AnnounceResponse* response) override;

 private:
  absl::Status CheckCaller(const grpc::CallbackServerContext& context);
  absl::Status Take(const peer::v1::AnnounceRequest& request);

  const ServerContext& server_;
  Membership& membership_;
  ClusterMetrics& metrics_;
};

}  // namespace aetherfs

#endif  // AETHERFS_SERVER_PEER_SERVICE_H_
