#ifndef AETHERFS_CLIENT_CHUNK_BATCH_H_
#define AETHERFS_CLIENT_CHUNK_BATCH_H_

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "aetherfs/base/digest.h"
#include "aetherfs/format/block.h"
#include "aetherfs/format/manifest.h"

namespace aetherfs {

// What one pass through the publisher's stages handles: enough chunks to hash on all lanes, and several
// frames.
inline constexpr size_t kBatchSize = 2 * 1024 * 1024;
// Files up to this size are read whole by the thread that handles their batch, several in one batch.
inline constexpr uint64_t kSmallFileSize = 512 * 1024;
inline constexpr size_t kMaxFilesPerBatch = 1024;

// Chunks of consecutive files, with their bytes. Handed from stage to stage; its buffer is used again and
// again, since fresh memory costs page faults. What a batch holds depends on the files alone, never on
// timing, and a frame never spans two batches: so the blocks of a publish that is tried again have the same
// names.
struct ChunkBatch {
  struct Chunk {
    uint32_t file = 0;    // index into the scan's entries
    uint32_t offset = 0;  // in the buffer
    uint32_t size = 0;
    Digest digest;
  };
  struct Frame {
    uint32_t index = 0;  // in the chunk table
    uint32_t raw_size = 0;
    std::vector<uint32_t> chunks;  // indices into `chunks`, all new
    std::string gathered;          // their bytes, unless they lie side by side in the buffer
    EncodedFrame encoded;
  };

  ChunkBatch() : buffer(std::make_unique_for_overwrite<char[]>(kBatchSize)) {}

  void Clear(uint64_t new_number) {
    number = new_number;
    used = 0;
    planned = 0;
    chunks.clear();
    files.clear();
    frames.clear();
  }
  bool empty() const { return chunks.empty() && files.empty(); }
  std::string_view BytesOf(const Chunk& chunk) const { return {buffer.get() + chunk.offset, chunk.size}; }

  uint64_t number = 0;  // consecutive
  const std::unique_ptr<char[]> buffer;
  size_t used = 0;
  size_t planned = 0;           // `used`, and what `files` will need
  std::vector<Chunk> chunks;    // of large files, read already; then of `files`
  std::vector<uint32_t> files;  // small ones still to be read, in order
  std::vector<Frame> frames;
};

}  // namespace aetherfs

#endif  // AETHERFS_CLIENT_CHUNK_BATCH_H_
