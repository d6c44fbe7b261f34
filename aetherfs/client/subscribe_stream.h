#ifndef AETHERFS_CLIENT_SUBSCRIBE_STREAM_H_
#define AETHERFS_CLIENT_SUBSCRIBE_STREAM_H_

#include <grpcpp/client_context.h>
#include <grpcpp/support/client_callback.h>

#include <functional>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "aetherfs/client/server_client.h"
#include "aetherfs/dataset/v1/dataset.grpc.pb.h"

namespace aetherfs {

// One subscription on one server. Needs no thread while nothing happens: events come in gRPC's own.
class GrpcSubscribeStream : public ServerClient::SubscribeStream,
                            private grpc::ClientReadReactor<dataset::v1::SubscribeResponse> {
 public:
  // `ended` is called by the destructor, with the context, which nobody may use afterwards.
  GrpcSubscribeStream(const dataset::v1::SubscribeRequest& request,
                      std::function<void(const dataset::v1::SubscribeResponse&)> event,
                      std::function<void(const absl::Status&)> done,
                      std::function<void(grpc::ClientContext*)> ended);
  ~GrpcSubscribeStream() override;

  grpc::ClientContext* context() { return &context_; }
  // `stub` must outlive this.
  void Start(dataset::v1::DatasetAPI::Stub* stub);

 private:
  void OnReadDone(bool ok) override;
  void OnDone(const grpc::Status& status) override;

  const dataset::v1::SubscribeRequest request_;
  const std::function<void(const dataset::v1::SubscribeResponse&)> event_;
  const std::function<void(const absl::Status&)> done_;
  const std::function<void(grpc::ClientContext*)> ended_;
  grpc::ClientContext context_;
  dataset::v1::SubscribeResponse response_;
  absl::Mutex mutex_;
  bool over_ ABSL_GUARDED_BY(mutex_) = true;  // no callback runs or will run
  bool closing_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace aetherfs

#endif  // AETHERFS_CLIENT_SUBSCRIBE_STREAM_H_
