#ifndef AETHERFS_SERVER_DATASET_SERVICE_H_
#define AETHERFS_SERVER_DATASET_SERVICE_H_

#include <functional>

#include "aetherfs/dataset/v1/dataset.grpc.pb.h"
#include "aetherfs/server/change_codec.h"
#include "aetherfs/server/server_context.h"
#include "aetherfs/server/unary_call.h"

namespace aetherfs {

// DatasetAPI over the journals (proto/aetherfs/dataset/v1/dataset.proto says what each call does). Calls
// run in the control pool; Subscribe needs no thread. `server` must outlive it.
class DatasetService : public dataset::v1::DatasetAPI::WithRawCallbackMethod_Subscribe<
                           dataset::v1::DatasetAPI::CallbackService> {
 public:
  static constexpr size_t kMaxPageSize = 1000;
  static constexpr size_t kDefaultHistory = 100;
  static constexpr size_t kMaxLookupDeltas = 64;

  explicit DatasetService(const ServerContext* server) : server_(*server) {}

  grpc::ServerUnaryReactor* Publish(grpc::CallbackServerContext* context,
                                    const dataset::v1::PublishRequest* request,
                                    dataset::v1::PublishResponse* response) override;
  grpc::ServerUnaryReactor* UpdateTags(grpc::CallbackServerContext* context,
                                       const dataset::v1::UpdateTagsRequest* request,
                                       dataset::v1::UpdateTagsResponse* response) override;
  grpc::ServerUnaryReactor* Lookup(grpc::CallbackServerContext* context,
                                   const dataset::v1::LookupRequest* request,
                                   dataset::v1::LookupResponse* response) override;
  grpc::ServerWriteReactor<grpc::ByteBuffer>* Subscribe(grpc::CallbackServerContext* context,
                                                        const grpc::ByteBuffer* request) override;
  grpc::ServerUnaryReactor* ListDatasets(grpc::CallbackServerContext* context,
                                         const dataset::v1::ListDatasetsRequest* request,
                                         dataset::v1::ListDatasetsResponse* response) override;
  grpc::ServerUnaryReactor* ListTags(grpc::CallbackServerContext* context,
                                     const dataset::v1::ListTagsRequest* request,
                                     dataset::v1::ListTagsResponse* response) override;
  grpc::ServerUnaryReactor* UpdateSettings(grpc::CallbackServerContext* context,
                                           const dataset::v1::UpdateSettingsRequest* request,
                                           dataset::v1::UpdateSettingsResponse* response) override;
  grpc::ServerUnaryReactor* GetSettings(grpc::CallbackServerContext* context,
                                        const dataset::v1::GetSettingsRequest* request,
                                        dataset::v1::GetSettingsResponse* response) override;
  grpc::ServerUnaryReactor* History(grpc::CallbackServerContext* context,
                                    const dataset::v1::HistoryRequest* request,
                                    dataset::v1::HistoryResponse* response) override;

 private:
  // Runs `body` in the control pool and answers with its status.
  void Run(const UnaryCall& call, std::function<absl::Status()> body);
  // The bodies; they block.
  absl::Status DoPublish(const dataset::v1::PublishRequest& request, absl::Time deadline,
                         dataset::v1::PublishResponse* response);
  absl::Status DoUpdateTags(const dataset::v1::UpdateTagsRequest& request, absl::Time deadline,
                            dataset::v1::UpdateTagsResponse* response);
  absl::Status DoUpdateSettings(const dataset::v1::UpdateSettingsRequest& request, absl::Time deadline,
                                dataset::v1::UpdateSettingsResponse* response);
  absl::Status FillLookup(const DatasetName& name, const dataset::v1::LookupRequest& request,
                          const SeenDataset& seen, absl::Time deadline,
                          dataset::v1::LookupResponse* response);
  absl::Status DoListDatasets(const dataset::v1::ListDatasetsRequest& request, absl::Time deadline,
                              dataset::v1::ListDatasetsResponse* response);
  absl::Status DoHistory(const dataset::v1::HistoryRequest& request, absl::Time deadline,
                         dataset::v1::HistoryResponse* response);

  const ServerContext& server_;
};

}  // namespace aetherfs

#endif  // AETHERFS_SERVER_DATASET_SERVICE_H_
