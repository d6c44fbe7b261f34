#ifndef AETHERFS_SERVER_SUBSCRIBE_CALL_H_
#define AETHERFS_SERVER_SUBSCRIBE_CALL_H_

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include "aetherfs/server/server_context.h"

namespace aetherfs {

// DatasetAPI.Subscribe, with messages as bytes: what many streams send is encoded once. The stream has a
// cursor into the journal and at most one message under way; what it sends next is looked up when that one
// is gone, so a slow reader costs no memory. It owns itself until gRPC is done with it.
grpc::ServerWriteReactor<grpc::ByteBuffer>* StartSubscribeCall(const ServerContext& server,
                                                               const grpc::ByteBuffer& request);

}  // namespace aetherfs

#endif  // AETHERFS_SERVER_SUBSCRIBE_CALL_H_
