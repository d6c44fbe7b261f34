#ifndef AETHERFS_CLIENT_SERVER_CLIENT_H_
#define AETHERFS_CLIENT_SERVER_CLIENT_H_

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "aetherfs/block/v1/block.pb.h"
#include "aetherfs/dataset/v1/dataset.pb.h"

namespace aetherfs {

struct ServerClientOptions {
  std::vector<std::string> servers;  // "HOST:PORT", at least one
  // How long a call tries one server after the other before it gives up with the last error.
  absl::Duration patience = absl::Seconds(30);
  // A single unary call's limit.
  absl::Duration call_timeout = absl::Seconds(20);
};

// What agents and the command line use of the servers: every call goes to a healthy one of several equal
// servers and is tried elsewhere when that one fails (UNAVAILABLE, DEADLINE_EXCEEDED), with jittered
// backoff between rounds. The virtual methods let a test stand in for the servers.
//
// Thread-safe. Calls block until done, until `patience` is used up, or until Cancel().
// Errors: the servers' (see the .proto files), with the addresses that were tried if none answered.
class ServerClient {
 public:
  static absl::StatusOr<std::unique_ptr<ServerClient>> Create(const ServerClientOptions& options);
  virtual ~ServerClient() = default;

  virtual absl::StatusOr<dataset::v1::LookupResponse> Lookup(const dataset::v1::LookupRequest& request) = 0;
  virtual absl::StatusOr<dataset::v1::ListTagsResponse> ListTags(
      const dataset::v1::ListTagsRequest& request) = 0;
  virtual absl::StatusOr<dataset::v1::ListDatasetsResponse> ListDatasets(
      const dataset::v1::ListDatasetsRequest& request) = 0;
  virtual absl::StatusOr<dataset::v1::HistoryResponse> History(
      const dataset::v1::HistoryRequest& request) = 0;
  virtual absl::StatusOr<dataset::v1::GetSettingsResponse> GetSettings(
      const dataset::v1::GetSettingsRequest& request) = 0;
  // The nonce in the request makes a retry of these three safe.
  virtual absl::StatusOr<dataset::v1::PublishResponse> Publish(
      const dataset::v1::PublishRequest& request) = 0;
  virtual absl::StatusOr<dataset::v1::UpdateTagsResponse> UpdateTags(
      const dataset::v1::UpdateTagsRequest& request) = 0;
  virtual absl::StatusOr<dataset::v1::UpdateSettingsResponse> UpdateSettings(
      const dataset::v1::UpdateSettingsRequest& request) = 0;

  virtual absl::StatusOr<block::v1::LookupResponse> LookupObjects(
      const block::v1::LookupRequest& request) = 0;
  // Sends one whole object. `object` is read until the call returns.
  virtual absl::StatusOr<block::v1::UploadResponse> Upload(const block::v1::UploadHeader& header,
                                                           std::string_view object) = 0;
  // Hands the bytes asked for to `sink`, in order, in pieces. When a server fails half-way the rest comes
  // from another one; no byte comes twice. An error of the sink ends the download and is returned.
  virtual absl::Status Download(const block::v1::DownloadRequest& request,
                                absl::FunctionRef<absl::Status(std::string_view)> sink) = 0;

  // One stream on one server, with no retry (Subscriber does that): events come one after the other in
  // gRPC's threads and must be handled quickly; `done` is called once, after the last event. The stream
  // ends early when the handle is destroyed, which waits for a running callback.
  class SubscribeStream {
   public:
    virtual ~SubscribeStream() = default;
  };
  virtual std::unique_ptr<SubscribeStream> Subscribe(
      const dataset::v1::SubscribeRequest& request,
      std::function<void(const dataset::v1::SubscribeResponse&)> event,
      std::function<void(const absl::Status&)> done) = 0;

  // Ends running calls with CANCELLED and makes later ones fail so.
  virtual void Cancel() = 0;
  // Whether the last attempt to reach a server succeeded.
  virtual bool connected() const = 0;
};

}  // namespace aetherfs

#endif  // AETHERFS_CLIENT_SERVER_CLIENT_H_
