// What DecodeManifest accepts is exactly what EncodeManifest writes, and canonical already.

#include "aetherfs/format/manifest.h"
#include "fuzz/fuzz.h"

using namespace aetherfs;

int LLVMFuzzerTestOneInput(const unsigned char* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const auto manifest = DecodeManifest(bytes);
  if (!manifest.ok()) {
    FUZZ_CHECK(manifest.status().code() == absl::StatusCode::kDataLoss);
    return 0;
  }
  FUZZ_CHECK(EncodeManifest(*manifest) == bytes);
  const auto canonical = Canonicalize(*manifest);
  FUZZ_CHECK(canonical.ok() && *canonical == *manifest);
  uint64_t total = 0;
  for (const Manifest::Entry& entry : manifest->entries) {
    FUZZ_CHECK(ValidatePath(entry.path).ok());
    for (const uint32_t ref : manifest->RefsOf(entry)) total += manifest->chunks[ref].size;
  }
  FUZZ_CHECK(total == manifest->TotalBytes());
  return 0;
}
