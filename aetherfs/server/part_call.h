#ifndef AETHERFS_SERVER_PART_CALL_H_
#define AETHERFS_SERVER_PART_CALL_H_

#include <grpcpp/server_context.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include "aetherfs/server/server_context.h"

namespace aetherfs {

// PeerAPI.GetPart: a part goes to another server as it arrives here, as slices that keep it alive, its
// checksum behind it. It comes from the caches here or from the store, never from a third server. Ends at
// once with `refusal` if that is not OK. Owns itself until gRPC is done.
grpc::ServerWriteReactor<grpc::ByteBuffer>* StartPartCall(const ServerContext& server,
                                                          grpc::CallbackServerContext* context,
                                                          const grpc::ByteBuffer& request,
                                                          const absl::Status& refusal);

}  // namespace aetherfs

#endif  // AETHERFS_SERVER_PART_CALL_H_
