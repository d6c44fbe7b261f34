#include <zstd.h>

#include <algorithm>
#include <memory>
#include <new>

#include "aetherfs/base/sha256.h"
#include "aetherfs/base/status.h"
#include "aetherfs/format/block.h"
#include "aetherfs/format/codec.h"
#include "aetherfs/format/manifest.h"
#include "fmt/format.h"

// docs/formats/manifest.md, "The object"

namespace aetherfs {
namespace {

constexpr std::string_view kMagic = "AFSO";
constexpr uint8_t kVersion = 1;
constexpr std::string_view kReserved("\0\0", 2);
constexpr int kLevel = 3;
constexpr int kMaxWindowLog = 23;  // 8 MiB: what decompression may take beside the manifest itself
constexpr size_t kFirstGrowth = 1024 * 1024;

absl::Status Malformed(std::string_view why) {
  return absl::DataLossError(fmt::format("reading a manifest object: it is malformed: {}", why));
}

// Grows as bytes come, so that a size that is a lie costs nothing.
absl::StatusOr<std::string> Decompress(std::string_view payload, size_t raw_size) {
  const std::unique_ptr<ZSTD_DCtx, ZstdDeleter> context(ZSTD_createDCtx());
  if (context == nullptr) throw std::bad_alloc();
  ZSTD_DCtx_setParameter(context.get(), ZSTD_d_windowLogMax, kMaxWindowLog);
  std::string raw;
  ZSTD_inBuffer in = {payload.data(), payload.size(), 0};
  size_t done = 0;
  while (true) {
    if (done == raw.size() && done < raw_size) {
      raw.resize(std::min(raw_size, std::max(kFirstGrowth, 2 * raw.size())));
    }
    ZSTD_outBuffer out = {raw.data(), raw.size(), done};
    const size_t in_before = in.pos;
    const size_t left = ZSTD_decompressStream(context.get(), &out, &in);
    if (ZSTD_isError(left)) return Malformed(ZSTD_getErrorName(left));
    const bool moved = in.pos > in_before || out.pos > done;
    done = out.pos;
    if (left == 0) break;  // the zstd frame ended
    if (!moved) return Malformed("its payload is cut short, or longer than its header says");
  }
  if (in.pos != in.size) return Malformed("bytes are left over behind its payload");
  if (done != raw_size) return Malformed("its payload is shorter than its header says");
  return raw;
}

}  // namespace

std::string EncodeManifestObject(std::string_view canonical) {
  Writer header;
  header.Bytes(kMagic);
  header.Byte(kVersion);
  std::string payload(ZSTD_compressBound(canonical.size()), '\0');
  const size_t size =
      ZSTD_compress(payload.data(), payload.size(), canonical.data(), canonical.size(), kLevel);
  const bool raw = ZSTD_isError(size) || size >= canonical.size();
  header.Byte(static_cast<uint8_t>(raw ? FrameCodec::kRaw : FrameCodec::kZstd));
  header.Bytes(kReserved);
  header.Fixed64(canonical.size());
  std::string object = std::move(header).Take();
  object.append(raw ? canonical : std::string_view(payload).substr(0, size));
  return object;
}

absl::StatusOr<std::string> DecodeManifestObject(std::string_view object, const Digest& expected) {
  Reader reader(object);
  if (reader.Bytes(kMagic.size()) != kMagic) return Malformed("it does not begin as one");
  if (reader.Byte() != kVersion) return Malformed("its version is unknown");
  const auto codec = static_cast<FrameCodec>(reader.Byte());
  if (reader.Bytes(kReserved.size()) != kReserved) return Malformed("reserved bytes are not zero");
  const uint64_t raw_size = reader.Fixed64();
  if (!reader.ok()) return Malformed(reader.problem());
  if (raw_size > kMaxManifestSize) return Malformed("it is larger than a manifest can be");

  const std::string_view payload = object.substr(object.size() - reader.remaining());
  std::string canonical;
  if (codec == FrameCodec::kRaw) {
    if (payload.size() != raw_size) return Malformed("its payload has another size than its header says");
    canonical = payload;
  } else if (codec == FrameCodec::kZstd) {
    ASSIGN_OR_RETURN(canonical, Decompress(payload, raw_size));
  } else {
    return Malformed("its codec is unknown");
  }
  if (const Digest digest = Sha256::Of(canonical); digest != expected) {
    return absl::DataLossError(fmt::format("reading manifest {}: what is there has the digest {}",
                                           expected.ToString(), digest.ToString()));
  }
  return canonical;
}

}  // namespace aetherfs
