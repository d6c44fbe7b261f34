#ifndef AETHERFS_CACHE_S3_FIFO_H_
#define AETHERFS_CACHE_S3_FIFO_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <iterator>
#include <list>
#include <optional>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/functional/function_ref.h"
#include "absl/hash/hash.h"

namespace aetherfs {

// Decides what a cache drops: S3-FIFO (Yang et al., "FIFO queues are all you need for cache eviction", SOSP
// 2023). What is new goes through a small queue, a tenth of the capacity. What was used twice by its end
// moves to the main queue, in which it goes around as long as it is used; what was not is dropped, and
// remembered for about as long as a full cache takes to change: if it is wanted again, it goes to the main
// queue at once. So a scan, or a loop larger than the cache, pushes out no more than a tenth.
//
// A pure policy: it holds keys and weights, and evicts when it is told to. Weights and capacity are in one
// unit, bytes for instance. `Key` is hashable and cheap to copy. Not thread-safe.
template <typename Key>
class S3Fifo {
 public:
  static constexpr uint64_t kSmallShare = 10;  // of the capacity, 1 / kSmallShare
  static constexpr uint8_t kMaxUses = 3;
  static constexpr uint8_t kUsesForMain = 2;
  // 24 bytes each and a place in a hash table: 5 MiB.
  static constexpr size_t kMaxGhosts = 131'072;

  explicit S3Fifo(uint64_t capacity) : capacity_(capacity) {}

  // `key` must not be in it. `on_probation`: it goes through the small queue whatever is remembered.
  void Insert(const Key& key, uint64_t weight, bool on_probation = false) {
    const bool known = ForgetGhost(key);
    const bool in_main = known && !on_probation;
    Queue& queue = in_main ? main_ : small_;
    queue.push_back({key, weight, 0, in_main});
    index_[key] = std::prev(queue.end());
    (in_main ? main_weight_ : small_weight_) += weight;
  }

  // It was used. Nothing if it is not there.
  void Touch(const Key& key) {
    const auto it = index_.find(key);
    if (it != index_.end()) it->second->uses = std::min<uint8_t>(it->second->uses + 1, kMaxUses);
  }

  // It has gone, for no reason that says anything about its use.
  void Remove(const Key& key) {
    const auto it = index_.find(key);
    if (it != index_.end()) Erase(it->second);
  }

  // Takes out what is to be dropped next and for which `may_go`; none if there is nothing of the kind.
  std::optional<Key> Evict(absl::FunctionRef<bool(const Key&)> may_go) {
    const bool small_first = small_weight_ > capacity_ / kSmallShare || main_.empty();
    std::optional<Key> key = small_first ? EvictSmall(may_go) : EvictMain(may_go);
    if (!key.has_value()) key = small_first ? EvictMain(may_go) : EvictSmall(may_go);
    return key;
  }

  bool contains(const Key& key) const { return index_.contains(key); }
  size_t size() const { return index_.size(); }
  uint64_t weight() const { return small_weight_ + main_weight_; }
  uint64_t main_weight() const { return main_weight_; }
  size_t ghosts() const { return ghosts_.size(); }

 private:
  struct Node {
    Key key;
    uint64_t weight;
    uint8_t uses;
    bool in_main;
  };
  using Queue = std::list<Node>;  // oldest first
  struct Ghost {
    uint64_t hash;
    uint64_t weight;
    uint64_t number;  // ghosts_ has another one for it if it was dropped again since
  };

  std::optional<Key> EvictSmall(absl::FunctionRef<bool(const Key&)> may_go) {
    for (size_t left = small_.size(); left > 0; --left) {
      const auto oldest = small_.begin();
      if (oldest->uses >= kUsesForMain) {
        oldest->uses = 0;
        oldest->in_main = true;
        small_weight_ -= oldest->weight;
        main_weight_ += oldest->weight;
        main_.splice(main_.end(), small_, oldest);
      } else if (!may_go(oldest->key)) {
        small_.splice(small_.end(), small_, oldest);
      } else {
        Remember(oldest->key, oldest->weight);
        return Erase(oldest);
      }
    }
    return std::nullopt;
  }

  std::optional<Key> EvictMain(absl::FunctionRef<bool(const Key&)> may_go) {
    // Enough to see every one at its last use.
    for (size_t left = (kMaxUses + 1) * main_.size(); left > 0; --left) {
      const auto oldest = main_.begin();
      if (oldest->uses > 0 || !may_go(oldest->key)) {
        if (oldest->uses > 0) --oldest->uses;
        main_.splice(main_.end(), main_, oldest);
      } else {
        return Erase(oldest);
      }
    }
    return std::nullopt;
  }

  Key Erase(typename Queue::iterator node) {
    (node->in_main ? main_weight_ : small_weight_) -= node->weight;
    Key key = std::move(node->key);
    index_.erase(key);
    (node->in_main ? main_ : small_).erase(node);
    return key;
  }

  void Remember(const Key& key, uint64_t weight) {
    const uint64_t hash = absl::Hash<Key>()(key);
    ForgetGhost(key);
    const Ghost ghost{hash, weight, next_number_++};
    ghosts_[hash] = ghost;
    ghost_order_.push_back(ghost);
    ghost_weight_ += weight;
    while (!ghost_order_.empty() && (ghost_weight_ > capacity_ || ghost_order_.size() > kMaxGhosts)) {
      const Ghost oldest = ghost_order_.front();
      ghost_order_.pop_front();
      const auto it = ghosts_.find(oldest.hash);
      if (it == ghosts_.end() || it->second.number != oldest.number) continue;
      ghost_weight_ -= oldest.weight;
      ghosts_.erase(it);
    }
  }

  // Whether there was one.
  bool ForgetGhost(const Key& key) {
    const auto it = ghosts_.find(absl::Hash<Key>()(key));
    if (it == ghosts_.end()) return false;
    ghost_weight_ -= it->second.weight;
    ghosts_.erase(it);
    return true;
  }

  const uint64_t capacity_;
  Queue small_;
  Queue main_;
  uint64_t small_weight_ = 0;
  uint64_t main_weight_ = 0;
  absl::flat_hash_map<Key, typename Queue::iterator> index_;
  absl::flat_hash_map<uint64_t, Ghost> ghosts_;
  std::deque<Ghost> ghost_order_;  // oldest first; some are no longer in ghosts_
  uint64_t ghost_weight_ = 0;      // of ghosts_
  uint64_t next_number_ = 0;
};

}  // namespace aetherfs

#endif  // AETHERFS_CACHE_S3_FIFO_H_
