#include "aetherfs/server/block_service.h"

#include <fmt/format.h>

#include <utility>
#include <vector>

#include "aetherfs/base/status.h"
#include "aetherfs/journal/journal.h"
#include "aetherfs/server/download_call.h"
#include "aetherfs/server/upload_call.h"

namespace aetherfs {

std::string ObjectName::StoreKey() const {
  switch (kind) {
    case block::v1::OBJECT_KIND_MANIFEST:
      return ManifestKey(dataset, digest);
    case block::v1::OBJECT_KIND_DELTA:
      return DeltaKey(dataset, digest);
    default:
      return BlockKey(dataset, digest);
  }
}

absl::StatusOr<ObjectName> ParseObjectName(const std::string& dataset, block::v1::ObjectKind kind,
                                           const std::string& digest) {
  ObjectName name;
  ASSIGN_OR_RETURN(name.dataset, DatasetName::Parse(dataset));
  ASSIGN_OR_RETURN(name.digest, Digest::Parse(digest));
  if (kind != block::v1::OBJECT_KIND_BLOCK && kind != block::v1::OBJECT_KIND_MANIFEST &&
      kind != block::v1::OBJECT_KIND_DELTA) {
    return absl::InvalidArgumentError(
        fmt::format("objects of kind {} are not served", static_cast<int>(kind)));
  }
  name.kind = kind;
  return name;
}

BlockService::BlockService(const ServerContext* server)
    : server_(*server), downloads_(std::make_shared<DownloadRegistry>()) {}

BlockService::~BlockService() = default;

grpc::ServerReadReactor<grpc::ByteBuffer>* BlockService::Upload(grpc::CallbackServerContext* context,
                                                                grpc::ByteBuffer* response) {
  return StartUploadCall(server_, context, response);
}

grpc::ServerWriteReactor<grpc::ByteBuffer>* BlockService::Download(grpc::CallbackServerContext* context,
                                                                   const grpc::ByteBuffer* request) {
  return StartDownloadCall(server_, downloads_, context, *request);
}

void BlockService::EndStalledDownloads() {
  const size_t ended = downloads_->EndStalled(server_.clock->Now());
  server_.metrics->stalled_downloads.Increment(static_cast<double>(ended));
}

grpc::ServerUnaryReactor* BlockService::Lookup(grpc::CallbackServerContext* context,
                                               const block::v1::LookupRequest* request,
                                               block::v1::LookupResponse* response) {
  const UnaryCall call(context, "LookupBlocks", server_.clock, server_.metrics);
  const bool queued =
      server_.control->TrySubmit([=, this] { call.Finish(DoLookup(*request, call.deadline(), response)); });
  if (!queued) call.Finish(absl::ResourceExhaustedError("too many calls are waiting: try again"));
  return call.reactor();
}

absl::Status BlockService::DoLookup(const block::v1::LookupRequest& request, absl::Time deadline,
                                    block::v1::LookupResponse* response) {
  const auto count = static_cast<size_t>(request.digests_size());
  if (count > kMaxLookup) {
    return absl::InvalidArgumentError(
        fmt::format("{} objects at once, at most {} are allowed", count, kMaxLookup));
  }
  std::vector<ObjectName> names(count);
  for (size_t i = 0; i < count; ++i) {
    ASSIGN_OR_RETURN(
        names[i], ParseObjectName(request.dataset(), request.kind(), request.digests(static_cast<int>(i))));
  }
  std::vector<absl::StatusOr<ObjectInfo>> found(count, absl::UnknownError("not asked"));
  server_.data->ParallelFor(count, kLookupParallelism, [&](size_t i) {
    const std::string key = names[i].StoreKey();
    found[i] = server_.store->Head(key, deadline);
    if (!found[i].ok()) return;
    server_.store_parts->NoteObjectSize(key, found[i]->size);
    if (names[i].kind == block::v1::OBJECT_KIND_BLOCK) {
      server_.catalog->NoteBlock(names[i].dataset, names[i].digest, found[i]->size);
    } else if (names[i].kind == block::v1::OBJECT_KIND_DELTA) {
      server_.catalog->NoteDelta(names[i].dataset, names[i].digest, found[i]->size);
    }
  });
  for (const absl::StatusOr<ObjectInfo>& info : found) {
    if (!info.ok() && !absl::IsNotFound(info.status()))
      return Annotate(info.status(), "looking for objects");
    auto* object = response->add_objects();
    object->set_exists(info.ok());
    if (info.ok()) object->set_size(info->size);
  }
  return absl::OkStatus();
}

}  // namespace aetherfs
