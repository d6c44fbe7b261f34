#include "aetherfs/format/block.h"

#include <cassert>
#include <numeric>

#include "aetherfs/base/sha256.h"
#include "aetherfs/base/status.h"
#include "fmt/format.h"

// docs/formats/block.md

namespace aetherfs {
namespace {

constexpr std::string_view kMagic("AFSB\1\0\0\0", 8);  // with the version
constexpr std::string_view kFooterMagic = "AFSBEND.";
constexpr size_t kHeaderSize = kMagic.size() + 8;
constexpr size_t kChecksumSize = 8;
constexpr size_t kFooterSize = 8 + 8 + kChecksumSize + kFooterMagic.size();

// The least that one of these takes in the index.
constexpr size_t kChunkBytes = Digest::kSize + 1;
constexpr size_t kFrameBytes = 2 + kChunkBytes;

// Of all that describes the frames: header, index, and the footer up to the checksum.
std::string Checksum(std::string_view header, std::string_view index_and_footer) {
  Sha256 hash;
  hash.Update(header);
  hash.Update(index_and_footer);
  return std::string(hash.Finish().bytes().substr(0, kChecksumSize));
}

absl::Status Malformed(std::string_view why) {
  return absl::DataLossError(fmt::format("reading a block: it is malformed: {}", why));
}

void DecodeFrame(Reader& reader, BlockIndex::Frame& frame) {
  frame.stored_size =
      static_cast<uint32_t>(reader.Varint(0, kMaxFrameSize, "a frame's stored size is out of range"));
  frame.codec = frame.stored_size == 0 ? FrameCodec::kRaw : FrameCodec::kZstd;
  const size_t chunks = reader.Count(kChunkBytes);
  if (reader.ok() && chunks == 0) reader.Fail("a frame holds no chunk");
  frame.chunks.reserve(chunks);
  for (size_t i = 0; i < chunks && reader.ok(); ++i) {
    BlockBuilder::ChunkInFrame& chunk = frame.chunks.emplace_back();
    chunk.size = static_cast<uint32_t>(reader.Varint(1, kMaxChunkSize, "a chunk's size is out of range"));
    chunk.digest = reader.ReadDigest();
    frame.raw_size += chunk.size;
    if (frame.raw_size > kMaxFrameSize) reader.Fail("a frame is too large");
  }
  if (frame.codec == FrameCodec::kRaw) {
    frame.stored_size = frame.raw_size;
  } else if (frame.stored_size >= frame.raw_size) {
    reader.Fail("a compressed frame is no smaller than what it holds");
  }
}

}  // namespace

BlockBuilder::BlockBuilder(uint64_t epoch, size_t reserve) {
  Writer header;
  header.Bytes(kMagic);
  header.Fixed64(epoch);
  bytes_.reserve(reserve);
  bytes_ = header.bytes();
}

uint64_t BlockBuilder::AddFrame(FrameCodec codec, std::string_view stored, uint32_t raw_size,
                                std::vector<ChunkInFrame> chunks) {
  assert(raw_size > 0 && raw_size <= kMaxFrameSize && !stored.empty());
  assert(codec == FrameCodec::kRaw ? stored.size() == raw_size : stored.size() < raw_size);
  assert(raw_size == std::accumulate(chunks.begin(), chunks.end(), uint32_t{0},
                                     [](uint32_t sum, const ChunkInFrame& c) { return sum + c.size; }));
  const uint64_t offset = bytes_.size();
  bytes_.append(stored);
  index_.Varint(codec == FrameCodec::kRaw ? 0 : stored.size());
  index_.Varint(chunks.size());
  for (const ChunkInFrame& chunk : chunks) {
    index_.Varint(chunk.size);
    index_.Put(chunk.digest);
  }
  ++frame_count_;
  return offset;
}

size_t BlockBuilder::FinishedSize() const {
  return bytes_.size() + VarintSize(frame_count_) + index_.size() + kFooterSize;
}

std::string BlockBuilder::Finish() && {
  assert(!empty());
  Writer tail;
  tail.Reserve(FinishedSize() - bytes_.size());
  tail.Varint(frame_count_);
  tail.Bytes(index_.bytes());
  const uint64_t index_size = tail.size();
  tail.Fixed64(bytes_.size());
  tail.Fixed64(index_size);
  tail.Bytes(Checksum(std::string_view(bytes_).substr(0, kHeaderSize), tail.bytes()));
  tail.Bytes(kFooterMagic);
  bytes_.append(tail.bytes());
  return std::move(bytes_);
}

absl::StatusOr<BlockIndex> DecodeBlockIndex(std::string_view block) {
  if (block.size() > kMaxBlockSize) return Malformed("it is too large");
  if (block.size() < kHeaderSize + kFooterSize) return Malformed("it is cut short");
  Reader header(block.substr(0, kHeaderSize));
  if (header.Bytes(kMagic.size()) != kMagic)
    return Malformed("it does not begin as one, or its version is unknown");
  BlockIndex index;
  index.epoch = header.Fixed64();

  Reader footer(block.substr(block.size() - kFooterSize));
  const uint64_t index_offset = footer.Fixed64();
  const uint64_t index_size = footer.Fixed64();
  const std::string_view checksum = footer.Bytes(kChecksumSize);
  if (footer.Bytes(kFooterMagic.size()) != kFooterMagic) return Malformed("it does not end as one");
  const size_t index_end = block.size() - kFooterSize;
  if (index_offset < kHeaderSize || index_offset > index_end || index_size != index_end - index_offset) {
    return Malformed("its index does not lie where it must");
  }
  const std::string_view checked = block.substr(index_offset, index_size + 16);
  if (Checksum(block.substr(0, kHeaderSize), checked) != checksum) {
    return Malformed("its index does not match its checksum");
  }

  Reader reader(block.substr(index_offset, index_size));
  const size_t frames = reader.Count(kFrameBytes);
  if (reader.ok() && frames == 0) reader.Fail("it holds no frame");
  index.frames.reserve(frames);
  uint64_t end = kHeaderSize;
  for (size_t i = 0; i < frames && reader.ok(); ++i) {
    BlockIndex::Frame& frame = index.frames.emplace_back();
    frame.offset = end;
    DecodeFrame(reader, frame);
    end += frame.stored_size;
  }
  if (!reader.ok()) return Malformed(reader.problem());
  if (reader.remaining() > 0) return Malformed("bytes are left over behind its index");
  if (end != index_offset) return Malformed("its frames do not fill it");
  return index;
}

}  // namespace aetherfs
