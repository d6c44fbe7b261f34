#ifndef AETHERFS_SERVER_TESTING_OPEN_SUBSCRIPTION_H_
#define AETHERFS_SERVER_TESTING_OPEN_SUBSCRIPTION_H_

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "aetherfs/dataset/v1/dataset.grpc.pb.h"

namespace aetherfs {

// One open subscription of DatasetAPI. Not thread-safe.
class OpenSubscription {
 public:
  OpenSubscription(const std::shared_ptr<grpc::Channel>& channel, const std::string& dataset,
               const std::vector<std::string>& tags = {}, uint64_t after_seq = 0)
      : stub_(dataset::v1::DatasetAPI::NewStub(channel)) {
    dataset::v1::SubscribeRequest request;
    request.set_dataset(dataset);
    for (const std::string& tag : tags) request.add_tags(tag);
    request.set_after_seq(after_seq);
    context_.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(60));
    reader_ = stub_->Subscribe(&context_, request);
  }
  ~OpenSubscription() {
    context_.TryCancel();
    dataset::v1::SubscribeResponse response;
    while (reader_ != nullptr && reader_->Read(&response)) {
    }
    if (reader_ != nullptr) reader_->Finish();
  }

  // Blocks until there is one.
  dataset::v1::SubscribeResponse Next() {
    dataset::v1::SubscribeResponse response;
    EXPECT_TRUE(reader_->Read(&response));
    return response;
  }
  grpc::Status End() {
    dataset::v1::SubscribeResponse response;
    while (reader_->Read(&response)) {
    }
    const grpc::Status status = reader_->Finish();
    reader_.reset();
    return status;
  }

 private:
  std::unique_ptr<dataset::v1::DatasetAPI::Stub> stub_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReader<dataset::v1::SubscribeResponse>> reader_;
};

}  // namespace aetherfs

#endif  // AETHERFS_SERVER_TESTING_OPEN_SUBSCRIPTION_H_
