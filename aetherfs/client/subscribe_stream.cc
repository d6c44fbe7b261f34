#include "aetherfs/client/subscribe_stream.h"

#include <utility>

#include "aetherfs/rpc/rpc_status.h"

namespace aetherfs {

GrpcSubscribeStream::GrpcSubscribeStream(const dataset::v1::SubscribeRequest& request,
                                         std::function<void(const dataset::v1::SubscribeResponse&)> event,
                                         std::function<void(const absl::Status&)> done,
                                         std::function<void(grpc::ClientContext*)> ended)
    : request_(request), event_(std::move(event)), done_(std::move(done)), ended_(std::move(ended)) {}

GrpcSubscribeStream::~GrpcSubscribeStream() {
  {
    absl::MutexLock lock(&mutex_);
    closing_ = true;
  }
  context_.TryCancel();
  {
    absl::MutexLock lock(&mutex_);
    mutex_.Await(absl::Condition(&over_));
  }
  ended_(&context_);
}

void GrpcSubscribeStream::Start(dataset::v1::DatasetAPI::Stub* stub) {
  {
    absl::MutexLock lock(&mutex_);
    over_ = false;
  }
  stub->async()->Subscribe(&context_, &request_, this);
  StartRead(&response_);
  StartCall();
}

void GrpcSubscribeStream::OnReadDone(bool ok) {
  if (!ok) return;
  bool closing;
  {
    absl::MutexLock lock(&mutex_);
    closing = closing_;
  }
  if (!closing) event_(response_);
  response_.Clear();
  StartRead(&response_);
}

void GrpcSubscribeStream::OnDone(const grpc::Status& status) {
  done_(FromGrpc(status));
  absl::MutexLock lock(&mutex_);
  over_ = true;
}

}  // namespace aetherfs
