#include "aetherfs/agent/agent_service.h"

#include <set>
#include <utility>

#include "aetherfs/base/status.h"
#include "aetherfs/rpc/rpc_status.h"

namespace aetherfs {
namespace {

using agent::v1::SubscriptionStatus;

template <typename T>
absl::Status Store(absl::StatusOr<T> result, T* response) {
  if (result.ok()) *response = *std::move(result);
  return result.status();
}

// One WatchSubscription stream. What changed and is not written yet is kept as a set of references, so a
// slow reader costs no memory and gets the newest status of each.
//
// At any time at most one thread has the *turn*: it alone may use the reactor. Nobody has it while there is
// nothing to write; whoever then brings something takes it, and the end of a write passes it on. Finish()
// is called with the turn, which is never given back after that.
class WatchReactor : public grpc::ServerWriteReactor<SubscriptionStatus> {
 public:
  WatchReactor(Agent* agent, std::set<std::string> filter, std::set<std::string> first)
      : shared_(std::make_shared<Shared>(agent, std::move(filter), std::move(first), this)) {}

  void Begin() {
    shared_->agent()->AddWatcher(shared_);
    shared_->Go();
  }
  void OnWriteDone(bool ok) override { shared_->WriteDone(ok); }
  void OnCancel() override { shared_->End(grpc::Status::CANCELLED); }
  void OnDone() override {
    shared_->agent()->RemoveWatcher(shared_.get());
    delete this;
  }

 private:
  class Shared : public Agent::Watcher {
   public:
    Shared(Agent* agent, std::set<std::string> filter, std::set<std::string> first, WatchReactor* reactor)
        : agent_(agent), filter_(std::move(filter)), reactor_(reactor), pending_(std::move(first)) {}

    Agent* agent() const { return agent_; }

    void Changed(const std::string& reference) override {
      if (!filter_.empty() && !filter_.contains(reference)) return;
      {
        absl::MutexLock lock(&mutex_);
        pending_.insert(reference);
      }
      Go();
    }
    void Close() override { End(ToGrpc(absl::UnavailableError("the agent is shutting down"))); }

    // Writes if there is something to write and nobody is at it.
    void Go() {
      {
        absl::MutexLock lock(&mutex_);
        if (taken_) return;
        taken_ = true;
      }
      Continue();
    }
    void WriteDone(bool ok) {
      if (!ok) SetEnd(grpc::Status::CANCELLED);
      Continue();
    }
    void End(const grpc::Status& status) {
      SetEnd(status);
      Go();
    }

   private:
    void SetEnd(const grpc::Status& status) {
      absl::MutexLock lock(&mutex_);
      if (!end_.has_value()) end_ = status;
    }

    // With the turn: begins a write, ends the stream, or gives the turn back.
    void Continue() {
      for (;;) {
        std::string reference;
        std::optional<grpc::Status> end;
        {
          absl::MutexLock lock(&mutex_);
          end = end_;
          if (!end.has_value()) {
            if (pending_.empty()) {
              taken_ = false;
              return;
            }
            reference = std::move(pending_.extract(pending_.begin()).value());
          }
        }
        if (end.has_value()) return reactor_->Finish(*end);
        absl::StatusOr<SubscriptionStatus> status = agent_->StatusOf(reference);
        if (!status.ok()) continue;  // unsubscribed meanwhile
        message_ = *std::move(status);
        return reactor_->StartWrite(&message_);
      }
    }

    Agent* const agent_;
    const std::set<std::string> filter_;
    WatchReactor* const reactor_;
    SubscriptionStatus message_;  // with the turn
    absl::Mutex mutex_;
    std::set<std::string> pending_ ABSL_GUARDED_BY(mutex_);
    std::optional<grpc::Status> end_ ABSL_GUARDED_BY(mutex_);
    bool taken_ ABSL_GUARDED_BY(mutex_) = false;
  };

  const std::shared_ptr<Shared> shared_;
};

// Ends at once.
class FailedWatch : public grpc::ServerWriteReactor<SubscriptionStatus> {
 public:
  explicit FailedWatch(const absl::Status& status) { Finish(ToGrpc(status)); }
  void OnDone() override { delete this; }
};

}  // namespace

AgentService::AgentService(Agent* agent, std::function<void()> shut_down)
    : agent_(agent), shut_down_(std::move(shut_down)), pool_("api", kThreads, kMaxQueued) {}

grpc::ServerUnaryReactor* AgentService::InPool(grpc::CallbackServerContext* context,
                                               std::function<absl::Status()> work) {
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  const bool queued =
      pool_.TrySubmit([reactor, work = std::move(work)] { reactor->Finish(ToGrpc(work())); });
  if (!queued) {
    reactor->Finish(
        ToGrpc(absl::ResourceExhaustedError("too many calls wait at this agent; try again later")));
  }
  return reactor;
}

grpc::ServerUnaryReactor* AgentService::Publish(grpc::CallbackServerContext* context,
                                                const agent::v1::PublishRequest* request,
                                                agent::v1::PublishResponse* response) {
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  const auto done = [reactor, response](absl::StatusOr<agent::v1::PublishResponse> result) {
    reactor->Finish(ToGrpc(Store(std::move(result), response)));
  };
  if (!pool_.TrySubmit([this, request, done] { agent_->Publish(*request, done); })) {
    done(absl::ResourceExhaustedError("too many calls wait at this agent; try again later"));
  }
  return reactor;
}

grpc::ServerUnaryReactor* AgentService::GetPublication(grpc::CallbackServerContext* context,
                                                       const agent::v1::GetPublicationRequest* request,
                                                       agent::v1::Publication* response) {
  return InPool(context,
                [=, this] { return Store(agent_->GetPublication(request->publication_id()), response); });
}

grpc::ServerUnaryReactor* AgentService::Subscribe(grpc::CallbackServerContext* context,
                                                  const agent::v1::SubscribeRequest* request,
                                                  agent::v1::SubscribeResponse* response) {
  return InPool(context, [=, this] {
    return Store(agent_->Subscribe(request->subscription()), response->mutable_status());
  });
}

grpc::ServerUnaryReactor* AgentService::Unsubscribe(grpc::CallbackServerContext* context,
                                                    const agent::v1::UnsubscribeRequest* request,
                                                    agent::v1::UnsubscribeResponse* response) {
  return InPool(context,
                [=, this] { return agent_->Unsubscribe(request->reference(), request->remove_files()); });
}

grpc::ServerWriteReactor<SubscriptionStatus>* AgentService::WatchSubscription(
    grpc::CallbackServerContext* context, const agent::v1::WatchSubscriptionRequest* request) {
  std::set<std::string> filter;
  for (const std::string& text : request->references()) {
    const absl::StatusOr<std::string> reference = CanonicalReference(text);
    const absl::Status known = reference.ok() ? agent_->StatusOf(*reference).status() : reference.status();
    if (!known.ok()) return new FailedWatch(known);
    filter.insert(*reference);
  }
  std::set<std::string> first = filter;
  if (first.empty()) {
    const std::vector<std::string> all = agent_->References();
    first.insert(all.begin(), all.end());
  }
  auto* const reactor = new WatchReactor(agent_, std::move(filter), std::move(first));
  reactor->Begin();
  return reactor;
}

grpc::ServerUnaryReactor* AgentService::Status(grpc::CallbackServerContext* context,
                                               const agent::v1::StatusRequest* request,
                                               agent::v1::StatusResponse* response) {
  return InPool(context, [=, this] {
    *response = agent_->Status();
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* AgentService::Pin(grpc::CallbackServerContext* context,
                                            const agent::v1::PinRequest* request,
                                            SubscriptionStatus* response) {
  return InPool(
      context, [=, this] { return Store(agent_->Pin(request->reference(), request->digest()), response); });
}

grpc::ServerUnaryReactor* AgentService::Unpin(grpc::CallbackServerContext* context,
                                              const agent::v1::UnpinRequest* request,
                                              SubscriptionStatus* response) {
  return InPool(context, [=, this] { return Store(agent_->Unpin(request->reference()), response); });
}

grpc::ServerUnaryReactor* AgentService::Back(grpc::CallbackServerContext* context,
                                             const agent::v1::BackRequest* request,
                                             SubscriptionStatus* response) {
  return InPool(context, [=, this] { return Store(agent_->Back(request->reference()), response); });
}

grpc::ServerUnaryReactor* AgentService::GracefulShutdown(grpc::CallbackServerContext* context,
                                                         const agent::v1::GracefulShutdownRequest* request,
                                                         agent::v1::GracefulShutdownResponse* response) {
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  const bool queued = pool_.TrySubmit([this, reactor] {
    const bool drained = agent_->Drain(absl::InfiniteFuture());
    reactor->Finish(
        drained ? grpc::Status::OK
                : ToGrpc(absl::AbortedError("the agent was told to end before all publishes were done; "
                                            "recorded ones go on when it starts again")));
    shut_down_();
  });
  if (!queued) reactor->Finish(ToGrpc(absl::ResourceExhaustedError("too many calls wait at this agent")));
  return reactor;
}

}  // namespace aetherfs
