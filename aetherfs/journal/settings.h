#ifndef AETHERFS_JOURNAL_SETTINGS_H_
#define AETHERFS_JOURNAL_SETTINGS_H_

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace aetherfs {

// What can be set for a dataset. Pure functions. The journal's settings may have been written by another
// version: a key that is not known here means nothing, a value that can't be means the default.

using Settings = std::map<std::string, std::string, std::less<>>;

// How many deltas are kept for each tag.
inline constexpr std::string_view kDeltasKeep = "deltas.keep";
inline constexpr uint64_t kDefaultDeltasKeep = 8;
inline constexpr uint64_t kMaxDeltasKeep = 64;

// `value` as it is to be stored; an empty one means the default. INVALID_ARGUMENT, saying what is possible,
// for a key or a value that there is not.
absl::StatusOr<std::string> CheckSetting(std::string_view key, std::string_view value);

// Everything that is set, and the defaults of what is not.
Settings WithDefaults(const Settings& settings);

uint64_t DeltasToKeep(const Settings& settings);

}  // namespace aetherfs

#endif  // AETHERFS_JOURNAL_SETTINGS_H_
