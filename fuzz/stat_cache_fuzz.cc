// The input as a stat cache, its checksum put right first.

#include <string>

#include "aetherfs/base/sha256.h"
#include "aetherfs/client/stat_cache.h"
#include "fuzz/fuzz.h"

using namespace aetherfs;

namespace {

// As docs/formats/stat-cache.md has it, for a body of at most 64 KiB.
std::string Sealed(std::string_view body) {
  return std::string(body).append(Sha256::Of(Sha256::Of(body.substr(0, 65536)).bytes()).bytes());
}

}  // namespace

int LLVMFuzzerTestOneInput(const unsigned char* data, size_t size) {
  static const DatasetName dataset = *DatasetName::Parse("geo/city");
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  if (size < Digest::kSize) return 0;
  const std::string sealed = Sealed(bytes.substr(0, size - Digest::kSize));
  const auto cache = StatCache::Decode(sealed, dataset, "/data");
  if (!cache.has_value()) return 0;
  // What was read is what is written, and a scan of any tree can be held against it.
  FUZZ_CHECK(cache->Encode(dataset, "/data") == sealed);
  std::vector<ScannedEntry> scanned(3);
  scanned[0].path = "a";
  scanned[1].path = "a/b";
  scanned[2].path = "z";
  const auto comparison = cache->Compare(scanned);
  FUZZ_CHECK(comparison.unchanged.size() == scanned.size());
  for (const uint32_t index : comparison.unchanged) {
    FUZZ_CHECK(index == StatCache::Comparison::kChanged || index < cache->sizes.size());
  }
  return 0;
}
