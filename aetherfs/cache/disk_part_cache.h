#ifndef AETHERFS_CACHE_DISK_PART_CACHE_H_
#define AETHERFS_CACHE_DISK_PART_CACHE_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "aetherfs/base/clock.h"
#include "aetherfs/base/thread_pool.h"
#include "aetherfs/cache/part_files.h"
#include "aetherfs/cache/part_source.h"
#include "aetherfs/cache/s3_fifo.h"

namespace aetherfs {

struct DiskPartCacheOptions {
  uint64_t size_bytes = 0;  // of disk; at least DiskPartCache::kMinSize
  // Parts that wait to be written hold memory: so much of it at most.
  uint64_t max_unwritten_bytes = 16 * kPartSize;
};

// Keeps parts of another source in files, one a part, over restarts. What comes from the store is written
// once it is whole, and what comes from peers for kStore requests; other parts are kept by their owners. A
// part is not written if too many wait for that already. What is read is checked; a file that is not what
// it should be is removed, counted, and as good as none. What is dropped follows S3-FIFO.
//
// The files never take more than the size, each rounded up to kDiskBlock: room is made before a file is
// written, and a file counts until it is removed, also if that fails. A disk that is full before that (it
// is smaller than promised, or others fill it) makes the cache smaller by an eighth each time, for a while;
// an I/O error stops writing for a while; a directory that cannot be listed, for good. None of it is an
// error for whoever asks for parts.
//
// One thread changes files, in the order in which that was asked for; others read them. A file that is
// there is never written again before it was removed. At the start the first thread looks at what is there;
// until that is done nothing is found, and what comes waits to be written. kCached requests end here. A
// request around the caches removes the file.
//
// Thread-safe; never blocks but in AwaitIdle() and Stop(). `below` and `clock` must outlive it, and nothing
// may be under way in `below` when it is destroyed.
class DiskPartCache : public PartSource {
 public:
  static constexpr uint64_t kDiskBlock = 4096;
  static constexpr uint64_t kMinSize = 16 * kPartSize;
  // 1 TiB of whole parts. Each takes about 150 bytes of memory.
  static constexpr size_t kMaxFiles = 262'144;
  static constexpr int kReadThreads = 4;
  static constexpr size_t kMaxQueuedReads = 1024;   // more go below
  static constexpr size_t kMaxQueuedWrites = 4096;  // removals included
  // After an I/O error nothing is written for so long; after a full disk the cache stays smaller.
  static constexpr absl::Duration kPause = absl::Seconds(30);
  static constexpr absl::Duration kSmallerFor = absl::Minutes(5);

  DiskPartCache(std::unique_ptr<PartFiles> files, const DiskPartCacheOptions& options, PartSource* below,
                Clock* clock = Clock::System());
  ~DiskPartCache() override;

  void Get(const PartKey& key, const Options& options, Done done) override;

  // Writes what waits to be written, then neither reads nor writes any more: requests go below. `below`
  // must still answer. Called by whoever owns `below`, before that ends.
  void Stop();

  struct Stats {
    uint64_t hits = 0;
    uint64_t misses = 0;
    uint64_t written = 0;  // parts
    uint64_t written_bytes = 0;
    uint64_t skipped = 0;   // parts that were not written: too many waited, no room, or writing was stopped
    uint64_t failures = 0;  // of the disk
    uint64_t corrupt = 0;   // files that were not what they should be
    uint64_t evictions = 0;
    uint64_t kept_parts = 0;   // now
    uint64_t used_bytes = 0;   // now, of disk, what is being written included
    uint64_t limit_bytes = 0;  // now: the size, or less on a disk that is too small
    bool scanning = false;
  };
  Stats stats() const;
  // Blocks until all files that were there at the start are known, and nothing waits to be written or
  // removed.
  void AwaitIdle() const;

 private:
  struct Entry {
    uint64_t file_bytes = 0;
    uint64_t object_size = 0;  // 0: the file has not been read since the start
    uint32_t readers = 0;
    bool doomed = false;  // not to be read any more; its file goes as soon as may be
  };

  // Has the writing thread do something, after all it was told before. False if it has too much to do.
  bool Order(std::function<void()> work) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool IsWanted(const PartFileId& id, const Part* part) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  uint64_t Limit() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Add(const PartFileId& id, const Entry& entry) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Nothing if it is not there.
  void Doom(const PartFileId& id) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Dooms what has to go for `bytes` of one more file, as far as it may go.
  void Evict(uint64_t bytes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  bool StartRead(const PartKey& key, const Options& options, const Done& done);
  void Read(const PartKey& key, const Options& options, uint64_t file_bytes, const Done& done);
  // Null if the file is not what it should be.
  absl::StatusOr<PartPtr> ReadFile(const PartKey& key, uint64_t file_bytes);
  void EndRead(const PartFileId& id, const absl::StatusOr<PartPtr>& part);
  void GetBelow(const PartKey& key, const Options& options, const Done& done);
  // A fetch around caches brought a part of an object of that size.
  void ForgetOtherSizes(const PartKey& key, uint64_t object_size);
  void OnWhole(const PartKey& key, const PartPtr& part);

  // In the writing thread.
  void Scan();
  void Write(const PartKey& key, const PartPtr& part);
  bool BeginWrite(const PartFileId& id, const Part* part, uint64_t disk_bytes);
  void EndWrite(const PartFileId& id, const Part& part, uint64_t file_bytes, const absl::Status& written);
  void RemoveDoomed();

  const std::unique_ptr<PartFiles> files_;
  const DiskPartCacheOptions options_;
  PartSource& below_;
  Clock& clock_;
  PartBuffers buffers_;

  mutable absl::Mutex mutex_;
  absl::flat_hash_map<PartFileId, Entry> entries_ ABSL_GUARDED_BY(mutex_);
  S3Fifo<PartFileId> policy_ ABSL_GUARDED_BY(mutex_);       // of entries_ that are not doomed
  std::vector<PartFileId> doomed_ ABSL_GUARDED_BY(mutex_);  // of those that are, those nobody reads
  uint64_t used_bytes_ ABSL_GUARDED_BY(mutex_) = 0;         // of disk: entries_, and what is being written
  // To be written: held by the writing thread's orders, and no longer wanted if it is not here.
  absl::flat_hash_map<PartFileId, const Part*> unwritten_ ABSL_GUARDED_BY(mutex_);
  uint64_t unwritten_bytes_ ABSL_GUARDED_BY(mutex_) = 0;  // of memory, those no longer wanted included
  size_t orders_ ABSL_GUARDED_BY(mutex_) = 0;             // not carried out yet
  bool scanning_ ABSL_GUARDED_BY(mutex_) = true;
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Time paused_until_ ABSL_GUARDED_BY(mutex_) = absl::InfinitePast();
  uint64_t smaller_limit_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::Time smaller_until_ ABSL_GUARDED_BY(mutex_) = absl::InfinitePast();
  Stats stats_ ABSL_GUARDED_BY(mutex_);
  std::unique_ptr<ThreadPool> readers_ ABSL_GUARDED_BY(mutex_);  // both null once it is stopped
  std::unique_ptr<ThreadPool> writer_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace aetherfs

#endif  // AETHERFS_CACHE_DISK_PART_CACHE_H_
