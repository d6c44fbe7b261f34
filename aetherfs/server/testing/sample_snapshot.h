#ifndef AETHERFS_SERVER_TESTING_SAMPLE_SNAPSHOT_H_
#define AETHERFS_SERVER_TESTING_SAMPLE_SNAPSHOT_H_

#include <grpcpp/channel.h>

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "aetherfs/base/digest.h"
#include "aetherfs/block/v1/block.pb.h"
#include "aetherfs/dataset/v1/dataset.pb.h"

namespace aetherfs {

// A snapshot of one small file, whose content is `text`, in one block.
struct SampleSnapshot {
  std::string block;
  Digest block_digest;
  std::string manifest_object;
  Digest manifest_digest;
};
SampleSnapshot MakeSampleSnapshot(const std::string& text);

// BlockAPI.Upload with protobuf's own messages, in messages of `step` bytes.
absl::StatusOr<block::v1::UploadResponse> UploadObject(const std::shared_ptr<grpc::Channel>& channel,
                                                       const std::string& dataset,
                                                       block::v1::ObjectKind kind, const Digest& digest,
                                                       const std::string& bytes, size_t step = 64 * 1024);
absl::Status UploadSample(const std::shared_ptr<grpc::Channel>& channel, const std::string& dataset,
                          const SampleSnapshot& sample);

// A request with a nonce of its own.
dataset::v1::PublishRequest PublishRequestFor(const std::string& dataset, const SampleSnapshot& sample,
                                              const std::vector<std::string>& tags = {"latest"});

// Uploads and publishes.
absl::StatusOr<dataset::v1::PublishResponse> PublishSample(
    const std::shared_ptr<grpc::Channel>& channel, const std::string& dataset, const SampleSnapshot& sample,
    const std::vector<std::string>& tags = {"latest"});

}  // namespace aetherfs

#endif  // AETHERFS_SERVER_TESTING_SAMPLE_SNAPSHOT_H_
