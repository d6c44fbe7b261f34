#include "aetherfs/format/paths.h"

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>

#include "aetherfs/base/status.h"
#include "aetherfs/base/utf8.h"
#include "aetherfs/format/manifest.h"
#include "fmt/format.h"

namespace aetherfs {
namespace {

constexpr size_t kMaxComponentSize = 255;

// '/' before every byte.
int Rank(char c) { return c == '/' ? -1 : static_cast<uint8_t>(c); }

const char* ComponentProblem(std::string_view component) {
  if (component.empty()) return "has an empty component, or a slash at an end";
  if (component == "." || component == "..") return "has a '.' or '..' component";
  if (component.size() > kMaxComponentSize) return "has a component of more than 255 bytes";
  bool ascii = true;
  for (const char c : component) {
    if (c == '\0') return "has a NUL byte";
    ascii &= static_cast<uint8_t>(c) < 0x80;
  }
  return ascii || IsUtf8(component) ? nullptr : "is not UTF-8";
}

}  // namespace

size_t CommonPrefixSize(std::string_view a, std::string_view b) {
  static_assert(std::endian::native == std::endian::little);
  const size_t limit = std::min(a.size(), b.size());
  size_t size = 0;
  for (; size + 8 <= limit; size += 8) {
    uint64_t x, y;
    std::memcpy(&x, a.data() + size, 8);
    std::memcpy(&y, b.data() + size, 8);
    if (x != y) return size + static_cast<size_t>(std::countr_zero(x ^ y)) / 8;
  }
  while (size < limit && a[size] == b[size]) ++size;
  return size;
}

int ComparePaths(std::string_view a, std::string_view b) {
  const size_t common = CommonPrefixSize(a, b);
  if (common == a.size()) return common == b.size() ? 0 : -1;
  if (common == b.size()) return 1;
  return Rank(a[common]) - Rank(b[common]);
}

const char* PathProblem(std::string_view path, size_t from) {
  if (path.empty()) return "is empty";
  if (path.size() > kMaxPathSize) return "has more than 4096 bytes";
  size_t begin = from == 0 ? std::string_view::npos : path.rfind('/', from - 1);
  begin = begin == std::string_view::npos ? 0 : begin + 1;
  while (true) {
    const size_t end = path.find('/', begin);
    if (const char* problem = ComponentProblem(path.substr(begin, end - begin))) return problem;
    if (end == std::string_view::npos) return nullptr;
    begin = end + 1;
  }
}

absl::Status ValidatePath(std::string_view path) {
  const char* problem = PathProblem(path, 0);
  if (problem == nullptr) return absl::OkStatus();
  return absl::InvalidArgumentError(fmt::format("path '{}' {}", Printable(path), problem));
}

}  // namespace aetherfs
