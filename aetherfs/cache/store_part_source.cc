#include "aetherfs/cache/store_part_source.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "absl/strings/string_view.h"
#include "aetherfs/base/status.h"

namespace aetherfs {

void StorePartSource::Get(const PartKey& key, const Options& options, Done done) {
  if (options.scope == PartScope::kCached) {
    return done(absl::UnavailableError(fmt::format("{} is not cached here", key.object_key)),
                PartOrigin::kStore);
  }
  if (!pool_.TrySubmit([this, key, options, done] { Fetch(key, options, done); })) {
    done(
        absl::ResourceExhaustedError(fmt::format("reading {}: too many reads are waiting", key.object_key)),
        PartOrigin::kStore);
  }
}

void StorePartSource::Fetch(const PartKey& key, const Options& options, const Done& done) {
  std::optional<uint64_t> object_size;
  if (!options.bypass_cache) object_size = KnownSize(key.object_key);
  const bool remembered = object_size.has_value();
  if (!remembered) {
    const absl::StatusOr<ObjectInfo> info = store_.Head(key.object_key, options.deadline);
    if (absl::IsNotFound(info.status())) ForgetSize(key.object_key);
    if (!info.ok()) return done(info.status(), PartOrigin::kStore);
    object_size = info->size;
  }
  std::shared_ptr<Part> part;
  const absl::Status status = Read(key, *object_size, options.deadline, [&](std::shared_ptr<Part> begun) {
    part = std::move(begun);
    done(PartPtr(part), PartOrigin::kStore);
  });
  if (status.ok()) {
    if (!remembered) NoteObjectSize(key.object_key, *object_size);
    if (unique_.Insert(key)) unique_bytes_ += part->size();
  } else if (absl::IsOutOfRange(status) || absl::IsDataLoss(status) || absl::IsNotFound(status)) {
    ForgetSize(key.object_key);
  }
  // Only now: whoever hears of the end may ask again, with what is known about the size.
  if (part != nullptr) {
    part->End(status);
  } else {
    done(status, PartOrigin::kStore);
  }
}

absl::Status StorePartSource::Read(const PartKey& key, uint64_t object_size, absl::Time deadline,
                                   const std::function<void(std::shared_ptr<Part>)>& begun) {
  const uint64_t offset = key.index * kPartSize;
  if (key.index >= (object_size + kPartSize - 1) / kPartSize) {
    return absl::OutOfRangeError(
        fmt::format("{} has {} bytes and no part {}", key.object_key, object_size, key.index));
  }
  GetOptions get;
  get.range = ByteRange{offset, std::min(kPartSize, object_size - offset)};
  get.deadline = deadline;
  const uint64_t size = get.range->size;
  std::shared_ptr<Part> part;
  uint64_t filled = 0;
  ASSIGN_OR_RETURN(const ObjectInfo info, store_.Get(key.object_key, get, [&](std::string_view bytes) {
    bytes_ += bytes.size();
    if (bytes.size() > size - filled) {
      return absl::DataLossError(fmt::format("{}: more bytes came than were asked for", key.object_key));
    }
    if (bytes.empty()) return absl::OkStatus();
    const bool first = part == nullptr;
    if (first) part = std::make_shared<Part>(buffers_.Allocate(size), object_size);
    RETURN_IF_ERROR(part->Write(filled, bytes));
    filled += bytes.size();
    if (first) begun(part);
    return absl::OkStatus();
  }));
  if (filled != size || info.size != object_size) {
    return absl::DataLossError(fmt::format("{}: {} of {} bytes came of an object of {}, then {} bytes",
                                           key.object_key, filled, size, object_size, info.size));
  }
  return absl::OkStatus();
}

StorePartSource::Stats StorePartSource::stats() const { return {bytes_.load(), unique_bytes_.load()}; }

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
