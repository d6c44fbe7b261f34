#include <zstd.h>

#include <algorithm>
#include <bit>
#include <new>

#include "aetherfs/base/status.h"
#include "aetherfs/format/delta.h"
#include "fmt/format.h"

namespace aetherfs {
namespace {

// What zstd's tables may take, as a power of two of 4-byte entries: at level 19 it would be 64 MiB for
// 8 MiB of input, and finds hardly more.
constexpr int kMaxHashLog = 21;
constexpr int kMaxChainLog = 22;

absl::Status Malformed(std::string_view why) {
  return absl::DataLossError(fmt::format("decompressing a patch: {}", why));
}

}  // namespace

PatchEncoder::PatchEncoder() : context_(ZSTD_createCCtx()) {
  if (context_ == nullptr) throw std::bad_alloc();
}

std::string PatchEncoder::Encode(std::string_view prefix, std::string_view raw, int level) {
  ZSTD_CCtx* const context = context_.get();
  ZSTD_CCtx_reset(context, ZSTD_reset_session_and_parameters);
  const size_t size = prefix.size() + raw.size();
  const ZSTD_compressionParameters chosen = ZSTD_getCParams(level, size, 0);
  // The window reaches from the end of `raw` to the beginning of the prefix.
  const int window_log = std::clamp(static_cast<int>(std::bit_width(size)), 10, ZSTD_WINDOWLOG_MAX_64);
  ZSTD_CCtx_setParameter(context, ZSTD_c_compressionLevel, level);
  ZSTD_CCtx_setParameter(context, ZSTD_c_windowLog, window_log);
  ZSTD_CCtx_setParameter(context, ZSTD_c_hashLog, std::min<int>(chosen.hashLog, kMaxHashLog));
  ZSTD_CCtx_setParameter(context, ZSTD_c_chainLog, std::min<int>(chosen.chainLog, kMaxChainLog));
  ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, 0);  // every chunk has a digest
  if (!prefix.empty()) {
    ZSTD_CCtx_setParameter(context, ZSTD_c_enableLongDistanceMatching, 1);
    ZSTD_CCtx_refPrefix(context, prefix.data(), prefix.size());
  }
  std::string stored(ZSTD_compressBound(raw.size()), '\0');
  const size_t stored_size = ZSTD_compress2(context, stored.data(), stored.size(), raw.data(), raw.size());
  if (ZSTD_isError(stored_size)) throw std::bad_alloc();  // the only thing that can go wrong
  stored.resize(stored_size);
  return stored;
}

PatchDecoder::PatchDecoder() : context_(ZSTD_createDCtx()) {
  if (context_ == nullptr) throw std::bad_alloc();
}

absl::Status PatchDecoder::Decode(std::string_view prefix, std::string_view stored, char* raw,
                                  size_t raw_size) {
  if (ZSTD_findFrameCompressedSize(stored.data(), stored.size()) != stored.size()) {
    return Malformed("it is not one whole zstd frame");
  }
  ZSTD_DCtx_reset(context_.get(), ZSTD_reset_session_only);
  ZSTD_DCtx_refPrefix(context_.get(), prefix.data(), prefix.size());
  const size_t size = ZSTD_decompressDCtx(context_.get(), raw, raw_size, stored.data(), stored.size());
  if (ZSTD_isError(size)) return Malformed(ZSTD_getErrorName(size));
  if (size != raw_size) return Malformed("it is shorter than it must be");
  return absl::OkStatus();
}

}  // namespace aetherfs
