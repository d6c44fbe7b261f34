#include "aetherfs/cache/disk_part_cache.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>
#include <span>
#include <string>
#include <utility>

#include "aetherfs/base/status.h"
#include "aetherfs/cache/part_file.h"
#include "aetherfs/telemetry/log.h"

namespace aetherfs {
namespace {

// Parts of one object that are looked at when it turns out to have another size: 4 GiB of it.
constexpr uint64_t kMaxPartsLookedAt = 1024;

uint64_t DiskBytes(uint64_t file_bytes) {
  return (file_bytes + DiskPartCache::kDiskBlock - 1) / DiskPartCache::kDiskBlock *
         DiskPartCache::kDiskBlock;
}

bool CanBePartFile(uint64_t file_bytes) {
  return file_bytes > kMinPartFileHeader && file_bytes <= kMaxPartFileHeader + kPartSize;
}

}  // namespace

DiskPartCache::DiskPartCache(std::unique_ptr<PartFiles> files, const DiskPartCacheOptions& options,
                             PartSource* below, Clock* clock)
    : files_(std::move(files)),
      options_(options),
      below_(*below),
      clock_(*clock),
      policy_(options.size_bytes),
      readers_(std::make_unique<ThreadPool>("disk-read", kReadThreads, kMaxQueuedReads)),
      writer_(std::make_unique<ThreadPool>("disk-write", 1, kMaxQueuedWrites)) {
  absl::MutexLock lock(&mutex_);
  Order([this] { Scan(); });
}

DiskPartCache::~DiskPartCache() { Stop(); }

void DiskPartCache::Stop() {
  std::unique_ptr<ThreadPool> readers;
  std::unique_ptr<ThreadPool> writer;
  {
    absl::MutexLock lock(&mutex_);
    stopped_ = true;
    readers = std::move(readers_);
  }
  // Pools run what they have, outside of the lock. Readers may leave something to remove.
  readers.reset();
  {
    absl::MutexLock lock(&mutex_);
    Order([this] { RemoveDoomed(); });
    writer = std::move(writer_);
  }
  writer.reset();
}

void DiskPartCache::AwaitIdle() const {
  absl::MutexLock lock(&mutex_);
  const auto idle = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return orders_ == 0; };
  mutex_.Await(absl::Condition(&idle));
}

bool DiskPartCache::Order(std::function<void()> work) {
  if (writer_ == nullptr) return false;
  const bool taken = writer_->TrySubmit([this, work = std::move(work)]() mutable {
    work();
    work = nullptr;  // and the part that it holds, whose end calls others
    absl::MutexLock lock(&mutex_);
    --orders_;
  });
  orders_ += taken ? 1 : 0;
  return taken;
}

DiskPartCache::Stats DiskPartCache::stats() const {
  absl::MutexLock lock(&mutex_);
  Stats stats = stats_;
  stats.kept_parts = policy_.size();
  stats.used_bytes = used_bytes_;
  stats.limit_bytes = Limit();
  stats.scanning = scanning_;
  return stats;
}

// ---- What is kept.

uint64_t DiskPartCache::Limit() const {
  return clock_.Now() < smaller_until_ ? std::min(smaller_limit_, options_.size_bytes)
                                       : options_.size_bytes;
}

void DiskPartCache::Add(const PartFileId& id, const Entry& entry) {
  entries_[id] = entry;
  policy_.Insert(id, DiskBytes(entry.file_bytes));
}

void DiskPartCache::Doom(const PartFileId& id) {
  const auto it = entries_.find(id);
  if (it == entries_.end() || it->second.doomed) return;
  it->second.doomed = true;
  policy_.Remove(id);
  if (it->second.readers == 0) doomed_.push_back(id);  // else its last reader does that
}

void DiskPartCache::Evict(uint64_t bytes) {
  const uint64_t limit = Limit();
  const auto may_go = [this](const PartFileId& id)
                          ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return entries_[id].readers == 0; };
  uint64_t needed = used_bytes_ + bytes;
  size_t files = entries_.size() + (bytes > 0 ? 1 : 0);
  while (needed > limit || files > kMaxFiles) {
    const std::optional<PartFileId> victim = policy_.Evict(may_go);
    if (!victim.has_value()) return;
    needed -= DiskBytes(entries_[*victim].file_bytes);
    --files;
    ++stats_.evictions;
    Doom(*victim);
  }
}

void DiskPartCache::RemoveDoomed() {
  std::vector<PartFileId> ids;
  {
    absl::MutexLock lock(&mutex_);
    ids.swap(doomed_);
  }
  for (size_t i = 0; i < ids.size(); ++i) {
    const absl::Status removed = files_->Remove(ids[i]);
    absl::MutexLock lock(&mutex_);
    if (!removed.ok()) {
      // They go on to count, and are tried again with what comes next.
      ++stats_.failures;
      paused_until_ = std::max(paused_until_, clock_.Now() + kPause);
      doomed_.insert(doomed_.end(), ids.begin() + static_cast<ptrdiff_t>(i), ids.end());
      return;
    }
    const auto it = entries_.find(ids[i]);
    used_bytes_ -= DiskBytes(it->second.file_bytes);
    entries_.erase(it);
  }
}

// ---- Reading.

void DiskPartCache::Get(const PartKey& key, const Options& options, Done done) {
  if (!StartRead(key, options, done)) GetBelow(key, options, done);
}

bool DiskPartCache::StartRead(const PartKey& key, const Options& options, const Done& done) {
  const PartFileId id = PartFileId::Of(key);
  absl::MutexLock lock(&mutex_);
  if (options.bypass_cache) {
    unwritten_.erase(id);
    Doom(id);
    // Once more when all before it is done: it may not have been found yet.
    Order([this, id] {
      {
        absl::MutexLock in_order(&mutex_);
        Doom(id);
      }
      RemoveDoomed();
    });
    return false;
  }
  const auto it = entries_.find(id);
  if (it != entries_.end() && !it->second.doomed && readers_ != nullptr) {
    const uint64_t file_bytes = it->second.file_bytes;
    policy_.Touch(id);
    if (readers_->TrySubmit(
            [this, key, options, file_bytes, done] { Read(key, options, file_bytes, done); })) {
      ++it->second.readers;
      return true;
    }
  }
  ++stats_.misses;
  return false;
}

void DiskPartCache::Read(const PartKey& key, const Options& options, uint64_t file_bytes,
                         const Done& done) {
  absl::StatusOr<PartPtr> part = ReadFile(key, file_bytes);
  EndRead(PartFileId::Of(key), part);
  if (part.ok() && *part != nullptr) {
    done(std::move(part), PartOrigin::kDisk);
  } else {
    GetBelow(key, options, done);
  }
}

absl::StatusOr<PartPtr> DiskPartCache::ReadFile(const PartKey& key, uint64_t file_bytes) {
  std::string head(PartFileHeaderSize(key), '\0');
  if (file_bytes <= head.size() || file_bytes - head.size() > kPartSize) return nullptr;
  PartBuffers::Buffer buffer = buffers_.Allocate(file_bytes - head.size());
  const std::span<char> body(buffer.data(), buffer.size());
  ASSIGN_OR_RETURN(const size_t read, files_->Read(PartFileId::Of(key), std::span<char>(head), body));
  if (read != file_bytes) return nullptr;
  const absl::StatusOr<DecodedPartFileHeader> decoded = DecodePartFileHeader(head);
  if (!decoded.ok() || decoded->header.key != key || decoded->header.part_size() != body.size()) {
    return nullptr;
  }
  const uint64_t checksum = XXH3_64bits(body.data(), body.size());
  if (decoded->header.checksum != checksum) return nullptr;
  return Part::Whole(std::move(buffer), decoded->header.object_size, checksum);
}

void DiskPartCache::EndRead(const PartFileId& id, const absl::StatusOr<PartPtr>& part) {
  absl::MutexLock lock(&mutex_);
  Entry& entry = entries_.find(id)->second;  // it does not go while somebody reads
  --entry.readers;
  if (entry.doomed && entry.readers == 0) doomed_.push_back(id);
  if (part.ok() && *part != nullptr) {
    ++stats_.hits;
    entry.object_size = (*part)->object_size();
  } else {
    ++stats_.misses;
    ++(part.ok() ? stats_.corrupt : stats_.failures);
    // What the disk cannot read now it will hardly read later.
    if (part.ok() || absl::IsNotFound(part.status()) || absl::IsDataLoss(part.status())) Doom(id);
  }
  if (!doomed_.empty()) Order([this] { RemoveDoomed(); });
}

void DiskPartCache::GetBelow(const PartKey& key, const Options& options, const Done& done) {
  if (options.scope == PartScope::kCached) {
    return done(absl::UnavailableError(fmt::format("{} is not cached here", key.object_key)),
                PartOrigin::kDisk);
  }
  const bool own = options.scope == PartScope::kStore;
  const bool bypass = options.bypass_cache;
  const auto begun = [this, key, own, bypass, done](absl::StatusOr<PartPtr> part, PartOrigin origin) {
    if (part.ok() && bypass) {
      absl::MutexLock lock(&mutex_);
      Order([this, key, size = (*part)->object_size()] { ForgetOtherSizes(key, size); });
    }
    if (part.ok() && (own || origin == PartOrigin::kStore)) {
      (*part)->WhenEnded([this, key, held = *part](const absl::Status& status) {
        if (status.ok()) OnWhole(key, held);
      });
    }
    done(std::move(part), origin);
  };
  below_.Get(key, options, begun);
}

void DiskPartCache::ForgetOtherSizes(const PartKey& key, uint64_t object_size) {
  {
    absl::MutexLock lock(&mutex_);
    uint64_t parts = std::max((object_size + kPartSize - 1) / kPartSize, key.index + 1);
    for (uint64_t index = 0; index < std::min(parts, kMaxPartsLookedAt); ++index) {
      const PartFileId id = PartFileId::Of({key.object_key, index});
      const auto it = entries_.find(id);
      // Files that were not read yet count as others: that is simpler than to read them.
      if (it == entries_.end() || it->second.object_size == object_size) continue;
      parts = std::max(parts, (it->second.object_size + kPartSize - 1) / kPartSize);
      Doom(id);
    }
  }
  RemoveDoomed();
}

// ---- Writing.

void DiskPartCache::OnWhole(const PartKey& key, const PartPtr& part) {
  if (key.object_key.empty() || key.object_key.size() > kMaxPartFileKey) return;
  const PartFileId id = PartFileId::Of(key);
  absl::MutexLock lock(&mutex_);
  const auto it = entries_.find(id);
  if (unwritten_.contains(id) || (it != entries_.end() && !it->second.doomed)) return;
  if (stopped_ || clock_.Now() < paused_until_ ||
      unwritten_bytes_ + part->size() > options_.max_unwritten_bytes ||
      !Order([this, key, part] { Write(key, part); })) {
    ++stats_.skipped;
    return;
  }
  unwritten_[id] = part.get();
  unwritten_bytes_ += part->size();
}

bool DiskPartCache::IsWanted(const PartFileId& id, const Part* part) const {
  const auto it = unwritten_.find(id);
  return it != unwritten_.end() && it->second == part;
}

void DiskPartCache::Write(const PartKey& key, const PartPtr& part) {
  const PartFileId id = PartFileId::Of(key);
  const std::string header = EncodePartFileHeader({key, part->object_size(), part->checksum()});
  const uint64_t file_bytes = header.size() + part->size();
  RemoveDoomed();
  absl::Status written = absl::CancelledError();
  if (BeginWrite(id, part.get(), DiskBytes(file_bytes))) {
    written = files_->Write(id, header, part->bytes());
    EndWrite(id, *part, file_bytes, written);
    RemoveDoomed();
  }
  absl::MutexLock lock(&mutex_);
  unwritten_bytes_ -= part->size();
  if (!IsWanted(id, part.get())) return;
  unwritten_.erase(id);
  if (!written.ok()) ++stats_.skipped;
}

bool DiskPartCache::BeginWrite(const PartFileId& id, const Part* part, uint64_t disk_bytes) {
  {
    absl::MutexLock lock(&mutex_);
    // One that is there was found at the start, or is doomed and still read.
    if (!IsWanted(id, part) || entries_.contains(id)) return false;
    if (clock_.Now() < paused_until_ || disk_bytes > Limit()) return false;
    Evict(disk_bytes);
  }
  RemoveDoomed();
  absl::MutexLock lock(&mutex_);
  if (used_bytes_ + disk_bytes > Limit() || entries_.size() >= kMaxFiles) return false;
  used_bytes_ += disk_bytes;
  return true;
}

void DiskPartCache::EndWrite(const PartFileId& id, const Part& part, uint64_t file_bytes,
                             const absl::Status& written) {
  const bool full = absl::IsResourceExhausted(written);
  {
    absl::MutexLock lock(&mutex_);
    if (written.ok()) {
      ++stats_.written;
      stats_.written_bytes += part.size();
      Add(id, {.file_bytes = file_bytes, .object_size = part.object_size()});
      if (!IsWanted(id, &part)) Doom(id);
      return;
    }
    ++stats_.failures;
    used_bytes_ -= DiskBytes(file_bytes);
    if (full) {
      smaller_limit_ = used_bytes_ / 8 * 7;
      smaller_until_ = clock_.Now() + kSmallerFor;
      Evict(0);
    } else {
      paused_until_ = clock_.Now() + kPause;
    }
  }
  LogWarning(full ? "the disk of the cache is full: the cache is made smaller for a while"
                  : "the disk cache could not write: it is left alone for a while",
             {{"error", written}});
}

// ---- The start.

void DiskPartCache::Scan() {
  std::vector<PartFiles::Found> found;
  bool cut_short = false;
  const absl::Status scanned = files_->Scan([&](const PartFiles::Found& file) {
    found.push_back(file);
    absl::MutexLock lock(&mutex_);
    cut_short = stopped_;
    return !cut_short;
  });
  // The oldest first, as they were written.
  std::sort(found.begin(), found.end(), [](const auto& a, const auto& b) { return a.written < b.written; });
  {
    absl::MutexLock lock(&mutex_);
    for (const PartFiles::Found& file : found) {
      used_bytes_ += DiskBytes(file.size);
      Add(file.id, {.file_bytes = file.size});
      if (CanBePartFile(file.size)) continue;
      ++stats_.corrupt;
      Doom(file.id);
    }
    scanning_ = false;
    // What is not known cannot be counted.
    if (!scanned.ok() || cut_short) paused_until_ = absl::InfiniteFuture();
    if (!scanned.ok()) ++stats_.failures;
    Evict(0);
  }
  if (!scanned.ok()) {
    LogWarning("the disk cache cannot see what it has, and writes nothing", {{"error", scanned}});
  }
  RemoveDoomed();
}

}  // namespace aetherfs
