#ifndef AETHERFS_CLI_TESTING_FAKE_AGENT_H_
#define AETHERFS_CLI_TESTING_FAKE_AGENT_H_

#include <grpcpp/channel.h>
#include <grpcpp/server.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "aetherfs/agent/v1/agent.grpc.pb.h"

namespace aetherfs {

// An agent in this process that does nothing but remember what it was asked, and answers as told.
// Thread-safe.
class FakeAgent
    : public agent::v1::AgentAPI::WithCallbackMethod_WatchSubscription<agent::v1::AgentAPI::Service> {
 public:
  FakeAgent();
  ~FakeAgent() override;

  std::shared_ptr<grpc::Channel> Channel();

  // The next call fails so.
  void FailNext(const grpc::Status& status);
  void SetPublishResponse(const agent::v1::PublishResponse& response);
  void SetStatus(const agent::v1::StatusResponse& response);
  // What WatchSubscription streams, before it waits for the caller to go.
  void SetUpdates(const std::vector<agent::v1::SubscriptionStatus>& updates);

  agent::v1::PublishRequest last_publish() const;
  std::map<std::string, agent::v1::Subscription> subscriptions() const;
  agent::v1::UnsubscribeRequest last_unsubscribe() const;
  // Blocks until a stream is open and has sent its updates.
  void WaitUntilWatching() const;

  grpc::Status Publish(grpc::ServerContext* context, const agent::v1::PublishRequest* request,
                       agent::v1::PublishResponse* response) override;
  grpc::Status Subscribe(grpc::ServerContext* context, const agent::v1::SubscribeRequest* request,
                         agent::v1::SubscribeResponse* response) override;
  grpc::Status Unsubscribe(grpc::ServerContext* context, const agent::v1::UnsubscribeRequest* request,
                           agent::v1::UnsubscribeResponse* response) override;
  grpc::ServerWriteReactor<agent::v1::SubscriptionStatus>* WatchSubscription(
      grpc::CallbackServerContext* context, const agent::v1::WatchSubscriptionRequest* request) override;
  grpc::Status Status(grpc::ServerContext* context, const agent::v1::StatusRequest* request,
                      agent::v1::StatusResponse* response) override;
  grpc::Status Pin(grpc::ServerContext* context, const agent::v1::PinRequest* request,
                   agent::v1::SubscriptionStatus* response) override;
  grpc::Status Unpin(grpc::ServerContext* context, const agent::v1::UnpinRequest* request,
                     agent::v1::SubscriptionStatus* response) override;
  grpc::Status Back(grpc::ServerContext* context, const agent::v1::BackRequest* request,
                    agent::v1::SubscriptionStatus* response) override;

 private:
  class UpdateStream;
  // The scripted failure, once.
  grpc::Status Begin();
  grpc::Status Answer(const std::string& reference, const std::string& pinned,
                      agent::v1::SubscriptionStatus* response);

  mutable absl::Mutex mutex_;
  grpc::Status failure_ ABSL_GUARDED_BY(mutex_);
  agent::v1::PublishResponse publish_response_ ABSL_GUARDED_BY(mutex_);
  agent::v1::StatusResponse status_ ABSL_GUARDED_BY(mutex_);
  std::vector<agent::v1::SubscriptionStatus> updates_ ABSL_GUARDED_BY(mutex_);
  agent::v1::PublishRequest last_publish_ ABSL_GUARDED_BY(mutex_);
  agent::v1::UnsubscribeRequest last_unsubscribe_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, agent::v1::Subscription> subscriptions_ ABSL_GUARDED_BY(mutex_);
  bool watching_ ABSL_GUARDED_BY(mutex_) = false;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace aetherfs

#endif  // AETHERFS_CLI_TESTING_FAKE_AGENT_H_
