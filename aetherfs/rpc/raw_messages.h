#ifndef AETHERFS_RPC_RAW_MESSAGES_H_
#define AETHERFS_RPC_RAW_MESSAGES_H_

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/slice.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "aetherfs/block/v1/block.pb.h"
#include "google/protobuf/message_lite.h"

namespace aetherfs {

// The messages of BlockAPI that carry bulk bytes, encoded and decoded by hand on slices, so that the bytes
// are never copied into a protobuf message. On the wire they are what protobuf would write and read: the
// same fields, unknown ones skipped, the last of a oneof winning. Pure functions.

// A slice over `bytes`, which live as long as `owner` does.
grpc::Slice SliceOf(std::shared_ptr<const void> owner, std::string_view bytes);
std::string_view BytesOf(const grpc::Slice& slice);

// aetherfs.block.v1.UploadRequest: a header, or data, or (of an empty message) neither.
struct UploadPart {
  std::optional<block::v1::UploadHeader> header;
  std::vector<grpc::Slice> data;
  size_t data_size = 0;
};
grpc::ByteBuffer EncodeUploadHeader(const block::v1::UploadHeader& header);
grpc::ByteBuffer EncodeUploadData(std::span<const grpc::Slice> data);
// INVALID_ARGUMENT if `message` is not a whole UploadRequest.
absl::StatusOr<UploadPart> DecodeUploadRequest(const grpc::ByteBuffer& message);

// aetherfs.block.v1.DownloadResponse.
struct DownloadPart {
  uint64_t object_size = 0;  // 0 if the message does not tell
  std::vector<grpc::Slice> data;
  size_t data_size = 0;
};
grpc::ByteBuffer EncodeDownloadResponse(uint64_t object_size, std::span<const grpc::Slice> data);
// DATA_LOSS if `message` is not a whole DownloadResponse.
absl::StatusOr<DownloadPart> DecodeDownloadResponse(const grpc::ByteBuffer& message);

// Any other message, for methods whose messages are raw.
grpc::ByteBuffer SerializeMessage(const google::protobuf::MessageLite& message);
// INVALID_ARGUMENT if `buffer` is not a whole message of that type.
absl::Status ParseMessage(const grpc::ByteBuffer& buffer, google::protobuf::MessageLite* message);

}  // namespace aetherfs

#endif  // AETHERFS_RPC_RAW_MESSAGES_H_
