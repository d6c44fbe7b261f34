#ifndef AETHERFS_OBJECT_RETRYING_OBJECT_STORE_H_
#define AETHERFS_OBJECT_RETRYING_OBJECT_STORE_H_

#include <memory>
#include <string_view>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "aetherfs/base/clock.h"
#include "aetherfs/base/random.h"
#include "aetherfs/object/object_store.h"

namespace aetherfs {

struct RetryOptions {
  int max_attempts = 6;  // with the first
  absl::Duration initial_backoff = absl::Milliseconds(50);
  absl::Duration max_backoff = absl::Seconds(5);
  // From the call's begin; no attempt begins later, nor behind the caller's deadline.
  absl::Duration max_elapsed = absl::Seconds(60);
};

// Makes a call again that failed for a while: after UNAVAILABLE, and a Get also after DATA_LOSS, for bad
// bytes are a transfer's failure until it has failed every time. Everything else is returned at once, an
// error of the caller's own sink first of all. Between attempts it sleeps, with full jitter over a range
// that doubles, and at least as long as the server wished (retry_after.h); where that would end behind the
// deadline or max_elapsed it returns the last error instead of sleeping.
//
// A Get that breaks off goes on behind the bytes that the sink already has: it asks for the rest as a
// range (after a Head, if it does not know the size), and never hands a byte twice. It trusts that the
// object is not replaced meanwhile, as ours never are.
//
// A Put with if_absent whose answer was lost may have happened, and then its second attempt sees the
// caller's own object: ALREADY_EXISTS. It is returned as it is; the caller decides, by the name (content
// addressed: it is there, good) or by reading (a journal entry's nonce).
//
// Thread-safe; blocks, sleeping included. Clock and random outlive it.
class RetryingObjectStore : public ObjectStore {
 public:
  explicit RetryingObjectStore(std::shared_ptr<ObjectStore> store, RetryOptions options = {},
                               Clock* clock = Clock::System(), Random* random = Random::System());

  absl::StatusOr<ObjectInfo> Get(std::string_view key, const GetOptions& options, ByteSink sink) override;
  absl::Status Put(std::string_view key, const std::vector<std::string_view>& pieces,
                   const PutOptions& options) override;
  absl::StatusOr<ObjectInfo> Head(std::string_view key, absl::Time deadline) override;
  absl::StatusOr<ListResult> List(const ListOptions& options) override;
  absl::Status Remove(std::string_view key, absl::Time deadline) override;

 private:
  class ResumedGet;

  absl::Status Retry(std::string_view verb, std::string_view key, absl::Time deadline,
                     absl::FunctionRef<bool(const absl::Status&)> may_retry,
                     absl::FunctionRef<absl::Status()> attempt);

  const std::shared_ptr<ObjectStore> store_;
  const RetryOptions options_;
  Clock& clock_;
  Random& random_;
};

}  // namespace aetherfs

#endif  // AETHERFS_OBJECT_RETRYING_OBJECT_STORE_H_
