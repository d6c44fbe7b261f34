#ifndef AETHERFS_BASE_QUANTITY_H_
#define AETHERFS_BASE_QUANTITY_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace aetherfs {

inline constexpr uint64_t kKiB = 1024;
inline constexpr uint64_t kMiB = 1024 * kKiB;
inline constexpr uint64_t kGiB = 1024 * kMiB;

// "64MiB", "1.5GiB", "10kB", "512" (bytes): a number and B, kB, MB, GB, TB, KiB, MiB, GiB or TiB.
// INVALID_ARGUMENT for anything else.
absl::StatusOr<uint64_t> ParseSize(std::string_view text);

// "30s", "1m30s", "250ms", "0"; never negative or infinite. INVALID_ARGUMENT for anything else.
absl::StatusOr<absl::Duration> ParseDuration(std::string_view text);

// "3.4 MiB", "512 B".
std::string FormatSize(uint64_t bytes);
// "1m05s", "3.2s", "12ms".
std::string FormatElapsed(absl::Duration duration);

}  // namespace aetherfs

#endif  // AETHERFS_BASE_QUANTITY_H_
