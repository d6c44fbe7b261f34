#ifndef AETHERFS_CACHE_PART_SOURCE_H_
#define AETHERFS_CACHE_PART_SOURCE_H_

#include <functional>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "aetherfs/cache/part.h"

namespace aetherfs {

// Who gave a part to whoever asked.
enum class PartOrigin { kMemory, kDisk, kPeer, kStore };
inline constexpr int kPartOrigins = 4;

// How far a request may go. A server answers its clients with kAnywhere, or with kStore if the part is its
// own to fetch; it answers its peers with kStore or kCached, so that no request makes two hops and no two
// servers ever wait for each other.
enum class PartScope {
  kAnywhere,  // memory, disk, peers, store
  kStore,     // memory, disk, store; perhaps what a peer has in its caches, which waits for nobody
  kCached,    // memory and disk only: UNAVAILABLE if it is in neither, complete
};

// Where parts come from. Thread-safe; never blocks the caller: `done` is called once, in the calling thread
// if the part is at hand, else in a thread of the source's. It is called as soon as the part's size is
// known: its bytes may still be arriving, and may yet fail to arrive. Decorators: memory in front of disk
// in front of peers in front of the store.
class PartSource {
 public:
  virtual ~PartSource() = default;
  using Done = std::function<void(absl::StatusOr<PartPtr>, PartOrigin)>;
  struct Options {
    absl::Time deadline = absl::InfiniteFuture();
    PartScope scope = PartScope::kAnywhere;
    // Fetch again from the store, past all caches and peers, and replace what was kept.
    bool bypass_cache = false;
  };
  // Errors: NOT_FOUND (no such object), OUT_OF_RANGE (no such part), UNAVAILABLE (kCached: not here), and
  // the store's.
  virtual void Get(const PartKey& key, const Options& options, Done done) = 0;
};

}  // namespace aetherfs

#endif  // AETHERFS_CACHE_PART_SOURCE_H_
