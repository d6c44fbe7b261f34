#ifndef AETHERFS_BASE_RANDOM_H_
#define AETHERFS_BASE_RANDOM_H_

#include <cstdint>
#include <string>

#include "absl/time/time.h"

namespace aetherfs {

// Where chance comes from, so that a test can script it. Thread-safe.
class Random {
 public:
  virtual ~Random() = default;
  virtual uint64_t Next() = 0;

  // Uniform in [0, bound); bound > 0.
  uint64_t Below(uint64_t bound) { return Next() % bound; }
  // Uniform in [0, most]: "full jitter".
  absl::Duration Jitter(absl::Duration most);
  // `size` random bytes.
  std::string Bytes(size_t size);

  // Seeded by the system. Lives for ever.
  static Random* System();
};

// How long to wait before attempt `attempt` (0 for the first retry): full jitter over a range that doubles
// from `initial` up to `most`.
absl::Duration BackoffDelay(int attempt, absl::Duration initial, absl::Duration most, Random& random);

}  // namespace aetherfs

#endif  // AETHERFS_BASE_RANDOM_H_
