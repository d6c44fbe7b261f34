#ifndef AETHERFS_CLIENT_DELTA_FETCHER_H_
#define AETHERFS_CLIENT_DELTA_FETCHER_H_

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "aetherfs/base/reference.h"
#include "aetherfs/client/delta_offer.h"
#include "aetherfs/client/fetcher.h"
#include "aetherfs/client/server_client.h"
#include "aetherfs/format/delta.h"

namespace aetherfs {

// A delta whose head was read: what it yields is known, its patches may still lie with the servers.
struct LoadedDelta {
  DeltaOffer offer;
  Delta delta;            // fits the base's manifest and the target's
  std::string canonical;  // the target's manifest, verified
  std::shared_ptr<const Manifest> manifest;
  std::string behind_head;  // bytes of part 0 that came with the head: all of them, or none
  // By patch: what it yields, verified, if it had to be known for the manifest; null where it is not kept.
  // Empty, or as many as patches.
  std::vector<std::unique_ptr<char[]>> yielded;

  // The stored bytes of a patch if they are at hand already; else null.
  std::string_view BytesAtHand(const DeltaPatch& patch) const;
  const char* Yielded(size_t patch) const {
    return patch < yielded.size() ? yielded[patch].get() : nullptr;
  }
};

// Where the bytes are that patches are made against. Used by one thread.
class PatchBases {
 public:
  virtual ~PatchBases() = default;
  // The patch's base, all its ranges one after the other; valid until the next call. NOT_FOUND if a file is
  // not there; DATA_LOSS if one is too short.
  virtual absl::StatusOr<std::string_view> Read(const DeltaPatch& patch) = 0;
};

// Reads deltas. Thread-safe; blocks. Counts what it moves in TransferStats::delta_bytes, too.
class DeltaFetcher {
 public:
  // Up to this size a delta comes whole, with one request, and may leave out digests.
  static constexpr uint64_t kWhole = 1024 * 1024;
  // Of what patches yield, if digests are left out: so much is kept for those who apply the delta. What is
  // beyond is computed once more.
  static constexpr uint64_t kMaxYielded = 16 * 1024 * 1024;
  // Threads that compute digests which were left out; one, if there is little to do.
  static constexpr size_t kThreads = 2;
  // Called once for each thread, in the caller's.
  using MakeBases = absl::FunctionRef<std::unique_ptr<PatchBases>()>;

  explicit DeltaFetcher(ServerClient* client, uint64_t max_yielded = kMaxYielded)
      : client_(client), max_yielded_(max_yielded) {}

  // `base` is the manifest of the offer's base; `bases` are asked for what patches are made against, if the
  // digests of what they yield were left out; their errors are returned, but with NOT_FOUND the manifest is
  // fetched instead. DATA_LOSS if the delta is not what was offered, does not fit, or yields another
  // manifest than the target's.
  absl::StatusOr<std::shared_ptr<const LoadedDelta>> Load(const DatasetName& dataset,
                                                          const DeltaOffer& offer, const Manifest& base,
                                                          MakeBases bases, TransferStats* stats);

  // The stored bytes of patches [first, first + count) of the table, which lie in one part.
  absl::StatusOr<std::string> FetchPatches(const DatasetName& dataset, const LoadedDelta& loaded,
                                           size_t first, size_t count, bool bypass_cache,
                                           TransferStats* stats);

 private:
  absl::StatusOr<std::string> DownloadBeginning(const DatasetName& dataset, const DeltaOffer& offer,
                                                TransferStats* stats);
  absl::StatusOr<std::string> Download(const DatasetName& dataset, const Digest& digest, uint64_t offset,
                                       uint64_t size, bool bypass_cache, TransferStats* stats);

  ServerClient* const client_;
  const uint64_t max_yielded_;
};

}  // namespace aetherfs

#endif  // AETHERFS_CLIENT_DELTA_FETCHER_H_
