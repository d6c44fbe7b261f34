#ifndef AETHERFS_CLIENT_PATCH_EFFORT_H_
#define AETHERFS_CLIENT_PATCH_EFFORT_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "aetherfs/base/clock.h"
#include "aetherfs/format/delta.h"

namespace aetherfs {

// For how long the patches of a delta may be made if so many bytes are fresh and the rest of the publish
// took `rest`. Small changes get nearly a second, so that they get the best there is; large ones must not
// make a publish take twice as long. Pure.
absl::Duration PatienceFor(uint64_t fresh_bytes, absl::Duration rest);

// How hard a delta's patches are tried. Every patch is made in the fastest way, whatever time that takes;
// then, as long as there is time, in slower ways, and the smallest result is taken. A way is tried only if
// there is time left for all faster ones for all patches that are not begun yet, at the pace that was seen
// so far.
//
// Thread-safe; one for each delta, shared by all who make its patches.
class PatchEffort {
 public:
  // From fastest to slowest. What a way finds depends on the data: the second and third have no order.
  enum Way { kFastest, kLongMatches, kFineMatches, kBest };
  static constexpr size_t kWays = 4;

  // Patches of `bytes` together, their bases included, are made by that many threads. The time begins now.
  PatchEffort(Clock* clock, absl::Duration patience, size_t threads, uint64_t bytes);

  // Who is about to make a patch says how many bytes it has, before any of them is read, and passes on when
  // that was.
  absl::Time Begin(uint64_t bytes);

  // The smallest that was found, of at most `most` bytes; else empty. `hopeless`: what blocks can't
  // compress is tried in the fastest way only, which finds long matches as well as any.
  std::string Encode(PatchEncoder& encoder, std::string_view prefix, std::string_view raw, size_t most,
                     bool hopeless, absl::Time begun);

 private:
  // Whether `way` may be taken for a patch of that size.
  bool MayTry(Way way, double mib) const;
  void Took(Way way, double mib, absl::Duration time);

  Clock* const clock_;
  const absl::Time until_;
  const double threads_;
  mutable absl::Mutex mutex_;
  double left_mib_ ABSL_GUARDED_BY(mutex_);  // of patches that are not begun
  // For one MiB of base and result; the fastest way's includes reading them.
  std::array<absl::Duration, kWays> pace_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace aetherfs

#endif  // AETHERFS_CLIENT_PATCH_EFFORT_H_
