#include "aetherfs/cli/agent_client.h"

#include "aetherfs/base/status.h"
#include "aetherfs/rpc/rpc_status.h"
#include "fmt/format.h"

namespace aetherfs {

AgentClient::AgentClient(std::string address, std::shared_ptr<grpc::Channel> channel, Interrupt* interrupt)
    : address_(std::move(address)), interrupt_(interrupt), stub_(agent::v1::AgentAPI::NewStub(channel)) {}

absl::Status AgentClient::Guarded(absl::Duration limit,
                                  absl::FunctionRef<grpc::Status(grpc::ClientContext*)> call) {
  const auto context = std::make_shared<grpc::ClientContext>();
  if (limit < absl::InfiniteDuration()) context->set_deadline(absl::ToChronoTime(absl::Now() + limit));
  const Interrupt::Registration cancel = interrupt_->OnTrigger([context] { context->TryCancel(); });
  const absl::Status status = FromGrpc(call(context.get()));
  return absl::IsUnavailable(status) ? Annotate(status, fmt::format("agent at {}", address_)) : status;
}

absl::Status AgentClient::Watch(const agent::v1::WatchSubscriptionRequest& request, absl::Duration limit,
                                absl::FunctionRef<bool(const agent::v1::SubscriptionStatus&)> more) {
  bool enough = false;
  const absl::Status status = Guarded(limit, [&](grpc::ClientContext* context) {
    const auto reader = stub_->WatchSubscription(context, request);
    agent::v1::SubscriptionStatus message;
    while (reader->Read(&message)) {
      if (!more(message)) {
        enough = true;
        context->TryCancel();
        break;
      }
    }
    return reader->Finish();
  });
  if (enough) return absl::OkStatus();
  if (!status.ok()) return status;
  return absl::OutOfRangeError(fmt::format("agent at {} ended the stream; is it shutting down?", address_));
}

}  // namespace aetherfs
