#ifndef AETHERFS_CLIENT_GRPC_SERVER_CLIENT_H_
#define AETHERFS_CLIENT_GRPC_SERVER_CLIENT_H_

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_set.h"
#include "absl/functional/function_ref.h"
#include "absl/synchronization/mutex.h"
#include "aetherfs/block/v1/block.grpc.pb.h"
#include "aetherfs/client/endpoint_health.h"
#include "aetherfs/client/server_client.h"
#include "aetherfs/dataset/v1/dataset.grpc.pb.h"

namespace aetherfs {

// The calls that run, so that all of them can be cancelled. Thread-safe. Outlived by nothing that it knows.
class RunningCalls {
 public:
  // Cancels `context`'s call at once if CancelAll() was called before.
  void Add(grpc::ClientContext* context);
  void Remove(grpc::ClientContext* context);
  void CancelAll();
  bool cancelled() const { return cancelled_.load(); }
  // Returns after `duration`, or at once when cancelled.
  void Sleep(absl::Duration duration);

 private:
  absl::Mutex mutex_;
  absl::flat_hash_set<grpc::ClientContext*> contexts_ ABSL_GUARDED_BY(mutex_);
  std::atomic<bool> cancelled_{false};  // set under the lock
};

// ServerClient over gRPC. A server has one connection for messages and kBulkChannels for bytes, made when
// they are needed: one connection is one thread's work at a time, on either side.
class GrpcServerClient : public ServerClient {
 public:
  static constexpr size_t kBulkChannels = 2;
  // Objects up to this size do not deserve a connection of their own.
  static constexpr uint64_t kSmallObject = 256 * 1024;
  static constexpr absl::Duration kFirstBackoff = absl::Milliseconds(50);
  static constexpr absl::Duration kLongestBackoff = absl::Seconds(2);

  // `options` were checked by Create.
  explicit GrpcServerClient(const ServerClientOptions& options);
  ~GrpcServerClient() override;

  absl::StatusOr<dataset::v1::LookupResponse> Lookup(const dataset::v1::LookupRequest& request) override;
  absl::StatusOr<dataset::v1::ListTagsResponse> ListTags(
      const dataset::v1::ListTagsRequest& request) override;
  absl::StatusOr<dataset::v1::ListDatasetsResponse> ListDatasets(
      const dataset::v1::ListDatasetsRequest& request) override;
  absl::StatusOr<dataset::v1::HistoryResponse> History(const dataset::v1::HistoryRequest& request) override;
  absl::StatusOr<dataset::v1::PublishResponse> Publish(const dataset::v1::PublishRequest& request) override;
  absl::StatusOr<dataset::v1::UpdateTagsResponse> UpdateTags(
      const dataset::v1::UpdateTagsRequest& request) override;
  absl::StatusOr<dataset::v1::GetSettingsResponse> GetSettings(
      const dataset::v1::GetSettingsRequest& request) override;
  absl::StatusOr<dataset::v1::UpdateSettingsResponse> UpdateSettings(
      const dataset::v1::UpdateSettingsRequest& request) override;
  absl::StatusOr<block::v1::LookupResponse> LookupObjects(const block::v1::LookupRequest& request) override;
  absl::StatusOr<block::v1::UploadResponse> Upload(const block::v1::UploadHeader& header,
                                                   std::string_view object) override;
  absl::Status Download(const block::v1::DownloadRequest& request,
                        absl::FunctionRef<absl::Status(std::string_view)> sink) override;
  std::unique_ptr<SubscribeStream> Subscribe(
      const dataset::v1::SubscribeRequest& request,
      std::function<void(const dataset::v1::SubscribeResponse&)> event,
      std::function<void(const absl::Status&)> done) override;
  void Cancel() override { calls_.CancelAll(); }
  bool connected() const override { return connected_.load(); }

 private:
  class DownloadRun;
  class Server;
  // What one attempt at one server came to.
  struct Attempt {
    absl::Status status;
    bool final = false;     // not the server's fault: not to be tried elsewhere
    bool progress = false;  // something was achieved, so patience begins anew
  };
  using TryServer = absl::FunctionRef<Attempt(Server&)>;
  absl::Status Anywhere(EndpointHealth::Policy policy, TryServer attempt);
  void Note(size_t endpoint, const absl::Status& status);
  // Returns after `pause`, or sooner when a server that was away can be reached or all is cancelled.
  void Pause(absl::Duration pause);

  template <typename Stub, typename Request, typename Response>
  absl::StatusOr<Response> Unary(Stub* (Server::*stub)(),
                                 grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&,
                                                              Response*),
                                 const Request& request);
  Attempt TryUpload(Server& server, const block::v1::UploadHeader& header, std::string_view object,
                    block::v1::UploadResponse* response);

  const ServerClientOptions options_;
  EndpointHealth health_;
  std::vector<std::unique_ptr<Server>> servers_;
  std::atomic<bool> connected_{false};
  RunningCalls calls_;
};

}  // namespace aetherfs

#endif  // AETHERFS_CLIENT_GRPC_SERVER_CLIENT_H_
