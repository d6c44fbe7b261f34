#ifndef AETHERFS_CLIENT_DELTA_OFFER_H_
#define AETHERFS_CLIENT_DELTA_OFFER_H_

#include <cstdint>
#include <span>
#include <vector>

#include "aetherfs/base/digest.h"
#include "aetherfs/dataset/v1/dataset.pb.h"

namespace aetherfs {

// A delta that a server told of.
struct DeltaOffer {
  Digest digest;  // of the object
  Digest from;
  Digest to;
  uint64_t size = 0;       // of the object
  uint64_t head_size = 0;  // of its beginning
  uint64_t parts_size = 0;

  uint64_t TotalSize() const { return size + parts_size; }
};

// More than a server tells of (64 in an answer, 16 in a publication); what is beyond is left out, so that
// the search for a way stays short whatever a server says.
inline constexpr size_t kMaxOffers = 256;

// Those of `deltas` that are well-formed; the others are left out, for nothing depends on them.
std::vector<DeltaOffer> OffersFrom(const google::protobuf::RepeatedPtrField<dataset::v1::Delta>& deltas);

// What another request weighs, in bytes: about a round trip's worth on a 100 Mbit/s link.
inline constexpr uint64_t kRequestCost = 16 * 1024;

// The cheapest chain of offers from one of `at_hand` to `target`, in the order in which they are applied;
// empty if there is none, or none that costs less than `most` bytes (requests are counted in). A target
// that is at hand needs none. Pure; the numbers of offers and of snapshots at hand are small.
std::vector<DeltaOffer> CheapestChain(std::span<const Digest> at_hand, const Digest& target,
                                      std::span<const DeltaOffer> offers, uint64_t most);

}  // namespace aetherfs

#endif  // AETHERFS_CLIENT_DELTA_OFFER_H_
