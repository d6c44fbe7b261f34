#include "aetherfs/agent/check_batch.h"

#include "aetherfs/base/sha256.h"
#include "aetherfs/base/status.h"

namespace aetherfs {

static_assert(CheckBatch::kMaxBytes >= kMaxChunkSize);

char* CheckBatch::Add(uint32_t chunk, uint64_t tag) {
  const size_t size = manifest_.chunks[chunk].size;
  if (items_.size() == kMaxChunks || kMaxBytes - used_ < size) return nullptr;
  if (buffer_ == nullptr) buffer_ = std::make_unique_for_overwrite<char[]>(kMaxBytes);
  items_.push_back({chunk, tag, used_});
  used_ += size;
  return buffer_.get() + items_.back().offset;
}

void CheckBatch::DropLast() {
  used_ = items_.back().offset;
  items_.pop_back();
}

absl::Status CheckBatch::Check(absl::FunctionRef<absl::Status(const Checked&)> done) {
  std::vector<std::string_view> messages;
  messages.reserve(items_.size());
  for (const Item& item : items_) {
    messages.emplace_back(buffer_.get() + item.offset, manifest_.chunks[item.chunk].size);
  }
  std::vector<Digest> digests(items_.size());
  Sha256Many(messages, digests);
  std::vector<Item> items;
  items.swap(items_);
  used_ = 0;
  for (size_t i = 0; i < items.size(); ++i) {
    const bool right = digests[i] == manifest_.chunks[items[i].chunk].digest;
    RETURN_IF_ERROR(done({items[i].chunk, items[i].tag, right, messages[i]}));
  }
  return absl::OkStatus();
}

}  // namespace aetherfs
