// The input as codec, size and stored bytes, as in tests/corpus/frame, and as what a frame holds.

#include <string>

#include "aetherfs/format/block.h"
#include "fuzz/fuzz.h"

using namespace aetherfs;

int LLVMFuzzerTestOneInput(const unsigned char* data, size_t size) {
  static FrameEncoder encoder(3);
  static FrameDecoder decoder;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  Reader reader(bytes);
  const auto codec = static_cast<FrameCodec>(reader.Byte());
  uint32_t raw_size = 0;
  for (int i = 0; i < 4; ++i) raw_size |= uint32_t{reader.Byte()} << (8 * i);
  // Exactly as much room as there may be need for: writing more is seen.
  std::string raw(raw_size <= kMaxFrameSize ? raw_size : 0, '\0');
  const absl::Status status = decoder.Decode(codec, reader.Bytes(reader.remaining()), raw.data(), raw_size);
  FUZZ_CHECK(status.ok() || status.code() == absl::StatusCode::kDataLoss);

  if (bytes.empty() || size > kMaxFrameSize) return 0;
  const EncodedFrame frame = encoder.Encode(bytes);
  const std::string_view stored = frame.codec == FrameCodec::kRaw ? bytes : frame.stored;
  FUZZ_CHECK(stored.size() <= size);
  std::string back(size, '\0');
  FUZZ_CHECK(decoder.Decode(frame.codec, stored, back.data(), size).ok() && back == bytes);
  return 0;
}
