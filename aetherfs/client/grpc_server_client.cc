#include "aetherfs/client/grpc_server_client.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>

#include <algorithm>
#include <array>
#include <utility>

#include "absl/synchronization/notification.h"
#include "aetherfs/base/address.h"
#include "aetherfs/base/byte_range.h"
#include "aetherfs/base/status.h"
#include "aetherfs/client/raw_call.h"
#include "aetherfs/client/subscribe_stream.h"
#include "aetherfs/rpc/channel.h"
#include "aetherfs/rpc/raw_messages.h"
#include "aetherfs/rpc/rpc_status.h"
#include "fmt/format.h"

namespace aetherfs {
namespace {

constexpr char kUploadMethod[] = "/aetherfs.block.v1.BlockAPI/Upload";
constexpr char kDownloadMethod[] = "/aetherfs.block.v1.BlockAPI/Download";
// A server that does not even accept a connection within this is away.
constexpr int kConnectTimeoutMillis = 3000;
// While a client waits to try again it looks this often whether it was cancelled.
constexpr absl::Duration kPauseStep = absl::Milliseconds(50);

// Whether another server, or the same one later, may do better. CANCELLED is not ours here: the server gave
// up.
bool WorthTryingElsewhere(const absl::Status& status) {
  return absl::IsUnavailable(status) || absl::IsDeadlineExceeded(status) || absl::IsCancelled(status);
}

// Registers a call for as long as it runs.
class ScopedCall {
 public:
  ScopedCall(RunningCalls* calls, grpc::ClientContext* context) : calls_(calls), context_(context) {
    calls_->Add(context_);
  }
  ~ScopedCall() { calls_->Remove(context_); }
  ScopedCall(const ScopedCall&) = delete;
  ScopedCall& operator=(const ScopedCall&) = delete;

 private:
  RunningCalls* const calls_;
  grpc::ClientContext* const context_;
};

}  // namespace

void RunningCalls::Add(grpc::ClientContext* context) {
  absl::MutexLock lock(&mutex_);
  contexts_.insert(context);
  if (cancelled_) context->TryCancel();
}

void RunningCalls::Remove(grpc::ClientContext* context) {
  absl::MutexLock lock(&mutex_);
  contexts_.erase(context);
}

void RunningCalls::CancelAll() {
  absl::MutexLock lock(&mutex_);
  cancelled_ = true;
  // Under the lock, so that none of them goes away meanwhile; it only marks the call.
  for (grpc::ClientContext* context : contexts_) context->TryCancel();
}

void RunningCalls::Sleep(absl::Duration duration) {
  absl::MutexLock lock(&mutex_);
  const auto cancelled = [this] { return cancelled_.load(); };
  mutex_.AwaitWithTimeout(absl::Condition(&cancelled), duration);
}

// One server: its channels. Thread-safe.
class GrpcServerClient::Server {
 public:
  Server(size_t index, std::string address)
      : index_(index),
        address_(std::move(address)),
        channel_(Connect()),
        datasets_(dataset::v1::DatasetAPI::NewStub(channel_)),
        blocks_(block::v1::BlockAPI::NewStub(channel_)) {}

  size_t index() const { return index_; }
  const std::string& address() const { return address_; }
  dataset::v1::DatasetAPI::Stub* datasets() { return datasets_.get(); }
  block::v1::BlockAPI::Stub* blocks() { return blocks_.get(); }
  bool IsConnected() { return channel_->GetState(false) == GRPC_CHANNEL_READY; }

  // All that were made so far.
  std::vector<std::shared_ptr<grpc::Channel>> Channels() {
    std::vector<std::shared_ptr<grpc::Channel>> channels = {channel_};
    absl::MutexLock lock(&mutex_);
    for (const auto& channel : bulk_) {
      if (channel != nullptr) channels.push_back(channel);
    }
    return channels;
  }

  // For a transfer of `size` bytes.
  std::shared_ptr<grpc::Channel> ChannelFor(uint64_t size) {
    if (size <= kSmallObject) return channel_;
    absl::MutexLock lock(&mutex_);
    std::shared_ptr<grpc::Channel>& channel = bulk_[next_++ % kBulkChannels];
    if (channel == nullptr) channel = Connect();
    return channel;
  }

 private:
  std::shared_ptr<grpc::Channel> Connect() const {
    grpc::ChannelArguments arguments = ClientChannelArguments();
    arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, kConnectTimeoutMillis);
    // Otherwise channels to one address share a connection.
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
    return grpc::CreateCustomChannel(address_, grpc::InsecureChannelCredentials(), arguments);
  }

  const size_t index_;
  const std::string address_;
  const std::shared_ptr<grpc::Channel> channel_;
  const std::unique_ptr<dataset::v1::DatasetAPI::Stub> datasets_;
  const std::unique_ptr<block::v1::BlockAPI::Stub> blocks_;
  absl::Mutex mutex_;
  std::array<std::shared_ptr<grpc::Channel>, kBulkChannels> bulk_ ABSL_GUARDED_BY(mutex_);
  size_t next_ ABSL_GUARDED_BY(mutex_) = 0;
};

absl::StatusOr<std::unique_ptr<ServerClient>> ServerClient::Create(const ServerClientOptions& options) {
  if (options.servers.empty()) return absl::InvalidArgumentError("no server is named; use HOST:PORT");
  for (const std::string& server : options.servers) {
    ASSIGN_OR_RETURN(const std::string address, ParseServerAddress(server));
    if (address != server) {
      return absl::InvalidArgumentError(
          fmt::format("'{}' has no port; write HOST:PORT", Printable(server)));
    }
  }
  return std::make_unique<GrpcServerClient>(options);
}

GrpcServerClient::GrpcServerClient(const ServerClientOptions& options)
    : options_(options), health_(options.servers.size(), Clock::System(), Random::System()) {
  for (const std::string& address : options_.servers) {
    servers_.push_back(std::make_unique<Server>(servers_.size(), address));
  }
}

GrpcServerClient::~GrpcServerClient() = default;

void GrpcServerClient::Note(size_t endpoint, const absl::Status& status) {
  if (WorthTryingElsewhere(status)) {
    health_.Failed(endpoint);
    connected_ = servers_[endpoint]->IsConnected();  // it may have answered that its store is away
  } else {
    health_.Succeeded(endpoint);
    connected_ = true;
  }
}

absl::Status GrpcServerClient::Anywhere(EndpointHealth::Policy policy, TryServer attempt) {
  absl::Time give_up = absl::Now() + options_.patience;
  for (int round = 0;; ++round) {
    absl::Status last;
    for (const size_t endpoint : health_.Order(policy)) {
      if (calls_.cancelled()) return absl::CancelledError("the client was cancelled");
      Attempt outcome = attempt(*servers_[endpoint]);
      if (outcome.final) return outcome.status;
      if (calls_.cancelled()) return absl::CancelledError("the client was cancelled");
      Note(endpoint, outcome.status);
      if (!WorthTryingElsewhere(outcome.status)) return outcome.status;
      if (outcome.progress) {
        give_up = absl::Now() + options_.patience;
        round = 0;
      }
      last = std::move(outcome.status);
    }
    const absl::Duration pause = BackoffDelay(round, kFirstBackoff, kLongestBackoff, *Random::System());
    if (absl::Now() + pause >= give_up) {
      std::string tried;
      for (const auto& server : servers_) tried += (tried.empty() ? "" : ", ") + server->address();
      return absl::UnavailableError(
          fmt::format("no server could do it (tried {}): {}", tried, Message(last)));
    }
    Pause(pause);
  }
}

// gRPC makes connections in the threads of those who wait for something; while nobody does, it looks after
// them every five seconds only. So this waits for the connections that are not there.
void GrpcServerClient::Pause(absl::Duration pause) {
  std::vector<std::shared_ptr<grpc::Channel>> away;
  for (const auto& server : servers_) {
    for (auto& channel : server->Channels()) {
      if (channel->GetState(true) != GRPC_CHANNEL_READY) away.push_back(std::move(channel));
    }
  }
  if (away.empty()) return calls_.Sleep(pause);
  const auto back = [](const auto& channel) { return channel->GetState(false) == GRPC_CHANNEL_READY; };
  const absl::Time began = absl::Now();
  while (!calls_.cancelled()) {
    const absl::Time now = absl::Now();
    if (now - began >= pause) return;
    if (now - began >= kFirstBackoff && std::any_of(away.begin(), away.end(), back)) return;
    const absl::Time until = std::min(now + kPauseStep, began + pause);
    grpc::CompletionQueue changes;
    for (const auto& channel : away) {
      channel->NotifyOnStateChange(channel->GetState(true), absl::ToChronoTime(until), &changes, nullptr);
    }
    changes.Shutdown();  // ends it behind what was asked for
    void* tag = nullptr;
    bool changed = false;
    while (changes.Next(&tag, &changed)) {
    }
  }
}

template <typename Stub, typename Request, typename Response>
absl::StatusOr<Response> GrpcServerClient::Unary(Stub* (Server::*stub)(),
                                                 grpc::Status (Stub::*method)(grpc::ClientContext*,
                                                                              const Request&, Response*),
                                                 const Request& request) {
  Response response;
  RETURN_IF_ERROR(Anywhere(EndpointHealth::Policy::kSticky, [&](Server& server) {
    grpc::ClientContext context;
    context.set_deadline(absl::ToChronoTime(absl::Now() + options_.call_timeout));
    const ScopedCall call(&calls_, &context);
    response.Clear();
    return Attempt{.status = FromGrpc(((server.*stub)()->*method)(&context, request, &response))};
  }));
  return response;
}

absl::StatusOr<dataset::v1::LookupResponse> GrpcServerClient::Lookup(
    const dataset::v1::LookupRequest& request) {
  return Unary(&Server::datasets, &dataset::v1::DatasetAPI::Stub::Lookup, request);
}

absl::StatusOr<dataset::v1::ListTagsResponse> GrpcServerClient::ListTags(
    const dataset::v1::ListTagsRequest& request) {
  return Unary(&Server::datasets, &dataset::v1::DatasetAPI::Stub::ListTags, request);
}

absl::StatusOr<dataset::v1::ListDatasetsResponse> GrpcServerClient::ListDatasets(
    const dataset::v1::ListDatasetsRequest& request) {
  return Unary(&Server::datasets, &dataset::v1::DatasetAPI::Stub::ListDatasets, request);
}

absl::StatusOr<dataset::v1::HistoryResponse> GrpcServerClient::History(
    const dataset::v1::HistoryRequest& request) {
  return Unary(&Server::datasets, &dataset::v1::DatasetAPI::Stub::History, request);
}

absl::StatusOr<dataset::v1::PublishResponse> GrpcServerClient::Publish(
    const dataset::v1::PublishRequest& request) {
  return Unary(&Server::datasets, &dataset::v1::DatasetAPI::Stub::Publish, request);
}

absl::StatusOr<dataset::v1::UpdateTagsResponse> GrpcServerClient::UpdateTags(
    const dataset::v1::UpdateTagsRequest& request) {
  return Unary(&Server::datasets, &dataset::v1::DatasetAPI::Stub::UpdateTags, request);
}

absl::StatusOr<dataset::v1::GetSettingsResponse> GrpcServerClient::GetSettings(
    const dataset::v1::GetSettingsRequest& request) {
  return Unary(&Server::datasets, &dataset::v1::DatasetAPI::Stub::GetSettings, request);
}

absl::StatusOr<dataset::v1::UpdateSettingsResponse> GrpcServerClient::UpdateSettings(
    const dataset::v1::UpdateSettingsRequest& request) {
  return Unary(&Server::datasets, &dataset::v1::DatasetAPI::Stub::UpdateSettings, request);
}

absl::StatusOr<block::v1::LookupResponse> GrpcServerClient::LookupObjects(
    const block::v1::LookupRequest& request) {
  return Unary(&Server::blocks, &block::v1::BlockAPI::Stub::Lookup, request);
}

// ---- Uploads.

GrpcServerClient::Attempt GrpcServerClient::TryUpload(Server& server, const block::v1::UploadHeader& header,
                                                      std::string_view object,
                                                      block::v1::UploadResponse* response) {
  // Slices of `object` may lie in gRPC's buffers for a moment after the call has ended.
  absl::Notification released;
  Attempt outcome;
  {
    const std::shared_ptr<const void> owner(&released, [](const void* notification) {
      static_cast<absl::Notification*>(const_cast<void*>(notification))->Notify();
    });
    RawCall call(server.ChannelFor(object.size()), kUploadMethod, options_.call_timeout);
    const ScopedCall running(&calls_, call.context());
    bool more = call.Start();
    if (more) {
      call.BeginRead();
      more = call.Write(EncodeUploadHeader(header), object.empty());
    }
    for (size_t at = 0; more && at < object.size(); at += kBulkMessageSize) {
      if (call.HasRead()) break;  // the answer came early: the object was there, or is not wanted
      const grpc::Slice slice = SliceOf(owner, object.substr(at, kBulkMessageSize));
      more = call.Write(EncodeUploadData({&slice, 1}), at + kBulkMessageSize >= object.size());
    }
    grpc::ByteBuffer answer;
    const bool answered = call.AwaitRead(&answer);
    outcome.status = call.Finish();
    if (outcome.status.ok()) {
      outcome.status = answered ? ParseMessage(answer, response)
                                : absl::InternalError("the server ended an upload without an answer");
    }
  }
  released.WaitForNotification();
  return outcome;
}

absl::StatusOr<block::v1::UploadResponse> GrpcServerClient::Upload(const block::v1::UploadHeader& header,
                                                                   std::string_view object) {
  block::v1::UploadResponse response;
  RETURN_IF_ERROR(Anywhere(EndpointHealth::Policy::kSpread,
                           [&](Server& server) { return TryUpload(server, header, object, &response); }));
  return response;
}

// ---- Downloads.

// One download, wherever its bytes come from: knows what is still to come.
class GrpcServerClient::DownloadRun {
 public:
  using Sink = absl::FunctionRef<absl::Status(std::string_view)>;
  DownloadRun(const block::v1::DownloadRequest& request, Sink sink) : request_(request), sink_(sink) {
    for (const auto& range : request.ranges()) {
      if (range.size() > 0) left_.push_back({range.offset(), range.size()});
    }
    std::reverse(left_.begin(), left_.end());
    whole_object_ = request.ranges().empty();
  }

  // Bytes still to come; 0 also while the size of a whole object is unknown.
  uint64_t BytesLeft() const {
    uint64_t bytes = 0;
    for (const ByteRange& range : left_) bytes += range.size;
    return bytes;
  }

  Attempt Try(Server& server, RunningCalls* calls, absl::Duration stall_timeout) {
    Attempt outcome;
    RawCall call(server.ChannelFor(BytesLeft()), kDownloadMethod, stall_timeout);
    const ScopedCall running(calls, call.context());
    bool more = call.Start() && call.Write(SerializeMessage(Request()), true);
    while (more) {
      grpc::ByteBuffer message;
      call.BeginRead();
      more = call.AwaitRead(&message);
      if (!more) break;
      absl::Status status = Take(message, &outcome);
      if (status.ok()) continue;
      outcome.status = std::move(status);
      return outcome;
    }
    outcome.status = call.Finish();
    if (outcome.status.ok() && (!size_known() || BytesLeft() > 0)) {
      outcome.status = absl::UnavailableError(
          fmt::format("{} ended the download {} bytes early", server.address(), BytesLeft()));
    }
    return outcome;
  }

 private:
  bool size_known() const { return !whole_object_ || object_size_known_; }

  block::v1::DownloadRequest Request() const {
    block::v1::DownloadRequest request = request_;
    request.clear_ranges();
    if (!size_known()) return request;
    for (auto range = left_.rbegin(); range != left_.rend(); ++range) {
      auto* out = request.add_ranges();
      out->set_offset(range->offset);
      out->set_size(range->size);
    }
    return request;
  }

  // Hands on what a message brings. An error ends the attempt; outcome->final says whether also the
  // download.
  absl::Status Take(const grpc::ByteBuffer& message, Attempt* outcome) {
    auto part = DecodeDownloadResponse(message);
    if (!part.ok())
      return absl::UnavailableError(fmt::format("a server sent nonsense: {}", Message(part.status())));
    if (!size_known()) {
      object_size_known_ = true;
      if (part->object_size > 0) left_.push_back({0, part->object_size});
    }
    for (const grpc::Slice& slice : part->data) {
      const std::string_view bytes = BytesOf(slice);
      if (bytes.empty()) continue;
      if (!Consume(bytes.size())) return absl::UnavailableError("a server sent more than was asked for");
      outcome->progress = true;
      absl::Status status = sink_(bytes);
      if (!status.ok()) {
        outcome->final = true;
        return status;
      }
    }
    return absl::OkStatus();
  }

  // Moves what is left on by `size` bytes; false if that is more than there is.
  bool Consume(uint64_t size) {
    while (size > 0 && !left_.empty()) {
      ByteRange& range = left_.back();
      const uint64_t taken = std::min(range.size, size);
      range.offset += taken;
      range.size -= taken;
      size -= taken;
      if (range.size == 0) left_.pop_back();
    }
    return size == 0;
  }

  const block::v1::DownloadRequest& request_;
  const Sink sink_;
  std::vector<ByteRange> left_;  // the last one comes next
  bool whole_object_ = false;
  bool object_size_known_ = false;
};

absl::Status GrpcServerClient::Download(const block::v1::DownloadRequest& request,
                                        absl::FunctionRef<absl::Status(std::string_view)> sink) {
  DownloadRun run(request, sink);
  return Anywhere(EndpointHealth::Policy::kSpread,
                  [&](Server& server) { return run.Try(server, &calls_, options_.call_timeout); });
}

// ---- Subscriptions.

std::unique_ptr<ServerClient::SubscribeStream> GrpcServerClient::Subscribe(
    const dataset::v1::SubscribeRequest& request,
    std::function<void(const dataset::v1::SubscribeResponse&)> event,
    std::function<void(const absl::Status&)> done) {
  // Not where the calls go: servers that were away shall have their share again.
  const size_t endpoint = health_.Order(EndpointHealth::Policy::kSpread).front();
  auto stream = std::make_unique<GrpcSubscribeStream>(
      request,
      [this, endpoint, event = std::move(event)](const dataset::v1::SubscribeResponse& response) {
        Note(endpoint, absl::OkStatus());
        event(response);
      },
      [this, endpoint, done = std::move(done)](const absl::Status& status) {
        if (!calls_.cancelled()) Note(endpoint, status);
        done(status);
      },
      [this](grpc::ClientContext* context) { calls_.Remove(context); });
  calls_.Add(stream->context());
  stream->Start(servers_[endpoint]->datasets());
  return stream;
}

}  // namespace aetherfs
