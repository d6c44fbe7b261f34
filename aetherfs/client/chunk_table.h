#ifndef AETHERFS_CLIENT_CHUNK_TABLE_H_
#define AETHERFS_CLIENT_CHUNK_TABLE_H_

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "aetherfs/base/digest.h"
#include "aetherfs/format/manifest.h"

namespace aetherfs {

// The chunks that a snapshot in the making may refer to, each with the place where it lies: those of the
// dataset's current snapshots, under the places that these give, and the new ones. A chunk, frame or block
// has an index by which it is known; no digest occurs twice.
//
// A value; pure. Not thread-safe.
class ChunkTable {
 public:
  // Adds the chunks of an existing snapshot, but not what lies in the `excluded` blocks. Those that are
  // there already keep their place, so the snapshot that is added first is preferred.
  void AddSnapshot(const Manifest& manifest, const absl::flat_hash_set<Digest>& excluded);

  std::optional<uint32_t> Find(const Digest& chunk) const;

  // New ones. A frame's place is told later, by PlaceFrame; a block's digest by NameBlock.
  uint32_t AddChunk(const Digest& digest, uint32_t size, uint32_t frame, uint32_t offset);
  uint32_t AddFrame();
  uint32_t AddBlock();
  void PlaceFrame(uint32_t frame, uint32_t block, uint64_t offset, uint32_t stored_size, uint32_t raw_size,
                  FrameCodec codec);
  void NameBlock(uint32_t block, const Digest& digest, uint64_t size);

  const std::vector<Manifest::Chunk>& chunks() const { return chunks_; }
  // Blocks of existing snapshots that chunks of this table lie in.
  std::vector<Digest> SnapshotBlocks() const;

  // Moves blocks, frames and chunks into `manifest`, whose entries' chunk_refs are this table's indices;
  // the table is empty then.
  void MoveInto(Manifest* manifest);

 private:
  std::vector<Manifest::Block> blocks_;
  std::vector<Manifest::Frame> frames_;
  std::vector<Manifest::Chunk> chunks_;
  absl::flat_hash_map<Digest, uint32_t> chunk_index_;
  absl::flat_hash_map<Digest, uint32_t> block_index_;  // of existing snapshots' blocks
  absl::flat_hash_map<std::pair<uint32_t, uint64_t>, uint32_t>
      frame_index_;  // by block and offset, of theirs
};

}  // namespace aetherfs

#endif  // AETHERFS_CLIENT_CHUNK_TABLE_H_
