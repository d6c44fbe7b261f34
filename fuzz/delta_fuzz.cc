// The input as a head, with the digest put right so that the fuzzer gets behind it; as the table of one,
// which is what a writer can lie with; and as a patch. What DecodeDeltaHead accepts is what EncodeDeltaHead
// writes, compression aside, and what CheckDelta lets through lies within the two manifests.

#include <algorithm>
#include <string>

#include "aetherfs/base/sha256.h"
#include "aetherfs/format/codec.h"
#include "aetherfs/format/delta.h"
#include "aetherfs/format/manifest_codec.h"
#include "fuzz/fuzz.h"

using namespace aetherfs;

namespace {

constexpr size_t kMostEncoded = 5000;  // chunks: more would take too long
constexpr size_t kTableSizeAt = kDeltaPreludeSize + 2 * Digest::kSize;

Digest DigestOf(uint8_t n) {
  Digest digest;
  for (size_t i = 0; i < Digest::kSize; ++i) digest.data()[i] = static_cast<uint8_t>(n * 31 + i * i * 7);
  return digest;
}

// `files` files of two chunks each.
Manifest SmallManifest(uint8_t files) {
  Manifest manifest;
  manifest.blocks.push_back({DigestOf(1), 1 << 20});
  for (uint8_t i = 0; i < files; ++i) {
    Manifest::Entry entry;
    entry.path = std::string(1, static_cast<char>('a' + i));
    entry.mode = 0644;
    entry.first_ref = static_cast<uint32_t>(manifest.chunk_refs.size());
    entry.ref_count = 2;
    for (uint8_t c = 0; c < 2; ++c) {
      const auto index = static_cast<uint32_t>(manifest.chunks.size());
      const uint32_t size = 1000 + 70000u * c;
      manifest.frames.push_back({0, 16 + uint64_t{index} * 100000, size, size, FrameCodec::kRaw});
      manifest.chunks.push_back({DigestOf(static_cast<uint8_t>(2 + index)), size, index, 0});
      manifest.chunk_refs.push_back(index);
      entry.size += size;
    }
    manifest.entries.push_back(entry);
  }
  return manifest;
}

std::string Sealed(std::string head) {
  if (head.size() < Digest::kSize) return head;
  head.resize(head.size() - Digest::kSize);
  const Digest digest = Sha256::Of(head);
  head.append(digest.bytes());
  return head;
}

// A head with that table, and a manifest with room for some digests.
std::string HeadWithTable(bool leave_out, std::string_view table, std::string_view manifest) {
  const std::string stored = PatchEncoder().Encode({}, table, 1);
  const std::string patch = PatchEncoder().Encode({}, manifest, 1);
  Writer out;
  out.Bytes("AFSD\1");
  out.Byte(leave_out ? 1 : 0);
  out.Bytes(std::string_view("\0\0", 2));
  out.Fixed64(kTableSizeAt + 3 * 8 + stored.size() + patch.size() + Digest::kSize);
  out.Put(DigestOf(1));
  out.Put(DigestOf(2));
  out.Fixed64(table.size());
  out.Fixed64(stored.size());
  out.Fixed64(manifest.size());
  out.Bytes(stored);
  out.Bytes(patch);
  out.Put(Digest());
  return Sealed(std::move(out).Take());
}

uint64_t TableSize(std::string_view head) { return Reader(head.substr(kTableSizeAt)).Fixed64(); }

void CheckFits(const Delta& delta, const Manifest& base, const Manifest& target) {
  if (!CheckDelta(delta, base, target).ok()) return;
  for (const DeltaPatch& patch : delta.patches) {
    FUZZ_CHECK(PatchTargetSize(patch, target) <= kMaxPatchTarget);
    FUZZ_CHECK(PatchBaseSize(patch) <= kMaxPatchBase);
    for (const DeltaPatch::BaseRange& range : patch.base) {
      FUZZ_CHECK(range.offset + range.size <= base.entries[range.entry].size);
    }
  }
}

void TryHead(std::string_view head) {
  static const Manifest base = SmallManifest(3);
  static const Manifest target = SmallManifest(4);
  static const std::string base_bytes = EncodeManifestUnchecked(base);
  const auto decoded = DecodeDeltaHead(head);
  if (!decoded.ok()) {
    FUZZ_CHECK(decoded.status().code() == absl::StatusCode::kDataLoss);
    return;
  }
  // A head makes a reader take little more memory than its own size.
  size_t chunks = 0;
  size_t ranges = 0;
  for (const DeltaPatch& patch : decoded->delta.patches) {
    FUZZ_CHECK(!patch.chunks.empty());
    chunks += patch.chunks.size();
    ranges += patch.base.size();
  }
  const size_t most = head.size() / 16 + (decoded->leaves_out_digests ? kMaxDigestsLeftOut : 0);
  FUZZ_CHECK(chunks <= most);
  FUZZ_CHECK(ranges <= most + kMaxPatchRanges);
  CheckFits(decoded->delta, base, target);
  const auto manifest = ApplyManifestPatch(*decoded, base_bytes);
  if (manifest.ok()) {
    const auto column = FindDigestColumn(*manifest);
    FUZZ_CHECK(!column.ok() ||
               column->offset + column->chunk_sizes.size() * Digest::kSize <= manifest->size());
  } else {
    FUZZ_CHECK(manifest.status().code() == absl::StatusCode::kDataLoss);
  }

  if (chunks > kMostEncoded) return;
  std::string digests;
  for (size_t i = 0; i <= chunks; ++i) digests += Sha256::Of(std::to_string(i)).bytes();
  const std::string again = EncodeDeltaHead(decoded->delta, {}, digests, false);
  const auto back = DecodeDeltaHead(again);
  FUZZ_CHECK(back.ok());
  FUZZ_CHECK(back->delta == decoded->delta);
  FUZZ_CHECK(TableSize(again) == TableSize(head));
}

}  // namespace

int LLVMFuzzerTestOneInput(const unsigned char* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  TryHead(Sealed(std::string(bytes)));
  static const std::string manifest = EncodeManifestUnchecked(SmallManifest(20));
  for (const bool leave_out : {false, true}) {
    if (!bytes.empty()) TryHead(HeadWithTable(leave_out, bytes, manifest));
  }

  static PatchDecoder decoder;
  static std::string raw(200000, '\0');
  const std::string prefix(300, 'p');
  for (const size_t raw_size : {size_t{100}, size, raw.size()}) {
    const size_t room = std::min(raw_size, raw.size());
    const absl::Status status = decoder.Decode(prefix, bytes, raw.data(), room);
    FUZZ_CHECK(status.ok() || status.code() == absl::StatusCode::kDataLoss);
  }
  return 0;
}
