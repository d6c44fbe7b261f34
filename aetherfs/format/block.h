#ifndef AETHERFS_FORMAT_BLOCK_H_
#define AETHERFS_FORMAT_BLOCK_H_

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "aetherfs/base/digest.h"
#include "aetherfs/format/codec.h"
#include "aetherfs/format/manifest.h"

struct ZSTD_CCtx_s;
struct ZSTD_DCtx_s;

namespace aetherfs {

struct ZstdDeleter {
  void operator()(ZSTD_CCtx_s* context) const;
  void operator()(ZSTD_DCtx_s* context) const;
};

// A frame: a run of chunks compressed together. Pure functions of bytes.
struct EncodedFrame {
  FrameCodec codec = FrameCodec::kRaw;
  std::string stored;  // empty if codec is kRaw: the raw bytes are stored as they are
};
// zstd at `level`, unless that saves less than 1/32. `raw` has 1 to kMaxFrameSize bytes. A compressor of
// one's own per thread; not thread-safe.
class FrameEncoder {
 public:
  explicit FrameEncoder(int level);
  EncodedFrame Encode(std::string_view raw);

 private:
  std::unique_ptr<ZSTD_CCtx_s, ZstdDeleter> context_;
};
class FrameDecoder {
 public:
  FrameDecoder();
  // Fills `raw`, of exactly raw_size bytes. DATA_LOSS if `stored` does not yield exactly that.
  absl::Status Decode(FrameCodec codec, std::string_view stored, char* raw, size_t raw_size);

 private:
  std::unique_ptr<ZSTD_DCtx_s, ZstdDeleter> context_;
};

// Builds one block, an immutable object of frames: header (with the dataset's GC epoch), frames, index,
// footer (docs/formats/block.md). Not thread-safe.
class BlockBuilder {
 public:
  explicit BlockBuilder(uint64_t epoch, size_t reserve = 0);

  struct ChunkInFrame {
    Digest digest;
    uint32_t size = 0;
  };
  // Appends a frame; `chunks` are what it holds, in order, their sizes adding up to raw_size. Returns its
  // offset in the block.
  uint64_t AddFrame(FrameCodec codec, std::string_view stored, uint32_t raw_size,
                    std::vector<ChunkInFrame> chunks);

  bool empty() const { return frame_count_ == 0; }
  // Bytes so far, and what Finish() would return now; the latter never exceeds kMaxBlockSize if the caller
  // stops before.
  size_t size() const { return bytes_.size(); }
  size_t FinishedSize() const;

  // The whole block; its name is the SHA-256 of these bytes. It must not be empty.
  std::string Finish() &&;

 private:
  std::string bytes_;  // header and frames
  Writer index_;       // behind its count of frames
  size_t frame_count_ = 0;
};

// What a block says of itself.
struct BlockIndex {
  struct Frame {
    uint64_t offset = 0;
    uint32_t stored_size = 0;
    uint32_t raw_size = 0;
    FrameCodec codec = FrameCodec::kRaw;
    std::vector<BlockBuilder::ChunkInFrame> chunks;
  };
  uint64_t epoch = 0;
  std::vector<Frame> frames;
};
// DATA_LOSS, saying what is wrong, for anything that BlockBuilder would not have written.
absl::StatusOr<BlockIndex> DecodeBlockIndex(std::string_view block);

}  // namespace aetherfs

#endif  // AETHERFS_FORMAT_BLOCK_H_
