#ifndef AETHERFS_JOURNAL_JOURNAL_H_
#define AETHERFS_JOURNAL_JOURNAL_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "aetherfs/base/clock.h"
#include "aetherfs/base/random.h"
#include "aetherfs/base/reference.h"
#include "aetherfs/base/thread_pool.h"
#include "aetherfs/journal/dataset_state.h"
#include "aetherfs/object/object_store.h"

namespace aetherfs {

using JournalEntryPtr = std::shared_ptr<const record::v1::JournalEntry>;

// What a reader of the journal sees at one moment. Immutable.
struct JournalView {
  std::shared_ptr<const DatasetState> state;
  // The newest entries, ascending, without gaps, the last one with seq == state->seq; at most
  // Journal::kRecentEntries. May be shorter than that, also empty, after a cold start from a checkpoint.
  std::vector<JournalEntryPtr> recent;
  absl::Time confirmed;  // when the store last said that this is all there is
};

// The log of one dataset over an object store: how servers agree, with no lock, no leader and no database.
// An entry is created if absent at the next sequence number; the store picks the winner, the loser reads
// on and tries again. After every kCheckpointInterval entries the writer leaves a checkpoint, best effort,
// and drops all but the newest kKeptCheckpoints.
//
// Invariants: entries 1 … seq exist without gaps and never change; every process that reads the same
// entries has the same state; an acknowledged append is durable.
//
// Thread-safe; calls block on the store. Concurrent refreshes are collapsed into one: a caller is answered
// by a refresh that began after its call. `store`, `pool`, `clock` and `random` must outlive it; `pool`
// carries out the parallel reads and may be the one that the caller runs in.
class Journal {
 public:
  static constexpr uint64_t kCheckpointInterval = 32;
  static constexpr size_t kKeptCheckpoints = 4;
  static constexpr size_t kRecentEntries = 256;
  static constexpr int kMaxAppendAttempts = 64;
  static constexpr size_t kReadParallelism = 16;
  static constexpr size_t kMaxHistory = 1000;

  Journal(DatasetName dataset, ObjectStore* store, ThreadPool* pool, Clock* clock, Random* random);

  const DatasetName& dataset() const { return dataset_; }

  // What was last seen, without asking the store; null before the first successful Refresh.
  std::shared_ptr<const JournalView> view() const;

  // Reads on to the journal's end: one GET if nothing is new; from nothing, at most 4 round trips one after
  // the other, however long the journal is. A dataset without entries is a view whose state does not exist.
  // On failure what was seen before stays; DATA_LOSS if an entry is corrupt.
  absl::StatusOr<std::shared_ptr<const JournalView>> Refresh(absl::Time deadline);

  // What an append wants, given the state that it would follow: an entry with its kind set (Append fills in
  // seq, nonce and time), nullopt if nothing is to be written, or an error that ends the append. May be
  // called several times; must not block.
  using Propose =
      std::function<absl::StatusOr<std::optional<record::v1::JournalEntry>>(const DatasetState& state)>;
  struct Appended {
    uint64_t seq = 0;      // of the entry; of the state if nothing was written
    bool written = false;  // false if Propose wanted nothing
  };
  // Proposes, writes, and if somebody else was first, reads on and does it again. With a view at hand the
  // first attempt does without a Refresh: that its sequence number was free proves that the view was the
  // newest. What writes nothing (nullopt, an error) counts only after a Refresh. `nonce`, 16 bytes, names
  // the append: if an entry with that nonce is there already, that is its success. When it returns OK,
  // view() holds the entry. UNAVAILABLE if the store cannot be reached (the append may still have happened:
  // call again with the same nonce) or after kMaxAppendAttempts lost races.
  absl::StatusOr<Appended> Append(const std::string& nonce, absl::Time deadline, const Propose& propose);

  // Takes an entry that another server says it has written, as the store would give it: if it is the next
  // one, the view has it from now on, and true is returned. One that is known is ignored. False if entries
  // between are missing, or nothing was ever read: Refresh tells then. DATA_LOSS if it does not follow.
  absl::StatusOr<bool> Offer(JournalEntryPtr entry);

  // Up to `limit` (at most kMaxHistory) entries before `before_seq` (0: from the end on), newest first.
  absl::StatusOr<std::vector<JournalEntryPtr>> History(uint64_t before_seq, size_t limit,
                                                       absl::Time deadline);

 private:
  using ViewPtr = std::shared_ptr<const JournalView>;

  // One refresh, not collapsed; blocks.
  absl::StatusOr<ViewPtr> Load(absl::Time deadline);
  absl::StatusOr<ViewPtr> ColdStart(absl::Time deadline);
  absl::StatusOr<ViewPtr> Follow(const ViewPtr& from, absl::Time deadline);
  absl::StatusOr<std::vector<uint64_t>> ListCheckpoints(absl::Time deadline);
  absl::StatusOr<ViewPtr> StartFrom(uint64_t checkpoint_seq, absl::Time deadline);
  absl::StatusOr<uint64_t> FindEnd(uint64_t after_seq, absl::Time deadline);
  absl::StatusOr<DatasetState> ReadCheckpoint(uint64_t seq, absl::Time deadline);
  absl::StatusOr<JournalEntryPtr> ReadEntry(uint64_t seq, absl::Time deadline);
  // The entries first_seq … first_seq + count - 1 up to the first that does not exist, read in parallel.
  absl::StatusOr<std::vector<JournalEntryPtr>> ReadEntries(uint64_t first_seq, size_t count,
                                                           absl::Time deadline);
  // `view` with `entries` behind it. DATA_LOSS if they do not follow.
  static absl::StatusOr<ViewPtr> Extend(const JournalView& view, std::vector<JournalEntryPtr> entries,
                                        absl::Time confirmed);
  // Makes `view` the current one unless a newer one is; returns the current one.
  ViewPtr Install(ViewPtr view);

  // Appends of one process take turns: only those of other processes race for a sequence number.
  bool TakeTurn(absl::Time deadline);
  void EndTurn();
  absl::StatusOr<Appended> AppendInTurn(const std::string& nonce, absl::Time deadline,
                                        const Propose& propose);
  // Puts `entry`; false if something else has its sequence number, perhaps what an earlier put of it left.
  absl::StatusOr<bool> Write(const record::v1::JournalEntry& entry, absl::Time deadline);
  // In the background, best effort, if one is due.
  void Checkpoint(const ViewPtr& view);

  const DatasetName dataset_;
  ObjectStore* const store_;
  ThreadPool* const pool_;
  Clock* const clock_;
  Random* const random_;

  mutable absl::Mutex mutex_;
  ViewPtr view_ ABSL_GUARDED_BY(mutex_);
  // Refreshes are numbered as they begin; `finished_` is the last that ended, with `result_`.
  bool refreshing_ ABSL_GUARDED_BY(mutex_) = false;
  uint64_t started_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t finished_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::StatusOr<ViewPtr> result_ ABSL_GUARDED_BY(mutex_);
  bool appending_ ABSL_GUARDED_BY(mutex_) = false;
  uint64_t checkpointed_ ABSL_GUARDED_BY(mutex_) = 0;  // the newest checkpoint, as far as is known
};

// Where a dataset's objects lie below a store's prefix.
std::string CatalogKey(const DatasetName& dataset);
std::string JournalKey(const DatasetName& dataset, uint64_t seq);
std::string CheckpointKey(const DatasetName& dataset, uint64_t seq);
std::string ManifestKey(const DatasetName& dataset, const Digest& digest);
std::string BlockKey(const DatasetName& dataset, const Digest& digest);
std::string DeltaKey(const DatasetName& dataset, const Digest& digest);
inline constexpr std::string_view kCatalogPrefix = "catalog/";

}  // namespace aetherfs

#endif  // AETHERFS_JOURNAL_JOURNAL_H_
