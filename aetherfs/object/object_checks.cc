#include "aetherfs/object/object_checks.h"

#include "aetherfs/base/status.h"
#include "fmt/format.h"

namespace aetherfs {

absl::Status CheckDeadline(Clock& clock, absl::Time deadline, std::string_view verb, std::string_view key) {
  if (deadline == absl::InfiniteFuture() || clock.Now() < deadline) return absl::OkStatus();
  return absl::DeadlineExceededError(
      fmt::format("{} '{}': the deadline passed before it was done", verb, Printable(key)));
}

absl::Status CheckRange(std::string_view key, const std::optional<ByteRange>& range) {
  if (!range.has_value()) return absl::OkStatus();
  if (range->size == 0) {
    return absl::InvalidArgumentError(
        fmt::format("get '{}': an empty range at {} was asked for", Printable(key), range->offset));
  }
  if (range->offset > UINT64_MAX - range->size) {
    return absl::InvalidArgumentError(fmt::format("get '{}': the range of {} bytes at {} ends beyond 2^64",
                                                  Printable(key), range->size, range->offset));
  }
  return absl::OkStatus();
}

absl::StatusOr<ByteRange> ResolveRange(std::string_view key, const std::optional<ByteRange>& range,
                                       uint64_t object_size) {
  RETURN_IF_ERROR(CheckRange(key, range));
  if (!range.has_value()) return ByteRange{0, object_size};
  if (range->end() > object_size) {
    return absl::OutOfRangeError(fmt::format("get '{}': bytes {} to {} were asked for, the object has {}",
                                             Printable(key), range->offset, range->end(), object_size));
  }
  return *range;
}

absl::Status NoSuchObject(std::string_view key) {
  return absl::NotFoundError(fmt::format("there is no object '{}'", Printable(key)));
}

absl::Status ObjectExists(std::string_view key) {
  return absl::AlreadyExistsError(fmt::format("object '{}' exists already", Printable(key)));
}

}  // namespace aetherfs
