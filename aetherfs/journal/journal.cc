#include "aetherfs/journal/journal.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "aetherfs/base/status.h"
#include "aetherfs/format/record.h"

// Reading. The invariant that everything rests on: entry n + 1 is created only by a writer that has seen
// entry n, so if an entry exists, all before it do; a listing or a batch of reads that shows a gap has only
// raced a writer.

namespace aetherfs {
namespace {

// A checkpoint that was listed may be gone before it is read, because a newer one was written. After so
// many lists somebody is writing faster than this process can read.
constexpr int kMaxColdStartAttempts = 8;
// Entries read and applied at a time: bounds what a long tail keeps in memory.
constexpr size_t kReadBatch = 1024;

absl::StatusOr<uint64_t> SeqOfKey(std::string_view key) {
  const std::string_view digits = key.substr(key.rfind('/') + 1);
  uint64_t seq = 0;
  for (const char c : digits) {
    if (c < '0' || c > '9' || seq > UINT64_MAX / 10 - 1)
      return absl::DataLossError("not a sequence number");
    seq = seq * 10 + static_cast<uint64_t>(c - '0');
  }
  if (digits.size() != 20 || seq == 0) return absl::DataLossError("not a sequence number");
  return seq;
}

std::string DirectoryOf(const std::string& key) { return key.substr(0, key.rfind('/') + 1); }

}  // namespace

Journal::Journal(DatasetName dataset, ObjectStore* store, ThreadPool* pool, Clock* clock, Random* random)
    : dataset_(std::move(dataset)),
      store_(store),
      pool_(pool),
      clock_(clock),
      random_(random),
      result_(absl::UnavailableError("never read")) {}

std::shared_ptr<const JournalView> Journal::view() const {
  absl::MutexLock lock(&mutex_);
  return view_;
}

Journal::ViewPtr Journal::Install(ViewPtr view) {
  absl::MutexLock lock(&mutex_);
  const bool newer = view_ == nullptr || view->state->seq > view_->state->seq ||
                     (view->state->seq == view_->state->seq && view->confirmed >= view_->confirmed);
  if (newer) view_ = std::move(view);
  return view_;
}

absl::StatusOr<std::shared_ptr<const JournalView>> Journal::Refresh(absl::Time deadline) {
  uint64_t wanted;
  {
    absl::MutexLock lock(&mutex_);
    wanted = started_ + 1;
  }
  for (;;) {
    {
      absl::MutexLock lock(&mutex_);
      const auto ready = [this, wanted]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
        return finished_ >= wanted || !refreshing_;
      };
      if (!mutex_.AwaitWithDeadline(absl::Condition(&ready), deadline)) {
        return absl::DeadlineExceededError(
            fmt::format("reading the journal of {}: no time left", dataset_.str()));
      }
      if (finished_ >= wanted) {
        // Somebody with less time led it: that says nothing about what this caller may still get.
        const bool ran_out = absl::IsDeadlineExceeded(result_.status()) && clock_->Now() < deadline;
        if (!ran_out) return result_;
        wanted = started_ + 1;
      }
      refreshing_ = true;
      ++started_;
    }
    absl::StatusOr<ViewPtr> result = Load(deadline);
    if (result.ok()) result = Install(*std::move(result));
    absl::MutexLock lock(&mutex_);
    refreshing_ = false;
    finished_ = started_;
    result_ = result;
    return result;
  }
}

absl::StatusOr<Journal::ViewPtr> Journal::Load(absl::Time deadline) {
  const ViewPtr known = view();
  absl::StatusOr<ViewPtr> loaded = known != nullptr ? Follow(known, deadline) : ColdStart(deadline);
  if (!loaded.ok()) {
    return Annotate(loaded.status(), fmt::format("reading the journal of {}", dataset_.str()));
  }
  return loaded;
}

// One entry, one more, then twice as many at a time: nothing new costs one GET, much that is new costs few
// round trips.
absl::StatusOr<Journal::ViewPtr> Journal::Follow(const ViewPtr& from, absl::Time deadline) {
  ViewPtr view = from;
  size_t found = 0;
  for (;;) {
    const size_t wanted = std::clamp<size_t>(found, 1, kReadBatch);
    const absl::Time asked = clock_->Now();
    ASSIGN_OR_RETURN(std::vector<JournalEntryPtr> entries,
                     ReadEntries(view->state->seq + 1, wanted, deadline));
    const size_t got = entries.size();
    found += got;
    ASSIGN_OR_RETURN(view, Extend(*view, std::move(entries), asked));
    if (got < wanted) return view;
  }
}

absl::StatusOr<Journal::ViewPtr> Journal::ColdStart(absl::Time deadline) {
  for (int attempt = 0; attempt < kMaxColdStartAttempts; ++attempt) {
    ASSIGN_OR_RETURN(const std::vector<uint64_t> checkpoints, ListCheckpoints(deadline));
    bool raced = false;
    for (auto seq = checkpoints.rbegin(); seq != checkpoints.rend() && !raced; ++seq) {
      absl::StatusOr<ViewPtr> view = StartFrom(*seq, deadline);
      if (view.ok()) return view;
      // Corrupt: an older one is as good, only slower. Gone: there are newer ones now.
      if (absl::IsNotFound(view.status())) {
        raced = true;
      } else if (!absl::IsDataLoss(view.status())) {
        return view;
      }
    }
    if (!raced) return StartFrom(0, deadline);
  }
  return absl::UnavailableError("its checkpoints are replaced faster than they can be read");
}

absl::StatusOr<std::vector<uint64_t>> Journal::ListCheckpoints(absl::Time deadline) {
  ListOptions options;
  options.prefix = DirectoryOf(CheckpointKey(dataset_, 0));
  options.deadline = deadline;
  std::vector<uint64_t> seqs;
  RETURN_IF_ERROR(ListAll(*store_, options, [&seqs](const ListedObject& object) {
    // What is not a checkpoint is none of ours.
    if (const auto seq = SeqOfKey(object.key); seq.ok()) seqs.push_back(*seq);
    return true;
  }));
  return seqs;
}

// From a checkpoint, or from nothing (0): the checkpoint and the list of what follows it at the same time,
// then all that follows together.
absl::StatusOr<Journal::ViewPtr> Journal::StartFrom(uint64_t checkpoint_seq, absl::Time deadline) {
  const absl::Time asked = clock_->Now();
  absl::StatusOr<DatasetState> state = DatasetState();
  absl::StatusOr<uint64_t> end = checkpoint_seq;
  pool_->ParallelFor(2, 2, [&](size_t i) {
    if (i == 0) {
      end = FindEnd(checkpoint_seq, deadline);
    } else if (checkpoint_seq > 0) {
      state = ReadCheckpoint(checkpoint_seq, deadline);
    }
  });
  RETURN_IF_ERROR(state.status());
  RETURN_IF_ERROR(end.status());

  JournalView start;
  start.state = std::make_shared<const DatasetState>(*std::move(state));
  ViewPtr view = std::make_shared<const JournalView>(std::move(start));
  do {
    const size_t wanted = std::min<uint64_t>(*end - view->state->seq, kReadBatch);
    std::vector<JournalEntryPtr> entries;
    if (wanted > 0) {
      ASSIGN_OR_RETURN(entries, ReadEntries(view->state->seq + 1, wanted, deadline));
      if (entries.size() < wanted) {
        return absl::UnavailableError(fmt::format("entry {} is listed but entry {} cannot be found", *end,
                                                  view->state->seq + entries.size() + 1));
      }
    }
    ASSIGN_OR_RETURN(view, Extend(*view, std::move(entries), asked));
  } while (view->state->seq < *end);
  absl::MutexLock lock(&mutex_);
  checkpointed_ = std::max(checkpointed_, checkpoint_seq);
  return view;
}

absl::StatusOr<uint64_t> Journal::FindEnd(uint64_t after_seq, absl::Time deadline) {
  ListOptions options;
  const std::string after = JournalKey(dataset_, after_seq);
  options.prefix = DirectoryOf(after);
  options.start_after = after;
  options.deadline = deadline;
  uint64_t end = after_seq;
  RETURN_IF_ERROR(ListAll(*store_, options, [&end](const ListedObject& object) {
    if (const auto seq = SeqOfKey(object.key); seq.ok()) end = std::max(end, *seq);
    return true;
  }));
  return end;
}

absl::StatusOr<DatasetState> Journal::ReadCheckpoint(uint64_t seq, absl::Time deadline) {
  ASSIGN_OR_RETURN(const std::string bytes,
                   ReadObject(*store_, CheckpointKey(dataset_, seq), kMaxRecordSize, deadline));
  record::v1::Checkpoint checkpoint;
  RETURN_IF_ERROR(DecodeRecord(RecordKind::kCheckpoint, bytes, &checkpoint));
  if (checkpoint.seq() != seq) {
    return absl::DataLossError(fmt::format("checkpoint {} calls itself {}", seq, checkpoint.seq()));
  }
  return DatasetState::FromCheckpoint(checkpoint);
}

absl::StatusOr<JournalEntryPtr> Journal::ReadEntry(uint64_t seq, absl::Time deadline) {
  ASSIGN_OR_RETURN(const std::string bytes,
                   ReadObject(*store_, JournalKey(dataset_, seq), kMaxRecordSize, deadline));
  auto entry = std::make_shared<record::v1::JournalEntry>();
  const absl::Status decoded = DecodeRecord(RecordKind::kJournalEntry, bytes, entry.get());
  if (!decoded.ok()) return Annotate(decoded, fmt::format("entry {}", seq));
  return entry;
}

absl::StatusOr<std::vector<JournalEntryPtr>> Journal::ReadEntries(uint64_t first_seq, size_t count,
                                                                  absl::Time deadline) {
  std::vector<absl::StatusOr<JournalEntryPtr>> results(count, absl::UnknownError("not read"));
  pool_->ParallelFor(count, kReadParallelism,
                     [&](size_t i) { results[i] = ReadEntry(first_seq + i, deadline); });
  std::vector<JournalEntryPtr> entries;
  entries.reserve(count);
  for (absl::StatusOr<JournalEntryPtr>& result : results) {
    // Later ones may be there already: they came while these reads were under way.
    if (absl::IsNotFound(result.status())) break;
    RETURN_IF_ERROR(result.status());
    entries.push_back(*std::move(result));
  }
  return entries;
}

absl::StatusOr<Journal::ViewPtr> Journal::Extend(const JournalView& view,
                                                 std::vector<JournalEntryPtr> entries,
                                                 absl::Time confirmed) {
  auto next = std::make_shared<JournalView>(view);
  next->confirmed = confirmed;
  if (entries.empty()) return next;
  auto state = std::make_shared<DatasetState>(*view.state);
  for (const JournalEntryPtr& entry : entries) RETURN_IF_ERROR(state->Apply(*entry));
  next->state = std::move(state);
  next->recent.insert(next->recent.end(), entries.begin(), entries.end());
  if (next->recent.size() > kRecentEntries) {
    next->recent.erase(next->recent.begin(), next->recent.end() - static_cast<ptrdiff_t>(kRecentEntries));
  }
  return next;
}

absl::StatusOr<bool> Journal::Offer(JournalEntryPtr entry) {
  const ViewPtr known = view();
  if (known == nullptr) return false;
  if (entry->seq() <= known->state->seq) return true;
  if (entry->seq() > known->state->seq + 1) return false;
  // The store was not asked: what is known is not confirmed again.
  ASSIGN_OR_RETURN(ViewPtr extended, Extend(*known, {std::move(entry)}, known->confirmed));
  Install(std::move(extended));
  return true;
}

absl::StatusOr<std::vector<JournalEntryPtr>> Journal::History(uint64_t before_seq, size_t limit,
                                                              absl::Time deadline) {
  ViewPtr known = view();
  if (known == nullptr || before_seq == 0 || before_seq > known->state->seq + 1) {
    ASSIGN_OR_RETURN(known, Refresh(deadline));
  }
  const uint64_t end = known->state->seq + 1;  // behind the newest entry asked for
  const uint64_t before = before_seq == 0 ? end : std::min(before_seq, end);
  const uint64_t count = std::min<uint64_t>({limit, kMaxHistory, before - 1});
  const uint64_t first = before - count;
  const uint64_t first_kept = end - known->recent.size();

  std::vector<JournalEntryPtr> entries;
  if (count > 0 && first < first_kept) {
    const size_t missing = std::min(before, first_kept) - first;
    ASSIGN_OR_RETURN(entries, ReadEntries(first, missing, deadline));
    if (entries.size() < missing) {
      return absl::DataLossError(
          fmt::format("the journal of {} lacks entry {}", dataset_.str(), first + entries.size()));
    }
  }
  for (uint64_t seq = std::max(first, first_kept); seq < before; ++seq) {
    entries.push_back(known->recent[seq - first_kept]);
  }
  std::reverse(entries.begin(), entries.end());
  return entries;
}

}  // namespace aetherfs
