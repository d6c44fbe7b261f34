// The input as an object, and as what an object holds.

#include "aetherfs/base/sha256.h"
#include "aetherfs/format/manifest.h"
#include "fuzz/fuzz.h"

using namespace aetherfs;

int LLVMFuzzerTestOneInput(const unsigned char* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const auto decoded = DecodeManifestObject(bytes, Digest());
  FUZZ_CHECK(decoded.status().code() == absl::StatusCode::kDataLoss);  // nothing has that digest
  const auto back = DecodeManifestObject(EncodeManifestObject(bytes), Sha256::Of(bytes));
  FUZZ_CHECK(back.ok() && *back == bytes);
  return 0;
}
