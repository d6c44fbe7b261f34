#include "aetherfs/cluster/grpc_peer.h"

#include <fmt/format.h>
#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/support/client_callback.h>

#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "aetherfs/rpc/channel.h"
#include "aetherfs/rpc/raw_messages.h"
#include "aetherfs/rpc/rpc_status.h"

namespace aetherfs {
namespace {

constexpr char kCheckMethod[] = "/grpc.health.v1.Health/Check";
constexpr char kHelloMethod[] = "/aetherfs.peer.v1.PeerAPI/Hello";
constexpr char kAnnounceMethod[] = "/aetherfs.peer.v1.PeerAPI/Announce";
constexpr char kGetPartMethod[] = "/aetherfs.peer.v1.PeerAPI/GetPart";
constexpr int kServing = 1;

std::shared_ptr<grpc::Channel> Connect(const std::string& address) {
  grpc::ChannelArguments arguments = ClientChannelArguments();
  // Otherwise channels to one address share a connection.
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  return grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments);
}

// One unary call: lives until it is answered.
struct MessageCall {
  grpc::ClientContext context;
  grpc::ByteBuffer request;
  grpc::ByteBuffer response;
};

void CallUnary(grpc::GenericStub& stub, const char* method, const google::protobuf::MessageLite& request,
               absl::Time deadline,
               std::function<void(const absl::Status&, const grpc::ByteBuffer& response)> done) {
  auto call = std::make_shared<MessageCall>();
  call->context.set_deadline(absl::ToChronoTime(deadline));
  call->request = SerializeMessage(request);
  stub.UnaryCall(
      &call->context, method, grpc::StubOptions(), &call->request, &call->response,
      [call, done = std::move(done)](grpc::Status status) { done(FromGrpc(status), call->response); });
}

// GetPart as its caller's side sees it: owns itself until gRPC is done.
class GetPartCall : public PeerCall,
                    public grpc::ClientBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>,
                    public std::enable_shared_from_this<GetPartCall> {
 public:
  GetPartCall(std::shared_ptr<grpc::Channel> channel, Peer::PartHandler handler)
      : stub_(std::move(channel)), handler_(std::move(handler)) {}

  void Start(const peer::v1::GetPartRequest& request, absl::Time deadline) {
    self_ = shared_from_this();
    request_ = SerializeMessage(request);
    context_.set_deadline(absl::ToChronoTime(deadline));
    stub_.PrepareBidiStreamingCall(&context_, kGetPartMethod, grpc::StubOptions(), this);
    StartWriteLast(&request_, grpc::WriteOptions());
    StartRead(&response_);
    StartCall();
  }

  void Cancel() override { context_.TryCancel(); }

  void OnReadInitialMetadataDone(bool ok) override {
    if (ok) handler_.accepted();
  }

  void OnReadDone(bool ok) override {
    if (!ok) return;
    if (refused_.ok()) refused_ = Take();
    response_.Clear();
    if (!refused_.ok()) context_.TryCancel();
    StartRead(&response_);
  }

  void OnDone(const grpc::Status& status) override {
    handler_.done(refused_.ok() ? FromGrpc(status) : refused_, checksum_);
    handler_ = {};
    self_.reset();  // may be the end of this
  }

 private:
  absl::Status Take() {
    const absl::StatusOr<DownloadPart> message = DecodeDownloadResponse(response_);
    if (!message.ok()) return message.status();
    if (message->object_size > 0) {
      if (std::exchange(sized_, true)) return absl::DataLossError("the peer told the object's size twice");
      handler_.size(message->object_size);
    }
    if (message->data_size > 0 && !sized_) {
      return absl::DataLossError("the peer sent bytes before the object's size");
    }
    for (const grpc::Slice& slice : message->data) {
      if (absl::Status taken = handler_.bytes(BytesOf(slice)); !taken.ok()) return taken;
    }
    if (message->data_size > 0) return absl::OkStatus();
    peer::v1::GetPartResponse last;
    if (absl::Status parsed = ParseMessage(response_, &last); !parsed.ok()) return parsed;
    if (last.has_checksum()) checksum_ = last.checksum();
    return absl::OkStatus();
  }

  grpc::GenericStub stub_;
  grpc::ClientContext context_;
  grpc::ByteBuffer request_;
  grpc::ByteBuffer response_;
  // All below: used in callbacks only, which come one after the other.
  Peer::PartHandler handler_;
  bool sized_ = false;
  absl::Status refused_;  // why what came is not wanted
  std::optional<uint64_t> checksum_;
  std::shared_ptr<GetPartCall> self_;
};

}  // namespace

GrpcPeer::GrpcPeer(std::string address)
    : address_(std::move(address)),
      messages_(Connect(address_)),
      parts_(Connect(address_)),
      message_stub_(messages_) {}

void GrpcPeer::Check(absl::Time deadline, std::function<void(const absl::Status&)> done) {
  // The empty request asks about the server as a whole.
  CallUnary(message_stub_, kCheckMethod, peer::v1::HealthStatus(), deadline,
            [done = std::move(done)](const absl::Status& status, const grpc::ByteBuffer& response) {
              if (!status.ok()) return done(status);
              peer::v1::HealthStatus health;
              if (absl::Status parsed = ParseMessage(response, &health); !parsed.ok()) return done(parsed);
              done(health.status() == kServing ? absl::OkStatus()
                                               : absl::FailedPreconditionError("it says that it is not serving"));
            });
}

void GrpcPeer::Hello(const peer::v1::HelloRequest& request, absl::Time deadline,
                     std::function<void(absl::StatusOr<peer::v1::HelloResponse>)> done) {
  CallUnary(message_stub_, kHelloMethod, request, deadline,
            [done = std::move(done)](const absl::Status& status, const grpc::ByteBuffer& response) {
              if (!status.ok()) return done(status);
              peer::v1::HelloResponse hello;
              if (absl::Status parsed = ParseMessage(response, &hello); !parsed.ok()) return done(parsed);
              done(std::move(hello));
            });
}

void GrpcPeer::Announce(const peer::v1::AnnounceRequest& request, absl::Time deadline,
                        std::function<void(const absl::Status&)> done) {
  CallUnary(message_stub_, kAnnounceMethod, request, deadline,
            [done = std::move(done)](const absl::Status& status, const grpc::ByteBuffer&) { done(status); });
}

std::shared_ptr<PeerCall> GrpcPeer::GetPart(const PartKey& key, bool cached_only, absl::Time deadline,
                                            PartHandler handler) {
  peer::v1::GetPartRequest request;
  request.set_object_key(key.object_key);
  request.set_index(key.index);
  request.set_cached_only(cached_only);
  auto call = std::make_shared<GetPartCall>(parts_, std::move(handler));
  call->Start(request, deadline);
  return call;
}

}  // namespace aetherfs
