#ifndef AETHERFS_OBJECT_OBJECT_CHECKS_H_
#define AETHERFS_OBJECT_OBJECT_CHECKS_H_

#include <cstdint>
#include <optional>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "aetherfs/base/byte_range.h"
#include "aetherfs/base/clock.h"

// What every kind of store checks in the same words. For implementations of ObjectStore only.

namespace aetherfs {

// DEADLINE_EXCEEDED if `deadline` has passed. `verb` and `key` name the call in the message.
absl::Status CheckDeadline(Clock& clock, absl::Time deadline, std::string_view verb, std::string_view key);

// The bytes of an object of `object_size` bytes that `range` asks for (all if absent), or OUT_OF_RANGE or
// INVALID_ARGUMENT as GetOptions says.
absl::StatusOr<ByteRange> ResolveRange(std::string_view key, const std::optional<ByteRange>& range,
                                       uint64_t object_size);

// INVALID_ARGUMENT for an empty range or one whose end is no 64-bit number: what can be said before the
// object's size is known.
absl::Status CheckRange(std::string_view key, const std::optional<ByteRange>& range);

absl::Status NoSuchObject(std::string_view key);
absl::Status ObjectExists(std::string_view key);

}  // namespace aetherfs

#endif  // AETHERFS_OBJECT_OBJECT_CHECKS_H_
