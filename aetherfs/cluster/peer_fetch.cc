#include "aetherfs/cluster/peer_fetch.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "aetherfs/base/status.h"

namespace aetherfs {
namespace {

// Nobody answered at that address; anything else was said by a server that works.
bool IsAway(const absl::Status& status) {
  return absl::IsUnavailable(status) || absl::IsDeadlineExceeded(status);
}

}  // namespace

PeerFetch::PeerFetch(PeerPartSource& source, PartKey key, const PartSource::Options& options,
                     PartSource::Done done)
    : source_(source),
      key_(std::move(key)),
      options_(options),
      began_(source.clock_.Now()),
      done_(std::move(done)) {}

PeerFetch::~PeerFetch() { source_.Remove(this); }

void PeerFetch::StartWithOwners(std::vector<ClusterMember> candidates) {
  {
    absl::MutexLock lock(&mutex_);
    candidates_ = std::move(candidates);
    std::reverse(candidates_.begin(), candidates_.end());
  }
  Next(/*hedge=*/false);
}

void PeerFetch::StartWithPreviousOwner(const ClusterMember& member) {
  {
    absl::MutexLock lock(&mutex_);
    own_ = true;
  }
  Ask(member, /*cached_only=*/true, /*hedge=*/false, absl::InfiniteDuration());
}

void PeerFetch::Next(bool hedge) {
  std::optional<ClusterMember> member;
  bool own = false;
  {
    absl::MutexLock lock(&mutex_);
    if (finished_) return;
    if (!candidates_.empty()) {
      member = std::move(candidates_.back());
      candidates_.pop_back();
    } else if (std::exchange(reading_store_, true)) {
      return;
    }
    own = own_;
  }
  if (member.has_value()) {
    Ask(*member, /*cached_only=*/false, hedge, source_.hedges_.Begin());
  } else {
    ReadStore(own);
  }
}

void PeerFetch::Ask(const ClusterMember& member, bool cached_only, bool hedge, absl::Duration hedge_after) {
  source_.metrics_.peer_parts.Increment();
  auto attempt = std::make_shared<Attempt>();
  attempt->member = member;
  attempt->cached_only = cached_only;
  attempt->hedge = hedge;
  attempt->began = attempt->last_progress = source_.clock_.Now();
  attempt->hedge_at = attempt->began + hedge_after;
  {
    absl::MutexLock lock(&mutex_);
    attempts_.push_back(attempt);
  }
  Peer::PartHandler handler;
  const std::shared_ptr<PeerFetch> self = shared_from_this();
  handler.accepted = [self, attempt] {
    absl::MutexLock lock(&self->mutex_);
    attempt->accepted = true;
    attempt->last_progress = self->source_.clock_.Now();
  };
  handler.size = [self, attempt](uint64_t object_size) { self->OnSize(attempt, object_size); };
  handler.bytes = [self, attempt](std::string_view bytes) { return self->OnBytes(attempt, bytes); };
  handler.done = [self, attempt](const absl::Status& status, std::optional<uint64_t> checksum) {
    self->OnDone(attempt, status, checksum);
  };
  std::shared_ptr<PeerCall> call =
      member.peer->GetPart(key_, cached_only, options_.deadline, std::move(handler));
  bool over;
  {
    absl::MutexLock lock(&mutex_);
    over = attempt->over || finished_;
    attempt->call = call;
    if (!over) SetAlarm(attempt);
  }
  if (over) call->Cancel();
}

void PeerFetch::OnSize(const AttemptPtr& attempt, uint64_t object_size) {
  PartSource::Done done;
  std::shared_ptr<Part> part;
  {
    absl::MutexLock lock(&mutex_);
    attempt->last_progress = source_.clock_.Now();
    const uint64_t begin = key_.index * kPartSize;
    // What does not fit is found when its first bytes come.
    if (finished_ || attempt->over || part_ != nullptr || object_size <= begin) return;
    part_ = std::make_shared<Part>(source_.buffers_.Allocate(std::min(kPartSize, object_size - begin)),
                                   object_size);
    part = part_;
    done = std::exchange(done_, nullptr);
  }
  done(std::move(part), PartOrigin::kPeer);
}

absl::Status PeerFetch::OnBytes(const AttemptPtr& attempt, std::string_view bytes) {
  std::shared_ptr<Part> part;
  uint64_t offset;
  bool first;
  {
    absl::MutexLock lock(&mutex_);
    if (finished_ || attempt->over) return absl::CancelledError("not wanted any more");
    if (part_ == nullptr || bytes.size() > part_->size() - attempt->received) {
      return absl::DataLossError("the peer sent other bytes than were asked for");
    }
    part = part_;
    offset = attempt->received;
    first = offset == 0;
    attempt->received += bytes.size();
    attempt->last_progress = source_.clock_.Now();
  }
  if (first && !attempt->cached_only) source_.hedges_.Observe(source_.clock_.Now() - attempt->began);
  source_.metrics_.peer_bytes.Increment(static_cast<double>(bytes.size()));
  return part->Write(offset, bytes);
}

void PeerFetch::OnDone(const AttemptPtr& attempt, const absl::Status& status,
                       std::optional<uint64_t> checksum) {
  std::shared_ptr<Part> whole;
  {
    absl::MutexLock lock(&mutex_);
    if (status.ok() && part_ != nullptr && attempt->received == part_->size() && !attempt->over) whole = part_;
    attempt->alarm.reset();
  }
  if (whole == nullptr) {
    OnFailed(attempt, status.ok() ? absl::DataLossError("the peer did not send all of the part") : status);
    return;
  }
  if (attempt->hedge) source_.metrics_.hedges_won.Increment();
  if (attempt->cached_only) source_.metrics_.handovers.Increment();
  whole->End(absl::OkStatus(), checksum);
  const absl::Status ended = whole->status();
  if (!ended.ok()) source_.metrics_.integrity_failures.Increment();
  Finish(ended);
}

void PeerFetch::OnFailed(const AttemptPtr& attempt, const absl::Status& status) {
  bool others;
  {
    absl::MutexLock lock(&mutex_);
    if (finished_ || attempt->over) return;
    attempt->over = true;
    others = reading_store_ || std::any_of(attempts_.begin(), attempts_.end(),
                                           [](const AttemptPtr& a) { return !a->over; });
  }
  if (!attempt->cached_only) {
    source_.metrics_.peer_failures.Increment();
    if (IsAway(status)) source_.view_.Suspect(attempt->member.address);
  }
  if (!others) Next(/*hedge=*/false);
}

absl::Duration PeerFetch::Patience(const Attempt& attempt) {
  if (attempt.cached_only) return PeerPartSource::kHandoverTimeout;
  return attempt.accepted ? PeerPartSource::kStallTimeout : PeerPartSource::kAcceptTimeout;
}

void PeerFetch::SetAlarm(const AttemptPtr& attempt) {
  const absl::Time now = source_.clock_.Now();
  absl::Time next = attempt->last_progress + Patience(*attempt);
  if (attempt->received == 0 && attempt->hedge_at > now) next = std::min(next, attempt->hedge_at);
  attempt->alarm =
      source_.alarms_.After(next - now, [self = shared_from_this(), attempt] { self->OnAlarm(attempt); });
}

void PeerFetch::OnAlarm(const AttemptPtr& attempt) {
  const absl::Time now = source_.clock_.Now();
  std::shared_ptr<PeerCall> given_up;
  bool hedge = false;
  {
    absl::MutexLock lock(&mutex_);
    if (finished_ || attempt->over) return;
    if (now - attempt->last_progress >= Patience(*attempt)) {
      given_up = attempt->call;
    } else {
      hedge = attempt->received == 0 && now >= attempt->hedge_at && !hedged_ && !reading_store_ &&
              source_.hedges_.TryHedge();
      hedged_ = hedged_ || hedge;
      SetAlarm(attempt);
    }
  }
  if (given_up != nullptr) {
    OnFailed(attempt, absl::DeadlineExceededError("the peer does not answer"));
    given_up->Cancel();
  } else if (hedge) {
    source_.metrics_.hedges.Increment();
    Next(/*hedge=*/true);
  }
}

void PeerFetch::ReadStore(bool own) {
  if (!own) {
    if (!source_.fallbacks_.TryTake()) {
      source_.metrics_.fallbacks_refused.Increment();
      Finish(absl::UnavailableError(
          fmt::format("reading {}: the servers that have it do not answer, and the store is spared",
                      key_.object_key)));
      return;
    }
    source_.metrics_.fallbacks.Increment();
  }
  PartSource::Options options = options_;
  options.scope = PartScope::kStore;
  source_.store_.Get(key_, options,
                     [self = shared_from_this()](absl::StatusOr<PartPtr> part, PartOrigin origin) {
                       self->OnStorePart(std::move(part), origin);
                     });
}

void PeerFetch::OnStorePart(absl::StatusOr<PartPtr> part, PartOrigin origin) {
  PartSource::Done done;
  bool others = false;
  {
    absl::MutexLock lock(&mutex_);
    if (finished_) return;
    if (part.ok() && part_ == nullptr) {
      finished_ = true;
      done = std::exchange(done_, nullptr);
    }
    reading_store_ = part.ok();
    others = std::any_of(attempts_.begin(), attempts_.end(), [](const AttemptPtr& a) { return !a->over; });
  }
  if (done) {
    CancelAttempts();
    done(std::move(part), origin);
  } else if (part.ok()) {
    Follow(*part);
  } else if (!others) {
    Finish(part.status());
  }
}

void PeerFetch::Follow(const PartPtr& from) {
  std::shared_ptr<Part> to;
  {
    absl::MutexLock lock(&mutex_);
    if (finished_) return;
    to = part_;
  }
  const uint64_t arrived = to->bytes().size();
  if (from->size() != to->size() || from->object_size() != to->object_size()) {
    Finish(absl::DataLossError(fmt::format("{} has {} bytes by a peer's word and {} in the store",
                                           key_.object_key, to->object_size(), from->object_size())));
    return;
  }
  const std::string_view bytes = from->bytes();
  if (bytes.size() > arrived) {
    if (const absl::Status written = to->Write(arrived, bytes.substr(arrived)); !written.ok()) {
      Finish(written);
      return;
    }
  }
  if (from->complete()) {
    // What a peer sent of it is proved by what the store has.
    to->End(absl::OkStatus(), from->checksum());
    Finish(to->status());
  } else if (!from->status().ok()) {
    Finish(from->status());
  } else {
    // All of it may be there and the end not yet said: then only that wakes.
    from->WhenMoreThan(bytes.size(), [self = shared_from_this(), from] { self->Follow(from); });
  }
}

void PeerFetch::Finish(const absl::Status& status) {
  PartSource::Done done;
  std::shared_ptr<Part> part;
  {
    absl::MutexLock lock(&mutex_);
    if (std::exchange(finished_, true)) return;
    done = std::exchange(done_, nullptr);
    part = part_;
  }
  CancelAttempts();
  if (part != nullptr) part->End(status);
  if (done) done(status, PartOrigin::kPeer);
}

void PeerFetch::Cancel() { Finish(absl::CancelledError("this server is shutting down")); }

void PeerFetch::CancelAttempts() {
  std::vector<AttemptPtr> attempts;
  {
    absl::MutexLock lock(&mutex_);
    attempts = attempts_;
  }
  for (const AttemptPtr& attempt : attempts) {
    std::shared_ptr<PeerCall> call;
    std::unique_ptr<Alarms::Alarm> alarm;
    {
      absl::MutexLock lock(&mutex_);
      attempt->over = true;
      call = attempt->call;
      alarm = std::move(attempt->alarm);
    }
    if (call != nullptr) call->Cancel();
  }
}

}  // namespace aetherfs
