// What DecodeBlockIndex accepts is exactly what BlockBuilder writes. The checksum is put right first, so
// that the fuzzer gets behind it.

#include <string>

#include "aetherfs/base/sha256.h"
#include "aetherfs/format/block.h"
#include "fuzz/fuzz.h"

using namespace aetherfs;

namespace {

constexpr size_t kHeaderSize = 16;
constexpr size_t kFooterSize = 32;

std::string WithChecksum(std::string block) {
  if (block.size() < kHeaderSize + kFooterSize) return block;
  Reader footer(std::string_view(block).substr(block.size() - kFooterSize));
  const uint64_t offset = footer.Fixed64();
  const size_t checksum = block.size() - 16;
  if (offset > checksum) return block;
  Sha256 hash;
  hash.Update(std::string_view(block).substr(0, kHeaderSize));
  hash.Update(std::string_view(block).substr(offset, checksum - offset));
  return block.replace(checksum, 8, hash.Finish().bytes().substr(0, 8));
}

}  // namespace

int LLVMFuzzerTestOneInput(const unsigned char* data, size_t size) {
  const std::string block = WithChecksum(std::string(reinterpret_cast<const char*>(data), size));
  const auto index = DecodeBlockIndex(block);
  if (!index.ok()) {
    FUZZ_CHECK(index.status().code() == absl::StatusCode::kDataLoss);
    return 0;
  }
  BlockBuilder builder(index->epoch);
  for (const BlockIndex::Frame& frame : index->frames) {
    const uint64_t offset =
        builder.AddFrame(frame.codec, std::string_view(block).substr(frame.offset, frame.stored_size),
                         frame.raw_size, frame.chunks);
    FUZZ_CHECK(offset == frame.offset);
  }
  FUZZ_CHECK(builder.FinishedSize() == block.size());
  FUZZ_CHECK(std::move(builder).Finish() == block);
  return 0;
}
