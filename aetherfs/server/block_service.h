#ifndef AETHERFS_SERVER_BLOCK_SERVICE_H_
#define AETHERFS_SERVER_BLOCK_SERVICE_H_

#include <memory>
#include <string>

#include "aetherfs/block/v1/block.grpc.pb.h"
#include "aetherfs/server/server_context.h"
#include "aetherfs/server/unary_call.h"

namespace aetherfs {

class DownloadRegistry;

// An object as BlockAPI names it.
struct ObjectName {
  DatasetName dataset;
  block::v1::ObjectKind kind = block::v1::OBJECT_KIND_UNSPECIFIED;
  Digest digest;

  std::string StoreKey() const;
};
// INVALID_ARGUMENT, naming what is wrong.
absl::StatusOr<ObjectName> ParseObjectName(const std::string& dataset, block::v1::ObjectKind kind,
                                           const std::string& digest);

// BlockAPI over the object store and the cache of parts (proto/aetherfs/block/v1/block.proto). Uploads and
// downloads have messages as bytes. No thread waits for a client. `server` must outlive it.
class BlockService
    : public block::v1::BlockAPI::WithRawCallbackMethod_Upload<
          block::v1::BlockAPI::WithRawCallbackMethod_Download<block::v1::BlockAPI::CallbackService>> {
 public:
  static constexpr size_t kMaxLookup = 10'000;
  static constexpr size_t kLookupParallelism = 16;

  explicit BlockService(const ServerContext* server);
  ~BlockService() override;

  grpc::ServerReadReactor<grpc::ByteBuffer>* Upload(grpc::CallbackServerContext* context,
                                                    grpc::ByteBuffer* response) override;
  grpc::ServerWriteReactor<grpc::ByteBuffer>* Download(grpc::CallbackServerContext* context,
                                                       const grpc::ByteBuffer* request) override;
  grpc::ServerUnaryReactor* Lookup(grpc::CallbackServerContext* context,
                                   const block::v1::LookupRequest* request,
                                   block::v1::LookupResponse* response) override;

  // Ends downloads whose reader has taken nothing for too long: they hold parts. Called now and then.
  void EndStalledDownloads();

 private:
  absl::Status DoLookup(const block::v1::LookupRequest& request, absl::Time deadline,
                        block::v1::LookupResponse* response);

  const ServerContext& server_;
  const std::shared_ptr<DownloadRegistry> downloads_;
};

}  // namespace aetherfs

#endif  // AETHERFS_SERVER_BLOCK_SERVICE_H_
