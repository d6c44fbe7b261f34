#include "aetherfs/object/retrying_object_store.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "aetherfs/base/status.h"
#include "aetherfs/object/object_checks.h"
#include "aetherfs/object/retry_after.h"
#include "fmt/format.h"

namespace aetherfs {
namespace {

bool IsUnavailable(const absl::Status& status) { return absl::IsUnavailable(status); }

}  // namespace

RetryingObjectStore::RetryingObjectStore(std::shared_ptr<ObjectStore> store, RetryOptions options,
                                         Clock* clock, Random* random)
    : store_(std::move(store)), options_(options), clock_(*clock), random_(*random) {}

absl::Status RetryingObjectStore::Retry(std::string_view verb, std::string_view key, absl::Time deadline,
                                        absl::FunctionRef<bool(const absl::Status&)> may_retry,
                                        absl::FunctionRef<absl::Status()> attempt) {
  RETURN_IF_ERROR(CheckDeadline(clock_, deadline, verb, key));
  const absl::Time until = std::min(deadline, clock_.Now() + options_.max_elapsed);
  for (int attempts = 1;; ++attempts) {
    const absl::Status status = attempt();
    if (status.ok() || !may_retry(status)) return status;
    const absl::Duration wait =
        std::max(BackoffDelay(attempts - 1, options_.initial_backoff, options_.max_backoff, random_),
                 GetRetryAfter(status).value_or(absl::ZeroDuration()));
    if (attempts >= options_.max_attempts || clock_.Now() + wait >= until) {
      return attempts == 1 ? status : Annotate(status, fmt::format("after {} attempts", attempts));
    }
    clock_.SleepFor(wait);
  }
}

// One Get over several attempts: what the sink has seen, and what is still wanted.
class RetryingObjectStore::ResumedGet {
 public:
  ResumedGet(ObjectStore& store, std::string_view key, const GetOptions& options, ByteSink sink)
      : store_(store), key_(key), options_(options), sink_(sink) {}

  absl::Status Attempt() {
    const bool resumed = seen_ > 0;
    absl::Status status = resumed ? GetRest() : GetFrom(options_);
    if (resumed && (absl::IsNotFound(status) || absl::IsOutOfRange(status))) {
      changed_ = true;
      return absl::DataLossError(
          fmt::format("get '{}': it was removed or replaced while it was read, after {} bytes: {}",
                      Printable(key_), seen_, Message(status)));
    }
    return status;
  }

  bool MayRetry(const absl::Status& status) const {
    return !sink_failed_ && !changed_ && (absl::IsUnavailable(status) || absl::IsDataLoss(status));
  }
  const ObjectInfo& info() const { return info_; }

 private:
  absl::Status GetFrom(const GetOptions& options) {
    ASSIGN_OR_RETURN(info_, store_.Get(key_, options, [this](std::string_view data) {
      seen_ += data.size();
      absl::Status status = sink_(data);
      sink_failed_ = !status.ok();
      return status;
    }));
    return absl::OkStatus();
  }

  absl::Status GetRest() {
    const bool all_seen = wanted_.has_value() && seen_ == wanted_->size;
    if (!wanted_.has_value() || all_seen) {
      ASSIGN_OR_RETURN(info_, store_.Head(key_, options_.deadline));
      if (!wanted_.has_value()) wanted_ = ByteRange{0, info_.size};
    }
    if (seen_ == wanted_->size) return absl::OkStatus();
    if (seen_ > wanted_->size) return TooMany(wanted_->size);
    GetOptions rest = options_;
    rest.range = ByteRange{wanted_->offset + seen_, wanted_->size - seen_};
    return GetFrom(rest);
  }

  absl::Status TooMany(uint64_t size) {
    changed_ = true;
    return absl::DataLossError(
        fmt::format("get '{}': {} bytes came where there are only {}", Printable(key_), seen_, size));
  }

  ObjectStore& store_;
  const std::string_view key_;
  const GetOptions& options_;
  ByteSink sink_;
  std::optional<ByteRange> wanted_ = options_.range;
  uint64_t seen_ = 0;  // by the sink
  bool sink_failed_ = false;
  bool changed_ = false;  // it is not the object any more that the first bytes were of
  ObjectInfo info_;
};

absl::StatusOr<ObjectInfo> RetryingObjectStore::Get(std::string_view key, const GetOptions& options,
                                                    ByteSink sink) {
  ResumedGet get(*store_, key, options, sink);
  RETURN_IF_ERROR(Retry(
      "get", key, options.deadline, [&](const absl::Status& status) { return get.MayRetry(status); },
      [&] { return get.Attempt(); }));
  return get.info();
}

absl::Status RetryingObjectStore::Put(std::string_view key, const std::vector<std::string_view>& pieces,
                                      const PutOptions& options) {
  return Retry("put", key, options.deadline, IsUnavailable,
               [&] { return store_->Put(key, pieces, options); });
}

absl::StatusOr<ObjectInfo> RetryingObjectStore::Head(std::string_view key, absl::Time deadline) {
  ObjectInfo info;
  RETURN_IF_ERROR(Retry("head", key, deadline, IsUnavailable, [&]() -> absl::Status {
    ASSIGN_OR_RETURN(info, store_->Head(key, deadline));
    return absl::OkStatus();
  }));
  return info;
}

absl::StatusOr<ListResult> RetryingObjectStore::List(const ListOptions& options) {
  ListResult page;
  RETURN_IF_ERROR(Retry("list", options.prefix, options.deadline, IsUnavailable, [&]() -> absl::Status {
    ASSIGN_OR_RETURN(page, store_->List(options));
    return absl::OkStatus();
  }));
  return page;
}

absl::Status RetryingObjectStore::Remove(std::string_view key, absl::Time deadline) {
  return Retry("remove", key, deadline, IsUnavailable, [&] { return store_->Remove(key, deadline); });
}

}  // namespace aetherfs
