#ifndef AETHERFS_CACHE_MEMORY_PART_CACHE_H_
#define AETHERFS_CACHE_MEMORY_PART_CACHE_H_

#include <array>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/btree_map.h"
#include "absl/container/flat_hash_map.h"
#include "absl/synchronization/mutex.h"
#include "aetherfs/base/clock.h"
#include "aetherfs/cache/part_source.h"
#include "aetherfs/cache/s3_fifo.h"

namespace aetherfs {

// Keeps parts of another source in memory. Concurrent misses for one part are one fetch, and whoever comes
// when a fetch has begun gets what has arrived at once. A part is kept when it has ended well; one that
// ends badly is dropped, and those who have it see why by its status.
//
// Fetches that may wait for peers are apart from those that may not: servers that disagree about who is in
// the cluster could wait for each other otherwise. So a kStore request does not join a kAnywhere fetch,
// unless that one's part comes from this server's own disk or store, whereas a kAnywhere request joins any.
// For the same reason some of the budget can be reserved for requests that wait for no peer.
//
// The budget is for everything: parts that are kept, parts that were dropped while somebody still reads
// or fills them, and room for those that are being fetched, which count in full from the start. A miss that
// does not fit waits until readers let go; so memory stays bounded whatever the readers do, and whoever
// holds parts for long slows the others. A kCached request never waits.
//
// What is kept follows S3-FIFO (s3_fifo.h). Parts that came from peers are always on probation, so that
// they stay only while they are asked for here, again and again.
//
// A fetch around caches replaces the part that was kept, and drops the object's other parts if they are of
// an object of another size: somebody changed it behind our back, and parts of two contents never mix.
//
// Thread-safe; never blocks. `source` and `clock` must outlive it, and nothing may be under way in `source`
// when it is destroyed. Parts may outlive it.
class MemoryPartCache : public PartSource {
 public:
  static constexpr uint64_t kMinBudget = 4 * kPartSize;
  // Misses that wait for room; more are RESOURCE_EXHAUSTED.
  static constexpr size_t kMaxWaiting = 4096;  // of either kind: those that may wait for peers, and others
  // A fetch serves whoever comes meanwhile, so its time is its own, not that of who asked first.
  static constexpr absl::Duration kFetchTimeout = absl::Seconds(60);

  // `budget_bytes` is at least kMinBudget. Of it, `reserved_bytes` are not for kAnywhere fetches: with
  // peers that is at least kPartSize; at most half of the budget is reserved.
  MemoryPartCache(PartSource* source, uint64_t budget_bytes, Clock* clock = Clock::System(),
                  uint64_t reserved_bytes = 0);
  ~MemoryPartCache() override;

  void Get(const PartKey& key, const Options& options, Done done) override;

  // Keeps a copy of a whole small object that somebody has just written and others will soon read; does
  // nothing if it has more than one part or there is no room for it.
  void Offer(const std::string& object_key, const std::vector<std::string_view>& pieces);

  struct Stats {
    uint64_t hits = 0;
    uint64_t misses = 0;
    uint64_t collapsed = 0;  // of the misses, those that joined a fetch that was under way
    uint64_t hit_bytes = 0;
    uint64_t fetched_bytes = 0;
    uint64_t failures = 0;  // fetches, also those whose part ended badly; not what is not cached
    uint64_t evictions = 0;
    uint64_t waiting = 0;     // now, for room
    uint64_t kept_bytes = 0;  // now
    uint64_t used_bytes = 0;  // now: kept, read after being dropped, and reserved
    // What callers were given, by PartOrigin; who joins a fetch counts at its origin.
    std::array<uint64_t, kPartOrigins> given_parts = {};
    std::array<uint64_t, kPartOrigins> given_bytes = {};
  };
  Stats stats() const;
  uint64_t budget_bytes() const { return budget_bytes_; }

 private:
  struct Ledger;
  struct Entry {
    PartPtr part;
    bool counted = true;  // its bytes are in the ledger
  };
  using Entries = absl::btree_map<PartKey, Entry>;  // an object's side by side
  // What fetches must not differ in to be one.
  struct FlightKey {
    PartKey part;
    PartScope scope;
    bool bypass;
    friend bool operator==(const FlightKey&, const FlightKey&) = default;
    template <typename H>
    friend H AbslHashValue(H h, const FlightKey& k) {
      return H::combine(std::move(h), k.part, k.scope, k.bypass);
    }
  };
  // A fetch, until its part has ended.
  struct Flight {
    std::vector<Done> waiters;  // until it has begun
    PartPtr part;               // since then
    bool counted = false;
    PartOrigin origin = PartOrigin::kStore;
    int joined = 0;
  };
  using Flights = absl::flat_hash_map<FlightKey, Flight>;
  // Parts that go: destroyed when the lock is no longer held.
  using Dropped = std::vector<PartPtr>;

  enum class Admission { kStarts, kWaits, kRefused };

  Admission Admit(const FlightKey& key, Dropped& dropped) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // The fetch under way that a request may join.
  Flight* Joinable(const FlightKey& key) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void NoteGiven(const Part& part, PartOrigin origin, uint64_t times = 1)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Start(const FlightKey& key);
  void OnBegun(const FlightKey& key, absl::StatusOr<PartPtr> fetched, PartOrigin origin);
  void OnEnded(const FlightKey& key, const absl::Status& status);
  std::deque<FlightKey>& QueueOf(const FlightKey& key) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool NobodyWaits() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // What a fetch may fill of the budget.
  uint64_t LimitOf(const FlightKey& key) const;
  // Starts what waits, as far as there is room. Called when memory was given back.
  void Pump();
  std::optional<FlightKey> NextToStart(Dropped& dropped) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool Reserve(uint64_t bytes, uint64_t limit, bool insist, Dropped& dropped)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Drops one part that nobody reads (or, if `read_ones`, any) and returns whether there was one.
  bool EvictOne(bool read_ones, Dropped& dropped) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Drop(Entries::iterator entry, Dropped& dropped) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void DropOtherSizes(const std::string& object_key, uint64_t object_size, Dropped& dropped)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Keep(const PartKey& key, PartPtr part, bool counted, bool on_probation, Dropped& dropped)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  PartSource& source_;
  const uint64_t budget_bytes_;
  const uint64_t reserved_bytes_;
  Clock& clock_;
  PartBuffers buffers_;  // for what is offered
  const std::shared_ptr<Ledger> ledger_;

  mutable absl::Mutex mutex_;
  S3Fifo<PartKey> policy_ ABSL_GUARDED_BY(mutex_);  // of what is in entries_
  Entries entries_ ABSL_GUARDED_BY(mutex_);
  Flights flights_ ABSL_GUARDED_BY(mutex_);
  // Flights that have no room yet. Those that wait for no peer do not queue behind those that may.
  std::deque<FlightKey> waiting_store_ ABSL_GUARDED_BY(mutex_);
  std::deque<FlightKey> waiting_anywhere_ ABSL_GUARDED_BY(mutex_);
  bool pumping_ ABSL_GUARDED_BY(mutex_) = false;     // somebody is in Pump(), and looks again
  bool pump_again_ ABSL_GUARDED_BY(mutex_) = false;  // if this is set
  Stats stats_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace aetherfs

#endif  // AETHERFS_CACHE_MEMORY_PART_CACHE_H_
