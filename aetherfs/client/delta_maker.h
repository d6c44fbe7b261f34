#ifndef AETHERFS_CLIENT_DELTA_MAKER_H_
#define AETHERFS_CLIENT_DELTA_MAKER_H_

#include <atomic>
#include <cstdint>
#include <optional>
#include <string_view>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "aetherfs/base/clock.h"
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

// Makes the delta from `base` to `target`, whose files are those of `scan`, in the same order, and uploads
// it, in parts. nullopt if none would save anything. What a patch does not save is left out of it.
//
// `rest` is how long the publish took up to here, which says how long the delta may take: see PatchEffort.
//
// Uses up to kDeltaThreads threads. Memory is bounded whatever the sizes. Blocks. Errors: ABORTED if files
// changed since they were published; CANCELLED; the server's. None of them means that anything is wrong
// with the snapshot: a publish goes on without a delta.
inline constexpr int kDeltaThreads = 2;
absl::StatusOr<std::optional<MadeDelta>> MakeDelta(ServerClient* client, const DatasetName& dataset,
                                                   const Scan& scan, const KnownSnapshot& base,
                                                   const KnownSnapshot& target, size_t manifest_object_size,
                                                   absl::Duration rest, Clock* clock,
                                                   const std::atomic<bool>* cancelled);

}  // namespace aetherfs

#endif  // AETHERFS_CLIENT_DELTA_MAKER_H_
