#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "aetherfs/base/status.h"
#include "aetherfs/format/record.h"
#include "aetherfs/journal/journal.h"

// Writing. The store picks one winner for each sequence number. A writer whose put failed without a clear
// answer looks whose entry is there; while there is none, that put may still arrive, and so it is only ever
// the same entry that is put there again.

namespace aetherfs {
namespace {

constexpr size_t kNonceSize = 16;
// Tries of one put whose outcome stays unknown. The store's own retries come below.
constexpr int kMaxPutAttempts = 4;
constexpr absl::Duration kInitialBackoff = absl::Milliseconds(1);
constexpr absl::Duration kMaxBackoff = absl::Milliseconds(100);
// Races lost one after the other before a writer gives the others some room.
constexpr int kEagerAttempts = 2;

bool IsFinal(const absl::Status& status) {
  return absl::IsInvalidArgument(status) || absl::IsPermissionDenied(status) ||
         absl::IsUnauthenticated(status) || absl::IsFailedPrecondition(status);
}

// Removes what newer checkpoints make useless. A reader that has just listed one of these lists again.
void DropOldCheckpoints(ObjectStore& store, const DatasetName& dataset, size_t kept) {
  ListOptions options;
  const std::string key = CheckpointKey(dataset, 0);
  options.prefix = key.substr(0, key.rfind('/') + 1);
  std::vector<std::string> keys;
  const absl::Status listed = ListAll(store, options, [&keys](const ListedObject& object) {
    keys.push_back(object.key);
    return true;
  });
  if (!listed.ok() || keys.size() <= kept) return;
  keys.resize(keys.size() - kept);
  for (const std::string& old : keys) {
    if (!store.Remove(old, absl::InfiniteFuture()).ok()) return;
  }
}

}  // namespace

bool Journal::TakeTurn(absl::Time deadline) {
  absl::MutexLock lock(&mutex_);
  const auto free = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return !appending_; };
  if (!mutex_.AwaitWithDeadline(absl::Condition(&free), deadline)) return false;
  appending_ = true;
  return true;
}

void Journal::EndTurn() {
  absl::MutexLock lock(&mutex_);
  appending_ = false;
}

absl::StatusOr<Journal::Appended> Journal::Append(const std::string& nonce, absl::Time deadline,
                                                  const Propose& propose) {
  if (nonce.size() != kNonceSize) {
    return absl::InvalidArgumentError(fmt::format("a nonce has 16 bytes, not {}", nonce.size()));
  }
  if (!TakeTurn(deadline)) {
    return absl::DeadlineExceededError(fmt::format(
        "appending to the journal of {}: others are, and there is no time left", dataset_.str()));
  }
  absl::StatusOr<Appended> appended = AppendInTurn(nonce, deadline, propose);
  EndTurn();
  return appended;
}

absl::StatusOr<Journal::Appended> Journal::AppendInTurn(const std::string& nonce, absl::Time deadline,
                                                        const Propose& propose) {
  ViewPtr known = view();
  bool fresh = false;
  if (known == nullptr) {
    ASSIGN_OR_RETURN(known, Refresh(deadline));
    fresh = true;
  }
  for (int attempt = 0; attempt < kMaxAppendAttempts;) {
    const DatasetState& state = *known->state;
    if (const auto seq = state.SeqOfWriter(nonce)) return Appended{*seq, true};
    absl::StatusOr<std::optional<record::v1::JournalEntry>> proposed = propose(state);
    if (!proposed.ok() || !proposed->has_value()) {
      if (fresh) {
        RETURN_IF_ERROR(proposed.status());
        return Appended{state.seq, false};
      }
      // Decided on what may be old.
      ASSIGN_OR_RETURN(known, Refresh(deadline));
      fresh = true;
      continue;
    }
    record::v1::JournalEntry entry = **std::move(proposed);
    const absl::Time now = clock_->Now();
    entry.set_seq(state.seq + 1);
    entry.set_nonce(nonce);
    entry.set_time_unix_micros(absl::ToUnixMicros(now));
    ASSIGN_OR_RETURN(const bool written, Write(entry, deadline));
    if (written) {
      const auto ours = std::make_shared<const record::v1::JournalEntry>(std::move(entry));
      ASSIGN_OR_RETURN(ViewPtr extended, Extend(*known, {ours}, now));
      Checkpoint(extended);
      Install(std::move(extended));
      return Appended{ours->seq(), true};
    }
    ++attempt;
    if (attempt > kEagerAttempts) {
      clock_->SleepFor(BackoffDelay(attempt - kEagerAttempts, kInitialBackoff, kMaxBackoff, *random_));
    }
    ASSIGN_OR_RETURN(known, Refresh(deadline));
    fresh = true;
  }
  return absl::UnavailableError(
      fmt::format("appending to the journal of {}: lost {} races against other "
                  "writers; try again",
                  dataset_.str(), kMaxAppendAttempts));
}

absl::StatusOr<bool> Journal::Write(const record::v1::JournalEntry& entry, absl::Time deadline) {
  const auto annotated = [&](const absl::Status& status) {
    return Annotate(status,
                    fmt::format("writing entry {} of the journal of {}", entry.seq(), dataset_.str()));
  };
  PutOptions options;
  options.deadline = deadline;
  if (entry.seq() == 1) {
    // Before the first entry, so that no dataset is missing from the catalog.
    const absl::Status listed = store_->Put(CatalogKey(dataset_), {}, options);
    if (!listed.ok()) return annotated(listed);
  }
  const std::string bytes = EncodeRecord(RecordKind::kJournalEntry, entry);
  options.if_absent = true;
  absl::Status put;
  for (int attempt = 0; attempt < kMaxPutAttempts; ++attempt) {
    put = store_->Put(JournalKey(dataset_, entry.seq()), {bytes}, options);
    if (put.ok()) return true;
    if (absl::IsAlreadyExists(put)) return false;  // reading on tells whose it is
    if (IsFinal(put)) return annotated(put);
    const absl::StatusOr<JournalEntryPtr> there = ReadEntry(entry.seq(), deadline);
    if (there.ok()) return false;
    if (!absl::IsNotFound(there.status())) return annotated(IsTransient(put) ? there.status() : put);
    if (!IsTransient(put)) return annotated(put);
    clock_->SleepFor(BackoffDelay(attempt, kInitialBackoff, kMaxBackoff, *random_));
  }
  return annotated(put);
}

void Journal::Checkpoint(const ViewPtr& view) {
  const uint64_t seq = view->state->seq;
  {
    absl::MutexLock lock(&mutex_);
    // Whoever wrote the entries that were read since has left theirs, or has died and somebody else must.
    const bool due = seq % kCheckpointInterval == 0 || seq >= checkpointed_ + 2 * kCheckpointInterval;
    if (!due) return;
    checkpointed_ = seq;
  }
  // What this needs is held by value: it may outlive the journal, though not the store.
  pool_->TrySubmit([store = store_, dataset = dataset_, state = view->state] {
    const std::string bytes = EncodeRecord(RecordKind::kCheckpoint, state->ToCheckpoint());
    if (store->Put(CheckpointKey(dataset, state->seq), {bytes}, {}).ok()) {
      DropOldCheckpoints(*store, dataset, kKeptCheckpoints);
    }
  });
}

}  // namespace aetherfs
