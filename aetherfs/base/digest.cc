#include "aetherfs/base/digest.h"

#include <algorithm>

#include "aetherfs/base/status.h"
#include "fmt/format.h"

namespace aetherfs {
namespace {

constexpr std::string_view kPrefix = "sha256:";

int HexValue(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

}  // namespace

absl::StatusOr<Digest> Digest::FromBytes(std::string_view bytes) {
  if (bytes.size() != kSize) {
    return absl::InvalidArgumentError(fmt::format("a digest has {} bytes, not {}", kSize, bytes.size()));
  }
  Digest digest;
  std::copy(bytes.begin(), bytes.end(), digest.bytes_.begin());
  return digest;
}

absl::StatusOr<Digest> Digest::Parse(std::string_view text) {
  if (!text.starts_with(kPrefix)) {
    return absl::InvalidArgumentError(
        fmt::format("digest '{}' does not begin with 'sha256:'", Printable(text)));
  }
  return ParseHex(text.substr(kPrefix.size()));
}

absl::StatusOr<Digest> Digest::ParseHex(std::string_view hex) {
  Digest digest;
  bool valid = hex.size() == 2 * kSize;
  for (size_t i = 0; valid && i < kSize; ++i) {
    const int high = HexValue(hex[2 * i]);
    const int low = HexValue(hex[2 * i + 1]);
    valid = high >= 0 && low >= 0;
    digest.bytes_[i] = static_cast<uint8_t>((high << 4) | (low & 15));
  }
  if (!valid) {
    return absl::InvalidArgumentError(
        fmt::format("digest '{}' does not have 64 hexadecimal digits", Printable(hex)));
  }
  return digest;
}

std::string Digest::Hex() const {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string out(2 * kSize, '0');
  for (size_t i = 0; i < kSize; ++i) {
    out[2 * i] = kDigits[bytes_[i] >> 4];
    out[2 * i + 1] = kDigits[bytes_[i] & 15];
  }
  return out;
}

std::string Digest::ToString() const { return std::string(kPrefix) + Hex(); }

}  // namespace aetherfs
