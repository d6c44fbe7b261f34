#ifndef AETHERFS_AGENT_PATCH_APPLIER_H_
#define AETHERFS_AGENT_PATCH_APPLIER_H_

#include <atomic>
#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "aetherfs/agent/tree.h"
#include "aetherfs/base/reference.h"
#include "aetherfs/client/delta_fetcher.h"
#include "aetherfs/client/fetcher.h"

namespace aetherfs {

// Patches that are read with one request: `count` from `first` on in the delta's table, which lie in one
// part; those in `chosen` are applied.
struct PatchRequest {
  uint32_t first = 0;
  uint32_t count = 0;
  std::vector<uint32_t> chosen;
  bool at_hand = false;  // nothing is to be read
};

// What to read of a delta to make `missing` chunks (ascending) of its target: patches that cost less than
// what they save in blocks, neighbours joined. Pure.
std::vector<PatchRequest> PlanPatches(const LoadedDelta& loaded, std::span<const uint32_t> missing);

// Bytes that those requests will receive.
uint64_t BytesToReceive(const LoadedDelta& loaded, std::span<const PatchRequest> requests);

// Makes chunks of a snapshot out of a delta and a directory that holds its base.
//
// Nothing is taken on trust: a chunk counts when its bytes have its SHA-256. What does not come right is
// fetched once more, around the caches, and counted in `integrity_failures` if other bytes come; whatever
// still goes wrong with the delta, or with the base on disk, is counted in `delta_failures`, and the chunks
// stay missing.
// Thread-safe; blocks; uses up to kThreads threads, each of which holds one patch's base and result.
class PatchApplier {
 public:
  static constexpr size_t kThreads = 2;

  // `tree` holds the delta's base. All references must outlive it.
  PatchApplier(ServerClient* client, const DatasetName& dataset, const LoadedDelta& loaded, Tree& tree)
      : fetcher_(client), dataset_(dataset), loaded_(loaded), tree_(tree) {}

  // `sink` gets every chunk that was missing and could be made, in several threads at once. Fails only with
  // an error of the sink's, or CANCELLED.
  absl::Status Apply(std::span<const uint32_t> missing, const Fetcher::ChunkSink& sink,
                     TransferStats* stats, const std::atomic<bool>* cancelled);

 private:
  class Worker;

  DeltaFetcher fetcher_;
  const DatasetName& dataset_;
  const LoadedDelta& loaded_;
  Tree& tree_;
  // Not if the same came around the caches: the delta lies, or the base is not what it was.
  std::atomic<bool> to_ask_again_helps_{true};
};

}  // namespace aetherfs

#endif  // AETHERFS_AGENT_PATCH_APPLIER_H_
