#ifndef AETHERFS_BASE_BYTE_RANGE_H_
#define AETHERFS_BASE_BYTE_RANGE_H_

#include <cstdint>

namespace aetherfs {

// Half-open: the `size` bytes from `offset` on.
struct ByteRange {
  uint64_t offset = 0;
  uint64_t size = 0;

  uint64_t end() const { return offset + size; }
  friend bool operator==(const ByteRange&, const ByteRange&) = default;
};

}  // namespace aetherfs

#endif  // AETHERFS_BASE_BYTE_RANGE_H_
