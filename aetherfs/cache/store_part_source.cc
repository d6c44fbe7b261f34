#include "aetherfs/cache/store_part_source.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/string_view.h"
#include "aetherfs/base/status.h"

namespace aetherfs {
namespace {

class StoredPart : public Part {
 public:
  StoredPart(PartBuffers::Buffer buffer, uint64_t object_size)
      : buffer_(std::move(buffer)), object_size_(object_size) {}
  std::string_view bytes() const override { return {buffer_.data(), buffer_.size()}; }
  uint64_t object_size() const override { return object_size_; }

 private:
  const PartBuffers::Buffer buffer_;
  const uint64_t object_size_;
};

}  // namespace

void StorePartSource::Get(const PartKey& key, const Options& options, Done done) {
  const bool queued =
      pool_.TrySubmit([this, key, options, done] { done(Fetch(key, options), PartOrigin::kStore); });
  if (!queued) {
    done(
        absl::ResourceExhaustedError(fmt::format("reading {}: too many reads are waiting", key.object_key)),
        PartOrigin::kStore);
  }
}

absl::StatusOr<PartPtr> StorePartSource::Fetch(const PartKey& key, const Options& options) {
  std::optional<uint64_t> object_size;
  if (!options.bypass_cache) object_size = KnownSize(key.object_key);
  const bool remembered = object_size.has_value();
  if (!remembered) {
    const absl::StatusOr<ObjectInfo> info = store_.Head(key.object_key, options.deadline);
    if (absl::IsNotFound(info.status())) ForgetSize(key.object_key);
    RETURN_IF_ERROR(info.status());
    object_size = info->size;
  }
  absl::StatusOr<PartPtr> part = Read(key, *object_size, options.deadline);
  if (part.ok()) {
    if (!remembered) NoteObjectSize(key.object_key, *object_size);
  } else if (absl::IsOutOfRange(part.status()) || absl::IsDataLoss(part.status()) ||
             absl::IsNotFound(part.status())) {
    ForgetSize(key.object_key);
  }
  return part;
}

absl::StatusOr<PartPtr> StorePartSource::Read(const PartKey& key, uint64_t object_size,
                                              absl::Time deadline) {
  const uint64_t offset = key.index * kPartSize;
  if (key.index >= (object_size + kPartSize - 1) / kPartSize) {
    return absl::OutOfRangeError(
        fmt::format("{} has {} bytes and no part {}", key.object_key, object_size, key.index));
  }
  GetOptions get;
  get.range = ByteRange{offset, std::min(kPartSize, object_size - offset)};
  get.deadline = deadline;
  PartBuffers::Buffer buffer = buffers_.Allocate(get.range->size);
  size_t filled = 0;
  ASSIGN_OR_RETURN(const ObjectInfo info, store_.Get(key.object_key, get, [&](std::string_view bytes) {
    if (bytes.size() > buffer.size() - filled) {
      return absl::DataLossError(fmt::format("{}: more bytes came than were asked for", key.object_key));
    }
    std::memcpy(buffer.data() + filled, bytes.data(), bytes.size());
    filled += bytes.size();
    return absl::OkStatus();
  }));
  if (filled != buffer.size() || info.size != object_size) {
    return absl::DataLossError(fmt::format("{}: {} of {} bytes came of an object of {}, then {} bytes",
                                           key.object_key, filled, buffer.size(), object_size, info.size));
  }
  return std::make_shared<const StoredPart>(std::move(buffer), object_size);
}

std::optional<uint64_t> StorePartSource::KnownSize(std::string_view object_key) {
  const absl::string_view name(object_key.data(), object_key.size());
  absl::MutexLock lock(&mutex_);
  if (const auto it = young_sizes_.find(name); it != young_sizes_.end()) return it->second;
  if (const auto it = old_sizes_.find(name); it != old_sizes_.end()) return it->second;
  return std::nullopt;
}

void StorePartSource::ForgetSize(std::string_view object_key) {
  const absl::string_view name(object_key.data(), object_key.size());
  absl::MutexLock lock(&mutex_);
  if (const auto it = young_sizes_.find(name); it != young_sizes_.end()) young_sizes_.erase(it);
  if (const auto it = old_sizes_.find(name); it != old_sizes_.end()) old_sizes_.erase(it);
}

void StorePartSource::NoteObjectSize(std::string_view object_key, uint64_t size) {
  absl::MutexLock lock(&mutex_);
  if (young_sizes_.size() >= kMaxKnownSizes / 2) {
    old_sizes_ = std::move(young_sizes_);
    young_sizes_.clear();
  }
  young_sizes_.insert_or_assign(std::string(object_key), size);
}

}  // namespace aetherfs
