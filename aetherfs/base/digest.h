#ifndef AETHERFS_BASE_DIGEST_H_
#define AETHERFS_BASE_DIGEST_H_

#include <array>
#include <compare>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace aetherfs {

// A SHA-256 digest (FIPS 180-4): the name of every immutable thing. A value; freely copied.
class Digest {
 public:
  static constexpr size_t kSize = 32;

  // All zero: the digest of nothing that exists.
  Digest() = default;
  explicit Digest(const std::array<uint8_t, kSize>& bytes) : bytes_(bytes) {}

  // Exactly 32 raw bytes, or INVALID_ARGUMENT.
  static absl::StatusOr<Digest> FromBytes(std::string_view bytes);
  // "sha256:" and 64 hexadecimal digits of either case, or INVALID_ARGUMENT.
  static absl::StatusOr<Digest> Parse(std::string_view text);
  // 64 hexadecimal digits, or INVALID_ARGUMENT.
  static absl::StatusOr<Digest> ParseHex(std::string_view hex);

  std::string Hex() const;
  // "sha256:" and 64 lower-case hexadecimal digits.
  std::string ToString() const;
  // The first 12 hexadecimal digits, for people.
  std::string Short() const { return Hex().substr(0, 12); }

  std::string_view bytes() const { return {reinterpret_cast<const char*>(bytes_.data()), bytes_.size()}; }
  uint8_t* data() { return bytes_.data(); }
  const uint8_t* data() const { return bytes_.data(); }
  bool is_zero() const { return *this == Digest(); }

  friend bool operator==(const Digest&, const Digest&) = default;
  friend auto operator<=>(const Digest&, const Digest&) = default;

  template <typename H>
  friend H AbslHashValue(H h, const Digest& d) {
    uint64_t word;  // The digest is uniform: eight of its bytes are as good as all.
    std::memcpy(&word, d.bytes_.data(), sizeof(word));
    return H::combine(std::move(h), word);
  }

 private:
  std::array<uint8_t, kSize> bytes_{};
};

}  // namespace aetherfs

#endif  // AETHERFS_BASE_DIGEST_H_
