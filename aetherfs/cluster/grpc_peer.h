#ifndef AETHERFS_CLUSTER_GRPC_PEER_H_
#define AETHERFS_CLUSTER_GRPC_PEER_H_

#include <grpcpp/channel.h>
#include <grpcpp/generic/generic_stub.h>

#include <memory>
#include <string>

#include "aetherfs/cluster/peer.h"

namespace aetherfs {

// A Peer over gRPC: one connection for messages, one for parts, made when they are needed. Its calls may
// outlive it.
class GrpcPeer : public Peer {
 public:
  explicit GrpcPeer(std::string address);

  const std::string& address() const override { return address_; }
  void Check(absl::Time deadline, std::function<void(const absl::Status&)> done) override;
  void Hello(const peer::v1::HelloRequest& request, absl::Time deadline,
             std::function<void(absl::StatusOr<peer::v1::HelloResponse>)> done) override;
  void Announce(const peer::v1::AnnounceRequest& request, absl::Time deadline,
                std::function<void(const absl::Status&)> done) override;
  std::shared_ptr<PeerCall> GetPart(const PartKey& key, bool cached_only, absl::Time deadline,
                                    PartHandler handler) override;

 private:
  const std::string address_;
  const std::shared_ptr<grpc::Channel> messages_;
  const std::shared_ptr<grpc::Channel> parts_;
  grpc::GenericStub message_stub_;
};

}  // namespace aetherfs

#endif  // AETHERFS_CLUSTER_GRPC_PEER_H_
