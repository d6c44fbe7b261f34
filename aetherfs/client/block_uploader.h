#ifndef AETHERFS_CLIENT_BLOCK_UPLOADER_H_
#define AETHERFS_CLIENT_BLOCK_UPLOADER_H_

#include <atomic>
#include <cstdint>
#include <deque>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "aetherfs/base/digest.h"
#include "aetherfs/base/reference.h"
#include "aetherfs/client/server_client.h"

namespace aetherfs {

// A block is finished before it would have more: it is one part of the servers' caches and one request of a
// consumer that wants all of it. One more byte would make it two of each.
inline constexpr size_t kTargetBlockSize = 4 * 1024 * 1024;
// Finished blocks in memory, waiting to be hashed or sent, or being sent: 48 MiB at most.
inline constexpr size_t kMaxBlocksInFlight = 12;
// Blocks that are hashed side by side. One SHA-256 after the other takes several times as long, so a group
// waits until it is full or no more blocks come. While it is hashed and sent the others are made, and every
// block that is with the server makes room for another.
inline constexpr size_t kBlocksPerHashGroup = 8;
static_assert(kBlocksPerHashGroup <= kMaxBlocksInFlight);
inline constexpr size_t kUploadThreads = 8;

// Names finished blocks, asks which the server has, and sends the others, several at once.
//
// Asking stops after the first group of which the server has none: it shows that no earlier, interrupted
// publish left anything behind, because one that is tried again makes the same blocks in the same order.
// Thread-safe. Owns its threads, started with the first block. `progress_bytes` may be null.
class BlockUploader {
 public:
  struct Uploaded {
    uint32_t index = 0;  // as given to Add
    Digest digest;
    uint64_t size = 0;
    bool sent = false;  // false: the server had it
  };

  BlockUploader(ServerClient* client, const DatasetName& dataset, std::atomic<uint64_t>* progress_bytes);
  // Waits for what is being sent; what is not yet, is dropped.
  ~BlockUploader();

  // Takes over a finished block; blocks while kMaxBlocksInFlight are here. The first error of any upload.
  absl::Status Add(uint32_t index, std::string block);
  // Waits until all are with the server. No block may be added afterwards.
  absl::StatusOr<std::vector<Uploaded>> Finish();

 private:
  struct Block {
    uint32_t index = 0;
    std::string bytes;
    Digest digest;
  };

  void Work();
  // What a thread does next, with the lock held: takes blocks to hash, or one to send.
  bool TakeGroup(std::vector<Block>* group) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void HashGroup(std::vector<Block> group);
  absl::StatusOr<std::vector<bool>> WhichExist(const std::vector<Block>& group);
  void Send(Block block);
  void Fail(absl::Status status);

  ServerClient* const client_;
  const DatasetName dataset_;
  std::atomic<uint64_t>* const progress_bytes_;
  std::vector<std::thread> threads_;  // grown by Add(), joined by Finish() or the destructor

  absl::Mutex mutex_;
  std::deque<Block> finished_ ABSL_GUARDED_BY(mutex_);
  std::deque<Block> hashed_ ABSL_GUARDED_BY(mutex_);
  size_t in_flight_ ABSL_GUARDED_BY(mutex_) = 0;
  bool all_added_ ABSL_GUARDED_BY(mutex_) = false;
  bool ask_ ABSL_GUARDED_BY(mutex_) = true;
  absl::Status error_ ABSL_GUARDED_BY(mutex_);
  std::vector<Uploaded> uploaded_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace aetherfs

#endif  // AETHERFS_CLIENT_BLOCK_UPLOADER_H_
