#ifndef AETHERFS_FORMAT_CODEC_H_
#define AETHERFS_FORMAT_CODEC_H_

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

#include "aetherfs/base/digest.h"

namespace aetherfs {

// The primitives of all formats: integers of fixed width are little-endian; varints are LEB128 (seven bits
// a byte, least significant first) in as few bytes as possible.

inline uint64_t ZigZag(int64_t value) {
  return (static_cast<uint64_t>(value) << 1) ^ static_cast<uint64_t>(value >> 63);
}
inline int64_t UnZigZag(uint64_t value) { return static_cast<int64_t>((value >> 1) ^ (0 - (value & 1))); }

inline size_t VarintSize(uint64_t value) {
  size_t size = 1;
  for (; value >= 0x80; value >>= 7) ++size;
  return size;
}

// Appends to a string of its own.
class Writer {
 public:
  void Reserve(size_t size) { bytes_.reserve(size); }
  size_t size() const { return bytes_.size(); }

  void Byte(uint8_t value) { bytes_.push_back(static_cast<char>(value)); }
  void Bytes(std::string_view bytes) { bytes_.append(bytes); }
  void Put(const Digest& digest) { bytes_.append(digest.bytes()); }
  void Varint(uint64_t value) {
    char buffer[10];
    size_t size = 0;
    for (; value >= 0x80; value >>= 7) buffer[size++] = static_cast<char>(value | 0x80);
    buffer[size++] = static_cast<char>(value);
    bytes_.append(buffer, size);
  }
  void Fixed64(uint64_t value) {
    char buffer[8];
    for (char& byte : buffer) {
      byte = static_cast<char>(value);
      value >>= 8;
    }
    bytes_.append(buffer, sizeof(buffer));
  }

  const std::string& bytes() const { return bytes_; }
  std::string Take() && { return std::move(bytes_); }

 private:
  std::string bytes_;
};

// Reads untrusted bytes. The first failure sticks: every read after it yields zero or nothing, so a caller
// may check ok() once behind a group of reads, but before it trusts a count. Never reads outside `bytes`,
// which must outlive the reader and every string_view taken from it.
class Reader {
 public:
  explicit Reader(std::string_view bytes) : next_(bytes.data()), end_(bytes.data() + bytes.size()) {}

  bool ok() const { return problem_ == nullptr; }
  // What went wrong first; nullptr if nothing did. A string literal.
  const char* problem() const { return problem_; }
  size_t remaining() const { return static_cast<size_t>(end_ - next_); }

  void Fail(const char* problem) {
    if (problem_ == nullptr) problem_ = problem;
    next_ = end_;
  }

  uint8_t Byte() {
    if (next_ == end_) return Fail("it is cut short"), uint8_t{0};
    return static_cast<uint8_t>(*next_++);
  }

  std::string_view Bytes(size_t size) {
    if (size > remaining()) return Fail("it is cut short"), std::string_view();
    const std::string_view bytes(next_, size);
    next_ += size;
    return bytes;
  }

  Digest ReadDigest() {
    Digest digest;
    const std::string_view bytes = Bytes(Digest::kSize);
    if (!bytes.empty()) std::memcpy(digest.data(), bytes.data(), Digest::kSize);
    return digest;
  }

  uint64_t Fixed64() {
    const std::string_view bytes = Bytes(8);
    uint64_t value = 0;
    for (size_t i = bytes.size(); i-- > 0;) value = value << 8 | static_cast<uint8_t>(bytes[i]);
    return value;
  }

  uint64_t Varint() {
    uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      const uint8_t byte = Byte();
      const uint64_t bits = byte & 0x7f;
      if (shift == 63 && bits > 1) return Fail("a number has more than 64 bits"), uint64_t{0};
      value |= bits << shift;
      if (byte < 0x80) {
        if (byte == 0 && shift > 0) return Fail("a number is longer than it need be"), uint64_t{0};
        return value;
      }
    }
    return Fail("a number has more than 64 bits"), uint64_t{0};
  }

  // A varint in [least, most]; `problem` is what is said otherwise.
  uint64_t Varint(uint64_t least, uint64_t most, const char* problem) {
    const uint64_t value = Varint();
    if (value < least || value > most) return Fail(problem), uint64_t{0};
    return value;
  }

  // How many items follow, each of which takes at least `item_size` bytes: never more than can be there.
  uint64_t Count(size_t item_size) {
    const uint64_t count = Varint();
    if (count > remaining() / item_size) return Fail("a count is larger than what follows"), uint64_t{0};
    return count;
  }

 private:
  const char* next_;
  const char* end_;
  const char* problem_ = nullptr;
};

}  // namespace aetherfs

#endif  // AETHERFS_FORMAT_CODEC_H_
