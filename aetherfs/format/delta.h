#ifndef AETHERFS_FORMAT_DELTA_H_
#define AETHERFS_FORMAT_DELTA_H_

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "aetherfs/base/digest.h"
#include "aetherfs/format/block.h"
#include "aetherfs/format/manifest.h"

namespace aetherfs {

// A delta helps to turn one snapshot, its base, into another, its target: a head, which yields the target's
// manifest from the base's and lists patches, and the patches' bytes. The first patches lie right behind
// the head in the same object, the others in further objects, the parts. The format is
// docs/formats/delta.md.
//
// A small delta leaves out the digests of the chunks that its patches yield, 32 bytes each, which is often
// more than the patches have: who has the patches and the base can compute them, and the manifest as a
// whole still has to have the target's digest.
//
// Nothing in a delta is believed: the manifest that it yields has to have the target's digest, and every
// chunk that a patch yields its SHA-256. A delta that lies wastes time.

inline constexpr uint32_t kMaxPatchTarget = 4 * 1024 * 1024;  // bytes that a patch yields
inline constexpr uint32_t kMaxPatchBase = 16 * 1024 * 1024;   // bytes that it is made against
inline constexpr size_t kMaxPatchRanges = 4096;               // of the base, in one patch
inline constexpr size_t kMaxPatches = 1 << 20;
inline constexpr size_t kMaxDeltaParts = 4096;
inline constexpr size_t kMaxDeltaPartSize = 16 * 1024 * 1024;
inline constexpr size_t kMaxDeltaHeadSize = 64 * 1024 * 1024;
inline constexpr size_t kMaxDigestsLeftOut = 128 * 1024;

// A piece of the target, compressed with bytes of the base as its prefix.
struct DeltaPatch {
  struct BaseRange {
    uint32_t entry = 0;  // a file of the base's manifest
    uint64_t offset = 0;
    uint32_t size = 0;
    friend bool operator==(const BaseRange&, const BaseRange&) = default;
  };
  std::vector<BaseRange> base;   // the prefix is these, one after the other; may be empty
  std::vector<uint32_t> chunks;  // indices into the target's chunks: what it yields, one after the other
  uint32_t part = 0;             // where its bytes lie: 0 behind the head, n in parts[n - 1]
  uint64_t offset = 0;           // there; from the end of the head if part is 0
  uint32_t stored_size = 0;
  friend bool operator==(const DeltaPatch&, const DeltaPatch&) = default;
};

// A plain value. The patches of one part lie in it one after the other, in the order of `patches`, without
// gaps and from its beginning on; patches are ordered by part.
struct Delta {
  struct Part {
    Digest digest;
    uint64_t size = 0;
    friend bool operator==(const Part&, const Part&) = default;
  };
  Digest from;
  Digest to;
  std::vector<Part> parts;
  std::vector<DeltaPatch> patches;

  uint64_t PartsSize() const;
  friend bool operator==(const Delta&, const Delta&) = default;
};

// Bytes with which a delta begins, in which the size of its head can be read.
inline constexpr size_t kDeltaPreludeSize = 16;
// DATA_LOSS if it is not the beginning of a delta.
absl::StatusOr<uint64_t> DeltaHeadSize(std::string_view prelude);

// The head: everything but the patches' bytes. `base` and `target` are the canonical manifests. With
// `leave_out_digests`, those of the patches' chunks are zeros in the manifest that the head yields, unless
// they are more than kMaxDigestsLeftOut. No chunk may be one of the base's, nor in two patches, and there
// may be no more base ranges than chunks: readers bound by that what they make room for.
std::string EncodeDeltaHead(const Delta& delta, std::string_view base, std::string_view target,
                            bool leave_out_digests);

struct DeltaHead {
  Delta delta;
  bool leaves_out_digests = false;
  uint64_t target_size = 0;         // of the target's canonical manifest
  std::string_view manifest_patch;  // of the bytes that were decoded
};
// DATA_LOSS, saying what is wrong, for anything that EncodeDeltaHead would not have written. `head` has
// exactly the head's bytes.
absl::StatusOr<DeltaHead> DecodeDeltaHead(std::string_view head);
// The target's canonical manifest, made of the base's, or the same with digests left out. DATA_LOSS if the
// base is another one, mostly; only CheckManifest tells for sure.
absl::StatusOr<std::string> ApplyManifestPatch(const DeltaHead& head, std::string_view base);
// DATA_LOSS unless `canonical` has the target's digest.
absl::Status CheckManifest(const DeltaHead& head, std::string_view canonical);

// DATA_LOSS unless every base range lies within a file of the base.
absl::Status CheckBaseRanges(const Delta& delta, const Manifest& base);
// DATA_LOSS unless the patches fit the two manifests: ranges within files, chunks that there are, and no
// patch larger than it may be. Must be called before patches are used.
absl::Status CheckDelta(const Delta& delta, const Manifest& base, const Manifest& target);

// The sum of the sizes of a patch's chunks, and of its base ranges.
uint64_t PatchTargetSize(const DeltaPatch& patch, const Manifest& target);
uint64_t PatchBaseSize(const DeltaPatch& patch);

// Compresses with a prefix: what the prefix has too costs next to nothing. A context of one's own per
// thread; not thread-safe. At most about 23 MiB of memory for the largest patches.
class PatchEncoder {
 public:
  static constexpr int kMaxLevel = 19;
  PatchEncoder();
  // zstd at `level`; `raw` is not empty. Empty if it would take more than `most` bytes. Matching at a long
  // distance costs little and helps where long pieces of the prefix recur; where it does, it takes the
  // place of finer matches.
  std::string Encode(std::string_view prefix, std::string_view raw, int level, bool long_distance = true,
                     size_t most = SIZE_MAX);

 private:
  std::unique_ptr<ZSTD_CCtx_s, ZstdDeleter> context_;
};

class PatchDecoder {
 public:
  PatchDecoder();
  // Fills `raw`, of exactly raw_size bytes. DATA_LOSS if `stored` does not yield exactly that.
  absl::Status Decode(std::string_view prefix, std::string_view stored, char* raw, size_t raw_size);

 private:
  std::unique_ptr<ZSTD_DCtx_s, ZstdDeleter> context_;
};

}  // namespace aetherfs

#endif  // AETHERFS_FORMAT_DELTA_H_
