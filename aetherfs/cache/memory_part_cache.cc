#include "aetherfs/cache/memory_part_cache.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <string>

namespace aetherfs {
namespace {

constexpr uint8_t kMaxUses = 3;
constexpr uint64_t kSmallShare = 10;  // the small queue's part of the budget, 1 / kSmallShare

class CopiedPart : public Part {
 public:
  explicit CopiedPart(std::string bytes) : bytes_(std::move(bytes)) {}
  std::string_view bytes() const override { return bytes_; }
  uint64_t object_size() const override { return bytes_.size(); }

 private:
  const std::string bytes_;
};

}  // namespace

// What is used of the budget. Shared with the parts, which may outlive the cache.
struct MemoryPartCache::Ledger {
  std::atomic<uint64_t> used = 0;
  absl::Mutex mutex;
  MemoryPartCache* cache ABSL_GUARDED_BY(mutex) = nullptr;  // null once it is gone

  void GiveBack(uint64_t bytes) {
    used.fetch_sub(bytes);
    MemoryPartCache* pumped;
    {
      absl::MutexLock lock(&mutex);
      if (cache == nullptr) return;
      pumped = cache;
      ++pumping;
    }
    pumped->Pump();
    absl::MutexLock lock(&mutex);
    --pumping;
  }

  int pumping ABSL_GUARDED_BY(mutex) = 0;  // the cache does not go while somebody is in there
};

// A part whose bytes count until nobody holds it any more.
class MemoryPartCache::TrackedPart : public Part {
 public:
  TrackedPart(PartPtr part, std::shared_ptr<Ledger> ledger)
      : part_(std::move(part)), ledger_(std::move(ledger)) {}
  ~TrackedPart() override {
    if (!counted_) return;
    const uint64_t size = part_->bytes().size();
    part_.reset();
    ledger_->GiveBack(size);
  }
  std::string_view bytes() const override { return part_->bytes(); }
  uint64_t object_size() const override { return part_->object_size(); }

  // Somebody else takes the bytes out of the ledger. Only while nobody but the caller has this part.
  void Disown() const { counted_ = false; }

 private:
  PartPtr part_;
  const std::shared_ptr<Ledger> ledger_;
  mutable bool counted_ = true;
};

MemoryPartCache::MemoryPartCache(PartSource* source, uint64_t budget_bytes, Clock* clock)
    : source_(*source),
      budget_bytes_(std::max(budget_bytes, kMinBudget)),
      clock_(*clock),
      ledger_(std::make_shared<Ledger>()) {
  absl::MutexLock lock(&ledger_->mutex);
  ledger_->cache = this;
}

MemoryPartCache::~MemoryPartCache() {
  absl::MutexLock lock(&ledger_->mutex);
  ledger_->cache = nullptr;
  const auto left = [this]()
                        ABSL_EXCLUSIVE_LOCKS_REQUIRED(ledger_->mutex) { return ledger_->pumping == 0; };
  ledger_->mutex.Await(absl::Condition(&left));
  // What is kept goes with the members, after this; it finds no cache to tell.
}

void MemoryPartCache::Get(const PartKey& key, const Options& options, Done done) {
  const FlightKey flight_key(key, options.bypass_cache);
  std::shared_ptr<const TrackedPart> hit;
  Dropped dropped;
  bool start = false;
  {
    absl::MutexLock lock(&mutex_);
    const auto kept = entries_.find(key);
    if (kept != entries_.end() && !options.bypass_cache) {
      Entry& entry = *kept->second;
      entry.uses = std::min<uint8_t>(entry.uses + 1, kMaxUses);
      hit = entry.part;
      ++stats_.hits;
      stats_.hit_bytes += hit->bytes().size();
    } else {
      ++stats_.misses;
      if (const auto flight = flights_.find(flight_key); flight != flights_.end()) {
        ++stats_.collapsed;
        flight->second.push_back(std::move(done));
        return;
      }
      // In turn: nobody passes by those who wait already.
      start = waiting_.empty() && Reserve(kPartSize, /*insist=*/true, dropped);
      if (start || waiting_.size() < kMaxWaiting) {
        flights_[flight_key].push_back(std::move(done));
        if (!start) waiting_.push_back(flight_key);
        done = nullptr;
      }
    }
  }
  if (hit != nullptr) {
    done(std::move(hit), PartOrigin::kMemory);
  } else if (start) {
    dropped.clear();
    Start(flight_key);
  } else if (done) {
    done(absl::ResourceExhaustedError(fmt::format(
             "reading {}: the cache is full of parts that are being read and too many reads are waiting",
             key.object_key)),
         PartOrigin::kStore);
  }
}

void MemoryPartCache::Start(const FlightKey& key) {
  Options options;
  options.deadline = clock_.Now() + kFetchTimeout;
  options.bypass_cache = key.second;
  source_.Get(key.first, options, [this, key](absl::StatusOr<PartPtr> fetched, PartOrigin origin) {
    OnFetched(key, std::move(fetched), origin);
  });
}

void MemoryPartCache::OnFetched(const FlightKey& key, absl::StatusOr<PartPtr> fetched, PartOrigin origin) {
  std::vector<Done> waiters;
  Dropped dropped;
  PartPtr part;
  uint64_t unused = kPartSize;  // of what was reserved
  {
    absl::MutexLock lock(&mutex_);
    const auto flight = flights_.find(key);
    waiters = std::move(flight->second);
    flights_.erase(flight);
    if (fetched.ok()) {
      const uint64_t size = (*fetched)->bytes().size();
      stats_.fetched_bytes += size;
      unused -= std::min(size, kPartSize);
      if (key.second) DropOtherSizes(key.first.object_key, (*fetched)->object_size(), dropped);
      // While others wait for room it is for its readers alone, so that their end is noticed.
      part = waiting_.empty() ? Keep(key.first, *std::move(fetched), dropped)
                              : std::make_shared<const TrackedPart>(*std::move(fetched), ledger_);
    } else {
      ++stats_.failures;
    }
  }
  dropped.clear();
  if (unused > 0) ledger_->GiveBack(unused);
  for (const Done& waiter : waiters) {
    if (part != nullptr) {
      waiter(part, origin);
    } else {
      waiter(fetched.status(), origin);
    }
  }
}

void MemoryPartCache::Pump() {
  for (;;) {
    Dropped dropped;
    FlightKey next;
    {
      absl::MutexLock lock(&mutex_);
      if (waiting_.empty() || !Reserve(kPartSize, /*insist=*/false, dropped)) return;
      next = waiting_.front();
      waiting_.pop_front();
    }
    Start(next);
  }
}

void MemoryPartCache::Offer(const std::string& object_key, const std::vector<std::string_view>& pieces) {
  size_t size = 0;
  for (const std::string_view piece : pieces) size += piece.size();
  if (size == 0 || size > kPartSize) return;
  std::string bytes;
  bytes.reserve(size);
  for (const std::string_view piece : pieces) bytes.append(piece);
  auto part = std::make_shared<const CopiedPart>(std::move(bytes));
  Dropped dropped;
  std::shared_ptr<const TrackedPart> kept;
  absl::MutexLock lock(&mutex_);
  const PartKey key{object_key, 0};
  if (entries_.contains(key) || !waiting_.empty() || !Reserve(size, /*insist=*/false, dropped)) return;
  kept = Keep(key, std::move(part), dropped);
}

bool MemoryPartCache::Reserve(uint64_t bytes, bool insist, Dropped& dropped) {
  while (ledger_->used.load() + bytes > budget_bytes_) {
    if (EvictOne(/*read_ones=*/false, dropped)) continue;
    // Nothing is free. Let go of parts that are being read, so that their end is noticed.
    uint64_t coming = 0;
    for (size_t before = dropped.size(); insist && coming < bytes; ++before) {
      if (!EvictOne(/*read_ones=*/true, dropped)) break;
      coming += dropped[before]->bytes().size();
    }
    return false;
  }
  ledger_->used.fetch_add(bytes);
  return true;
}

bool MemoryPartCache::EvictOne(bool read_ones, Dropped& dropped) {
  const bool small_first = small_bytes_ > budget_bytes_ / kSmallShare || main_.empty();
  return EvictFrom(small_first ? small_ : main_, read_ones, dropped) ||
         EvictFrom(small_first ? main_ : small_, read_ones, dropped);
}

bool MemoryPartCache::EvictFrom(Queue& queue, bool read_ones, Dropped& dropped) {
  // Enough to see every part at its last use.
  for (size_t looks = (kMaxUses + 1) * queue.size(); looks > 0 && !queue.empty(); --looks) {
    const Queue::iterator oldest = queue.begin();
    if (oldest->uses > 0 && !oldest->in_main) {
      small_bytes_ -= oldest->part->bytes().size();
      oldest->in_main = true;
      oldest->uses = 0;
      main_.splice(main_.end(), queue, oldest);
    } else if (oldest->uses > 0) {
      --oldest->uses;
      queue.splice(queue.end(), queue, oldest);
    } else if (oldest->part.use_count() > 1 && !read_ones) {
      queue.splice(queue.end(), queue, oldest);  // its memory would not come back now
    } else {
      Drop(queue, oldest, dropped);
      ++stats_.evictions;
      return true;
    }
  }
  return false;
}

void MemoryPartCache::Drop(Queue& queue, Queue::iterator entry, Dropped& dropped) {
  const uint64_t size = entry->part->bytes().size();
  kept_bytes_ -= size;
  if (!entry->in_main) small_bytes_ -= size;
  if (entry->part.use_count() == 1) {
    entry->part->Disown();
    ledger_->used.fetch_sub(size);
  }
  dropped.push_back(std::move(entry->part));
  entries_.erase(entry->key);
  queue.erase(entry);
}

void MemoryPartCache::DropOtherSizes(const std::string& object_key, uint64_t object_size,
                                     Dropped& dropped) {
  std::vector<Queue::iterator> others;
  for (auto it = entries_.lower_bound(PartKey{object_key, 0});
       it != entries_.end() && it->first.object_key == object_key; ++it) {
    if (it->second->part->object_size() != object_size) others.push_back(it->second);
  }
  for (const Queue::iterator other : others) Drop(other->in_main ? main_ : small_, other, dropped);
}

std::shared_ptr<const MemoryPartCache::TrackedPart> MemoryPartCache::Keep(const PartKey& key, PartPtr part,
                                                                          Dropped& dropped) {
  if (const auto old = entries_.find(key); old != entries_.end()) {
    Drop(old->second->in_main ? main_ : small_, old->second, dropped);
  }
  Entry entry;
  entry.key = key;
  entry.part = std::make_shared<const TrackedPart>(std::move(part), ledger_);
  auto tracked = entry.part;
  kept_bytes_ += tracked->bytes().size();
  small_bytes_ += tracked->bytes().size();
  small_.push_back(std::move(entry));
  entries_[key] = std::prev(small_.end());
  return tracked;
}

MemoryPartCache::Stats MemoryPartCache::stats() const {
  absl::MutexLock lock(&mutex_);
  Stats stats = stats_;
  stats.waiting = waiting_.size();
  stats.kept_bytes = kept_bytes_;
  stats.used_bytes = ledger_->used.load();
  return stats;
}

}  // namespace aetherfs
