#include "aetherfs/server/part_call.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>

#include "aetherfs/base/status.h"
#include "aetherfs/peer/v1/peer.pb.h"
#include "aetherfs/rpc/channel.h"
#include "aetherfs/rpc/raw_messages.h"
#include "aetherfs/rpc/rpc_status.h"
#include "aetherfs/server/unary_call.h"

namespace aetherfs {
namespace {

// Less than this is sent only if it is the rest: small messages cost more than they gain.
constexpr uint64_t kMinMessage = 128 * 1024;

// Peers are trusted to know what they want, not to read journals or whatever else lies in the store.
bool IsImmutableObject(const std::string& key) {
  return key.starts_with("datasets/") &&
         (key.find("/blocks/") != std::string::npos || key.find("/manifests/") != std::string::npos ||
          key.find("/deltas/") != std::string::npos);
}

// As DownloadCall: everything that happens changes the state under the lock, then Drive() takes the step
// that is to be taken, if any.
class PartCall : public grpc::ServerWriteReactor<grpc::ByteBuffer>,
                 public std::enable_shared_from_this<PartCall> {
 public:
  PartCall(const ServerContext& server, grpc::CallbackServerContext* context)
      : server_(server),
        began_(server.clock->Now()),
        deadline_(CallDeadline(*context, *server.clock, kMaxTransferTime)) {}

  void Start(const grpc::ByteBuffer& bytes, const absl::Status& refusal) {
    self_ = shared_from_this();
    peer::v1::GetPartRequest request;
    absl::Status status = refusal;
    if (status.ok()) status = ParseMessage(bytes, &request);
    if (status.ok() && !IsImmutableObject(request.object_key())) {
      status = absl::InvalidArgumentError(
          fmt::format("'{}' is no object that peers share", Printable(request.object_key())));
    }
    if (!status.ok()) {
      End(status);
      return;
    }
    StartSendInitialMetadata();  // tells the caller that somebody is there
    PartSource::Options options;
    options.deadline = deadline_;
    options.scope = request.cached_only() ? PartScope::kCached : PartScope::kStore;
    server_.parts->Get({request.object_key(), request.index()}, options,
                       [call = shared_from_this()](absl::StatusOr<PartPtr> part, PartOrigin) {
                         call->OnPart(std::move(part));
                       });
  }

  void OnWriteDone(bool ok) override {
    grpc::ByteBuffer sent;  // its end may be that of the part, which is not for a lock
    {
      absl::MutexLock lock(&mutex_);
      writing_ = false;
      sent.Swap(&message_);
      if (!ok && !ending_.has_value()) ending_ = absl::CancelledError("the stream is broken");
    }
    Drive();
  }

  void OnCancel() override { End(absl::CancelledError("cancelled")); }

  void OnDone() override {
    absl::StatusCode code;
    PartPtr held;  // its end is not for a lock
    {
      absl::MutexLock lock(&mutex_);
      code = ending_.has_value() ? ending_->code() : absl::StatusCode::kOk;
      held.swap(part_);
    }
    server_.metrics->ObserveCall("GetPart", code, server_.clock->Now() - began_);
    self_.reset();  // may be the end of this
  }

 private:
  void End(const absl::Status& status) {
    {
      absl::MutexLock lock(&mutex_);
      if (!ending_.has_value()) ending_ = status;
    }
    Drive();
  }

  void OnPart(absl::StatusOr<PartPtr> part) {
    if (!part.ok()) {
      End(part.status());
      return;
    }
    {
      absl::MutexLock lock(&mutex_);
      if (finished_) return;
      part_ = *std::move(part);
    }
    Drive();
  }

  void Drive() {
    std::optional<absl::Status> end;
    PartPtr awaited;
    uint64_t beyond = 0;
    {
      absl::MutexLock lock(&mutex_);
      if (writing_ || finished_) return;
      if (!ending_.has_value() && part_ != nullptr && Compose()) {
        writing_ = true;
      } else if (ending_.has_value()) {
        finished_ = true;
        end = ending_;
      } else if (part_ != nullptr && !std::exchange(awaiting_, true)) {
        awaited = part_;
        // All bytes sent: what is awaited then is the part's end.
        beyond = sent_ == part_->size() ? sent_ : std::min(sent_ + kMinMessage, part_->size()) - 1;
      } else {
        return;
      }
    }
    if (end.has_value()) {
      Finish(ToGrpc(*end));
    } else if (awaited != nullptr) {
      awaited->WhenMoreThan(beyond, [call = shared_from_this()] { call->OnProgress(); });
    } else {
      StartWrite(&message_);
    }
  }

  void OnProgress() {
    {
      absl::MutexLock lock(&mutex_);
      awaiting_ = false;
    }
    Drive();
  }

  // Fills message_ with what can be sent now; false if that is nothing. Sets ending_ at the part's end.
  bool Compose() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (!std::exchange(announced_, true)) {
      message_ = EncodeDownloadResponse(part_->object_size(), {});
      return true;
    }
    const uint64_t left = part_->size() - sent_;
    const uint64_t ready = part_->bytes().size() - sent_;
    if (ready > 0 && (ready >= kMinMessage || ready == left)) {
      const uint64_t size = std::min<uint64_t>(ready, kBulkMessageSize);
      const grpc::Slice slice = SliceOf(part_, part_->bytes().substr(sent_, size));
      message_ = EncodeDownloadResponse(0, std::span(&slice, 1));
      sent_ += size;
      return true;
    }
    if (!part_->status().ok()) {
      ending_ = part_->status();
    } else if (left == 0 && checksum_sent_) {
      ending_ = absl::OkStatus();
    } else if (left == 0 && part_->complete()) {
      checksum_sent_ = true;
      peer::v1::GetPartResponse last;
      last.set_checksum(part_->checksum());
      message_ = SerializeMessage(last);
      return true;
    }
    return false;
  }

  const ServerContext& server_;
  const absl::Time began_;
  const absl::Time deadline_;
  std::shared_ptr<PartCall> self_;  // until OnDone
  grpc::ByteBuffer message_;        // while writing_, gRPC's

  absl::Mutex mutex_;
  PartPtr part_ ABSL_GUARDED_BY(mutex_);
  uint64_t sent_ ABSL_GUARDED_BY(mutex_) = 0;
  bool announced_ ABSL_GUARDED_BY(mutex_) = false;
  bool checksum_sent_ ABSL_GUARDED_BY(mutex_) = false;
  bool awaiting_ ABSL_GUARDED_BY(mutex_) = false;
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  std::optional<absl::Status> ending_ ABSL_GUARDED_BY(mutex_);
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace

grpc::ServerWriteReactor<grpc::ByteBuffer>* StartPartCall(const ServerContext& server,
                                                          grpc::CallbackServerContext* context,
                                                          const grpc::ByteBuffer& request,
                                                          const absl::Status& refusal) {
  auto call = std::make_shared<PartCall>(server, context);
  PartCall* const reactor = call.get();
  call->Start(request, refusal);
  return reactor;
}

}  // namespace aetherfs
