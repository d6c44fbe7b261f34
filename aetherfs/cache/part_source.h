#ifndef AETHERFS_CACHE_PART_SOURCE_H_
#define AETHERFS_CACHE_PART_SOURCE_H_

#include <compare>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace aetherfs {

// Objects are cached in parts: aligned pieces of kPartSize bytes, the last one shorter.
inline constexpr uint64_t kPartSize = 4 * 1024 * 1024;

struct PartKey {
  std::string object_key;  // in the object store
  uint64_t index = 0;      // the part covers [index * kPartSize, …)
  friend bool operator==(const PartKey&, const PartKey&) = default;
  friend auto operator<=>(const PartKey&, const PartKey&) = default;
  template <typename H>
  friend H AbslHashValue(H h, const PartKey& k) {
    return H::combine(std::move(h), k.object_key, k.index);
  }
};

// The bytes of one part. Immutable, shared; whoever holds a pointer keeps the bytes alive.
class Part {
 public:
  virtual ~Part() = default;
  virtual std::string_view bytes() const = 0;
  virtual uint64_t object_size() const = 0;  // of the whole object
};
using PartPtr = std::shared_ptr<const Part>;

enum class PartOrigin { kMemory, kStore };

// Where parts come from. Thread-safe; never blocks the caller: `done` is called once, in the calling
// thread if the part is at hand, else in a thread of the source's pool. Decorators: a cache in front of a
// store; later a disk tier and the peers.
class PartSource {
 public:
  virtual ~PartSource() = default;
  using Done = std::function<void(absl::StatusOr<PartPtr>, PartOrigin)>;
  struct Options {
    absl::Time deadline = absl::InfiniteFuture();
    bool bypass_cache = false;  // fetch again from the origin, and replace what was kept
  };
  // Errors: NOT_FOUND (no such object), OUT_OF_RANGE (no such part), and the store's.
  virtual void Get(const PartKey& key, const Options& options, Done done) = 0;
};

}  // namespace aetherfs

#endif  // AETHERFS_CACHE_PART_SOURCE_H_
