#ifndef AETHERFS_CLIENT_FETCH_PLAN_H_
#define AETHERFS_CLIENT_FETCH_PLAN_H_

#include <span>
#include <vector>

#include "aetherfs/base/byte_range.h"
#include "aetherfs/format/manifest.h"

namespace aetherfs {

// A gap between wanted frames of up to this size is read over: less than another range costs.
inline constexpr uint64_t kMaxGap = 64 * 1024;
// One request asks for about this much: large enough that its round trip does not count, small enough that
// several run side by side. One part of the servers' caches.
inline constexpr uint64_t kRequestSize = 4 * 1024 * 1024;
// Ranges of one request at most.
inline constexpr size_t kMaxRangesPerRequest = 256;

// The ranges of a block that hold `frames` (indices into the manifest's, ascending, all of one block),
// those up to kMaxGap apart joined. Pure.
std::vector<ByteRange> RangesOfFrames(const Manifest& manifest, std::span<const uint32_t> frames);

}  // namespace aetherfs

#endif  // AETHERFS_CLIENT_FETCH_PLAN_H_
