#ifndef AETHERFS_CLI_AGENT_CLIENT_H_
#define AETHERFS_CLI_AGENT_CLIENT_H_

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>

#include <memory>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "aetherfs/agent/v1/agent.grpc.pb.h"
#include "aetherfs/cli/interrupt.h"

namespace aetherfs {

// Calls to an agent. Each blocks until it is answered, until its limit, or until the interrupt comes
// (CANCELLED); none is repeated. Errors are the agent's, or UNAVAILABLE with its address. Thread-safe.
class AgentClient {
 public:
  using Stub = agent::v1::AgentAPI::Stub;

  AgentClient(std::string address, std::shared_ptr<grpc::Channel> channel, Interrupt* interrupt);

  // `method` is the stub's: &AgentClient::Stub::Status.
  template <typename Request, typename Response>
  absl::StatusOr<Response> Call(grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&,
                                                             Response*),
                                const Request& request, absl::Duration limit) {
    Response response;
    const absl::Status status = Guarded(limit, [&](grpc::ClientContext* context) {
      return (stub_.get()->*method)(context, request, &response);
    });
    if (!status.ok()) return status;
    return response;
  }

  // Hands on status after status until `more` returns false; then OK. OUT_OF_RANGE if the agent ends the
  // stream first.
  absl::Status Watch(const agent::v1::WatchSubscriptionRequest& request, absl::Duration limit,
                     absl::FunctionRef<bool(const agent::v1::SubscriptionStatus&)> more);

  const std::string& address() const { return address_; }

 private:
  absl::Status Guarded(absl::Duration limit, absl::FunctionRef<grpc::Status(grpc::ClientContext*)> call);

  const std::string address_;
  Interrupt* const interrupt_;
  const std::unique_ptr<Stub> stub_;
};

// Answers that need nothing but the agent itself.
inline constexpr absl::Duration kAgentQueryLimit = absl::Seconds(30);

}  // namespace aetherfs

#endif  // AETHERFS_CLI_AGENT_CLIENT_H_
