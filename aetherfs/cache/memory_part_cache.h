#ifndef AETHERFS_CACHE_MEMORY_PART_CACHE_H_
#define AETHERFS_CACHE_MEMORY_PART_CACHE_H_

#include <cstdint>
#include <deque>
#include <list>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/btree_map.h"
#include "absl/container/flat_hash_map.h"
#include "absl/synchronization/mutex.h"
#include "aetherfs/base/clock.h"
#include "aetherfs/cache/part_source.h"

namespace aetherfs {

// Keeps parts of another source in memory. Concurrent misses for one part are one fetch.
//
// The budget is for everything: parts that are kept, parts that were dropped while somebody still reads
// them, and room for those that are being fetched. A miss that does not fit waits until readers let go; so
// memory stays bounded whatever the readers do, and whoever holds parts for long slows the others.
//
// What is kept follows S3-FIFO (Yang et al., SOSP 2023) without its ghost queue: a part that was asked for
// once passes through a small queue, one that was asked for again moves to the main queue and goes around
// in it as long as it is used.
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
  static constexpr size_t kMaxWaiting = 4096;
  // A fetch serves whoever comes meanwhile, so its time is its own, not that of who asked first.
  static constexpr absl::Duration kFetchTimeout = absl::Seconds(60);

  // `budget_bytes` is at least kMinBudget.
  MemoryPartCache(PartSource* source, uint64_t budget_bytes, Clock* clock = Clock::System());
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
    uint64_t failures = 0;  // fetches
    uint64_t evictions = 0;
    uint64_t waiting = 0;     // now, for room
    uint64_t kept_bytes = 0;  // now
    uint64_t used_bytes = 0;  // now: kept, read after being dropped, and reserved
  };
  Stats stats() const;
  uint64_t budget_bytes() const { return budget_bytes_; }

 private:
  class TrackedPart;
  struct Ledger;
  struct Entry {
    PartKey key;
    std::shared_ptr<const TrackedPart> part;
    uint8_t uses = 0;
    bool in_main = false;
  };
  using Queue = std::list<Entry>;
  using FlightKey = std::pair<PartKey, bool>;  // a fetch around caches is not one through them
  // Parts that go: destroyed when the lock is no longer held.
  using Dropped = std::vector<std::shared_ptr<const TrackedPart>>;

  void Start(const FlightKey& key);
  void OnFetched(const FlightKey& key, absl::StatusOr<PartPtr> fetched, PartOrigin origin);
  // Starts what waits, as far as there is room. Called when memory was given back.
  void Pump();
  bool Reserve(uint64_t bytes, bool insist, Dropped& dropped) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Drops one part that nobody reads (or, if `read_ones`, any) and returns whether there was one.
  bool EvictOne(bool read_ones, Dropped& dropped) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool EvictFrom(Queue& queue, bool read_ones, Dropped& dropped) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Drop(Queue& queue, Queue::iterator entry, Dropped& dropped) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void DropOtherSizes(const std::string& object_key, uint64_t object_size, Dropped& dropped)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  std::shared_ptr<const TrackedPart> Keep(const PartKey& key, PartPtr part, Dropped& dropped)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  PartSource& source_;
  const uint64_t budget_bytes_;
  Clock& clock_;
  const std::shared_ptr<Ledger> ledger_;

  mutable absl::Mutex mutex_;
  Queue small_ ABSL_GUARDED_BY(mutex_);  // oldest first
  Queue main_ ABSL_GUARDED_BY(mutex_);
  uint64_t small_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t kept_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::btree_map<PartKey, Queue::iterator> entries_ ABSL_GUARDED_BY(mutex_);  // an object's side by side
  absl::flat_hash_map<FlightKey, std::vector<Done>> flights_ ABSL_GUARDED_BY(mutex_);
  std::deque<FlightKey> waiting_ ABSL_GUARDED_BY(mutex_);  // flights that have no room yet
  Stats stats_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace aetherfs

#endif  // AETHERFS_CACHE_MEMORY_PART_CACHE_H_
