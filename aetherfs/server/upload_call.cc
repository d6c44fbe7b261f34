#include "aetherfs/server/upload_call.h"

#include <fmt/format.h>

#include <atomic>
#include <memory>
#include <string>
#include <utility>

#include "aetherfs/base/status.h"
#include "aetherfs/rpc/raw_messages.h"
#include "aetherfs/rpc/rpc_status.h"
#include "aetherfs/server/block_service.h"
#include "aetherfs/server/unary_call.h"
#include "aetherfs/telemetry/log.h"

namespace aetherfs {
namespace {

// One step after the other: header → admission → data → digest → store. At any moment one step owns the
// call, and only that step goes on or ends it; a cancellation ends it only while it waits for admission, in
// all other steps gRPC's own operations fail.
class UploadCall : public grpc::ServerReadReactor<grpc::ByteBuffer>,
                   public std::enable_shared_from_this<UploadCall> {
 public:
  UploadCall(const ServerContext& server, grpc::CallbackServerContext* context, grpc::ByteBuffer* response)
      : server_(server),
        response_(response),
        began_(server.clock->Now()),
        deadline_(CallDeadline(*context, *server.clock, kMaxTransferTime)) {}

  void Start() {
    self_ = shared_from_this();
    StartRead(&message_);
  }

  void OnReadDone(bool ok) override {
    if (!ok) {
      OnEnd();
      return;
    }
    absl::StatusOr<UploadPart> part = DecodeUploadRequest(message_);
    message_.Clear();
    absl::Status status = part.status();
    if (status.ok()) status = bytes_ == nullptr ? OnHeader(*part) : OnData(*part);
    if (!status.ok()) {
      End(status);
    } else if (bytes_ != nullptr) {
      StartRead(&message_);
    } else {
      WaitForAdmission();
    }
  }

  void OnCancel() override {
    cancelled_ = true;
    {
      absl::MutexLock lock(&mutex_);
      if (!waiting_) return;
      waiting_ = false;
    }
    End(absl::CancelledError("cancelled by the client"));
  }

  void OnDone() override {
    server_.metrics->ObserveCall("Upload", code_, server_.clock->Now() - began_);
    self_.reset();  // may be the end of this
  }

 private:
  absl::Status OnHeader(const UploadPart& part) {
    if (!part.header.has_value()) return absl::InvalidArgumentError("an upload begins with its header");
    const block::v1::UploadHeader& header = *part.header;
    ASSIGN_OR_RETURN(name_, ParseObjectName(header.dataset(), header.kind(), header.digest()));
    size_ = header.size();
    // A manifest is named by what is in it, all else by its bytes.
    const bool is_manifest = name_.kind == block::v1::OBJECT_KIND_MANIFEST;
    const uint64_t most = is_manifest ? SnapshotCatalog::kMaxManifestObjectSize : kMaxUploadBlockSize;
    if (size_ == 0 || size_ > most) {
      return absl::InvalidArgumentError(
          fmt::format("an object of {} bytes: between 1 and {} are allowed", size_, most));
    }
    if (!is_manifest && size_ > kHashedInPlace) hash_ = server_.hash->NewStream();
    return absl::OkStatus();
  }

  void WaitForAdmission() {
    {
      absl::MutexLock lock(&mutex_);
      waiting_ = true;
    }
    const bool admitted = server_.upload_budget->Admit(
        size_, [call = shared_from_this()](std::shared_ptr<UploadBudget::Bytes> bytes) {
          call->OnAdmitted(std::move(bytes));
        });
    if (admitted) return;
    {
      absl::MutexLock lock(&mutex_);
      if (!std::exchange(waiting_, false)) return;  // cancelled meanwhile
    }
    End(absl::ResourceExhaustedError("too many uploads are waiting: try again, or another server"));
  }

  void OnAdmitted(std::shared_ptr<UploadBudget::Bytes> bytes) {
    {
      absl::MutexLock lock(&mutex_);
      if (!std::exchange(waiting_, false)) return;  // cancelled meanwhile; the share goes back by itself
    }
    bytes_ = std::move(bytes);
    StartRead(&message_);
  }

  absl::Status OnData(const UploadPart& part) {
    if (part.header.has_value()) return absl::InvalidArgumentError("an upload has one header only");
    if (part.data_size > size_ - bytes_->size()) {
      return Mismatch(fmt::format("more than the {} bytes came that its header announced", size_));
    }
    for (const grpc::Slice& slice : part.data) bytes_->Append(BytesOf(slice));
    server_.metrics->uploaded_bytes.Increment(static_cast<double>(part.data_size));
    if (hash_ != nullptr) HashOn(bytes_->size() == size_ ? 1 : kHashPiece);
    return absl::OkStatus();
  }

  // Hands on what has come, if it is at least `least` bytes.
  void HashOn(uint64_t least) {
    while (bytes_->size() - hashed_ >= least && hashed_ < bytes_->size()) {
      const std::string_view piece = bytes_->From(hashed_);
      hash_->Update(bytes_, piece);
      hashed_ += piece.size();
    }
  }

  // The client is done, or gone.
  void OnEnd() {
    if (bytes_ == nullptr || bytes_->size() < size_) {
      if (cancelled_) {
        End(absl::CancelledError("cancelled by the client"));
        return;
      }
      End(Mismatch(bytes_ == nullptr
                       ? std::string("it ended before its header")
                       : fmt::format("it ended after {} of {} bytes", bytes_->size(), size_)));
      return;
    }
    if (name_.kind == block::v1::OBJECT_KIND_MANIFEST) {
      InPool([call = shared_from_this()] { call->StoreManifest(); });
    } else if (hash_ == nullptr) {
      OnDigest(Sha256::Of(bytes_->Pieces().front()));
    } else {
      hash_->Finish([call = shared_from_this()](const Digest& digest) { call->OnDigest(digest); });
    }
  }

  void OnDigest(const Digest& digest) {
    if (digest != name_.digest) {
      End(Mismatch(fmt::format("its bytes have the digest {}", digest.ToString())));
      return;
    }
    InPool([call = shared_from_this()] { call->StoreHashed(); });
  }

  void InPool(std::function<void()> task) {
    if (server_.data->TrySubmit(std::move(task))) return;
    End(absl::ResourceExhaustedError("too many requests to the store are waiting: try again"));
  }

  void StoreManifest() {
    std::string object;
    object.reserve(size_);
    for (const std::string_view piece : bytes_->Pieces()) object.append(piece);
    absl::StatusOr<ManifestSummaryPtr> summary = server_.catalog->Decode(object, name_.digest);
    if (!summary.ok()) {
      End(absl::IsDataLoss(summary.status()) ? Mismatch(std::string(Message(summary.status())))
                                             : summary.status());
      return;
    }
    Store(std::nullopt,
          [this, &summary] { server_.catalog->NoteManifest(name_.dataset, *std::move(summary)); });
  }

  void StoreHashed() {
    Store(name_.digest, [this] {
      if (name_.kind == block::v1::OBJECT_KIND_DELTA) {
        server_.catalog->NoteDelta(name_.dataset, name_.digest, size_);
      } else {
        server_.catalog->NoteBlock(name_.dataset, name_.digest, size_);
      }
    });
  }

  template <typename Note>
  void Store(std::optional<Digest> sha256, Note note) {
    const std::string key = name_.StoreKey();
    const std::vector<std::string_view> pieces = bytes_->Pieces();
    PutOptions options;
    options.if_absent = true;
    options.sha256 = sha256;
    options.deadline = deadline_;
    const absl::Status put = server_.store->Put(key, pieces, options);
    if (!put.ok() && !absl::IsAlreadyExists(put)) {
      End(Annotate(put, fmt::format("storing {}", name_.digest.ToString())));
      return;
    }
    note();
    if (put.ok()) {  // of an object that was there already nobody knows that it is what it must be
      server_.store_parts->NoteObjectSize(key, size_);
      if (size_ <= kCachedOnUpload) server_.parts->Offer(key, pieces);
    }
    block::v1::UploadResponse response;
    response.set_already_present(!put.ok());
    *response_ = SerializeMessage(response);
    End(absl::OkStatus());
  }

  absl::Status Mismatch(const std::string& why) {
    mismatch_ = true;
    return absl::DataLossError(
        fmt::format("what was sent as {} is not stored: {}", name_.digest.ToString(), why));
  }

  void End(const absl::Status& status) {
    code_ = status.code();
    if (mismatch_ && bytes_ != nullptr && bytes_->size() == size_) {
      server_.metrics->integrity_failures_upload.Increment();
      LogWarning(
          "upload does not match its name",
          {{"dataset", name_.dataset.str()}, {"digest", name_.digest.ToString()}, {"error", status}});
    }
    bytes_.reset();
    Finish(ToGrpc(status));
  }

  const ServerContext& server_;
  grpc::ByteBuffer* const response_;
  const absl::Time began_;
  const absl::Time deadline_;
  std::shared_ptr<UploadCall> self_;  // until OnDone
  grpc::ByteBuffer message_;

  ObjectName name_;
  uint64_t size_ = 0;
  std::shared_ptr<UploadBudget::Bytes> bytes_;  // once admitted
  HashPool::StreamPtr hash_;
  uint64_t hashed_ = 0;  // bytes that hash_ has
  bool mismatch_ = false;
  absl::StatusCode code_ = absl::StatusCode::kOk;
  std::atomic<bool> cancelled_ = false;

  absl::Mutex mutex_;
  bool waiting_ ABSL_GUARDED_BY(mutex_) = false;  // for admission
};

}  // namespace

grpc::ServerReadReactor<grpc::ByteBuffer>* StartUploadCall(const ServerContext& server,
                                                           grpc::CallbackServerContext* context,
                                                           grpc::ByteBuffer* response) {
  auto call = std::make_shared<UploadCall>(server, context, response);
  UploadCall* const reactor = call.get();
  call->Start();
  return reactor;
}

}  // namespace aetherfs
