#ifndef AETHERFS_CACHE_STORE_PART_SOURCE_H_
#define AETHERFS_CACHE_STORE_PART_SOURCE_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/synchronization/mutex.h"
#include "aetherfs/base/thread_pool.h"
#include "aetherfs/cache/part_buffers.h"
#include "aetherfs/cache/part_source.h"
#include "aetherfs/cache/unique_parts.h"
#include "aetherfs/object/object_store.h"

namespace aetherfs {

// Parts as they lie in the object store: the end of every chain of part sources. A part costs one ranged
// Get, and the first part of an object whose size is not known one Head before it. It is given when its
// first bytes are there, so what fails before them fails with the store's code; what fails later ends the
// part.
//
// A size is remembered only as long as every Get agrees with it: an object that was harmed and repaired
// behind our back is read right by the next call, and a call that bypasses caches asks for the size again.
//
// Thread-safe. `store` and `pool`, whose threads do the blocking and the calling, must outlive it.
// RESOURCE_EXHAUSTED at once if the pool's queue is full, UNAVAILABLE at once for kCached.
class StorePartSource : public PartSource {
 public:
  static constexpr size_t kMaxKnownSizes = 65536;

  StorePartSource(ObjectStore* store, ThreadPool* pool) : store_(*store), pool_(*pool) {}

  void Get(const PartKey& key, const Options& options, Done done) override;

  // What a writer or a lookup knows spares a Head later.
  void NoteObjectSize(std::string_view object_key, uint64_t size);

  struct Stats {
    uint64_t bytes = 0;         // of parts, read from the store
    uint64_t unique_bytes = 0;  // each part's once (UniqueParts)
  };
  Stats stats() const;

 private:
  void Fetch(const PartKey& key, const Options& options, const Done& done);
  // One part of an object that is believed to have `object_size` bytes. Calls `begun` at the first bytes;
  // what is returned is how the part ended, if it has begun.
  absl::Status Read(const PartKey& key, uint64_t object_size, absl::Time deadline,
                    const std::function<void(std::shared_ptr<Part>)>& begun);
  std::optional<uint64_t> KnownSize(std::string_view object_key);
  void ForgetSize(std::string_view object_key);

  ObjectStore& store_;
  ThreadPool& pool_;
  PartBuffers buffers_;
  std::atomic<uint64_t> bytes_ = 0;
  std::atomic<uint64_t> unique_bytes_ = 0;
  UniqueParts unique_;
  absl::Mutex mutex_;
  // Two generations: when the young one is full it becomes the old one, which is forgotten.
  absl::flat_hash_map<std::string, uint64_t> young_sizes_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_map<std::string, uint64_t> old_sizes_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace aetherfs

#endif  // AETHERFS_CACHE_STORE_PART_SOURCE_H_
