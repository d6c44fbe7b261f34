#include "aetherfs/cluster/rendezvous.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>
#include <utility>

namespace aetherfs {

std::vector<size_t> RankMembers(const std::vector<std::string>& members, const PartKey& key) {
  const std::string name = fmt::format("{}\n{}\n{}", kRankingVersion, key.object_key, key.index);
  std::vector<std::pair<uint64_t, size_t>> scores;
  scores.reserve(members.size());
  for (size_t i = 0; i < members.size(); ++i) {
    const uint64_t seed = XXH3_64bits(members[i].data(), members[i].size());
    scores.emplace_back(XXH3_64bits_withSeed(name.data(), name.size(), seed), i);
  }
  std::sort(scores.begin(), scores.end(), [&members](const auto& a, const auto& b) {
    return a.first != b.first ? a.first > b.first : members[a.second] < members[b.second];
  });
  std::vector<size_t> ranked;
  ranked.reserve(scores.size());
  for (const auto& [score, index] : scores) ranked.push_back(index);
  return ranked;
}

}  // namespace aetherfs
