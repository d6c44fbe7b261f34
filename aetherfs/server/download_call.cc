#include "aetherfs/server/download_call.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "aetherfs/base/byte_range.h"
#include "aetherfs/base/status.h"
#include "aetherfs/rpc/channel.h"
#include "aetherfs/rpc/raw_messages.h"
#include "aetherfs/rpc/rpc_status.h"
#include "aetherfs/server/block_service.h"
#include "aetherfs/server/unary_call.h"

namespace aetherfs {
namespace {

// Less than this of a part is not sent on its own, unless it is all that is wanted of it.
constexpr uint64_t kMinPiece = 128 * kKiB;

// Everything that happens (a part came, more of it came, a message is out, the client left) changes the
// state under the lock and then calls Drive(), which takes one step after the other as long as there is one
// to take.
class DownloadCall : public grpc::ServerWriteReactor<grpc::ByteBuffer>,
                     public StallableDownload,
                     public std::enable_shared_from_this<DownloadCall> {
 public:
  DownloadCall(const ServerContext& server, std::shared_ptr<DownloadRegistry> registry,
               grpc::CallbackServerContext* context)
      : server_(server),
        registry_(std::move(registry)),
        context_(context),
        began_(server.clock->Now()),
        deadline_(CallDeadline(*context, *server.clock, kMaxTransferTime)) {}

  void Start(const grpc::ByteBuffer& request) {
    self_ = shared_from_this();
    registry_->Add(self_);
    const absl::Status status = Open(request);
    {
      absl::MutexLock lock(&mutex_);
      if (!status.ok()) ending_ = status;
    }
    Drive();
  }

  void OnWriteDone(bool ok) override {
    grpc::ByteBuffer sent;  // its end may be that of a part, which is not for a lock
    {
      absl::MutexLock lock(&mutex_);
      writing_since_ = absl::InfiniteFuture();
      sent.Swap(&message_);
      if (!ok && !ending_.has_value()) ending_ = absl::CancelledError("the stream is broken");
    }
    sent.Clear();
    Drive();
  }

  void OnCancel() override {
    {
      absl::MutexLock lock(&mutex_);
      if (!ending_.has_value()) ending_ = absl::CancelledError("cancelled");
    }
    Drive();
  }

  void OnDone() override {
    registry_->Remove(this);
    absl::StatusCode code;
    std::vector<HeldPart> held;  // its end is not for a lock
    {
      absl::MutexLock lock(&mutex_);
      code = ending_.has_value() ? ending_->code() : absl::StatusCode::kOk;
      held.swap(parts_);
    }
    server_.metrics->ObserveCall("Download", code, server_.clock->Now() - began_);
    self_.reset();  // may be the end of this
  }

  absl::Time waiting_since() override {
    absl::MutexLock lock(&mutex_);
    return writing_since_;
  }

  void Cancel() override {
    {
      absl::MutexLock lock(&mutex_);
      if (finished_) return;  // then the context may be gone too
      cancelling_ = true;
    }
    context_->TryCancel();
    {
      absl::MutexLock lock(&mutex_);
      cancelling_ = false;
    }
    Drive();
  }

 private:
  struct HeldPart {
    uint64_t index;
    PartPtr part;
  };
  enum class Step { kNothing, kFetch, kAwait, kWrite, kFinish };
  // What to wait for: that `part` has more than `offset` bytes.
  struct Growth {
    PartPtr part;
    uint64_t offset = 0;
  };

  absl::Status Open(const grpc::ByteBuffer& bytes) {
    block::v1::DownloadRequest request;
    RETURN_IF_ERROR(ParseMessage(bytes, &request));
    ASSIGN_OR_RETURN(const ObjectName name,
                     ParseObjectName(request.dataset(), request.kind(), request.digest()));
    key_ = name.StoreKey();
    digest_ = name.digest;
    bypass_cache_ = request.bypass_cache();
    if (static_cast<size_t>(request.ranges_size()) > kMaxDownloadRanges) {
      return absl::InvalidArgumentError(fmt::format("{} ranges at once, at most {} are allowed",
                                                    request.ranges_size(), kMaxDownloadRanges));
    }
    // A client reads around the caches when what it got was wrong, and then only.
    if (bypass_cache_) server_.metrics->integrity_failures_client.Increment();
    absl::MutexLock lock(&mutex_);
    for (const block::v1::Range& range : request.ranges()) {
      if (range.size() == 0) return absl::InvalidArgumentError("an empty range");
      if (range.offset() > UINT64_MAX - range.size()) return absl::OutOfRangeError("a range without end");
      ranges_.push_back({range.offset(), range.size()});
    }
    return absl::OkStatus();
  }

  void Drive() {
    for (;;) {
      Step step;
      uint64_t fetch_index = 0;
      Growth growth;
      absl::Status end;
      std::vector<HeldPart> passed;
      {
        absl::MutexLock lock(&mutex_);
        step = NextStep(&fetch_index, &growth);
        if (step == Step::kFinish) end = *ending_;
        passed.swap(passed_parts_);
      }
      passed.clear();
      switch (step) {
        case Step::kNothing:
          return;
        case Step::kFetch:
          Fetch(fetch_index);
          break;
        case Step::kAwait:
          growth.part->WhenMoreThan(growth.offset, [call = shared_from_this()] { call->OnGrowth(); });
          break;
        case Step::kWrite:
          StartWrite(&message_);
          break;
        case Step::kFinish:
          Finish(ToGrpc(end));
          return;
      }
    }
  }

  Step NextStep(uint64_t* fetch_index, Growth* growth) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (finished_) return Step::kNothing;
    const bool writing = writing_since_ != absl::InfiniteFuture();
    if (ending_.has_value()) {
      if (writing || cancelling_) return Step::kNothing;
      finished_ = true;
      return Step::kFinish;
    }
    if (!writing && Compose(growth)) {
      writing_since_ = server_.clock->Now();
      return Step::kWrite;
    }
    if (ending_.has_value()) return NextStep(fetch_index, growth);  // Compose() came to the end
    if (growth->part != nullptr && !awaiting_) {
      awaiting_ = true;
      return Step::kAwait;
    }
    const std::optional<uint64_t> wanted = NextMissingPart();
    if (fetching_ || !wanted.has_value()) return Step::kNothing;
    fetching_ = true;
    *fetch_index = *wanted;
    return Step::kFetch;
  }

  // Fills message_ with what can be sent now; false if that is nothing. Then `growth` is what would change
  // that, if it is a part that has begun.
  bool Compose(Growth* growth) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (!object_size_.has_value()) return false;
    if (!announced_) {
      announced_ = true;
      message_ = EncodeDownloadResponse(*object_size_, {});
      return true;
    }
    std::vector<grpc::Slice> slices;
    size_t size = 0;
    while (size < kBulkMessageSize && range_ < ranges_.size()) {
      const uint64_t at = ranges_[range_].offset + done_;
      const PartPtr& part = Held(at / kPartSize);
      if (part == nullptr) break;
      const uint64_t in_part = at % kPartSize;
      const uint64_t wanted = std::min(
          {ranges_[range_].size - done_, part->size() - in_part, uint64_t{kBulkMessageSize} - size});
      const uint64_t least = in_part + std::min(wanted, kMinPiece);
      std::string_view bytes = part->bytes();
      if (bytes.size() < least) {
        const absl::Status ended = part->status();
        if (!ended.ok() && slices.empty()) {
          ending_ = ExplainBadEnd(ended);
          return false;
        }
        *growth = {part, least - 1};
        break;
      }
      bytes = bytes.substr(in_part, wanted);
      slices.push_back(SliceOf(part, bytes));
      size += bytes.size();
      done_ += bytes.size();
      if (done_ == ranges_[range_].size) {
        ++range_;
        done_ = 0;
      }
    }
    DropPassedParts();
    if (slices.empty()) {
      if (range_ == ranges_.size()) ending_ = absl::OkStatus();
      return false;
    }
    server_.metrics->downloaded_bytes.Increment(static_cast<double>(size));
    message_ = EncodeDownloadResponse(0, slices);
    return true;
  }

  const PartPtr& Held(uint64_t index) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    static const PartPtr none;
    for (const HeldPart& held : parts_) {
      if (held.index == index) return held.part;
    }
    return none;
  }

  // The parts that are read now and next, as far as there are any.
  std::vector<uint64_t> WantedParts() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    std::vector<uint64_t> wanted;
    if (ranges_.empty()) return object_size_.has_value() ? wanted : std::vector<uint64_t>{0};
    uint64_t done = done_;
    for (size_t range = range_; range < ranges_.size() && wanted.size() < 2; ++range, done = 0) {
      const uint64_t first = (ranges_[range].offset + done) / kPartSize;
      const uint64_t last = (ranges_[range].end() - 1) / kPartSize;
      for (uint64_t index = first; index <= last && wanted.size() < 2; ++index) {
        if (wanted.empty() || wanted.back() != index) wanted.push_back(index);
      }
    }
    return wanted;
  }

  std::optional<uint64_t> NextMissingPart() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    for (const uint64_t index : WantedParts()) {
      if (Held(index) == nullptr) return index;
    }
    return std::nullopt;
  }

  void DropPassedParts() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    const std::vector<uint64_t> wanted = WantedParts();
    const auto passed = std::partition(parts_.begin(), parts_.end(), [&wanted](const HeldPart& held) {
      return std::find(wanted.begin(), wanted.end(), held.index) != wanted.end();
    });
    std::move(passed, parts_.end(), std::back_inserter(passed_parts_));
    parts_.erase(passed, parts_.end());
  }

  void Fetch(uint64_t index) {
    PartSource::Options options;
    options.deadline = deadline_;
    options.bypass_cache = bypass_cache_;
    options.scope = server_.cluster == nullptr ? PartScope::kStore
                                               : server_.cluster->view()->ScopeForClients({key_, index});
    server_.parts->Get({key_, index}, options,
                       [call = shared_from_this(), index](absl::StatusOr<PartPtr> part, PartOrigin) {
                         call->OnPart(index, std::move(part));
                       });
  }

  void OnPart(uint64_t index, absl::StatusOr<PartPtr> part) {
    {
      absl::MutexLock lock(&mutex_);
      fetching_ = false;
      if (finished_) return;
      if (!part.ok()) {
        if (!ending_.has_value()) ending_ = Explain(part.status());
      } else if (object_size_.value_or((*part)->object_size()) != (*part)->object_size()) {
        // Somebody changed the object; the parts would not fit together.
        if (!ending_.has_value()) {
          ending_ = absl::DataLossError(fmt::format("{} had {} bytes and has {} now", digest_.ToString(),
                                                    *object_size_, (*part)->object_size()));
        }
      } else {
        if (!object_size_.has_value()) OnSize((*part)->object_size());
        parts_.push_back({index, *std::move(part)});
      }
    }
    Drive();
  }

  void OnGrowth() {
    {
      absl::MutexLock lock(&mutex_);
      awaiting_ = false;
    }
    Drive();
  }

  void OnSize(uint64_t size) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    object_size_ = size;
    if (ranges_.empty()) ranges_.push_back({0, size});
    for (const ByteRange& range : ranges_) {
      if (range.end() <= size) continue;
      ending_ =
          absl::OutOfRangeError(fmt::format("{} has {} bytes; the range of {} from {} on ends behind them",
                                            digest_.ToString(), size, range.size, range.offset));
      return;
    }
  }

  absl::Status Explain(const absl::Status& status) const {
    if (absl::IsNotFound(status))
      return absl::NotFoundError(fmt::format("there is no object {}", digest_.ToString()));
    return Annotate(status, fmt::format("reading {}", digest_.ToString()));
  }

  // Of a part that had begun. Its object is there, so that whatever is no matter of its bytes is worth
  // another try, elsewhere.
  absl::Status ExplainBadEnd(const absl::Status& status) const {
    const bool harmed = absl::IsDataLoss(status) || absl::IsOutOfRange(status);
    const std::string message = fmt::format("reading {}: {}", digest_.ToString(), Message(status));
    return harmed ? absl::DataLossError(message) : absl::UnavailableError(message);
  }

  const ServerContext& server_;
  const std::shared_ptr<DownloadRegistry> registry_;
  grpc::CallbackServerContext* const context_;
  const absl::Time began_;
  const absl::Time deadline_;
  std::shared_ptr<DownloadCall> self_;  // until OnDone
  grpc::ByteBuffer message_;            // while writing, gRPC's

  std::string key_;
  Digest digest_;
  bool bypass_cache_ = false;

  absl::Mutex mutex_;
  std::vector<ByteRange> ranges_ ABSL_GUARDED_BY(mutex_);  // empty: all, once the size is known
  std::optional<uint64_t> object_size_ ABSL_GUARDED_BY(mutex_);
  bool announced_ ABSL_GUARDED_BY(mutex_) = false;
  size_t range_ ABSL_GUARDED_BY(mutex_) = 0;   // the one that is being sent
  uint64_t done_ ABSL_GUARDED_BY(mutex_) = 0;  // bytes of it that were sent
  std::vector<HeldPart> parts_ ABSL_GUARDED_BY(mutex_);
  std::vector<HeldPart> passed_parts_ ABSL_GUARDED_BY(mutex_);  // to be let go of without the lock
  bool fetching_ ABSL_GUARDED_BY(mutex_) = false;
  bool awaiting_ ABSL_GUARDED_BY(mutex_) = false;  // more of a part; OnGrowth comes
  absl::Time writing_since_ ABSL_GUARDED_BY(mutex_) = absl::InfiniteFuture();
  std::optional<absl::Status> ending_ ABSL_GUARDED_BY(mutex_);
  bool cancelling_ ABSL_GUARDED_BY(mutex_) = false;  // somebody uses context_
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace

void DownloadRegistry::Add(std::shared_ptr<StallableDownload> download) {
  absl::MutexLock lock(&mutex_);
  StallableDownload* const key = download.get();
  downloads_[key] = std::move(download);
}

void DownloadRegistry::Remove(StallableDownload* download) {
  std::shared_ptr<StallableDownload> gone;  // destroyed when the lock is no longer held
  absl::MutexLock lock(&mutex_);
  const auto it = downloads_.find(download);
  if (it == downloads_.end()) return;
  gone = std::move(it->second);
  downloads_.erase(it);
}

size_t DownloadRegistry::EndStalled(absl::Time now) {
  std::vector<std::shared_ptr<StallableDownload>> all;
  {
    absl::MutexLock lock(&mutex_);
    for (const auto& [key, download] : downloads_) all.push_back(download);
  }
  size_t ended = 0;
  for (const auto& download : all) {
    if (download->waiting_since() > now - kDownloadStall) continue;
    download->Cancel();
    ++ended;
  }
  return ended;
}

grpc::ServerWriteReactor<grpc::ByteBuffer>* StartDownloadCall(const ServerContext& server,
                                                              std::shared_ptr<DownloadRegistry> registry,
                                                              grpc::CallbackServerContext* context,
                                                              const grpc::ByteBuffer& request) {
  auto call = std::make_shared<DownloadCall>(server, std::move(registry), context);
  DownloadCall* const reactor = call.get();
  call->Start(request);
  return reactor;
}

}  // namespace aetherfs
