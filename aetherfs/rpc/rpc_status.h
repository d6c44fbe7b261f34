#ifndef AETHERFS_RPC_RPC_STATUS_H_
#define AETHERFS_RPC_RPC_STATUS_H_

#include <grpcpp/support/status.h>

#include "absl/status/status.h"

namespace aetherfs {

// A status message travels in a header, where gRPC bounds what it accepts; longer ones are cut.
inline constexpr size_t kMaxStatusMessageSize = 4096;

// The codes are the same on both sides; only the types differ, and gRPC's words for a connection that
// cannot be had are made readable. Pure.
grpc::Status ToGrpc(const absl::Status& status);
absl::Status FromGrpc(const grpc::Status& status);

}  // namespace aetherfs

#endif  // AETHERFS_RPC_RPC_STATUS_H_
