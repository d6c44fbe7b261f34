#include "aetherfs/server/subscribe_call.h"

#include <fmt/format.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "aetherfs/base/status.h"
#include "aetherfs/rpc/raw_messages.h"
#include "aetherfs/rpc/rpc_status.h"
#include "aetherfs/server/commit.h"
#include "aetherfs/server/dataset_hub.h"

namespace aetherfs {
namespace {

// Ten thousand of these stand idle in one server: keep it small.
class SubscribeCall : public grpc::ServerWriteReactor<grpc::ByteBuffer>,
                      public DatasetSubscriber,
                      public std::enable_shared_from_this<SubscribeCall> {
 public:
  explicit SubscribeCall(const ServerContext& server) : server_(server), began_(server.clock->Now()) {}

  void Start(const grpc::ByteBuffer& request) {
    self_ = shared_from_this();
    const absl::Status status = Open(request);
    if (!status.ok()) {
      End(status);
      return;
    }
    server_.hub->Refresh(line_, [call = shared_from_this()](absl::StatusOr<SeenDataset> seen) {
      call->OnFirstView(std::move(seen));
    });
  }

  void Wake() override { Drive(); }

  void End(const absl::Status& status) override {
    {
      absl::MutexLock lock(&mutex_);
      if (!ending_.has_value()) ending_ = status;
    }
    Drive();
  }

  void OnWriteDone(bool ok) override {
    {
      absl::MutexLock lock(&mutex_);
      writing_ = false;
      message_.Clear();
      if (!ok && !ending_.has_value()) ending_ = absl::CancelledError("the stream is broken");
    }
    Drive();
  }

  void OnCancel() override { End(absl::CancelledError("cancelled by the client")); }

  void OnDone() override {
    if (line_ != nullptr) server_.hub->Unsubscribe(line_, this);
    absl::StatusCode code;
    {
      absl::MutexLock lock(&mutex_);
      code = ending_.has_value() ? ending_->code() : absl::StatusCode::kOk;
    }
    server_.metrics->ObserveCall("Subscribe", code, server_.clock->Now() - began_);
    self_.reset();  // may be the end of this
  }

 private:
  absl::Status Open(const grpc::ByteBuffer& bytes) {
    dataset::v1::SubscribeRequest request;
    RETURN_IF_ERROR(ParseMessage(bytes, &request));
    ASSIGN_OR_RETURN(const DatasetName name, DatasetName::Parse(request.dataset()));
    if (static_cast<size_t>(request.tags_size()) > kMaxTagsPerCommit) {
      return absl::InvalidArgumentError(fmt::format("{} tags in one subscription, at most {} are allowed",
                                                    request.tags_size(), kMaxTagsPerCommit));
    }
    for (const std::string& tag : request.tags()) RETURN_IF_ERROR(ValidateTag(tag));
    tags_.assign(request.tags().begin(), request.tags().end());
    {
      absl::MutexLock lock(&mutex_);
      cursor_ = request.after_seq();
    }
    DatasetLinePtr line = server_.hub->Open(name);
    RETURN_IF_ERROR(server_.hub->Subscribe(line, shared_from_this()));
    line_ = std::move(line);
    return absl::OkStatus();
  }

  void OnFirstView(absl::StatusOr<SeenDataset> seen) {
    if (!seen.ok()) {
      End(seen.status());  // nothing is known here: another server may know more
      return;
    }
    {
      absl::MutexLock lock(&mutex_);
      const uint64_t seq = seen->view->state->seq;
      // Who is ahead of a server that cannot ask the store waits; ahead of the store itself nobody can be,
      // and so hears what there is.
      const bool send = cursor_ == 0 || seq > cursor_ || (seq < cursor_ && !seen->stale);
      if (send) {
        dataset::v1::SubscribeResponse response;
        *response.mutable_state() = StateToProto(*seen, tags_);
        first_ = std::make_unique<grpc::ByteBuffer>(SerializeMessage(response));
        cursor_ = seq;
      }
      ready_ = true;
    }
    Drive();
  }

  // Does what is to be done next, unless a message is under way.
  void Drive() {
    std::optional<absl::Status> end;
    {
      absl::MutexLock lock(&mutex_);
      if (writing_ || finished_) return;
      if (ending_.has_value()) {
        finished_ = true;
        end = ending_;
      } else if (ready_ && NextMessage()) {
        writing_ = true;
      } else {
        return;
      }
    }
    if (end.has_value()) {
      Finish(ToGrpc(*end));
    } else {
      StartWrite(&message_);
    }
  }

  // Fills message_ with what comes behind the cursor; false if nothing does.
  bool NextMessage() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (first_ != nullptr) {
      message_.Swap(first_.get());
      first_.reset();
      return true;
    }
    const std::shared_ptr<const JournalView> view = line_->view();
    if (view == nullptr) return false;
    const uint64_t end = view->state->seq;
    const uint64_t first_kept = end + 1 - view->recent.size();
    while (cursor_ < end) {
      if (cursor_ + 1 < first_kept) {
        dataset::v1::SubscribeResponse response;
        *response.mutable_state() =
            StateToProto({view, false, server_.clock->Now() - view->confirmed}, tags_);
        message_ = SerializeMessage(response);
        cursor_ = end;
        return true;
      }
      ++cursor_;
      const record::v1::JournalEntry& entry = *view->recent[cursor_ - first_kept];
      if (Concerns(entry, tags_)) {
        message_ = line_->EncodedChange(entry);
        return true;
      }
    }
    return false;
  }

  const ServerContext& server_;
  const absl::Time began_;
  std::shared_ptr<SubscribeCall> self_;  // until OnDone
  DatasetLinePtr line_;                  // set before anybody else knows this
  std::vector<std::string> tags_;
  grpc::ByteBuffer message_;  // while writing_, gRPC's
  absl::Mutex mutex_;
  std::unique_ptr<grpc::ByteBuffer> first_ ABSL_GUARDED_BY(mutex_);
  uint64_t cursor_ ABSL_GUARDED_BY(mutex_) = 0;  // of the last entry sent or passed over
  std::optional<absl::Status> ending_ ABSL_GUARDED_BY(mutex_);
  bool ready_ ABSL_GUARDED_BY(mutex_) = false;  // the first view is there
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace

grpc::ServerWriteReactor<grpc::ByteBuffer>* StartSubscribeCall(const ServerContext& server,
                                                               const grpc::ByteBuffer& request) {
  auto call = std::make_shared<SubscribeCall>(server);
  SubscribeCall* const reactor = call.get();
  call->Start(request);
  return reactor;
}

}  // namespace aetherfs
