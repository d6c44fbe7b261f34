#ifndef AETHERFS_AGENT_UPDATE_H_
#define AETHERFS_AGENT_UPDATE_H_

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "aetherfs/agent/materializer.h"
#include "aetherfs/base/reference.h"
#include "aetherfs/client/delta_fetcher.h"
#include "aetherfs/client/delta_offer.h"
#include "aetherfs/client/fetcher.h"

namespace aetherfs {

// A snapshot that lies on this disk, whole but for what globs leave out, and can be a delta's base.
struct BaseOnDisk {
  Digest digest;
  std::shared_ptr<const Manifest> manifest;
  size_t source = 0;  // its index amongst the sources
};

// What is received, and how often something is asked for.
struct TransferCost {
  uint64_t bytes = 0;
  uint64_t requests = 0;
  uint64_t Weight() const { return bytes + requests * kRequestCost; }
};
// A chain of deltas, manifests included. Pure.
TransferCost CostOfChain(const std::vector<DeltaOffer>& chain);
// The same update from blocks, the manifest aside. Pure.
TransferCost CostOfBlocks(const Manifest& target, const std::vector<LocalSource>& sources,
                          const MaterializeOptions& options);

struct UpdateRequest {
  DatasetName dataset;
  Digest target;
  std::string canonical = {};  // the target's manifest, if it is at hand
  // A source with no manifest may hold anything: it is looked at as if it held the target.
  std::vector<LocalSource> sources = {};
  std::vector<BaseOnDisk> bases = {};
  std::vector<DeltaOffer> offers = {};
  std::string directory = {};  // that is filled, as Materialize() does it
  // Where a version that lies between can be made, with nobody else at it. What is there is removed, before
  // and after.
  std::function<std::string(const Digest&)> scratch = {};
  MaterializeOptions options = {};
  // Set once it is known how many bytes of files must be received or made of deltas; may be null.
  std::atomic<uint64_t>* total_bytes = nullptr;
};

struct UpdateResult {
  std::shared_ptr<const Manifest> manifest;
  std::string canonical;
  MaterializeResult files;
  std::string warning;  // what was not as it should be, but harmed nothing: a delta that can't be used
};

// Makes a directory the wanted snapshot in the cheapest way that is known: from what is on disk, by a delta
// or a chain of them, from blocks, or by a mixture. A chain is taken if it is announced to cost less than
// blocks would; if it is not small, the target's manifest is fetched first, to know. A delta that can't be
// had, lies, or does not fit is counted in `delta_failures`, and the next best way is taken.
//
// Blocks. Errors: those of the Fetcher and of Materialize.
absl::StatusOr<UpdateResult> StageUpdate(Fetcher& fetcher, UpdateRequest request, TransferStats* stats,
                                         const std::atomic<bool>* cancelled);

}  // namespace aetherfs

#endif  // AETHERFS_AGENT_UPDATE_H_
