// For ZSTD_c_useRowMatchFinder; a library that does not know it any more goes on without.
#define ZSTD_STATIC_LINKING_ONLY
#include <zstd.h>

#include <algorithm>
#include <bit>
#include <new>

#include "aetherfs/base/status.h"
#include "aetherfs/format/delta.h"
#include "fmt/format.h"

namespace aetherfs {
namespace {

// From level 5 to 12 zstd finds matches by rows of a table, which for a prefix of megabytes makes it miss
// the processor's caches with every byte: chains are up to eight times as fast here and find as much.
constexpr int kNoRows = ZSTD_ps_disable;
// As they come, tables see some hundred kilobytes, or take 64 MiB and more. These powers of two of 4-byte
// entries make the chains see all of a patch and half of its base or more; hash tables four times as large
// find no more. The fastest levels have no chains, so for them a larger one finds a tenth more.
constexpr int kLastFastLevel = 1;
constexpr int kFastLog = 21;
constexpr int kHashLog = 20;
constexpr int kChainLog = 22;
// Shorter matches, which medium levels would take, mostly are not worth it beside a base.
constexpr int kLastMediumLevel = 9;
constexpr int kMediumMinMatch = 6;
// At medium levels, shorter ones of a long distance take the place of finer matches more often than not.
constexpr int kMediumLongMatch = 512;
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
  const bool fast = level <= kLastFastLevel;
  const bool medium = !fast && level <= kLastMediumLevel;
  ZSTD_CCtx_setParameter(context, ZSTD_c_hashLog,
                         std::clamp(size_log, kMinWindowLog, fast ? kFastLog : kHashLog));
  ZSTD_CCtx_setParameter(context, ZSTD_c_chainLog,
                         std::clamp(size_log + 1, kMinWindowLog, fast ? kFastLog : kChainLog));
  if (medium) ZSTD_CCtx_setParameter(context, ZSTD_c_minMatch, kMediumMinMatch);
  ZSTD_CCtx_setParameter(context, ZSTD_c_useRowMatchFinder, kNoRows);
  if (long_distance && !prefix.empty()) {
    ZSTD_CCtx_setParameter(context, ZSTD_c_enableLongDistanceMatching, 1);
    if (medium) ZSTD_CCtx_setParameter(context, ZSTD_c_ldmMinMatch, kMediumLongMatch);
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
