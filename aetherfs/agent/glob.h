#ifndef AETHERFS_AGENT_GLOB_H_
#define AETHERFS_AGENT_GLOB_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "aetherfs/format/manifest.h"

namespace aetherfs {

inline constexpr size_t kMaxGlobs = 256;     // of one subscription, include and exclude together
inline constexpr size_t kMaxGlobSize = 512;  // bytes of one

// Whether the whole of `path` matches: '?' is one byte and '*' any run of bytes within a component, "**/"
// is any number of whole components (also none), any other "**" any run of bytes. Everything else is
// itself. Takes time in proportion to the product of both sizes. Pure.
bool GlobMatches(std::string_view pattern, std::string_view path);

// INVALID_ARGUMENT, naming the pattern, for one that can never match a path of a snapshot (empty, absolute,
// with
// ".." or an empty component) or is beyond the limits.
absl::Status ValidateGlobs(const std::vector<std::string>& include,
                           const std::vector<std::string>& exclude);

// Indices of the entries that a filter lets through, ascending: what an include pattern (none: everything)
// matches and no exclude pattern does, where matching a directory stands for all below it; and the
// directories above what is let through. Pure.
std::vector<uint32_t> SelectEntries(const Manifest& manifest, const std::vector<std::string>& include,
                                    const std::vector<std::string>& exclude);

}  // namespace aetherfs

#endif  // AETHERFS_AGENT_GLOB_H_
