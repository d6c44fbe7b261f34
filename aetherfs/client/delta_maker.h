#ifndef AETHERFS_CLIENT_DELTA_MAKER_H_
#define AETHERFS_CLIENT_DELTA_MAKER_H_

#include <atomic>
#include <cstdint>
#include <optional>
#include <string_view>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "aetherfs/base/reference.h"
#include "aetherfs/client/scanner.h"
#include "aetherfs/client/server_client.h"
#include "aetherfs/format/manifest.h"

namespace aetherfs {

// A snapshot that is at hand in both forms.
struct KnownSnapshot {
  Digest digest;
  const Manifest& manifest;
  std::string_view canonical;
};

struct MadeDelta {
  dataset::v1::Delta announcement;
  uint64_t uploaded_bytes = 0;
};

// How much a delta may cost, by how much there is to do.
struct DeltaEffort {
  int level = 0;  // zstd's
  bool long_distance = false;
  // For how long patches may be tried at a second, higher level.
  absl::Duration second_tries;
  uint64_t slack = 0;
};
// Small changes get the best there is; large ones
// must not make a publish take twice as long. Pure.
DeltaEffort DeltaEffortFor(uint64_t fresh_bytes);

// Makes the delta from `base` to `target`, whose files are those of `scan`, in the same order, and uploads
// it, in parts. nullopt if none would save anything. What a patch does not save is left out of it.
//
// Uses up to kDeltaThreads threads. Memory is bounded whatever the sizes. Blocks. Errors: ABORTED if files
// changed since they were published; CANCELLED; the server's. None of them means that anything is wrong
// with the snapshot: a publish goes on without a delta.
inline constexpr int kDeltaThreads = 2;
absl::StatusOr<std::optional<MadeDelta>> MakeDelta(ServerClient* client, const DatasetName& dataset,
                                                   const Scan& scan, const KnownSnapshot& base,
                                                   const KnownSnapshot& target, size_t manifest_object_size,
                                                   const std::atomic<bool>* cancelled);

}  // namespace aetherfs

#endif  // AETHERFS_CLIENT_DELTA_MAKER_H_
