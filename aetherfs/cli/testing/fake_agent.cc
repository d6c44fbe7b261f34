#include "aetherfs/cli/testing/fake_agent.h"

#include <grpcpp/server_builder.h>

#include <chrono>
#include <utility>

namespace aetherfs {

FakeAgent::FakeAgent() {
  grpc::ServerBuilder builder;
  builder.RegisterService(this);
  server_ = builder.BuildAndStart();
}

FakeAgent::~FakeAgent() { server_->Shutdown(std::chrono::system_clock::now()); }

std::shared_ptr<grpc::Channel> FakeAgent::Channel() { return server_->InProcessChannel({}); }

void FakeAgent::FailNext(const grpc::Status& status) {
  absl::MutexLock lock(&mutex_);
  failure_ = status;
}
void FakeAgent::SetPublishResponse(const agent::v1::PublishResponse& response) {
  absl::MutexLock lock(&mutex_);
  publish_response_ = response;
}
void FakeAgent::SetStatus(const agent::v1::StatusResponse& response) {
  absl::MutexLock lock(&mutex_);
  status_ = response;
}
void FakeAgent::SetUpdates(const std::vector<agent::v1::SubscriptionStatus>& updates) {
  absl::MutexLock lock(&mutex_);
  updates_ = updates;
}
agent::v1::PublishRequest FakeAgent::last_publish() const {
  absl::MutexLock lock(&mutex_);
  return last_publish_;
}
std::map<std::string, agent::v1::Subscription> FakeAgent::subscriptions() const {
  absl::MutexLock lock(&mutex_);
  return subscriptions_;
}
agent::v1::UnsubscribeRequest FakeAgent::last_unsubscribe() const {
  absl::MutexLock lock(&mutex_);
  return last_unsubscribe_;
}
void FakeAgent::WaitUntilWatching() const {
  absl::MutexLock lock(&mutex_);
  mutex_.Await(absl::Condition(&watching_));
}

grpc::Status FakeAgent::Begin() {
  absl::MutexLock lock(&mutex_);
  return std::exchange(failure_, grpc::Status::OK);
}

grpc::Status FakeAgent::Publish(grpc::ServerContext* context, const agent::v1::PublishRequest* request,
                                agent::v1::PublishResponse* response) {
  if (const grpc::Status status = Begin(); !status.ok()) return status;
  absl::MutexLock lock(&mutex_);
  last_publish_ = *request;
  *response = publish_response_;
  return grpc::Status::OK;
}

grpc::Status FakeAgent::Subscribe(grpc::ServerContext* context, const agent::v1::SubscribeRequest* request,
                                  agent::v1::SubscribeResponse* response) {
  if (const grpc::Status status = Begin(); !status.ok()) return status;
  absl::MutexLock lock(&mutex_);
  subscriptions_[request->subscription().reference()] = request->subscription();
  *response->mutable_status()->mutable_subscription() = request->subscription();
  response->mutable_status()->set_state(agent::v1::SubscriptionStatus::STATE_WAITING);
  response->mutable_status()->set_active_path("/data/" + request->subscription().reference());
  return grpc::Status::OK;
}

grpc::Status FakeAgent::Unsubscribe(grpc::ServerContext* context,
                                    const agent::v1::UnsubscribeRequest* request,
                                    agent::v1::UnsubscribeResponse* response) {
  if (const grpc::Status status = Begin(); !status.ok()) return status;
  absl::MutexLock lock(&mutex_);
  last_unsubscribe_ = *request;
  if (subscriptions_.erase(request->reference()) == 0) {
    return grpc::Status(grpc::StatusCode::NOT_FOUND, "there is no such subscription");
  }
  return grpc::Status::OK;
}

// Sends what it was given, then waits for the caller to go.
class FakeAgent::UpdateStream : public grpc::ServerWriteReactor<agent::v1::SubscriptionStatus> {
 public:
  UpdateStream(FakeAgent* agent, std::vector<agent::v1::SubscriptionStatus> updates)
      : agent_(agent), updates_(std::move(updates)) {
    Next();
  }
  void OnWriteDone(bool ok) override {
    if (ok) Next();
  }
  void OnCancel() override { Finish(grpc::Status::CANCELLED); }
  void OnDone() override { delete this; }

 private:
  void Next() {
    if (next_ < updates_.size()) {
      StartWrite(&updates_[next_++]);
      return;
    }
    absl::MutexLock lock(&agent_->mutex_);
    agent_->watching_ = true;
  }

  FakeAgent* const agent_;
  const std::vector<agent::v1::SubscriptionStatus> updates_;
  size_t next_ = 0;
};

grpc::ServerWriteReactor<agent::v1::SubscriptionStatus>* FakeAgent::WatchSubscription(
    grpc::CallbackServerContext* context, const agent::v1::WatchSubscriptionRequest* request) {
  std::vector<agent::v1::SubscriptionStatus> updates;
  {
    absl::MutexLock lock(&mutex_);
    updates = updates_;
  }
  return new UpdateStream(this, std::move(updates));
}

grpc::Status FakeAgent::Status(grpc::ServerContext* context, const agent::v1::StatusRequest* request,
                               agent::v1::StatusResponse* response) {
  if (const grpc::Status status = Begin(); !status.ok()) return status;
  absl::MutexLock lock(&mutex_);
  *response = status_;
  return grpc::Status::OK;
}

grpc::Status FakeAgent::Answer(const std::string& reference, const std::string& pinned,
                               agent::v1::SubscriptionStatus* response) {
  if (const grpc::Status status = Begin(); !status.ok()) return status;
  response->mutable_subscription()->set_reference(reference);
  response->set_state(agent::v1::SubscriptionStatus::STATE_CURRENT);
  response->set_active_digest(pinned);
  response->set_pinned_digest(pinned);
  response->set_active_path("/data/x");
  return grpc::Status::OK;
}

grpc::Status FakeAgent::Pin(grpc::ServerContext* context, const agent::v1::PinRequest* request,
                            agent::v1::SubscriptionStatus* response) {
  return Answer(request->reference(), request->digest(), response);
}

grpc::Status FakeAgent::Unpin(grpc::ServerContext* context, const agent::v1::UnpinRequest* request,
                              agent::v1::SubscriptionStatus* response) {
  return Answer(request->reference(), "", response);
}

grpc::Status FakeAgent::Back(grpc::ServerContext* context, const agent::v1::BackRequest* request,
                             agent::v1::SubscriptionStatus* response) {
  return Answer(request->reference(), "sha256:" + std::string(64, 'b'), response);
}

}  // namespace aetherfs
