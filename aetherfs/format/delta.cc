#include "aetherfs/format/delta.h"

#include <algorithm>
#include <utility>

#include "aetherfs/base/sha256.h"
#include "aetherfs/base/status.h"
#include "aetherfs/format/codec.h"
#include "fmt/format.h"

// docs/formats/delta.md

namespace aetherfs {
namespace {

constexpr std::string_view kMagic = "AFSD";
constexpr uint8_t kVersion = 1;
constexpr uint8_t kLeavesOutDigests = 1;  // the only flag
constexpr std::string_view kReserved("\0\0", 2);
// Prelude, two digests, the table's size before and after compression, the manifest's size; at the end the
// head's digest.
constexpr size_t kFixedSize = kDeltaPreludeSize + 2 * Digest::kSize + 3 * 8;
constexpr size_t kMinHeadSize = kFixedSize + Digest::kSize;
// Bytes that the table needs for one, at least.
constexpr size_t kLeastPatchInTable = 6;
constexpr size_t kLeastRangeInTable = 3;
constexpr size_t kLeastRunInTable = 2;
// At most: for what does not depend on the number of chunks, and for a patch, a range and a run together,
// of each of which there are no more than chunks.
constexpr size_t kMostTableAlways = 256 * 1024;
constexpr size_t kMostTableForChunk = 12 + 19 + 9;

// How much a head may describe, so that a short one can't make a reader take much memory. A patch yields
// chunks that the base does not have. Their digests lie in the manifest's patch, where no compressor makes
// them smaller, unless they are left out. And honest patches have no more ranges than chunks.
struct Limits {
  Limits(size_t manifest_patch, bool leaves_out_digests)
      : chunks(manifest_patch / (Digest::kSize / 2) + (leaves_out_digests ? kMaxDigestsLeftOut : 0)),
        ranges(chunks + kMaxPatchRanges),
        table(kMostTableAlways + kMostTableForChunk * chunks) {}
  uint64_t chunks;  // of all patches
  uint64_t ranges;  // of all patches
  uint64_t table;   // bytes
};

absl::Status Malformed(std::string_view why) {
  return absl::DataLossError(fmt::format("reading a delta: it is malformed: {}", why));
}

// What a byte of a zstd frame yields at most: a block of 128 KiB takes four.
constexpr uint64_t kMostOfOneByte = 32 * 1024;

// Small manifests are worth the highest effort; those of a million files have to be done in a second.
int ManifestLevel(size_t size) {
  if (size <= 1 << 20) return 19;
  return size <= 8 << 20 ? 9 : 3;
}

void PutPatch(const DeltaPatch& patch, Writer& out) {
  out.Varint(patch.part);
  out.Varint(patch.stored_size);
  out.Varint(patch.base.size());
  uint32_t entry = 0;
  uint64_t end = 0;  // of the range before, in the same file
  for (const DeltaPatch::BaseRange& range : patch.base) {
    if (range.entry != entry) end = 0;
    out.Varint(ZigZag(static_cast<int64_t>(range.entry) - static_cast<int64_t>(entry)));
    out.Varint(ZigZag(static_cast<int64_t>(range.offset - end)));
    out.Varint(range.size);
    entry = range.entry;
    end = range.offset + range.size;
  }
  std::vector<std::pair<uint32_t, uint32_t>> runs;  // of chunks that follow each other: first, count
  for (const uint32_t chunk : patch.chunks) {
    if (!runs.empty() && runs.back().first + runs.back().second == chunk) {
      ++runs.back().second;
    } else {
      runs.emplace_back(chunk, 1);
    }
  }
  out.Varint(runs.size());
  uint32_t expected = 0;
  for (const auto& [first, count] : runs) {
    out.Varint(ZigZag(static_cast<int64_t>(first) - static_cast<int64_t>(expected)));
    out.Varint(count);
    expected = first + count;
  }
}

std::string EncodeTable(const Delta& delta) {
  Writer out;
  out.Varint(delta.parts.size());
  for (const Delta::Part& part : delta.parts) {
    out.Put(part.digest);
    out.Varint(part.size);
  }
  out.Varint(delta.patches.size());
  for (const DeltaPatch& patch : delta.patches) PutPatch(patch, out);
  return std::move(out).Take();
}

void ReadRanges(Reader& in, Limits& left, std::vector<DeltaPatch::BaseRange>& base) {
  const uint64_t ranges = in.Count(kLeastRangeInTable);
  if (ranges > kMaxPatchRanges) return in.Fail("a patch has too many base ranges");
  if (ranges > left.ranges) return in.Fail("it has more base ranges than chunks");
  left.ranges -= ranges;
  base.reserve(ranges);
  uint64_t entry = 0;
  uint64_t end = 0;
  uint64_t total = 0;
  for (uint64_t i = 0; i < ranges && in.ok(); ++i) {
    const uint64_t before = entry;
    entry += static_cast<uint64_t>(UnZigZag(in.Varint()));
    if (entry >= kMaxEntries) return in.Fail("a base range is in no file");
    if (entry != before) end = 0;
    const uint64_t offset = end + static_cast<uint64_t>(UnZigZag(in.Varint()));
    const uint64_t size = in.Varint(1, kMaxPatchBase, "a base range is empty or too large");
    if (offset > uint64_t{1} << 62) return in.Fail("a base range lies nowhere");
    total += size;
    if (total > kMaxPatchBase) return in.Fail("a patch has too large a base");
    base.push_back({static_cast<uint32_t>(entry), offset, static_cast<uint32_t>(size)});
    end = offset + size;
  }
}

void ReadChunks(Reader& in, Limits& left, std::vector<uint32_t>& chunks) {
  const uint64_t runs = in.Count(kLeastRunInTable);
  uint64_t expected = 0;
  for (uint64_t i = 0; i < runs && in.ok(); ++i) {
    const uint64_t first = expected + static_cast<uint64_t>(UnZigZag(in.Varint()));
    const uint64_t count = in.Varint(1, kMaxPatchTarget, "a patch yields nothing or too much");
    if (!in.ok()) return;
    if (i > 0 && first == expected) return in.Fail("two runs of chunks are one");
    if (first > UINT32_MAX - count) return in.Fail("a patch yields a chunk that can't be");
    // A chunk has at least one byte.
    if (chunks.size() + count > kMaxPatchTarget) return in.Fail("a patch yields too many chunks");
    if (count > left.chunks) return in.Fail("it yields more chunks than it has digests for");
    left.chunks -= count;
    for (uint64_t c = 0; c < count; ++c) chunks.push_back(static_cast<uint32_t>(first + c));
    expected = first + count;
  }
  if (chunks.empty()) return in.Fail("a patch yields nothing");
  chunks.shrink_to_fit();
}

// Entries and chunk indices are checked against the manifests later (CheckDelta); here only that they are
// numbers of the right size. `left` is what this patch and those behind it may have.
void ReadPatch(Reader& in, Limits& left, DeltaPatch& patch) {
  patch.part = static_cast<uint32_t>(in.Varint(0, kMaxDeltaParts, "a patch lies in no part"));
  patch.stored_size =
      static_cast<uint32_t>(in.Varint(1, kMaxDeltaPartSize, "a patch is empty or too large"));
  ReadRanges(in, left, patch.base);
  if (in.ok()) ReadChunks(in, left, patch.chunks);
}

absl::Status DecodeTable(std::string_view table, Limits left, Delta* delta) {
  Reader in(table);
  const uint64_t parts = in.Count(Digest::kSize + 1);
  if (parts > kMaxDeltaParts) return Malformed("it has too many parts");
  for (uint64_t i = 0; i < parts && in.ok(); ++i) {
    Delta::Part part;
    part.digest = in.ReadDigest();
    part.size = in.Varint(1, kMaxDeltaPartSize, "a part is empty or too large");
    delta->parts.push_back(part);
  }
  const uint64_t patches = in.Count(kLeastPatchInTable);
  if (patches > kMaxPatches) return Malformed("it has too many patches");
  uint32_t part = 0;
  uint64_t offset = 0;
  for (uint64_t i = 0; i < patches && in.ok(); ++i) {
    DeltaPatch patch;
    ReadPatch(in, left, patch);
    if (!in.ok()) break;
    if (patch.part < part || patch.part > parts) return Malformed("its patches are in no order of parts");
    if (patch.part != part) {
      if (part != 0 && offset != delta->parts[part - 1].size) return Malformed("a part has another size");
      if (patch.part != part + 1) return Malformed("a part is not used");
      part = patch.part;
      offset = 0;
    }
    patch.offset = offset;
    offset += patch.stored_size;
    if (part != 0 && offset > delta->parts[part - 1].size) return Malformed("a patch ends behind its part");
    delta->patches.push_back(std::move(patch));
  }
  if (!in.ok()) return Malformed(in.problem());
  if (in.remaining() != 0) return Malformed("bytes are left over behind its table");
  if (part != parts) return Malformed("a part is not used");
  if (part != 0 && offset != delta->parts[part - 1].size) return Malformed("a part has another size");
  return absl::OkStatus();
}

}  // namespace

uint64_t Delta::PartsSize() const {
  uint64_t size = 0;
  for (const Part& part : parts) size += part.size;
  return size;
}

uint64_t PatchTargetSize(const DeltaPatch& patch, const Manifest& target) {
  uint64_t size = 0;
  for (const uint32_t chunk : patch.chunks) size += target.chunks[chunk].size;
  return size;
}

uint64_t PatchBaseSize(const DeltaPatch& patch) {
  uint64_t size = 0;
  for (const DeltaPatch::BaseRange& range : patch.base) size += range.size;
  return size;
}

absl::StatusOr<uint64_t> DeltaHeadSize(std::string_view prelude) {
  Reader in(prelude);
  if (in.Bytes(kMagic.size()) != kMagic) return Malformed("it does not begin as one");
  if (in.Byte() != kVersion) return Malformed("its version is unknown");
  if (in.Byte() > kLeavesOutDigests) return Malformed("a flag is unknown");
  if (in.Bytes(kReserved.size()) != kReserved) return Malformed("reserved bytes are not zero");
  const uint64_t size = in.Fixed64();
  if (!in.ok()) return Malformed(in.problem());
  if (size < kMinHeadSize || size > kMaxDeltaHeadSize) return Malformed("its head has an impossible size");
  return size;
}

std::string EncodeDeltaHead(const Delta& delta, std::string_view base, std::string_view target,
                            bool leave_out_digests) {
  size_t chunks = 0;
  for (const DeltaPatch& patch : delta.patches) chunks += patch.chunks.size();
  if (chunks > kMaxDigestsLeftOut) leave_out_digests = false;
  const std::string table = EncodeTable(delta);
  std::string without_digests;
  if (leave_out_digests) {
    without_digests = target;
    const DigestColumn column = *FindDigestColumn(target);
    for (const DeltaPatch& patch : delta.patches) {
      for (const uint32_t chunk : patch.chunks) {
        without_digests.replace(column.offset + chunk * Digest::kSize, Digest::kSize, Digest::kSize, '\0');
      }
    }
    target = without_digests;
  }
  PatchEncoder encoder;
  const std::string stored_table = encoder.Encode({}, table, ManifestLevel(table.size()));
  const std::string manifest = encoder.Encode(base, target, ManifestLevel(target.size()));
  Writer out;
  out.Bytes(kMagic);
  out.Byte(kVersion);
  out.Byte(leave_out_digests ? kLeavesOutDigests : 0);
  out.Bytes(kReserved);
  out.Fixed64(kMinHeadSize + stored_table.size() + manifest.size());
  out.Put(delta.from);
  out.Put(delta.to);
  out.Fixed64(table.size());
  out.Fixed64(stored_table.size());
  out.Fixed64(target.size());
  out.Bytes(stored_table);
  out.Bytes(manifest);
  const Digest digest = Sha256::Of(out.bytes());
  out.Put(digest);
  return std::move(out).Take();
}

absl::StatusOr<DeltaHead> DecodeDeltaHead(std::string_view head) {
  ASSIGN_OR_RETURN(const uint64_t head_size, DeltaHeadSize(head));
  if (head_size != head.size()) return Malformed("its head has another size than it says");
  const std::string_view body = head.substr(0, head.size() - Digest::kSize);
  if (Sha256::Of(body).bytes() != head.substr(body.size())) {
    return Malformed("its head does not have its digest");
  }
  Reader in(body.substr(kDeltaPreludeSize));
  DeltaHead decoded;
  decoded.leaves_out_digests = head[kMagic.size() + 1] == kLeavesOutDigests;
  decoded.delta.from = in.ReadDigest();
  decoded.delta.to = in.ReadDigest();
  const uint64_t table_size = in.Fixed64();
  const uint64_t stored_size = in.Fixed64();
  decoded.target_size = in.Fixed64();
  if (decoded.target_size > kMaxManifestSize) return Malformed("its manifest is larger than one can be");
  const std::string_view stored_table = in.Bytes(stored_size);
  decoded.manifest_patch = in.Bytes(in.remaining());
  if (!in.ok()) return Malformed(in.problem());
  // Also so that a size that is a lie takes no more memory than the truth could.
  if (decoded.target_size / kMostOfOneByte > decoded.manifest_patch.size()) {
    return Malformed("its manifest is larger than its patch can yield");
  }
  const Limits limits(decoded.manifest_patch.size(), decoded.leaves_out_digests);
  if (table_size == 0 || table_size > limits.table) return Malformed("its table has an impossible size");
  const auto table = std::make_unique_for_overwrite<char[]>(table_size);
  RETURN_IF_ERROR(PatchDecoder().Decode({}, stored_table, table.get(), table_size));
  RETURN_IF_ERROR(DecodeTable({table.get(), table_size}, limits, &decoded.delta));
  return decoded;
}

absl::StatusOr<std::string> ApplyManifestPatch(const DeltaHead& head, std::string_view base) {
  std::string target(head.target_size, '\0');
  RETURN_IF_ERROR(PatchDecoder().Decode(base, head.manifest_patch, target.data(), target.size()));
  return target;
}

absl::Status CheckManifest(const DeltaHead& head, std::string_view canonical) {
  if (Sha256::Of(canonical) == head.delta.to) return absl::OkStatus();
  return absl::DataLossError(fmt::format("the delta from {} yields another manifest than that of {}",
                                         head.delta.from.ToString(), head.delta.to.ToString()));
}

absl::Status CheckBaseRanges(const Delta& delta, const Manifest& base) {
  for (const DeltaPatch& patch : delta.patches) {
    for (const DeltaPatch::BaseRange& range : patch.base) {
      if (range.entry >= base.entries.size()) return Malformed("a base range is in no file of the base");
      const Manifest::Entry& entry = base.entries[range.entry];
      if (entry.type != EntryType::kFile || range.size > entry.size ||
          range.offset > entry.size - range.size) {
        return Malformed("a base range ends behind its file");
      }
    }
  }
  return absl::OkStatus();
}

absl::Status CheckDelta(const Delta& delta, const Manifest& base, const Manifest& target) {
  RETURN_IF_ERROR(CheckBaseRanges(delta, base));
  std::vector<bool> yielded(target.chunks.size(), false);
  for (const DeltaPatch& patch : delta.patches) {
    for (const uint32_t chunk : patch.chunks) {
      if (chunk >= yielded.size()) return Malformed("a patch yields a chunk that there is not");
    }
    if (PatchTargetSize(patch, target) > kMaxPatchTarget) return Malformed("a patch yields too much");
    for (const uint32_t chunk : patch.chunks) {
      if (yielded[chunk]) return Malformed("a chunk is yielded twice");
      yielded[chunk] = true;
    }
  }
  return absl::OkStatus();
}

}  // namespace aetherfs
