#ifndef AETHERFS_CLIENT_DELTA_FETCHER_H_
#define AETHERFS_CLIENT_DELTA_FETCHER_H_

#include <memory>
#include <string>
#include <string_view>

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

  // The stored bytes of a patch if they are at hand already; else null.
  std::string_view BytesAtHand(const DeltaPatch& patch) const;
};

// Reads deltas. Thread-safe; blocks. Counts what it moves in TransferStats::delta_bytes, too.
class DeltaFetcher {
 public:
  // Up to this size a delta comes whole, with one request, and may leave out digests.
  static constexpr uint64_t kWhole = 1024 * 1024;
  // Fills in the base of a patch, all its ranges one after the other.
  using BaseReader = absl::FunctionRef<absl::Status(const DeltaPatch&, std::string*)>;

  explicit DeltaFetcher(ServerClient* client) : client_(client) {}

  // `base` is the manifest of the offer's base; `read_base` is asked for what patches are made against, if
  // the digests of what they yield were left out; its errors are returned, but with NOT_FOUND the manifest
  // is fetched instead. DATA_LOSS if the delta is not what was offered, does not fit, or yields another
  // manifest than the target's.
  absl::StatusOr<std::shared_ptr<const LoadedDelta>> Load(const DatasetName& dataset,
                                                          const DeltaOffer& offer, const Manifest& base,
                                                          BaseReader read_base, TransferStats* stats);

  // The stored bytes of patches [first, first + count) of the table, which lie in one part.
  absl::StatusOr<std::string> FetchPatches(const DatasetName& dataset, const LoadedDelta& loaded,
                                           size_t first, size_t count, TransferStats* stats);

 private:
  absl::StatusOr<std::string> DownloadBeginning(const DatasetName& dataset, const DeltaOffer& offer,
                                                TransferStats* stats);
  absl::StatusOr<std::string> Download(const DatasetName& dataset, const Digest& digest, uint64_t offset,
                                       uint64_t size, bool bypass_cache, TransferStats* stats);

  ServerClient* const client_;
};

}  // namespace aetherfs

#endif  // AETHERFS_CLIENT_DELTA_FETCHER_H_
