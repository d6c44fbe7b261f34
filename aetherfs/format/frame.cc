#include <zstd.h>

#include <cassert>
#include <cstring>
#include <new>

#include "aetherfs/base/status.h"
#include "aetherfs/format/block.h"
#include "fmt/format.h"

namespace aetherfs {
namespace {

absl::Status Malformed(std::string_view why) {
  return absl::DataLossError(fmt::format("decompressing a frame: {}", why));
}

}  // namespace

void ZstdDeleter::operator()(ZSTD_CCtx_s* context) const { ZSTD_freeCCtx(context); }
void ZstdDeleter::operator()(ZSTD_DCtx_s* context) const { ZSTD_freeDCtx(context); }

FrameEncoder::FrameEncoder(int level) : context_(ZSTD_createCCtx()) {
  if (context_ == nullptr) throw std::bad_alloc();
  ZSTD_CCtx_setParameter(context_.get(), ZSTD_c_compressionLevel, level);
  ZSTD_CCtx_setParameter(context_.get(), ZSTD_c_checksumFlag, 0);  // every chunk has a digest
}

EncodedFrame FrameEncoder::Encode(std::string_view raw) {
  assert(!raw.empty() && raw.size() <= kMaxFrameSize);
  // Room for what is worth it and no more: zstd gives up when it runs out.
  const size_t most = raw.size() - raw.size() / 32 - 1;
  EncodedFrame frame;
  frame.stored.resize(most);
  const size_t size = ZSTD_compress2(context_.get(), frame.stored.data(), most, raw.data(), raw.size());
  if (ZSTD_isError(size)) {
    frame.stored = std::string();
    return frame;
  }
  frame.codec = FrameCodec::kZstd;
  frame.stored.resize(size);
  return frame;
}

FrameDecoder::FrameDecoder() : context_(ZSTD_createDCtx()) {
  if (context_ == nullptr) throw std::bad_alloc();
}

absl::Status FrameDecoder::Decode(FrameCodec codec, std::string_view stored, char* raw, size_t raw_size) {
  if (raw_size == 0 || raw_size > kMaxFrameSize) return Malformed("its size is out of range");
  switch (codec) {
    case FrameCodec::kRaw:
      if (stored.size() != raw_size) return Malformed("it is stored raw in another size");
      std::memcpy(raw, stored.data(), raw_size);
      return absl::OkStatus();
    case FrameCodec::kZstd: {
      if (ZSTD_findFrameCompressedSize(stored.data(), stored.size()) != stored.size()) {
        return Malformed("it is not one whole zstd frame");
      }
      const size_t size = ZSTD_decompressDCtx(context_.get(), raw, raw_size, stored.data(), stored.size());
      if (ZSTD_isError(size)) return Malformed(ZSTD_getErrorName(size));
      if (size != raw_size) return Malformed("it is shorter than it must be");
      return absl::OkStatus();
    }
  }
  return Malformed("its codec is unknown");
}

}  // namespace aetherfs
