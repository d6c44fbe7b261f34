#include "aetherfs/cache/memory_part_cache.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <optional>
#include <string>

namespace aetherfs {
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

MemoryPartCache::MemoryPartCache(PartSource* source, uint64_t budget_bytes, Clock* clock,
                                 uint64_t reserved_bytes)
    : source_(*source),
      budget_bytes_(std::max(budget_bytes, kMinBudget)),
      reserved_bytes_(std::min(reserved_bytes, budget_bytes_ / 2)),
      clock_(*clock),
      ledger_(std::make_shared<Ledger>()),
      policy_(budget_bytes_) {
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
  FlightKey flight_key{key, options.scope, options.bypass_cache};
  // Around the caches is around the peers too.
  if (options.bypass_cache && options.scope == PartScope::kAnywhere) flight_key.scope = PartScope::kStore;
  PartPtr given;
  PartOrigin origin = PartOrigin::kMemory;
  Dropped dropped;
  bool start = false;
  {
    absl::MutexLock lock(&mutex_);
    const auto kept = entries_.find(key);
    if (kept != entries_.end() && !options.bypass_cache) {
      policy_.Touch(key);
      given = kept->second.part;
      ++stats_.hits;
      stats_.hit_bytes += given->size();
      NoteGiven(*given, origin);
    } else {
      ++stats_.misses;
      if (Flight* flight = Joinable(flight_key); flight != nullptr) {
        ++stats_.collapsed;
        ++flight->joined;
        if (flight->part == nullptr) return flight->waiters.push_back(std::move(done));
        given = flight->part;
        origin = flight->origin;
        NoteGiven(*given, origin);
      } else if (const Admission admission = Admit(flight_key, dropped); admission != Admission::kRefused) {
        flights_[flight_key].waiters.push_back(std::move(done));
        done = nullptr;
        start = admission == Admission::kStarts;
      }
    }
  }
  if (given != nullptr) {
    done(std::move(given), origin);
  } else if (start) {
    dropped.clear();
    Start(flight_key);
  } else if (done && options.scope == PartScope::kCached) {
    done(absl::UnavailableError(fmt::format("{} is not in memory, which is full", key.object_key)),
         PartOrigin::kMemory);
  } else if (done) {
    done(absl::ResourceExhaustedError(fmt::format(
             "reading {}: the cache is full of parts that are being read and too many reads are waiting",
             key.object_key)),
         PartOrigin::kStore);
  }
}

MemoryPartCache::Admission MemoryPartCache::Admit(const FlightKey& key, Dropped& dropped) {
  const bool may_wait = key.scope != PartScope::kCached;
  std::deque<FlightKey>& queue = QueueOf(key);
  // In turn: nobody passes by those who wait already.
  if (queue.empty() && Reserve(kPartSize, LimitOf(key), /*insist=*/may_wait, dropped)) {
    return Admission::kStarts;
  }
  if (!may_wait || queue.size() >= kMaxWaiting) return Admission::kRefused;
  queue.push_back(key);
  return Admission::kWaits;
}

MemoryPartCache::Flight* MemoryPartCache::Joinable(const FlightKey& key) {
  if (const auto same = flights_.find(key); same != flights_.end()) return &same->second;
  if (key.bypass || key.scope == PartScope::kCached) return nullptr;
  FlightKey other_key = key;
  other_key.scope = key.scope == PartScope::kStore ? PartScope::kAnywhere : PartScope::kStore;
  const auto other = flights_.find(other_key);
  if (other == flights_.end()) return nullptr;
  Flight& flight = other->second;
  const bool waits_for_no_peer =
      flight.part != nullptr && (flight.origin == PartOrigin::kStore || flight.origin == PartOrigin::kDisk);
  return key.scope == PartScope::kAnywhere || waits_for_no_peer ? &flight : nullptr;
}

void MemoryPartCache::NoteGiven(const Part& part, PartOrigin origin, uint64_t times) {
  stats_.given_parts[static_cast<size_t>(origin)] += times;
  stats_.given_bytes[static_cast<size_t>(origin)] += times * part.size();
}

void MemoryPartCache::Start(const FlightKey& key) {
  Options options;
  options.deadline = clock_.Now() + kFetchTimeout;
  options.scope = key.scope;
  options.bypass_cache = key.bypass;
  source_.Get(key.part, options, [this, key](absl::StatusOr<PartPtr> fetched, PartOrigin origin) {
    OnBegun(key, std::move(fetched), origin);
  });
}

void MemoryPartCache::OnBegun(const FlightKey& key, absl::StatusOr<PartPtr> fetched, PartOrigin origin) {
  // What has failed already need not be given to anybody.
  if (fetched.ok() && !(*fetched)->status().ok()) fetched = (*fetched)->status();
  uint64_t unused = kPartSize;  // of what was reserved
  bool counted = false;
  if (fetched.ok()) {
    const uint64_t size = (*fetched)->size();
    counted = (*fetched)->AtRelease([ledger = ledger_, size] { ledger->GiveBack(size); });
    if (counted) unused -= std::min(size, kPartSize);
  }
  std::vector<Done> waiters;
  {
    absl::MutexLock lock(&mutex_);
    const auto it = flights_.find(key);
    waiters = std::move(it->second.waiters);
    it->second.waiters.clear();
    if (fetched.ok()) {
      it->second.part = *fetched;
      it->second.counted = counted;
      it->second.origin = origin;
      NoteGiven(**fetched, origin, waiters.size());
    } else {
      const bool asked_in_vain = key.scope == PartScope::kCached && absl::IsUnavailable(fetched.status());
      if (!asked_in_vain) ++stats_.failures;
      flights_.erase(it);
    }
  }
  if (unused > 0) ledger_->GiveBack(unused);
  if (fetched.ok()) {
    (*fetched)->WhenEnded([this, key](const absl::Status& status) { OnEnded(key, status); });
  }
  for (const Done& waiter : waiters) waiter(fetched, origin);
}

void MemoryPartCache::OnEnded(const FlightKey& key, const absl::Status& status) {
  Dropped dropped;
  Flight flight;
  {
    absl::MutexLock lock(&mutex_);
    const auto it = flights_.find(key);
    flight = std::move(it->second);
    flights_.erase(it);
    if (!status.ok()) {
      ++stats_.failures;
      return;
    }
    stats_.fetched_bytes += flight.part->size();
    if (key.bypass) DropOtherSizes(key.part.object_key, flight.part->object_size(), dropped);
    const auto old = entries_.find(key.part);
    const bool known = old != entries_.end() && !key.bypass &&
                       old->second.part->object_size() == flight.part->object_size();
    // While others wait for room it is for its readers alone, so that their end is noticed.
    if (!known && NobodyWaits()) {
      Keep(key.part, std::move(flight.part), flight.counted, flight.origin == PartOrigin::kPeer, dropped);
      for (int use = 0; use < std::min<int>(flight.joined, S3Fifo<PartKey>::kMaxUses); ++use) {
        policy_.Touch(key.part);
      }
    }
  }
  if (dropped.empty()) return;
  dropped.clear();
  Pump();  // somebody may wait for the room of what was dropped
}

std::deque<MemoryPartCache::FlightKey>& MemoryPartCache::QueueOf(const FlightKey& key) {
  return key.scope == PartScope::kAnywhere ? waiting_anywhere_ : waiting_store_;
}

bool MemoryPartCache::NobodyWaits() const { return waiting_store_.empty() && waiting_anywhere_.empty(); }

uint64_t MemoryPartCache::LimitOf(const FlightKey& key) const {
  return key.scope == PartScope::kAnywhere ? budget_bytes_ - reserved_bytes_ : budget_bytes_;
}

void MemoryPartCache::Pump() {
  {
    absl::MutexLock lock(&mutex_);
    pump_again_ = true;
    if (pumping_) return;  // also if it is this thread, further up: a fetch may fail at once
    pumping_ = true;
  }
  for (;;) {
    Dropped dropped;
    std::optional<FlightKey> next;
    {
      absl::MutexLock lock(&mutex_);
      if (!std::exchange(pump_again_, false)) {
        pumping_ = false;
        return;
      }
      next = NextToStart(dropped);
      if (next.has_value()) pump_again_ = true;
    }
    dropped.clear();
    if (next.has_value()) Start(*next);
  }
}

std::optional<MemoryPartCache::FlightKey> MemoryPartCache::NextToStart(Dropped& dropped) {
  for (std::deque<FlightKey>* waiting : {&waiting_store_, &waiting_anywhere_}) {
    if (waiting->empty()) continue;
    if (!Reserve(kPartSize, LimitOf(waiting->front()), /*insist=*/false, dropped)) continue;
    FlightKey next = std::move(waiting->front());
    waiting->pop_front();
    return next;
  }
  return std::nullopt;
}

void MemoryPartCache::Offer(const std::string& object_key, const std::vector<std::string_view>& pieces) {
  size_t size = 0;
  for (const std::string_view piece : pieces) size += piece.size();
  if (size == 0 || size > kPartSize) return;
  const auto part = std::make_shared<Part>(buffers_.Allocate(size), size);
  uint64_t at = 0;
  for (const std::string_view piece : pieces) {
    if (!part->Write(at, piece).ok()) return;
    at += piece.size();
  }
  part->End(absl::OkStatus());
  Dropped dropped;
  absl::MutexLock lock(&mutex_);
  const PartKey key{object_key, 0};
  if (entries_.contains(key) || !NobodyWaits() ||
      !Reserve(size, budget_bytes_, /*insist=*/false, dropped)) {
    return;
  }
  const bool counted = part->AtRelease([ledger = ledger_, size] { ledger->GiveBack(size); });
  Keep(key, part, counted, /*on_probation=*/false, dropped);
}

bool MemoryPartCache::Reserve(uint64_t bytes, uint64_t limit, bool insist, Dropped& dropped) {
  while (ledger_->used.load() + bytes > limit) {
    if (EvictOne(/*read_ones=*/false, dropped)) continue;
    // Nothing is free. Let go of parts that are being read, so that their end is noticed.
    uint64_t coming = 0;
    for (size_t before = dropped.size(); insist && coming < bytes; ++before) {
      if (!EvictOne(/*read_ones=*/true, dropped)) break;
      coming += dropped[before]->size();
    }
    return false;
  }
  ledger_->used.fetch_add(bytes);
  return true;
}

bool MemoryPartCache::EvictOne(bool read_ones, Dropped& dropped) {
  const auto may_go = [this, read_ones](const PartKey& key) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    // The memory of one that is being read would not come back now.
    return read_ones || entries_.find(key)->second.part.use_count() == 1;
  };
  const std::optional<PartKey> evicted = policy_.Evict(may_go);
  if (!evicted.has_value()) return false;
  Drop(entries_.find(*evicted), dropped);
  ++stats_.evictions;
  return true;
}

void MemoryPartCache::Drop(Entries::iterator entry, Dropped& dropped) {
  const Entry& kept = entry->second;
  if (kept.counted && kept.part.use_count() == 1) {
    kept.part->ForgetRelease();
    ledger_->used.fetch_sub(kept.part->size());
  }
  policy_.Remove(entry->first);
  dropped.push_back(std::move(entry->second.part));
  entries_.erase(entry);
}

void MemoryPartCache::DropOtherSizes(const std::string& object_key, uint64_t object_size,
                                     Dropped& dropped) {
  for (auto it = entries_.lower_bound(PartKey{object_key, 0});
       it != entries_.end() && it->first.object_key == object_key;) {
    if (it->second.part->object_size() == object_size) {
      ++it;
      continue;
    }
    const PartKey key = it->first;
    Drop(it, dropped);
    it = entries_.upper_bound(key);
  }
}

void MemoryPartCache::Keep(const PartKey& key, PartPtr part, bool counted, bool on_probation,
                           Dropped& dropped) {
  if (const auto old = entries_.find(key); old != entries_.end()) Drop(old, dropped);
  policy_.Insert(key, part->size(), on_probation);
  entries_[key] = {std::move(part), counted};
}

MemoryPartCache::Stats MemoryPartCache::stats() const {
  absl::MutexLock lock(&mutex_);
  Stats stats = stats_;
  stats.waiting = waiting_store_.size() + waiting_anywhere_.size();
  stats.kept_bytes = policy_.weight();
  stats.used_bytes = ledger_->used.load();
  return stats;
}

}  // namespace aetherfs
