#include "aetherfs/client/hash_chunks.h"

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <vector>

#include "aetherfs/base/sha256.h"

namespace aetherfs {

void HashChunks(std::span<const std::string_view> chunks, std::span<Digest> digests) {
  std::vector<uint32_t> order(chunks.size());
  std::iota(order.begin(), order.end(), 0u);
  std::sort(order.begin(), order.end(),
            [&](uint32_t a, uint32_t b) { return chunks[a].size() > chunks[b].size(); });
  std::vector<std::string_view> sorted(chunks.size());
  for (size_t i = 0; i < order.size(); ++i) sorted[i] = chunks[order[i]];
  std::vector<Digest> found(chunks.size());
  Sha256Many(sorted, found);
  for (size_t i = 0; i < order.size(); ++i) digests[order[i]] = found[i];
}

}  // namespace aetherfs
