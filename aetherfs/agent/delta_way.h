#ifndef AETHERFS_AGENT_DELTA_WAY_H_
#define AETHERFS_AGENT_DELTA_WAY_H_

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "aetherfs/agent/materializer.h"
#include "aetherfs/base/reference.h"
#include "aetherfs/client/delta_fetcher.h"
#include "aetherfs/client/delta_offer.h"
#include "aetherfs/client/fetcher.h"

namespace aetherfs {

// A snapshot that lies on this disk, whole, and could be a base.
struct BaseOnDisk {
  Digest digest;
  std::shared_ptr<const Manifest> manifest;
  size_t source = 0;  // its index amongst the sources
};

// From a snapshot on disk to the wanted one, delta by delta, with all their heads read. An update with no
// steps takes what it needs from blocks.
struct DeltaWay {
  size_t source = 0;  // where the first step begins
  std::vector<std::shared_ptr<const LoadedDelta>> steps;
};

// What is received, and how often something is asked for.
struct TransferCost {
  uint64_t bytes = 0;
  uint64_t requests = 0;
  uint64_t Weight() const { return bytes + requests * kRequestCost; }
};

// What a way costs: its heads, which were read already, and what is still to come; and what the same update
// costs without it, the manifest aside. Pure.
struct WayCost {
  TransferCost heads;
  TransferCost by_deltas;
  TransferCost by_blocks;
};
WayCost CostOf(const DeltaWay& way, const Manifest& target, const std::vector<LocalSource>& sources,
               const MaterializeOptions& options);

// Looks for the cheapest chain of offers that costs less than `most` bytes, and reads the heads along it.
// A delta that can't be had or lies is counted in `delta_failures` and left out of account: what remains is
// tried, until there is no way left. Blocks.
DeltaWay FindDeltaWay(ServerClient* client, const DatasetName& dataset, std::span<const BaseOnDisk> at_hand,
                      const Digest& target, std::vector<DeltaOffer> offers, uint64_t most,
                      TransferStats* stats);

// Materialize(), by a way of deltas where there is one that costs less than blocks. The versions between
// are made in `scratch(digest)`, which goes when it is done.
absl::StatusOr<MaterializeResult> MaterializeByWay(Fetcher& fetcher, const DatasetName& dataset,
                                                   const Manifest& manifest, const std::string& directory,
                                                   std::vector<LocalSource> sources, const DeltaWay& way,
                                                   const MaterializeOptions& options,
                                                   const std::function<std::string(const Digest&)>& scratch,
                                                   TransferStats* stats,
                                                   const std::atomic<bool>* cancelled = nullptr);

}  // namespace aetherfs

#endif  // AETHERFS_AGENT_DELTA_WAY_H_
