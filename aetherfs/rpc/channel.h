#ifndef AETHERFS_RPC_CHANNEL_H_
#define AETHERFS_RPC_CHANNEL_H_

#include <grpcpp/server_builder.h>
#include <grpcpp/support/channel_arguments.h>

#include "absl/time/time.h"
#include "aetherfs/base/quantity.h"

namespace aetherfs {

// What both ends of a connection must agree on.

// Bulk bytes travel in messages of this size; a message is never larger than kMaxMessageSize.
inline constexpr size_t kBulkMessageSize = 1 * kMiB;
inline constexpr int kMaxMessageSize = 16 * kMiB;
// One HTTP/2 frame per bulk message, so that its bytes arrive in few slices.
inline constexpr int kMaxHttp2FrameSize = 4 * kMiB;

// A client asks for a sign of life this often, also while nothing is called; a server permits it.
inline constexpr absl::Duration kKeepaliveTime = absl::Seconds(20);
inline constexpr absl::Duration kKeepaliveTimeout = absl::Seconds(10);
inline constexpr absl::Duration kMinPingInterval = absl::Seconds(5);

inline constexpr absl::Duration kConnectTimeout = absl::Seconds(5);
// A server that went away is looked for again after pauses that grow from the first (gRPC allows no shorter
// one) to the second: nobody waits longer than that for one that is back.
inline constexpr absl::Duration kFirstReconnectPause = absl::Milliseconds(100);
inline constexpr absl::Duration kLongestReconnectPause = absl::Seconds(1);

// For grpc::CreateCustomChannel.
grpc::ChannelArguments ClientChannelArguments();

struct ServerTransportOptions {
  // After this a client connects again, perhaps elsewhere; running calls have the grace to end.
  absl::Duration max_connection_age = absl::Minutes(30);
  absl::Duration max_connection_age_grace = absl::Minutes(5);
};
void ApplyServerTransport(const ServerTransportOptions& options, grpc::ServerBuilder& builder);

}  // namespace aetherfs

#endif  // AETHERFS_RPC_CHANNEL_H_
