// The input as the beginning of a file of the disk cache, as it is and with its header's checksum put
// right.

#include <xxhash.h>

#include <string>

#include "aetherfs/cache/part_file.h"
#include "aetherfs/format/codec.h"
#include "fuzz/fuzz.h"

using namespace aetherfs;

namespace {

void Check(const std::string& bytes) {
  const auto decoded = DecodePartFileHeader(bytes);
  if (!decoded.ok()) return;
  // What was read is what is written.
  FUZZ_CHECK(EncodePartFileHeader(decoded->header) == bytes.substr(0, decoded->size));
  FUZZ_CHECK(decoded->size == PartFileHeaderSize(decoded->header.key));
  const uint64_t part_size = decoded->header.part_size();
  FUZZ_CHECK(part_size > 0 && part_size <= kPartSize);
}

}  // namespace

int LLVMFuzzerTestOneInput(const unsigned char* data, size_t size) {
  const std::string bytes(reinterpret_cast<const char*>(data), size);
  Check(bytes);
  if (size < sizeof(uint64_t)) return 0;
  Writer sealed;
  sealed.Bytes(std::string_view(bytes).substr(0, size - sizeof(uint64_t)));
  sealed.Fixed64(XXH3_64bits(sealed.bytes().data(), sealed.size()));
  Check(sealed.bytes());
  return 0;
}
