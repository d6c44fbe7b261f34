#ifndef AETHERFS_SERVER_UPLOAD_CALL_H_
#define AETHERFS_SERVER_UPLOAD_CALL_H_

#include <grpcpp/server_context.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include "aetherfs/format/manifest.h"
#include "aetherfs/server/server_context.h"

namespace aetherfs {

// What a block or a delta may have; a manifest may have more (SnapshotCatalog::kMaxManifestObjectSize).
inline constexpr uint64_t kMaxUploadBlockSize = kMaxBlockSize;
// Smaller objects are hashed where they arrive: a hop to another thread would take longer.
inline constexpr uint64_t kHashedInPlace = 64 * 1024;
// What is handed to the hash pool at a time, at least, but for the end.
inline constexpr uint64_t kHashPiece = 256 * 1024;
// Objects up to this are kept in the cache as they are stored: the next thing that happens to them is that
// subscribers read them.
inline constexpr uint64_t kCachedOnUpload = 1024 * 1024;

// BlockAPI.Upload: header, admission by the upload budget, bytes hashed while they come, then stored if
// absent. Owns itself until gRPC is done with it.
grpc::ServerReadReactor<grpc::ByteBuffer>* StartUploadCall(const ServerContext& server,
                                                           grpc::CallbackServerContext* context,
                                                           grpc::ByteBuffer* response);

}  // namespace aetherfs

#endif  // AETHERFS_SERVER_UPLOAD_CALL_H_
