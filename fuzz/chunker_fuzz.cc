// Every kernel cuts where the specification says, however the bytes come.

#include <algorithm>
#include <string>
#include <vector>

#include "aetherfs/format/chunker.h"
#include "aetherfs/format/gear.h"
#include "fuzz/fuzz.h"

using namespace aetherfs;

namespace {

constexpr ChunkerParameters kParameters = {.min_size = 64, .average_size = 256, .max_size = 16384};

uint32_t Fingerprint(std::string_view data, size_t end) {
  uint32_t sum = 0;
  for (size_t i = 0; i < kGearWindow; ++i) {
    const auto byte = static_cast<uint8_t>(data[end - 1 - i]);
    sum += (kGearTables.low[byte % 16] + kGearTables.high[byte / 16]) << i;
  }
  return sum;
}

size_t ReferenceCut(std::string_view data) {
  const size_t limit = std::min<size_t>(data.size(), kParameters.max_size);
  for (size_t size = kParameters.min_size; size < limit; ++size) {
    if (Fingerprint(data, size) >> (size < kParameters.average_size ? 32 - 10 : 32 - 6) == 0) return size;
  }
  return limit;
}

}  // namespace

int LLVMFuzzerTestOneInput(const unsigned char* data, size_t size) {
  if (size == 0) return 0;
  // The first byte says how the rest comes; repeating it makes chunks long enough for a kernel.
  const size_t piece = 50 + 97 * size_t{data[0]};
  std::string file;
  while (file.size() < 9000) file.append(reinterpret_cast<const char*>(data), size);

  Chunker chunker(kParameters);
  Chunker growing(kParameters);
  for (std::string_view rest = file; !rest.empty();) {
    const size_t expected = ReferenceCut(rest);
    FUZZ_CHECK(chunker.NextCut(rest, true) == expected);
    size_t known = std::min(piece, rest.size());
    size_t cut = 0;
    while ((cut = growing.NextCut(rest.substr(0, known), known == rest.size())) == 0) {
      FUZZ_CHECK(known < rest.size());
      known = std::min(known + piece, rest.size());
    }
    FUZZ_CHECK(cut == expected);
    rest.remove_prefix(cut);
  }

  const auto* bytes = reinterpret_cast<const uint8_t*>(file.data());
  for (const uint32_t threshold : {1u << 16, 1u << 20, 1u << 26}) {
    FUZZ_CHECK(FindGearBelow(ChooseGearMinimaKernel(), bytes, kGearWindow, file.size(), threshold) ==
               FindGearBelow(nullptr, bytes, kGearWindow, file.size(), threshold));
  }
  return 0;
}
