#include "aetherfs/server/unary_call.h"

#include <algorithm>
#include <chrono>

#include "aetherfs/rpc/rpc_status.h"

namespace aetherfs {

absl::Time CallDeadline(const grpc::CallbackServerContext& context, Clock& clock, absl::Duration most) {
  const absl::Time latest = clock.Now() + most;
  const auto deadline = context.deadline();
  if (deadline == std::chrono::system_clock::time_point::max()) return latest;
  return std::min(latest, absl::FromChrono(deadline));
}

UnaryCall::UnaryCall(grpc::CallbackServerContext* context, std::string_view method, Clock* clock,
                     const ServerMetrics* metrics)
    : reactor_(context->DefaultReactor()),
      method_(method),
      clock_(clock),
      metrics_(metrics),
      began_(clock->Now()),
      deadline_(CallDeadline(*context, *clock, kMaxUnaryTime)) {}

void UnaryCall::Finish(const absl::Status& status) const {
  metrics_->ObserveCall(method_, status.code(), clock_->Now() - began_);
  reactor_->Finish(ToGrpc(status));
}

}  // namespace aetherfs
