#include "aetherfs/server/testing/sample_snapshot.h"

#include <grpcpp/client_context.h>

#include <utility>
#include <vector>

#include "aetherfs/base/random.h"
#include "aetherfs/base/sha256.h"
#include "aetherfs/base/status.h"
#include "aetherfs/block/v1/block.grpc.pb.h"
#include "aetherfs/dataset/v1/dataset.grpc.pb.h"
#include "aetherfs/format/block.h"
#include "aetherfs/format/manifest.h"
#include "aetherfs/rpc/rpc_status.h"

namespace aetherfs {

SampleSnapshot MakeSampleSnapshot(const std::string& text) {
  SampleSnapshot sample;
  const auto size = static_cast<uint32_t>(text.size());
  const Digest chunk = Sha256::Of(text);
  BlockBuilder builder(/*epoch=*/0);
  const uint64_t offset = builder.AddFrame(FrameCodec::kRaw, text, size, {{chunk, size}});
  sample.block = std::move(builder).Finish();
  sample.block_digest = Sha256::Of(sample.block);

  Manifest manifest;
  manifest.blocks.push_back({sample.block_digest, sample.block.size()});
  manifest.frames.push_back({0, offset, size, size, FrameCodec::kRaw});
  manifest.chunks.push_back({chunk, size, 0, 0});
  Manifest::Entry entry;
  entry.path = "file";
  entry.mode = 0644;
  entry.size = size;
  entry.ref_count = 1;
  manifest.entries.push_back(std::move(entry));
  manifest.chunk_refs.push_back(0);
  const std::string canonical = EncodeManifest(manifest);
  sample.manifest_digest = Sha256::Of(canonical);
  sample.manifest_object = EncodeManifestObject(canonical);
  return sample;
}

absl::StatusOr<block::v1::UploadResponse> UploadObject(const std::shared_ptr<grpc::Channel>& channel,
                                                       const std::string& dataset,
                                                       block::v1::ObjectKind kind, const Digest& digest,
                                                       const std::string& bytes, size_t step) {
  const auto stub = block::v1::BlockAPI::NewStub(channel);
  grpc::ClientContext context;
  block::v1::UploadResponse response;
  const auto writer = stub->Upload(&context, &response);
  block::v1::UploadRequest request;
  request.mutable_header()->set_dataset(dataset);
  request.mutable_header()->set_kind(kind);
  request.mutable_header()->set_digest(digest.ToString());
  request.mutable_header()->set_size(bytes.size());
  bool open = writer->Write(request);
  for (size_t i = 0; open && i < bytes.size(); i += step) {
    request.set_data(bytes.substr(i, step));
    open = writer->Write(request);
  }
  writer->WritesDone();
  RETURN_IF_ERROR(FromGrpc(writer->Finish()));
  return response;
}

absl::Status UploadSample(const std::shared_ptr<grpc::Channel>& channel, const std::string& dataset,
                          const SampleSnapshot& sample) {
  RETURN_IF_ERROR(
      UploadObject(channel, dataset, block::v1::OBJECT_KIND_BLOCK, sample.block_digest, sample.block)
          .status());
  return UploadObject(channel, dataset, block::v1::OBJECT_KIND_MANIFEST, sample.manifest_digest,
                      sample.manifest_object)
      .status();
}

dataset::v1::PublishRequest PublishRequestFor(const std::string& dataset, const SampleSnapshot& sample,
                                              const std::vector<std::string>& tags) {
  dataset::v1::PublishRequest request;
  request.set_dataset(dataset);
  request.set_digest(sample.manifest_digest.ToString());
  for (const std::string& tag : tags) request.add_tags(tag);
  request.set_nonce(Random::System()->Bytes(16));
  return request;
}

absl::StatusOr<dataset::v1::PublishResponse> PublishSample(const std::shared_ptr<grpc::Channel>& channel,
                                                           const std::string& dataset,
                                                           const SampleSnapshot& sample,
                                                           const std::vector<std::string>& tags) {
  RETURN_IF_ERROR(UploadSample(channel, dataset, sample));
  const auto stub = dataset::v1::DatasetAPI::NewStub(channel);
  grpc::ClientContext context;
  dataset::v1::PublishResponse response;
  RETURN_IF_ERROR(FromGrpc(stub->Publish(&context, PublishRequestFor(dataset, sample, tags), &response)));
  return response;
}

}  // namespace aetherfs
