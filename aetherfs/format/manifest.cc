#include "aetherfs/format/manifest.h"

#include <algorithm>
#include <numeric>
#include <tuple>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "aetherfs/base/status.h"
#include "aetherfs/format/manifest_check.h"
#include "fmt/format.h"

namespace aetherfs {
namespace {

constexpr uint32_t kUnset = UINT32_MAX;

absl::Status CheckReferences(const Manifest& manifest) {
  const auto outside = [](std::string_view what, size_t index) {
    return absl::InvalidArgumentError(
        fmt::format("the manifest refers to {} {}, which it lacks", what, index));
  };
  for (const Manifest::Entry& entry : manifest.entries) {
    if (entry.first_ref > manifest.chunk_refs.size() ||
        entry.ref_count > manifest.chunk_refs.size() - entry.first_ref) {
      return absl::InvalidArgumentError(
          fmt::format("path '{}' refers to chunks that the manifest lacks", Printable(entry.path)));
    }
  }
  for (const uint32_t ref : manifest.chunk_refs) {
    if (ref >= manifest.chunks.size()) return outside("chunk", ref);
  }
  for (const Manifest::Chunk& chunk : manifest.chunks) {
    if (chunk.frame >= manifest.frames.size()) return outside("frame", chunk.frame);
  }
  for (const Manifest::Frame& frame : manifest.frames) {
    if (frame.block >= manifest.blocks.size()) return outside("block", frame.block);
  }
  return absl::OkStatus();
}

void SortEntries(std::vector<Manifest::Entry>& entries) {
  const auto before = [](const Manifest::Entry& a, const Manifest::Entry& b) {
    return ComparePaths(a.path, b.path) < 0;
  };
  if (std::is_sorted(entries.begin(), entries.end(), before)) return;
  std::vector<uint32_t> order(entries.size());
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(),
            [&](uint32_t a, uint32_t b) { return before(entries[a], entries[b]); });
  std::vector<Manifest::Entry> sorted;
  sorted.reserve(entries.size());
  for (const uint32_t index : order) sorted.push_back(std::move(entries[index]));
  entries = std::move(sorted);
}

// Regroups chunk_refs in the order of entries and lets each name the first-used chunk of its digest.
void MergeChunks(Manifest& manifest) {
  std::vector<uint32_t> kept(manifest.chunks.size(), kUnset);  // by chunk: the one that stands for it
  absl::flat_hash_map<Digest, uint32_t> by_digest;
  by_digest.reserve(manifest.chunks.size());
  std::vector<uint32_t> refs;
  refs.reserve(manifest.chunk_refs.size());
  for (Manifest::Entry& entry : manifest.entries) {
    const auto first = static_cast<uint32_t>(refs.size());
    for (const uint32_t ref : manifest.RefsOf(entry)) {
      if (kept[ref] == kUnset) {
        kept[ref] = by_digest.try_emplace(manifest.chunks[ref].digest, ref).first->second;
      }
      refs.push_back(kept[ref]);
    }
    entry.first_ref = first;
  }
  manifest.chunk_refs = std::move(refs);
}

// Orders the indices of `items` that `used` marks by `key`, merges equal items, and replaces `items` by the
// result. Returns where each item went.
template <typename Item, typename Key>
std::vector<uint32_t> SortUsed(std::vector<Item>& items, const std::vector<bool>& used, Key key) {
  std::vector<uint32_t> order;
  order.reserve(items.size());
  for (uint32_t i = 0; i < items.size(); ++i) {
    if (used[i]) order.push_back(i);
  }
  const auto before = [&](uint32_t a, uint32_t b) { return key(items[a]) < key(items[b]); };
  if (!std::is_sorted(order.begin(), order.end(), before)) std::sort(order.begin(), order.end(), before);
  std::vector<uint32_t> renumbered(items.size(), kUnset);
  std::vector<Item> sorted;
  sorted.reserve(order.size());
  for (const uint32_t index : order) {
    if (sorted.empty() || sorted.back() != items[index]) sorted.push_back(items[index]);
    renumbered[index] = static_cast<uint32_t>(sorted.size() - 1);
  }
  items = std::move(sorted);
  return renumbered;
}

// Blocks in the order of first use, each once; marks the frames and chunks in use.
void RenumberBlocks(Manifest& manifest, std::vector<bool>& used_frames, std::vector<bool>& used_chunks) {
  std::vector<uint32_t> renumbered(manifest.blocks.size(), kUnset);
  absl::flat_hash_map<Digest, uint32_t> by_digest;
  std::vector<Manifest::Block> blocks;
  for (const uint32_t ref : manifest.chunk_refs) {
    if (used_chunks[ref]) continue;
    used_chunks[ref] = true;
    const uint32_t frame = manifest.chunks[ref].frame;
    used_frames[frame] = true;
    uint32_t& number = renumbered[manifest.frames[frame].block];
    if (number != kUnset) continue;
    const Manifest::Block& block = manifest.blocks[manifest.frames[frame].block];
    const auto [at, added] = by_digest.try_emplace(block.digest, static_cast<uint32_t>(blocks.size()));
    if (added) blocks.push_back(block);
    number = at->second;
  }
  for (Manifest::Frame& frame : manifest.frames) frame.block = renumbered[frame.block];
  manifest.blocks = std::move(blocks);
}

}  // namespace

uint64_t Manifest::FileCount() const {
  return static_cast<uint64_t>(std::count_if(entries.begin(), entries.end(),
                                             [](const Entry& e) { return e.type == EntryType::kFile; }));
}

uint64_t Manifest::TotalBytes() const {
  uint64_t total = 0;
  for (const Entry& entry : entries) total += entry.size;
  return total;
}

absl::StatusOr<Manifest> Canonicalize(Manifest manifest) {
  RETURN_IF_ERROR(CheckReferences(manifest));
  SortEntries(manifest.entries);
  MergeChunks(manifest);
  std::vector<bool> used_frames(manifest.frames.size());
  std::vector<bool> used_chunks(manifest.chunks.size());
  RenumberBlocks(manifest, used_frames, used_chunks);
  const std::vector<uint32_t> frames =
      SortUsed(manifest.frames, used_frames,
               [](const Manifest::Frame& frame) { return std::pair(frame.block, frame.offset); });
  for (Manifest::Chunk& chunk : manifest.chunks) chunk.frame = frames[chunk.frame];
  const std::vector<uint32_t> chunks =
      SortUsed(manifest.chunks, used_chunks,
               [](const Manifest::Chunk& chunk) { return std::pair(chunk.frame, chunk.offset); });
  for (uint32_t& ref : manifest.chunk_refs) ref = chunks[ref];
  RETURN_IF_ERROR(Annotate(CheckCanonical(manifest), "making a manifest"));
  return manifest;
}

}  // namespace aetherfs
