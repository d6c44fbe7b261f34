#ifndef AETHERFS_CLIENT_ENDPOINT_HEALTH_H_
#define AETHERFS_CLIENT_ENDPOINT_HEALTH_H_

#include <cstddef>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "aetherfs/base/clock.h"
#include "aetherfs/base/random.h"

namespace aetherfs {

// Remembers of several equal servers which answered last, and says in which order a call should try them.
// A server that failed comes last for a while that doubles with every failure in a row. Thread-safe.
class EndpointHealth {
 public:
  static constexpr absl::Duration kFirstAvoidance = absl::Milliseconds(500);
  static constexpr absl::Duration kLongestAvoidance = absl::Seconds(10);

  // `count` > 0. `clock` and `random` must outlive it. Which server comes first is left to chance, so that
  // many clients with the same list spread over the servers.
  EndpointHealth(size_t count, Clock* clock, Random* random);

  enum class Policy {
    kSticky,  // always the same one, as long as it answers
    kSpread,  // each call begins with another one
  };
  // All servers, each once.
  std::vector<size_t> Order(Policy policy);
  void Succeeded(size_t endpoint);
  void Failed(size_t endpoint);

 private:
  struct Endpoint {
    int failures = 0;  // in a row
    absl::Time avoid_until = absl::InfinitePast();
  };

  Clock* const clock_;
  absl::Mutex mutex_;
  std::vector<Endpoint> endpoints_ ABSL_GUARDED_BY(mutex_);
  size_t preferred_ ABSL_GUARDED_BY(mutex_);
  size_t next_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace aetherfs

#endif  // AETHERFS_CLIENT_ENDPOINT_HEALTH_H_
