#ifndef AETHERFS_CLIENT_PUBLISH_PIPELINE_H_
#define AETHERFS_CLIENT_PUBLISH_PIPELINE_H_

#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "aetherfs/client/block_uploader.h"
#include "aetherfs/client/chunk_batch.h"
#include "aetherfs/client/chunk_table.h"
#include "aetherfs/client/file_reader.h"
#include "aetherfs/client/scanner.h"
#include "aetherfs/client/turnstile.h"
#include "aetherfs/format/block.h"

namespace aetherfs {

// Reads files, cuts them into chunks, and packs the new ones into blocks for the uploader.
//
//     calling thread      plan small files, read and cut large ones        → batches, in order
//     packing threads     read small files, hash chunks                    side by side
//                         look chunks up, assign frames                    in the order of batches
//                         compress frames                                  side by side
//                         append frames to the block                       in the order of batches
//     uploader's threads  hash blocks, send them
//
// Every stage waits for the next one, so memory is bounded by kMaxBatches batches and the uploader's
// blocks. What lies where depends on the files and on what the table knew, not on timing.
class PublishPipeline {
 public:
  static constexpr size_t kMaxBatches = 6;
  static constexpr int kMaxPackingThreads = 4;

  struct Options {
    uint64_t epoch = 0;
    int compression_level = 1;
    ReadHook hook;
    std::atomic<uint64_t>* processed_bytes = nullptr;
    const std::atomic<bool>* cancelled = nullptr;
  };
  // All pointers must outlive it. The scan's entries are brought up to date as their files are read.
  PublishPipeline(Scan* scan, ChunkTable* table, BlockUploader* uploader, Options options);

  // Reads the files (indices into the scan's entries, ascending). Returns, ascending, those that changed
  // while they were read; they may be given to another Run.
  absl::StatusOr<std::vector<uint32_t>> Run(std::span<const uint32_t> files);
  // Hands the last block to the uploader. Nothing may run afterwards.
  absl::Status Finish();

  // Of a file that was read: its chunks, as indices into the table.
  std::span<const uint32_t> ChunksOf(uint32_t file) const;
  // Chunks that the table did not know, and the sum of their sizes.
  uint64_t new_chunks() const { return new_chunks_; }
  uint64_t new_bytes() const { return new_bytes_; }

 private:
  struct Refs {
    uint64_t first = 0;
    uint32_t count = 0;
  };

  // The calling thread's part.
  void Produce(std::span<const uint32_t> files);
  absl::Status PlanFiles(std::span<const uint32_t> files);
  ChunkBatch* TakeFreeBatch();
  void Submit(ChunkBatch* batch);
  void Release(ChunkBatch* batch);

  // A packing thread's part.
  void Pack();
  ChunkBatch* TakeSubmitted();
  absl::Status PackBatch(ChunkBatch& batch, FrameEncoder& encoder, FileReader& reader);
  absl::Status ReadSmallFiles(ChunkBatch& batch, FileReader& reader);
  void HashChunks(ChunkBatch& batch);
  void AssignFrames(ChunkBatch& batch);
  void Compress(ChunkBatch& batch, FrameEncoder& encoder);
  absl::Status Append(ChunkBatch& batch);
  absl::Status FinishBlock();

  void Changed(uint32_t file);
  void Fail(absl::Status status);
  bool Cancelled() const { return options_.cancelled != nullptr && options_.cancelled->load(); }

  Scan* const scan_;
  ChunkTable* const table_;  // guarded by table_mutex_ while packing threads run
  BlockUploader* const uploader_;
  const Options options_;
  std::vector<std::unique_ptr<ChunkBatch>> batches_;

  // Of one Run.
  std::unique_ptr<Turnstile> assign_turn_;
  std::unique_ptr<Turnstile> append_turn_;
  uint64_t next_number_ = 0;

  // Touched by whoever has the turn to assign.
  std::vector<uint32_t> refs_;
  std::vector<Refs> file_refs_;  // by entry
  uint64_t new_chunks_ = 0;
  uint64_t new_bytes_ = 0;
  // Touched by whoever has the turn to append.
  std::optional<BlockBuilder> builder_;
  uint32_t block_ = 0;

  absl::Mutex table_mutex_;

  absl::Mutex mutex_;
  std::deque<ChunkBatch*> free_ ABSL_GUARDED_BY(mutex_);
  std::deque<ChunkBatch*> submitted_ ABSL_GUARDED_BY(mutex_);
  bool all_submitted_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status error_ ABSL_GUARDED_BY(mutex_);
  std::vector<uint32_t> changed_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace aetherfs

#endif  // AETHERFS_CLIENT_PUBLISH_PIPELINE_H_
