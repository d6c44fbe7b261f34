#ifndef AETHERFS_CLIENT_FRAME_RECEIVER_H_
#define AETHERFS_CLIENT_FRAME_RECEIVER_H_

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "aetherfs/base/digest.h"
#include "aetherfs/format/block.h"
#include "aetherfs/format/manifest.h"

namespace aetherfs {

// Turns the bytes of a download into verified chunks: cuts frames, decodes them, hashes the wanted chunks
// of several frames side by side, and hands on those that are what the manifest says.
//
// Holds a batch of frames, up to 4.25 MiB as stored and as much decoded, allocated once and used for any
// number of downloads. Not thread-safe: one per worker.
class FrameReceiver {
 public:
  // Frames are verified as soon as this much is there: about four chunks for every lane of Sha256Many, so
  // that hardly any lane runs empty while the last ones are still busy.
  static constexpr size_t kBatchSize = 4 * 1024 * 1024;

  using Deliver = absl::FunctionRef<absl::Status(uint32_t chunk, std::string_view bytes)>;

  FrameReceiver();

  // Begins a download that brings `frames` of one block, in the ranges of RangesOfFrames(), of which
  // `wanted` chunks (ascending, each in one of the frames) are to be delivered. Both live until the end of
  // it.
  void Begin(const Manifest& manifest, std::span<const uint32_t> frames, std::span<const uint32_t> wanted);
  // Takes the next bytes. Returns an error of `deliver`, or DATA_LOSS for bytes that were not asked for.
  absl::Status Receive(std::string_view piece, Deliver deliver);
  // The download is over: verifies what is still there. DATA_LOSS if bytes are missing.
  absl::Status End(Deliver deliver);

  // Wanted chunks that did not arrive or were not what they must be, ascending; complete after End(), also
  // if that failed with DATA_LOSS.
  std::vector<uint32_t> TakeMissing();
  // Chunks, or whole frames, that arrived and were wrong.
  uint64_t bad() const { return bad_; }

 private:
  struct Pending {
    uint32_t frame;
    size_t position;  // in stored_
  };
  void ExpectFrame();
  absl::Status VerifyBatch(Deliver deliver);
  // The decompressed bytes of a frame; null data if they can't be had.
  std::string_view RawBytes(const Pending& pending, size_t* raw_used);

  const Manifest* manifest_ = nullptr;
  std::span<const uint32_t> frames_;
  std::span<const uint32_t> wanted_;  // what is not yet in a batch
  size_t next_frame_ = 0;             // index into frames_, being received
  uint64_t end_of_last_ = 0;          // in the block
  uint64_t skip_ = 0;                 // bytes of a gap still to come before that frame
  size_t have_ = 0;                   // bytes of that frame that have come

  const std::unique_ptr<char[]> stored_;
  const std::unique_ptr<char[]> raw_;
  size_t stored_used_ = 0;
  size_t batch_raw_size_ = 0;
  std::vector<Pending> batch_;
  std::vector<uint32_t> missing_;
  uint64_t bad_ = 0;
  FrameDecoder decoder_;

  std::vector<std::string_view> messages_;  // kept for their memory
  std::vector<uint32_t> indices_;
  std::vector<Digest> digests_;
};

}  // namespace aetherfs

#endif  // AETHERFS_CLIENT_FRAME_RECEIVER_H_
