#include "aetherfs/format/manifest_codec.h"

#include <cassert>

#include "aetherfs/base/status.h"
#include "aetherfs/format/codec.h"
#include "aetherfs/format/manifest.h"
#include "aetherfs/format/manifest_check.h"
#include "aetherfs/format/paths.h"
#include "fmt/format.h"

// The canonical bytes, column by column (docs/formats/manifest.md). What can be derived is not stored:
// offsets are gaps behind the end of what comes before, sizes of frames follow from their chunks, sizes of
// files from their chunk references. So most rules of a canonical manifest cannot even be broken; the
// others are checked by CheckCanonical.

namespace aetherfs {
namespace {

constexpr std::string_view kMagic = "AFSM";
constexpr uint8_t kVersion = 1;

constexpr int kTypeBits = 2;

// The least that one of these takes in the encoding, for bounding counts.
constexpr size_t kBlockBytes = Digest::kSize + 2;
constexpr size_t kFrameBytes = 4;
constexpr size_t kChunkBytes = Digest::kSize + 2;
constexpr size_t kEntryBytes = 4;

void EncodeStorage(const Manifest& manifest, Writer& writer) {
  std::vector<uint32_t> frame_counts(manifest.blocks.size());
  for (const Manifest::Frame& frame : manifest.frames) ++frame_counts[frame.block];
  std::vector<uint32_t> chunk_counts(manifest.frames.size());
  std::vector<uint32_t> chunk_ends(manifest.frames.size());
  for (const Manifest::Chunk& chunk : manifest.chunks) {
    ++chunk_counts[chunk.frame];
    chunk_ends[chunk.frame] = chunk.offset + chunk.size;
  }

  for (size_t i = 0; i < manifest.blocks.size(); ++i) {
    writer.Put(manifest.blocks[i].digest);
    writer.Varint(manifest.blocks[i].size);
    writer.Varint(frame_counts[i]);
  }
  uint64_t end = 0;
  for (size_t i = 0; i < manifest.frames.size(); ++i) {
    const Manifest::Frame& frame = manifest.frames[i];
    if (i > 0 && manifest.frames[i - 1].block != frame.block) end = 0;
    writer.Varint(frame.offset - end);
    writer.Varint(frame.codec == FrameCodec::kRaw ? 0 : frame.stored_size);
    writer.Varint(chunk_counts[i]);
    writer.Varint(frame.raw_size - chunk_ends[i]);
    end = frame.offset + frame.stored_size;
  }
  end = 0;
  for (size_t i = 0; i < manifest.chunks.size(); ++i) {
    const Manifest::Chunk& chunk = manifest.chunks[i];
    if (i > 0 && manifest.chunks[i - 1].frame != chunk.frame) end = 0;
    writer.Varint(chunk.offset - end);
    writer.Varint(chunk.size);
    end = chunk.offset + chunk.size;
  }
  for (const Manifest::Chunk& chunk : manifest.chunks) writer.Put(chunk.digest);
}

void EncodeEntries(const Manifest& manifest, Writer& writer) {
  std::string_view previous;
  for (const Manifest::Entry& entry : manifest.entries) {
    const size_t shared = CommonPrefixSize(previous, entry.path);
    writer.Varint(shared);
    writer.Varint(entry.path.size() - shared);
    writer.Bytes(std::string_view(entry.path).substr(shared));
    previous = entry.path;
  }
  for (const Manifest::Entry& entry : manifest.entries) {
    const uint32_t mode = entry.type == EntryType::kFile ? entry.mode : 0;
    writer.Varint(mode << kTypeBits | static_cast<uint32_t>(entry.type));
  }
  uint64_t mtime = 0;
  for (const Manifest::Entry& entry : manifest.entries) {
    if (entry.type != EntryType::kFile) continue;
    writer.Varint(ZigZag(static_cast<int64_t>(static_cast<uint64_t>(entry.mtime_ns) - mtime)));
    mtime = static_cast<uint64_t>(entry.mtime_ns);
  }
  for (const Manifest::Entry& entry : manifest.entries) {
    if (entry.type == EntryType::kFile) writer.Varint(entry.ref_count);
  }
  for (const Manifest::Entry& entry : manifest.entries) {
    if (entry.type != EntryType::kSymlink) continue;
    writer.Varint(entry.target.size());
    writer.Bytes(entry.target);
  }
  int64_t expected = 0;
  for (const uint32_t ref : manifest.chunk_refs) {
    writer.Varint(ZigZag(int64_t{ref} - expected));
    expected = int64_t{ref} + 1;
  }
}

void DecodeBlocks(Reader& reader, size_t count, Manifest& manifest, std::vector<uint32_t>& frame_counts) {
  manifest.blocks.reserve(count);
  frame_counts.reserve(count);
  uint64_t frames = 0;
  for (size_t i = 0; i < count && reader.ok(); ++i) {
    Manifest::Block& block = manifest.blocks.emplace_back();
    block.digest = reader.ReadDigest();
    block.size = reader.Varint(1, kMaxBlockSize, "a block's size is out of range");
    frames +=
        frame_counts.emplace_back(reader.Varint(1, kMaxBlockSize, "a block's count of frames is wrong"));
  }
  if (frames > reader.remaining() / kFrameBytes) reader.Fail("there are more frames than can follow");
  if (reader.ok()) manifest.frames.reserve(frames);
}

// Leaves raw_size at what lies behind the frame's last chunk.
void DecodeFrames(Reader& reader, const std::vector<uint32_t>& frame_counts, Manifest& manifest,
                  std::vector<uint32_t>& chunk_counts) {
  uint64_t chunks = 0;
  for (size_t block = 0; block < manifest.blocks.size() && reader.ok(); ++block) {
    for (uint32_t i = 0; i < frame_counts[block] && reader.ok(); ++i) {
      Manifest::Frame& frame = manifest.frames.emplace_back();
      frame.block = static_cast<uint32_t>(block);
      frame.offset = reader.Varint(0, kMaxBlockSize, "a gap before a frame is out of range");
      frame.stored_size =
          static_cast<uint32_t>(reader.Varint(0, kMaxFrameSize, "a frame's stored size is out of range"));
      frame.codec = frame.stored_size == 0 ? FrameCodec::kRaw : FrameCodec::kZstd;
      chunks += chunk_counts.emplace_back(
          reader.Varint(1, kMaxFrameSize, "a frame's count of chunks is out of range"));
      frame.raw_size = static_cast<uint32_t>(
          reader.Varint(0, kMaxFrameSize, "a gap behind a frame's chunks is out of range"));
    }
  }
  if (chunks > reader.remaining() / kChunkBytes) reader.Fail("there are more chunks than can follow");
  if (reader.ok()) manifest.chunks.reserve(chunks);
}

void DecodeChunks(Reader& reader, const std::vector<uint32_t>& chunk_counts, Manifest& manifest) {
  uint64_t frame_end = 0;
  for (size_t i = 0; i < manifest.frames.size() && reader.ok(); ++i) {
    Manifest::Frame& frame = manifest.frames[i];
    uint32_t end = 0;
    for (uint32_t j = 0; j < chunk_counts[i] && reader.ok(); ++j) {
      Manifest::Chunk& chunk = manifest.chunks.emplace_back();
      const uint64_t gap = reader.Varint(0, kMaxFrameSize, "a gap before a chunk is out of range");
      chunk.frame = static_cast<uint32_t>(i);
      chunk.offset = end + static_cast<uint32_t>(gap);
      chunk.size = static_cast<uint32_t>(reader.Varint(1, kMaxChunkSize, "a chunk's size is out of range"));
      end = chunk.offset + chunk.size;
      if (end > kMaxFrameSize) reader.Fail("a frame is too large");
    }
    frame.raw_size += end;
    if (i > 0 && manifest.frames[i - 1].block != frame.block) frame_end = 0;
    if (frame.codec == FrameCodec::kRaw) frame.stored_size = frame.raw_size;
    frame.offset += frame_end;
    frame_end = frame.offset + frame.stored_size;
    if (frame_end > kMaxBlockSize) reader.Fail("a frame ends behind the largest block's end");
  }
}

// All that comes behind the beginning and before the chunks' digests. Returns how many entries will follow.
size_t DecodeStorage(Reader& reader, Manifest& manifest) {
  const size_t blocks = reader.Count(kBlockBytes);
  const size_t entries = reader.Count(kEntryBytes);
  if (entries > kMaxEntries) reader.Fail("it has too many entries");
  std::vector<uint32_t> frame_counts;
  std::vector<uint32_t> chunk_counts;
  if (reader.ok()) DecodeBlocks(reader, blocks, manifest, frame_counts);
  if (reader.ok()) DecodeFrames(reader, frame_counts, manifest, chunk_counts);
  if (reader.ok()) DecodeChunks(reader, chunk_counts, manifest);
  return entries;
}

// How many bytes the paths have once none shares any with the one before.
uint64_t PathBytes(Reader reader, size_t count) {
  uint64_t total = 0;
  for (size_t i = 0; i < count && reader.ok(); ++i) {
    total += reader.Varint(0, kMaxPathSize, "");
    total += reader.Bytes(reader.Varint(0, kMaxPathSize, "")).size();
  }
  return total;
}

void DecodePaths(Reader& reader, size_t count, Manifest& manifest) {
  if (PathBytes(reader, count) > kMaxPathBytes) return reader.Fail("the paths are too long together");
  manifest.entries.reserve(count);
  std::string_view previous;
  for (size_t i = 0; i < count && reader.ok(); ++i) {
    const size_t shared = reader.Varint(0, previous.size(), "a path shares more than there is");
    const std::string_view suffix =
        reader.Bytes(reader.Varint(0, kMaxPathSize - shared, "a path is too long"));
    if (shared < previous.size() && !suffix.empty() && suffix[0] == previous[shared]) {
      reader.Fail("a path shares less than it could");
    }
    if (!reader.ok()) return;
    std::string& path = manifest.entries.emplace_back().path;
    path.reserve(shared + suffix.size());
    path.append(previous.substr(0, shared)).append(suffix);
    previous = path;
  }
}

void DecodeAttributes(Reader& reader, Manifest& manifest) {
  for (Manifest::Entry& entry : manifest.entries) {
    const uint64_t attributes = reader.Varint(0, 0777 << kTypeBits | 3, "a mode is out of range");
    entry.type = static_cast<EntryType>(attributes & 3);
    entry.mode = static_cast<uint16_t>(attributes >> kTypeBits);
    if (entry.type == EntryType::kFile) continue;
    if (entry.type > EntryType::kSymlink || entry.mode != 0) reader.Fail("a type or mode is unknown");
    entry.mode = entry.type == EntryType::kDirectory ? 0755 : 0777;
  }
  uint64_t mtime = 0;
  for (Manifest::Entry& entry : manifest.entries) {
    if (entry.type != EntryType::kFile) continue;
    mtime += static_cast<uint64_t>(UnZigZag(reader.Varint()));
    entry.mtime_ns = static_cast<int64_t>(mtime);
  }
}

void DecodeContent(Reader& reader, Manifest& manifest) {
  uint64_t refs = 0;
  for (Manifest::Entry& entry : manifest.entries) {
    entry.first_ref = static_cast<uint32_t>(refs);
    if (entry.type != EntryType::kFile) continue;
    // Each takes a byte, so no count that passes overflows the sum.
    entry.ref_count = static_cast<uint32_t>(reader.Count(1));
    refs += entry.ref_count;
    if (refs > reader.remaining()) reader.Fail("there are more chunk references than can follow");
  }
  for (Manifest::Entry& entry : manifest.entries) {
    if (entry.type != EntryType::kSymlink) continue;
    entry.target = reader.Bytes(reader.Varint(1, kMaxTargetSize, "a link's target is too long"));
  }
  if (refs > reader.remaining()) reader.Fail("there are more chunk references than can follow");
  if (!reader.ok()) return;
  manifest.chunk_refs.reserve(refs);
  uint64_t expected = 0;
  for (Manifest::Entry& entry : manifest.entries) {
    for (uint32_t i = 0; i < entry.ref_count; ++i) {
      const uint64_t ref = expected + static_cast<uint64_t>(UnZigZag(reader.Varint()));
      if (ref >= manifest.chunks.size()) return reader.Fail("a chunk reference is out of range");
      manifest.chunk_refs.push_back(static_cast<uint32_t>(ref));
      entry.size += manifest.chunks[ref].size;
      expected = ref + 1;
    }
  }
}

absl::Status Malformed(std::string_view why) {
  return absl::DataLossError(fmt::format("reading a manifest: it is malformed: {}", why));
}

absl::Status CheckBeginning(Reader& reader) {
  if (reader.Bytes(kMagic.size()) != kMagic) return Malformed("it does not begin as one");
  if (const uint8_t version = reader.Byte(); reader.ok() && version != kVersion) {
    return Malformed(fmt::format("its version is {}, and only {} is known here", version, kVersion));
  }
  return absl::OkStatus();
}

}  // namespace

std::string EncodeManifest(const Manifest& manifest) {
  assert(CheckCanonical(manifest).ok());
  return EncodeManifestUnchecked(manifest);
}

std::string EncodeManifestUnchecked(const Manifest& manifest) {
  Writer writer;
  writer.Reserve(64 + manifest.blocks.size() * 44 + manifest.frames.size() * 12 +
                 manifest.chunks.size() * 38 + manifest.entries.size() * 48 +
                 manifest.chunk_refs.size() * 2);
  writer.Bytes(kMagic);
  writer.Byte(kVersion);
  writer.Varint(manifest.blocks.size());
  writer.Varint(manifest.entries.size());
  EncodeStorage(manifest, writer);
  EncodeEntries(manifest, writer);
  return std::move(writer).Take();
}

absl::StatusOr<Manifest> DecodeManifest(std::string_view canonical) {
  if (canonical.size() > kMaxManifestSize) return Malformed("it is too large");
  Reader reader(canonical);
  RETURN_IF_ERROR(CheckBeginning(reader));
  Manifest manifest;
  const size_t entries = DecodeStorage(reader, manifest);
  for (Manifest::Chunk& chunk : manifest.chunks) chunk.digest = reader.ReadDigest();
  if (reader.ok()) DecodePaths(reader, entries, manifest);
  if (reader.ok()) DecodeAttributes(reader, manifest);
  if (reader.ok()) DecodeContent(reader, manifest);
  if (!reader.ok()) return Malformed(reader.problem());
  if (reader.remaining() > 0) return Malformed("bytes are left over behind its end");
  if (const absl::Status status = CheckCanonical(manifest); !status.ok()) return Malformed(Message(status));
  return manifest;
}

absl::StatusOr<DigestColumn> FindDigestColumn(std::string_view canonical) {
  Reader reader(canonical);
  RETURN_IF_ERROR(CheckBeginning(reader));
  Manifest manifest;
  DecodeStorage(reader, manifest);
  DigestColumn column;
  column.offset = canonical.size() - reader.remaining();
  reader.Bytes(manifest.chunks.size() * Digest::kSize);
  if (!reader.ok()) return Malformed(reader.problem());
  column.chunk_sizes.reserve(manifest.chunks.size());
  for (const Manifest::Chunk& chunk : manifest.chunks) column.chunk_sizes.push_back(chunk.size);
  return column;
}

}  // namespace aetherfs
