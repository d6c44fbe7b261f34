#include <zstd.h>

#include <algorithm>
#include <bit>
#include <new>

#include "aetherfs/base/status.h"
#include "aetherfs/format/delta.h"
#include "fmt/format.h"

namespace aetherfs {
namespace {

// From this level on zstd would take tables of 64 MiB and more for some megabytes of input; these powers of
// two of 4-byte entries find hardly less. Tables of that size see all of a patch and its base, so matching
// at a long distance, which would take the finer matches' place, is for the levels below.
constexpr int kFirstBoundedLevel = 10;
constexpr int kMaxHashLog = 22;
constexpr int kMaxChainLog = 22;
// Up to this level zstd's tables see a few hundred kilobytes; these see some megabytes, for a fifth of time
// more.
constexpr int kLastFastLevel = 4;
constexpr int kFastLog = 20;
constexpr int kMinWindowLog = 10;
constexpr int kMaxWindowLog = 31;

absl::Status Malformed(std::string_view why) {
  return absl::DataLossError(fmt::format("decompressing a patch: {}", why));
}

}  // namespace

PatchEncoder::PatchEncoder() : context_(ZSTD_createCCtx()) {
  if (context_ == nullptr) throw std::bad_alloc();
}

std::string PatchEncoder::Encode(std::string_view prefix, std::string_view raw, int level,
                                 bool long_distance, size_t most) {
  ZSTD_CCtx* const context = context_.get();
  ZSTD_CCtx_reset(context, ZSTD_reset_session_and_parameters);
  const size_t size = prefix.size() + raw.size();
  // The window reaches from the end of `raw` to the beginning of the prefix.
  const int size_log = static_cast<int>(std::bit_width(size));
  ZSTD_CCtx_setParameter(context, ZSTD_c_compressionLevel, level);
  ZSTD_CCtx_setParameter(context, ZSTD_c_windowLog, std::clamp(size_log, kMinWindowLog, kMaxWindowLog));
  if (level >= kFirstBoundedLevel) {
    ZSTD_CCtx_setParameter(context, ZSTD_c_hashLog, std::clamp(size_log, kMinWindowLog, kMaxHashLog));
    ZSTD_CCtx_setParameter(context, ZSTD_c_chainLog, std::clamp(size_log + 1, kMinWindowLog, kMaxChainLog));
  } else if (level <= kLastFastLevel) {
    ZSTD_CCtx_setParameter(context, ZSTD_c_hashLog, std::clamp(size_log, kMinWindowLog, kFastLog));
    ZSTD_CCtx_setParameter(context, ZSTD_c_chainLog, std::clamp(size_log, kMinWindowLog, kFastLog));
  }
  if (long_distance && !prefix.empty()) {
    ZSTD_CCtx_setParameter(context, ZSTD_c_enableLongDistanceMatching, 1);
  }
  ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, 0);  // every chunk has a digest
  if (!prefix.empty()) ZSTD_CCtx_refPrefix(context, prefix.data(), prefix.size());
  std::string stored(std::min(most, ZSTD_compressBound(raw.size())), '\0');
  const size_t stored_size = ZSTD_compress2(context, stored.data(), stored.size(), raw.data(), raw.size());
  if (ZSTD_isError(stored_size)) return {};  // there was too little room
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
