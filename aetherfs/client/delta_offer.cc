#include "aetherfs/client/delta_offer.h"

#include <algorithm>
#include <optional>

#include "absl/container/flat_hash_map.h"
#include "aetherfs/format/delta.h"

namespace aetherfs {
namespace {

// No object that a server stores is larger.
constexpr uint64_t kMaxObject = kMaxBlockSize;
constexpr uint64_t kMaxParts = uint64_t{kMaxDeltaParts} * kMaxDeltaPartSize;

}  // namespace

std::vector<DeltaOffer> OffersFrom(const google::protobuf::RepeatedPtrField<dataset::v1::Delta>& deltas) {
  std::vector<DeltaOffer> offers;
  for (const dataset::v1::Delta& delta : deltas) {
    if (offers.size() == kMaxOffers) break;
    const auto digest = Digest::Parse(delta.digest());
    const auto from = Digest::Parse(delta.from());
    const auto to = Digest::Parse(delta.to());
    if (!digest.ok() || !from.ok() || !to.ok() || *from == *to) continue;
    if (delta.size() > kMaxObject || delta.head_size() == 0 || delta.head_size() > delta.size() ||
        delta.parts_size() > kMaxParts) {
      continue;
    }
    offers.push_back({*digest, *from, *to, delta.size(), delta.head_size(), delta.parts_size()});
  }
  return offers;
}

std::vector<DeltaOffer> CheapestChain(std::span<const Digest> at_hand, const Digest& target,
                                      std::span<const DeltaOffer> offers, uint64_t most) {
  struct Reached {
    uint64_t cost = 0;
    std::optional<size_t> by;  // the offer that led here
  };
  absl::flat_hash_map<Digest, Reached> reached;
  for (const Digest& digest : at_hand) reached[digest] = {};
  if (reached.contains(target)) return {};
  // Bellman-Ford: with n offers n rounds are enough, and mostly a few are.
  for (size_t round = 0; round < offers.size(); ++round) {
    bool better = false;
    for (size_t i = 0; i < offers.size(); ++i) {
      const auto from = reached.find(offers[i].from);
      if (from == reached.end()) continue;
      const uint64_t cost = from->second.cost + offers[i].TotalSize() + kRequestCost;
      const auto [to, added] = reached.try_emplace(offers[i].to, Reached{cost, i});
      if (added) {
        better = true;
      } else if (cost < to->second.cost) {
        to->second = {cost, i};
        better = true;
      }
    }
    if (!better) break;
  }
  std::vector<DeltaOffer> chain;
  auto at = reached.find(target);
  if (at == reached.end() || at->second.cost >= most) return {};
  while (at->second.by.has_value()) {
    chain.push_back(offers[*at->second.by]);
    at = reached.find(chain.back().from);
  }
  std::reverse(chain.begin(), chain.end());
  return chain;
}

}  // namespace aetherfs
