#ifndef AETHERFS_CLIENT_SUBSCRIBER_H_
#define AETHERFS_CLIENT_SUBSCRIBER_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "aetherfs/base/clock.h"
#include "aetherfs/base/random.h"
#include "aetherfs/base/reference.h"
#include "aetherfs/client/delta_offer.h"
#include "aetherfs/client/server_client.h"

namespace aetherfs {

// What a tag points at, as a server told.
struct TagUpdate {
  std::optional<Digest> digest;  // nullopt: the tag, or the dataset, does not exist
  uint64_t seq = 0;
  bool stale = false;      // the server could not ask the store
  bool published = false;  // it was set by a publish just now, whose deltas `offers` has
  std::vector<DeltaOffer> offers;
  absl::Time confirmed;  // when this was known to be so
};

// Follows one tag of one dataset for as long as it lives: subscribes, resumes behind the last sequence
// number seen when a stream breaks, on another server if need be, with jittered backoff (0.1 s to 10 s).
//
// `update` is called with the tag's state after every (re)connect and on every change of it, one call after
// the other, in threads that are not the caller's; it must not block for long and must not destroy the
// subscriber. `trouble` is called when a stream ends with an error. The destructor waits for running calls.
// Thread-safe. Costs no thread of its own while nothing happens.
class Subscriber {
 public:
  Subscriber(ServerClient* client, DatasetName dataset, std::string tag,
             std::function<void(const TagUpdate&)> update,
             std::function<void(const absl::Status&)> trouble);
  ~Subscriber();

  Subscriber(const Subscriber&) = delete;
  Subscriber& operator=(const Subscriber&) = delete;

 private:
  class Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace aetherfs

#endif  // AETHERFS_CLIENT_SUBSCRIBER_H_
