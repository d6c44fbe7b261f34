#include "aetherfs/client/chunk_table.h"

namespace aetherfs {

void ChunkTable::AddSnapshot(const Manifest& manifest, const absl::flat_hash_set<Digest>& excluded) {
  constexpr uint32_t kUnknown = UINT32_MAX;
  constexpr uint32_t kExcluded = UINT32_MAX - 1;
  std::vector<uint32_t> blocks(manifest.blocks.size(), kUnknown);
  for (size_t i = 0; i < blocks.size(); ++i) {
    if (excluded.contains(manifest.blocks[i].digest)) blocks[i] = kExcluded;
  }
  std::vector<uint32_t> frames(manifest.frames.size(), kUnknown);
  chunk_index_.reserve(chunk_index_.size() + manifest.chunks.size());
  chunks_.reserve(chunks_.size() + manifest.chunks.size());
  for (const Manifest::Chunk& chunk : manifest.chunks) {
    const Manifest::Frame& frame = manifest.frames[chunk.frame];
    uint32_t& block = blocks[frame.block];
    if (block == kExcluded) continue;
    const auto [entry, added] =
        chunk_index_.try_emplace(chunk.digest, static_cast<uint32_t>(chunks_.size()));
    if (!added) continue;
    if (block == kUnknown) {
      const auto [known, first] = block_index_.try_emplace(manifest.blocks[frame.block].digest,
                                                           static_cast<uint32_t>(blocks_.size()));
      if (first) blocks_.push_back(manifest.blocks[frame.block]);
      block = known->second;
    }
    uint32_t& here = frames[chunk.frame];
    if (here == kUnknown) {
      const auto [known, first] =
          frame_index_.try_emplace({block, frame.offset}, static_cast<uint32_t>(frames_.size()));
      if (first) {
        frames_.push_back(frame);
        frames_.back().block = block;
      }
      here = known->second;
    }
    chunks_.push_back(chunk);
    chunks_.back().frame = here;
  }
}

std::optional<uint32_t> ChunkTable::Find(const Digest& chunk) const {
  const auto found = chunk_index_.find(chunk);
  if (found == chunk_index_.end()) return std::nullopt;
  return found->second;
}

uint32_t ChunkTable::AddChunk(const Digest& digest, uint32_t size, uint32_t frame, uint32_t offset) {
  const auto index = static_cast<uint32_t>(chunks_.size());
  chunks_.push_back({.digest = digest, .size = size, .frame = frame, .offset = offset});
  chunk_index_.emplace(digest, index);
  return index;
}

uint32_t ChunkTable::AddFrame() {
  frames_.emplace_back();
  return static_cast<uint32_t>(frames_.size() - 1);
}

uint32_t ChunkTable::AddBlock() {
  blocks_.emplace_back();
  return static_cast<uint32_t>(blocks_.size() - 1);
}

void ChunkTable::PlaceFrame(uint32_t frame, uint32_t block, uint64_t offset, uint32_t stored_size,
                            uint32_t raw_size, FrameCodec codec) {
  Manifest::Frame& placed = frames_[frame];
  placed.block = block;
  placed.offset = offset;
  placed.stored_size = stored_size;
  placed.raw_size = raw_size;
  placed.codec = codec;
}

void ChunkTable::NameBlock(uint32_t block, const Digest& digest, uint64_t size) {
  blocks_[block] = {.digest = digest, .size = size};
}

std::vector<Digest> ChunkTable::SnapshotBlocks() const {
  std::vector<Digest> digests;
  digests.reserve(block_index_.size());
  for (const auto& [digest, index] : block_index_) digests.push_back(digest);
  return digests;
}

void ChunkTable::MoveInto(Manifest* manifest) {
  manifest->blocks = std::move(blocks_);
  manifest->frames = std::move(frames_);
  manifest->chunks = std::move(chunks_);
  *this = ChunkTable();
}

}  // namespace aetherfs
