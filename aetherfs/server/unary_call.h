#ifndef AETHERFS_SERVER_UNARY_CALL_H_
#define AETHERFS_SERVER_UNARY_CALL_H_

#include <grpcpp/server_context.h>
#include <grpcpp/support/server_callback.h>

#include <string_view>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "aetherfs/base/clock.h"
#include "aetherfs/server/server_metrics.h"

namespace aetherfs {

// No call may take longer, whatever its client allows.
inline constexpr absl::Duration kMaxUnaryTime = absl::Seconds(60);
inline constexpr absl::Duration kMaxTransferTime = absl::Minutes(5);

// When a call must be done: what its client allows, at most `most` from now.
absl::Time CallDeadline(const grpc::CallbackServerContext& context, Clock& clock, absl::Duration most);

// One unary call under way: answered once, from any thread. A cheap value. Its messages live until then.
class UnaryCall {
 public:
  // `method` is a constant.
  UnaryCall(grpc::CallbackServerContext* context, std::string_view method, Clock* clock,
            const ServerMetrics* metrics);

  grpc::ServerUnaryReactor* reactor() const { return reactor_; }
  absl::Time deadline() const { return deadline_; }
  void Finish(const absl::Status& status) const;

 private:
  grpc::ServerUnaryReactor* reactor_;
  std::string_view method_;
  Clock* clock_;
  const ServerMetrics* metrics_;
  absl::Time began_;
  absl::Time deadline_;
};

}  // namespace aetherfs

#endif  // AETHERFS_SERVER_UNARY_CALL_H_
