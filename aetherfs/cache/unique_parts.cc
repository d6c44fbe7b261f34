#include "aetherfs/cache/unique_parts.h"

#include <xxhash.h>

#include <utility>

namespace aetherfs {

bool UniqueParts::Insert(const PartKey& key) {
  const uint64_t hash = XXH3_64bits_withSeed(key.object_key.data(), key.object_key.size(), key.index);
  absl::MutexLock lock(&mutex_);
  if (young_.contains(hash)) return false;
  if (young_.size() >= max_generation_) {
    old_ = std::move(young_);
    young_.clear();
  }
  young_.insert(hash);
  return !old_.contains(hash);
}

}  // namespace aetherfs
