#include "aetherfs/server/peer_service.h"

#include <fmt/format.h>

#include <memory>
#include <string>
#include <utility>

#include "aetherfs/base/status.h"
#include "aetherfs/format/record.h"
#include "aetherfs/server/dataset_hub.h"
#include "aetherfs/server/part_call.h"
#include "aetherfs/server/unary_call.h"
#include "aetherfs/telemetry/log.h"

namespace aetherfs {

PeerService::PeerService(const ServerContext* server, Membership* membership, ClusterMetrics* metrics)
    : server_(*server), membership_(*membership), metrics_(*metrics) {}

absl::Status PeerService::CheckCaller(const grpc::CallbackServerContext& context) {
  const std::string ip = IpOfGrpcPeer(context.peer());
  if (membership_.IsPeerAddress(ip)) return absl::OkStatus();
  return absl::PermissionDeniedError(
      fmt::format("{} is not the address of a server in --peers: peers serve only each other", ip));
}

grpc::ServerUnaryReactor* PeerService::Hello(grpc::CallbackServerContext* context,
                                             const peer::v1::HelloRequest* request,
                                             peer::v1::HelloResponse* response) {
  const UnaryCall call(context, "Hello", server_.clock, server_.metrics);
  const absl::Status allowed = CheckCaller(*context);
  if (!allowed.ok()) {
    LogWarning("a stranger said hello as a peer", {{"error", allowed}});
  } else {
    LogDebug("a peer said hello", {{"peer", context->peer()}, {"protocol", request->protocol()}});
    response->set_protocol(kPeerProtocol);
    response->set_server_id(membership_.server_id());
    response->set_ranking(kRankingVersion);
  }
  call.Finish(allowed);
  return call.reactor();
}

grpc::ServerWriteReactor<grpc::ByteBuffer>* PeerService::GetPart(grpc::CallbackServerContext* context,
                                                                 const grpc::ByteBuffer* request) {
  return StartPartCall(server_, context, *request, CheckCaller(*context));
}

grpc::ServerUnaryReactor* PeerService::Announce(grpc::CallbackServerContext* context,
                                                const peer::v1::AnnounceRequest* request,
                                                peer::v1::AnnounceResponse*) {
  const UnaryCall call(context, "Announce", server_.clock, server_.metrics);
  const absl::Status allowed = CheckCaller(*context);
  if (!allowed.ok()) {
    call.Finish(allowed);
  } else if (!server_.control->TrySubmit([=, this] { call.Finish(Take(*request)); })) {
    call.Finish(absl::ResourceExhaustedError("too many calls are waiting: try again"));
  }
  return call.reactor();
}

absl::Status PeerService::Take(const peer::v1::AnnounceRequest& request) {
  if (request.announcements_size() > kMaxAnnouncements) {
    return absl::InvalidArgumentError(fmt::format("{} announcements at once, at most {} are allowed",
                                                  request.announcements_size(), kMaxAnnouncements));
  }
  for (const peer::v1::Announcement& announcement : request.announcements()) {
    ASSIGN_OR_RETURN(const DatasetName name, DatasetName::Parse(announcement.dataset()));
    auto entry = std::make_shared<record::v1::JournalEntry>();
    RETURN_IF_ERROR(DecodeRecord(RecordKind::kJournalEntry, announcement.entry(), entry.get()));
    metrics_.announcements_received.Increment();
    server_.hub->Offer(name, std::move(entry));
  }
  return absl::OkStatus();
}

}  // namespace aetherfs
