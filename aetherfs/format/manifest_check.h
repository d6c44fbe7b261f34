#ifndef AETHERFS_FORMAT_MANIFEST_CHECK_H_
#define AETHERFS_FORMAT_MANIFEST_CHECK_H_

#include "absl/status/status.h"
#include "aetherfs/format/manifest.h"

namespace aetherfs {

// Symbolic link targets: what Linux can create (PATH_MAX counts a NUL).
inline constexpr size_t kMaxTargetSize = 4095;
// The paths of one manifest together, so that shared prefixes cannot be blown up into any amount of memory.
inline constexpr size_t kMaxPathBytes = kMaxManifestSize;

// OK if `manifest` is canonical (see Manifest); otherwise INVALID_ARGUMENT, saying why not. Any indices are
// safe to check.
absl::Status CheckCanonical(const Manifest& manifest);

}  // namespace aetherfs

#endif  // AETHERFS_FORMAT_MANIFEST_CHECK_H_
