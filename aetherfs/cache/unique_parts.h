#ifndef AETHERFS_CACHE_UNIQUE_PARTS_H_
#define AETHERFS_CACHE_UNIQUE_PARTS_H_

#include <cstddef>
#include <cstdint>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_set.h"
#include "absl/synchronization/mutex.h"
#include "aetherfs/cache/part.h"

namespace aetherfs {

// Remembers which parts were seen, as hashes, within bounded memory: when too many are new the older half
// is forgotten, and what is seen again after that counts as new. Thread-safe.
class UniqueParts {
 public:
  // 2 × 262,144 parts of 4 MiB are 2 TiB; their hashes take about 10 MB.
  static constexpr size_t kMaxGeneration = 262'144;

  explicit UniqueParts(size_t max_generation = kMaxGeneration) : max_generation_(max_generation) {}

  // Whether `key` was not remembered. It is from now on.
  bool Insert(const PartKey& key);

 private:
  const size_t max_generation_;
  absl::Mutex mutex_;
  absl::flat_hash_set<uint64_t> young_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_set<uint64_t> old_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace aetherfs

#endif  // AETHERFS_CACHE_UNIQUE_PARTS_H_
