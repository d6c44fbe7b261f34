#ifndef AETHERFS_CACHE_TESTING_ANY_PART_SOURCE_H_
#define AETHERFS_CACHE_TESTING_ANY_PART_SOURCE_H_

#include <algorithm>
#include <atomic>
#include <string>
#include <utility>

#include "absl/synchronization/notification.h"
#include "aetherfs/cache/part_source.h"
#include "aetherfs/cache/testing/held_part_source.h"

namespace aetherfs {

// Any part, at once: its bytes tell key and version. Thread-safe, but for what is set.
class AnyPartSource : public PartSource {
 public:
  void Get(const PartKey& key, const Options& options, Done done) override {
    ++count;
    if (options.bypass_cache) ++bypassed;
    done(PartPtr(WholePart(Bytes(key), object_size)), origin);
  }
  std::string Bytes(const PartKey& key) const {
    const uint64_t size = std::min(kPartSize, object_size - key.index * kPartSize);
    const std::string pattern =
        key.object_key + "/" + std::to_string(key.index) + "/" + std::to_string(version) + " ";
    std::string bytes;
    while (bytes.size() < size) bytes += pattern;
    bytes.resize(size);
    return bytes;
  }

  std::atomic<int> count = 0;
  std::atomic<int> bypassed = 0;
  std::atomic<uint64_t> object_size = 1000;
  std::atomic<int> version = 1;
  PartOrigin origin = PartOrigin::kStore;
};

struct GivenPart {
  absl::StatusOr<PartPtr> part;
  PartOrigin origin = PartOrigin::kStore;
  std::string bytes() const { return part.ok() ? std::string((*part)->bytes()) : part.status().ToString(); }
};

inline GivenPart GetPart(PartSource& source, const PartKey& key, const PartSource::Options& options = {}) {
  GivenPart given;
  absl::Notification called;
  source.Get(key, options, [&](absl::StatusOr<PartPtr> part, PartOrigin origin) {
    given = {std::move(part), origin};
    called.Notify();
  });
  called.WaitForNotification();
  return given;
}

}  // namespace aetherfs

#endif  // AETHERFS_CACHE_TESTING_ANY_PART_SOURCE_H_
