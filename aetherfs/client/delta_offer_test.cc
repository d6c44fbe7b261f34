#include "aetherfs/client/delta_offer.h"

#include <algorithm>
#include <optional>
#include <random>

#include "aetherfs/base/sha256.h"
#include "aetherfs/format/delta.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace aetherfs {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

Digest Version(int n) { return Sha256::Of("version " + std::to_string(n)); }

DeltaOffer Offer(int from, int to, uint64_t size, uint64_t parts_size = 0) {
  return {Sha256::Of(std::to_string(from) + "→" + std::to_string(to) + ": " + std::to_string(size)),
          Version(from),
          Version(to),
          size,
          std::min<uint64_t>(size, 100),
          parts_size};
}

// The versions on the way, the first base included.
std::vector<int> Way(const std::vector<int>& at_hand, int target, const std::vector<DeltaOffer>& offers,
                     uint64_t most = UINT64_MAX) {
  std::vector<Digest> digests;
  for (const int n : at_hand) digests.push_back(Version(n));
  const auto number = [](const Digest& digest) {
    int n = 0;
    while (Version(n) != digest) ++n;
    return n;
  };
  std::vector<int> way;
  for (const DeltaOffer& offer : CheapestChain(digests, Version(target), offers, most)) {
    if (way.empty()) {
      way.push_back(number(offer.from));
    } else {
      EXPECT_EQ(offer.from, Version(way.back()));
    }
    way.push_back(number(offer.to));
  }
  return way;
}

TEST(CheapestChainTest, NothingLeadsThere) {
  EXPECT_THAT(Way({1}, 2, {}), IsEmpty());
  EXPECT_THAT(Way({}, 2, {Offer(1, 2, 10)}), IsEmpty());
  EXPECT_THAT(Way({1}, 3, {Offer(1, 2, 10), Offer(2, 1, 10)}), IsEmpty());
  EXPECT_THAT(Way({2}, 1, {Offer(1, 2, 10)}), IsEmpty());  // a delta leads one way only
}

TEST(CheapestChainTest, OneDeltaIsTaken) {
  EXPECT_THAT(Way({1}, 2, {Offer(1, 2, 10)}), ElementsAre(1, 2));
  EXPECT_THAT(Way({1, 5}, 2, {Offer(3, 2, 1), Offer(5, 2, 20), Offer(1, 2, 10)}), ElementsAre(1, 2));
  EXPECT_THAT(Way({1}, 2, {Offer(1, 2, 20), Offer(1, 2, 10)}), ElementsAre(1, 2));
  EXPECT_EQ(CheapestChain(std::vector{Version(1)}, Version(2),
                          std::vector{Offer(1, 2, 20), Offer(1, 2, 10), Offer(1, 2, 30)}, UINT64_MAX)
                .front()
                .size,
            10u);
}

TEST(CheapestChainTest, ChainIsTakenIfItCostsLessThanTheWayDirect) {
  const uint64_t step = 1000;
  const std::vector<DeltaOffer> offers = {Offer(3, 4, step), Offer(2, 3, step), Offer(1, 2, step)};
  EXPECT_THAT(Way({1}, 4, offers), ElementsAre(1, 2, 3, 4));
  const uint64_t chain = 3 * (step + kRequestCost);
  std::vector<DeltaOffer> dear = offers;
  dear.push_back(Offer(1, 4, chain - kRequestCost + 1));
  EXPECT_THAT(Way({1}, 4, dear), ElementsAre(1, 2, 3, 4));
  std::vector<DeltaOffer> cheap = offers;
  cheap.push_back(Offer(1, 4, chain - kRequestCost - 1));
  EXPECT_THAT(Way({1}, 4, cheap), ElementsAre(1, 4));
  EXPECT_THAT(Way({1, 3}, 4, offers), ElementsAre(3, 4));
}

TEST(CheapestChainTest, PartsCountAsMuchAsTheObject) {
  EXPECT_THAT(Way({1, 2}, 3, {Offer(1, 3, 1000, 5000), Offer(2, 3, 5500)}), ElementsAre(2, 3));
}

TEST(CheapestChainTest, CyclesLeadNowhere) {
  EXPECT_THAT(Way({1}, 4, {Offer(1, 2, 1), Offer(2, 3, 1), Offer(3, 1, 1), Offer(3, 2, 1), Offer(2, 4, 1)}),
              ElementsAre(1, 2, 4));
  EXPECT_THAT(Way({9}, 4, {Offer(1, 2, 1), Offer(2, 1, 1), Offer(2, 4, 1)}), IsEmpty());
}

TEST(CheapestChainTest, TargetAtHandNeedsNone) {
  EXPECT_THAT(Way({1, 2}, 2, {Offer(1, 2, 10)}), IsEmpty());
}

TEST(CheapestChainTest, WayMustCostLessThanTheLimit) {
  const std::vector<DeltaOffer> offers = {Offer(1, 2, 100, 50), Offer(2, 3, 300)};
  const uint64_t cost = 450 + 2 * kRequestCost;
  EXPECT_THAT(Way({1}, 3, offers, cost), IsEmpty());
  EXPECT_THAT(Way({1}, 3, offers, cost + 1), ElementsAre(1, 2, 3));
  EXPECT_THAT(Way({1}, 3, offers, 0), IsEmpty());
}

// Against what every simple way would cost.
TEST(CheapestChainTest, IsTheCheapestOfAllWays) {
  std::mt19937_64 random(1);
  constexpr int kVersions = 6;
  for (int round = 0; round < 300; ++round) {
    std::vector<DeltaOffer> offers;
    for (uint64_t n = random() % 15; n > 0; --n) {
      const int from = static_cast<int>(random() % kVersions);
      const int to = static_cast<int>(random() % kVersions);
      if (from != to) offers.push_back(Offer(from, to, 1 + random() % 50000));
    }
    std::optional<uint64_t> least;
    const auto search = [&](const auto& self, int at, unsigned visited, uint64_t cost) -> void {
      if (at == kVersions - 1) {
        if (!least.has_value() || cost < *least) least = cost;
        return;
      }
      for (int to = 0; to < kVersions; ++to) {
        if ((visited >> to & 1) != 0) continue;
        for (const DeltaOffer& offer : offers) {
          if (offer.from != Version(at) || offer.to != Version(to)) continue;
          self(self, to, visited | 1u << to, cost + offer.size + kRequestCost);
        }
      }
    };
    search(search, 0, 1, 0);
    const auto chain = CheapestChain(std::vector{Version(0)}, Version(kVersions - 1), offers, UINT64_MAX);
    uint64_t cost = 0;
    for (const DeltaOffer& offer : chain) cost += offer.size + kRequestCost;
    EXPECT_EQ(cost, least.value_or(0)) << "round " << round;
  }
}

dataset::v1::Delta Announced() {
  dataset::v1::Delta delta;
  delta.set_digest(Version(9).ToString());
  delta.set_from(Version(1).ToString());
  delta.set_to(Version(2).ToString());
  delta.set_size(1000);
  delta.set_head_size(300);
  delta.set_parts_size(5000);
  return delta;
}

TEST(OffersFromTest, TakesWhatIsWellFormed) {
  google::protobuf::RepeatedPtrField<dataset::v1::Delta> deltas;
  *deltas.Add() = Announced();
  const std::vector<DeltaOffer> offers = OffersFrom(deltas);
  ASSERT_THAT(offers, SizeIs(1));
  EXPECT_EQ(offers[0].digest, Version(9));
  EXPECT_EQ(offers[0].from, Version(1));
  EXPECT_EQ(offers[0].to, Version(2));
  EXPECT_EQ(offers[0].head_size, 300u);
  EXPECT_EQ(offers[0].TotalSize(), 6000u);
}

TEST(OffersFromTest, LeavesOutWhatIsMalformed) {
  google::protobuf::RepeatedPtrField<dataset::v1::Delta> deltas;
  const auto add = [&](auto change) {
    *deltas.Add() = Announced();
    change(*deltas.rbegin());
  };
  add([](auto& d) { d.set_digest(""); });
  add([](auto& d) { d.set_digest("sha256:abc"); });
  add([](auto& d) { d.clear_from(); });
  add([](auto& d) { d.set_to("latest"); });
  add([](auto& d) { d.set_to(d.from()); });
  add([](auto& d) { d.set_size(kMaxBlockSize + 1); });
  add([](auto& d) { d.set_size(UINT64_MAX); });
  add([](auto& d) { d.set_size(299); });
  add([](auto& d) { d.set_size(0); });
  add([](auto& d) { d.set_head_size(0); });
  add([](auto& d) { d.set_parts_size(uint64_t{kMaxDeltaParts} * kMaxDeltaPartSize + 1); });
  add([](auto& d) { d.set_parts_size(UINT64_MAX); });
  EXPECT_THAT(OffersFrom(deltas), IsEmpty());
  *deltas.Add() = Announced();
  EXPECT_THAT(OffersFrom(deltas), SizeIs(1));
}

TEST(OffersFromTest, TakesNoMoreThanAServerMayKeep) {
  google::protobuf::RepeatedPtrField<dataset::v1::Delta> deltas;
  for (size_t i = 0; i < kMaxOffers + 10; ++i) *deltas.Add() = Announced();
  EXPECT_THAT(OffersFrom(deltas), SizeIs(kMaxOffers));
}

}  // namespace
}  // namespace aetherfs
