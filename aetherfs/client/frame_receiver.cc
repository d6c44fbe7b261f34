#include "aetherfs/client/frame_receiver.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "aetherfs/base/status.h"
#include "aetherfs/client/fetch_plan.h"
#include "aetherfs/client/hash_chunks.h"

namespace aetherfs {
namespace {

// A batch ends with the frame that fills it.
constexpr size_t kBufferSize = FrameReceiver::kBatchSize + kMaxFrameSize;

}  // namespace

FrameReceiver::FrameReceiver()
    : stored_(std::make_unique_for_overwrite<char[]>(kBufferSize)),
      raw_(std::make_unique_for_overwrite<char[]>(kBufferSize)) {}

void FrameReceiver::Begin(const Manifest& manifest, std::span<const uint32_t> frames,
                          std::span<const uint32_t> wanted) {
  manifest_ = &manifest;
  frames_ = frames;
  wanted_ = wanted;
  next_frame_ = 0;
  have_ = 0;
  skip_ = 0;
  stored_used_ = 0;
  batch_raw_size_ = 0;
  batch_.clear();
  missing_.clear();
  bad_ = 0;
}

void FrameReceiver::ExpectFrame() {
  const Manifest::Frame& last = manifest_->frames[frames_[next_frame_]];
  end_of_last_ = last.offset + last.stored_size;
  ++next_frame_;
  have_ = 0;
  if (next_frame_ == frames_.size()) return;
  const uint64_t gap = manifest_->frames[frames_[next_frame_]].offset - end_of_last_;
  skip_ = gap <= kMaxGap ? gap : 0;  // larger ones are not asked for
}

absl::Status FrameReceiver::Receive(std::string_view piece, Deliver deliver) {
  while (!piece.empty()) {
    if (skip_ > 0) {
      const size_t skipped = std::min<uint64_t>(skip_, piece.size());
      skip_ -= skipped;
      piece.remove_prefix(skipped);
      continue;
    }
    if (next_frame_ == frames_.size()) return absl::DataLossError("more bytes came than were asked for");
    const uint32_t index = frames_[next_frame_];
    const Manifest::Frame& frame = manifest_->frames[index];
    const size_t taken = std::min<size_t>(frame.stored_size - have_, piece.size());
    std::memcpy(stored_.get() + stored_used_ + have_, piece.data(), taken);
    have_ += taken;
    piece.remove_prefix(taken);
    if (have_ < frame.stored_size) continue;
    batch_.push_back({index, stored_used_});
    stored_used_ += frame.stored_size;
    batch_raw_size_ += frame.raw_size;
    ExpectFrame();
    if (batch_raw_size_ >= kBatchSize) RETURN_IF_ERROR(VerifyBatch(deliver));
  }
  return absl::OkStatus();
}

absl::Status FrameReceiver::End(Deliver deliver) {
  RETURN_IF_ERROR(VerifyBatch(deliver));
  missing_.insert(missing_.end(), wanted_.begin(), wanted_.end());
  wanted_ = {};
  if (next_frame_ < frames_.size()) return absl::DataLossError("fewer bytes came than were asked for");
  return absl::OkStatus();
}

std::vector<uint32_t> FrameReceiver::TakeMissing() { return std::exchange(missing_, {}); }

std::string_view FrameReceiver::RawBytes(const Pending& pending, size_t* raw_used) {
  const Manifest::Frame& frame = manifest_->frames[pending.frame];
  const std::string_view stored(stored_.get() + pending.position, frame.stored_size);
  if (frame.codec == FrameCodec::kRaw && frame.stored_size == frame.raw_size) return stored;
  char* raw = raw_.get() + *raw_used;
  if (!decoder_.Decode(frame.codec, stored, raw, frame.raw_size).ok()) return {};
  *raw_used += frame.raw_size;
  return {raw, frame.raw_size};
}

absl::Status FrameReceiver::VerifyBatch(Deliver deliver) {
  messages_.clear();
  indices_.clear();
  size_t raw_used = 0;
  for (const Pending& pending : batch_) {
    const std::string_view raw = RawBytes(pending, &raw_used);
    if (raw.data() == nullptr) ++bad_;
    size_t count = 0;
    while (count < wanted_.size() && manifest_->chunks[wanted_[count]].frame == pending.frame) {
      const uint32_t index = wanted_[count++];
      const Manifest::Chunk& chunk = manifest_->chunks[index];
      if (raw.data() == nullptr) {
        missing_.push_back(index);
      } else {
        messages_.push_back(raw.substr(chunk.offset, chunk.size));
        indices_.push_back(index);
      }
    }
    wanted_ = wanted_.subspan(count);
  }
  batch_.clear();
  stored_used_ = 0;
  batch_raw_size_ = 0;

  digests_.resize(messages_.size());
  HashChunks(messages_, digests_);
  for (size_t i = 0; i < messages_.size(); ++i) {
    if (digests_[i] != manifest_->chunks[indices_[i]].digest) {
      ++bad_;
      missing_.push_back(indices_[i]);
    }
  }
  for (size_t i = 0; i < messages_.size(); ++i) {
    if (digests_[i] == manifest_->chunks[indices_[i]].digest) {
      RETURN_IF_ERROR(deliver(indices_[i], messages_[i]));
    }
  }
  return absl::OkStatus();
}

}  // namespace aetherfs
