#ifndef AETHERFS_OBJECT_RETRY_AFTER_H_
#define AETHERFS_OBJECT_RETRY_AFTER_H_

#include <optional>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace aetherfs {

// A server's wish (HTTP's Retry-After) not to be asked again before `wait` is over: a payload of the
// status, so that it passes through decorators and Annotate() unseen. `status` is not OK.
void SetRetryAfter(absl::Status& status, absl::Duration wait);
std::optional<absl::Duration> GetRetryAfter(const absl::Status& status);

}  // namespace aetherfs

#endif  // AETHERFS_OBJECT_RETRY_AFTER_H_
