#include "aetherfs/object/retry_after.h"

#include <string>

#include "absl/strings/cord.h"
#include "absl/strings/numbers.h"

namespace aetherfs {
namespace {

constexpr char kPayload[] = "aetherfs/retry-after-ms";

}  // namespace

void SetRetryAfter(absl::Status& status, absl::Duration wait) {
  const std::string ms = std::to_string(absl::ToInt64Milliseconds(wait));
  // Not Cord(std::string): clang 19 mangles that template otherwise than the packaged library.
  status.SetPayload(kPayload, absl::Cord(absl::string_view(ms)));
}

std::optional<absl::Duration> GetRetryAfter(const absl::Status& status) {
  const auto payload = status.GetPayload(kPayload);
  int64_t ms = 0;
  if (!payload.has_value() || !absl::SimpleAtoi(std::string(*payload), &ms) || ms < 0) return std::nullopt;
  return absl::Milliseconds(ms);
}

}  // namespace aetherfs
