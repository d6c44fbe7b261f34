#ifndef AETHERFS_CACHE_PART_FILE_H_
#define AETHERFS_CACHE_PART_FILE_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "aetherfs/cache/part.h"

namespace aetherfs {

// What stands in front of a part's bytes in a file of the disk cache (docs/formats/disk-cache.md).
struct PartFileHeader {
  PartKey key;
  uint64_t object_size = 0;
  uint64_t checksum = 0;  // XXH3-64 of the part's bytes

  // Of a header that can be decoded.
  uint64_t part_size() const { return std::min(kPartSize, object_size - key.index * kPartSize); }
  friend bool operator==(const PartFileHeader&, const PartFileHeader&) = default;
};

inline constexpr size_t kMaxPartFileKey = 1024;
// No header is longer: 32 bytes, the key's size, the key, a checksum. None is shorter than with a key of 1
// byte.
inline constexpr size_t kMaxPartFileHeader = 32 + 2 + kMaxPartFileKey + 8;
inline constexpr size_t kMinPartFileHeader = 32 + 1 + 1 + 8;

// `header` must be one that can be decoded.
std::string EncodePartFileHeader(const PartFileHeader& header);
// How long the header of this part is.
size_t PartFileHeaderSize(const PartKey& key);

// A header, and how long it is: the part's bytes follow.
struct DecodedPartFileHeader {
  PartFileHeader header;
  size_t size = 0;
};
// `bytes` are the beginning of a file, at least kMaxPartFileHeader of it or the whole header. DATA_LOSS,
// saying what is wrong, if no header stands there.
absl::StatusOr<DecodedPartFileHeader> DecodePartFileHeader(std::string_view bytes);

}  // namespace aetherfs

#endif  // AETHERFS_CACHE_PART_FILE_H_
