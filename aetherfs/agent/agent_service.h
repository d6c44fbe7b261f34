#ifndef AETHERFS_AGENT_AGENT_SERVICE_H_
#define AETHERFS_AGENT_AGENT_SERVICE_H_

#include <functional>

#include "aetherfs/agent/agent.h"
#include "aetherfs/agent/v1/agent.grpc.pb.h"
#include "aetherfs/base/thread_pool.h"

namespace aetherfs {

// AgentAPI over the callback API. Calls that may block run in a pool of their own, kThreads wide; at most
// kMaxQueued wait. `shut_down` is called once GracefulShutdown has been answered. Thread-safe. The agent
// outlives it; the server that it is registered at ends before it does.
class AgentService final : public agent::v1::AgentAPI::CallbackService {
 public:
  static constexpr int kThreads = 3;
  static constexpr size_t kMaxQueued = 256;

  AgentService(Agent* agent, std::function<void()> shut_down);

  grpc::ServerUnaryReactor* Publish(grpc::CallbackServerContext* context,
                                    const agent::v1::PublishRequest* request,
                                    agent::v1::PublishResponse* response) override;
  grpc::ServerUnaryReactor* GetPublication(grpc::CallbackServerContext* context,
                                           const agent::v1::GetPublicationRequest* request,
                                           agent::v1::Publication* response) override;
  grpc::ServerUnaryReactor* Subscribe(grpc::CallbackServerContext* context,
                                      const agent::v1::SubscribeRequest* request,
                                      agent::v1::SubscribeResponse* response) override;
  grpc::ServerUnaryReactor* Unsubscribe(grpc::CallbackServerContext* context,
                                        const agent::v1::UnsubscribeRequest* request,
                                        agent::v1::UnsubscribeResponse* response) override;
  grpc::ServerWriteReactor<agent::v1::SubscriptionStatus>* WatchSubscription(
      grpc::CallbackServerContext* context, const agent::v1::WatchSubscriptionRequest* request) override;
  grpc::ServerUnaryReactor* Status(grpc::CallbackServerContext* context,
                                   const agent::v1::StatusRequest* request,
                                   agent::v1::StatusResponse* response) override;
  grpc::ServerUnaryReactor* Pin(grpc::CallbackServerContext* context, const agent::v1::PinRequest* request,
                                agent::v1::SubscriptionStatus* response) override;
  grpc::ServerUnaryReactor* Unpin(grpc::CallbackServerContext* context,
                                  const agent::v1::UnpinRequest* request,
                                  agent::v1::SubscriptionStatus* response) override;
  grpc::ServerUnaryReactor* Back(grpc::CallbackServerContext* context,
                                 const agent::v1::BackRequest* request,
                                 agent::v1::SubscriptionStatus* response) override;
  grpc::ServerUnaryReactor* GracefulShutdown(grpc::CallbackServerContext* context,
                                             const agent::v1::GracefulShutdownRequest* request,
                                             agent::v1::GracefulShutdownResponse* response) override;

 private:
  // Runs `work` in the pool and answers with what it returns.
  grpc::ServerUnaryReactor* InPool(grpc::CallbackServerContext* context,
                                   std::function<absl::Status()> work);

  Agent* const agent_;
  const std::function<void()> shut_down_;
  ThreadPool pool_;
};

}  // namespace aetherfs

#endif  // AETHERFS_AGENT_AGENT_SERVICE_H_
