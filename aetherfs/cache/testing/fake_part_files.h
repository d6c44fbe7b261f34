#ifndef AETHERFS_CACHE_TESTING_FAKE_PART_FILES_H_
#define AETHERFS_CACHE_TESTING_FAKE_PART_FILES_H_

#include <algorithm>
#include <cstring>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "aetherfs/cache/disk_part_cache.h"
#include "aetherfs/cache/part_files.h"

namespace aetherfs {

// A disk in memory, which outlives those who use it, may be smaller than it should be, and fails or hangs
// when it is told to. Thread-safe.
class FakeDisk {
 public:
  enum Call { kWrite, kRead, kRemove, kScan };

  void Fail(Call call, absl::Status status) {
    absl::MutexLock lock(&mutex_);
    failures_[call] = std::move(status);
  }
  void Heal(Call call) {
    absl::MutexLock lock(&mutex_);
    failures_.erase(call);
  }
  // Calls of the kind block until they are released.
  void Hold(Call call) {
    absl::MutexLock lock(&mutex_);
    held_.insert(call);
  }
  void Release(Call call) {
    absl::MutexLock lock(&mutex_);
    held_.erase(call);
  }
  // Blocks until a call of the kind has begun since the start.
  void AwaitCall(Call call) {
    absl::MutexLock lock(&mutex_);
    const auto begun = [this, call]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return calls_[call] > 0; };
    mutex_.Await(absl::Condition(&begun));
  }
  void set_capacity(uint64_t bytes) {
    absl::MutexLock lock(&mutex_);
    capacity_ = bytes;
  }

  int calls(Call call) const {
    absl::MutexLock lock(&mutex_);
    const auto it = calls_.find(call);
    return it == calls_.end() ? 0 : it->second;
  }
  size_t files() const {
    absl::MutexLock lock(&mutex_);
    return files_.size();
  }
  uint64_t most_bytes() const {
    absl::MutexLock lock(&mutex_);
    return most_bytes_;
  }
  bool Has(const PartKey& key) const {
    absl::MutexLock lock(&mutex_);
    return files_.contains(PartFileId::Of(key));
  }

 private:
  friend class FakePartFiles;
  struct File {
    std::string bytes;
    uint64_t number;
  };

  absl::Status Begin(Call call) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    ++calls_[call];
    const auto free = [this, call]()
                          ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return !held_.contains(call); };
    mutex_.Await(absl::Condition(&free));
    const auto failure = failures_.find(call);
    return failure == failures_.end() ? absl::OkStatus() : failure->second;
  }
  uint64_t Used() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    uint64_t used = 0;
    for (const auto& [id, file] : files_) used += Blocks(file.bytes.size());
    return used;
  }
  static uint64_t Blocks(uint64_t bytes) {
    return (bytes + DiskPartCache::kDiskBlock - 1) / DiskPartCache::kDiskBlock * DiskPartCache::kDiskBlock;
  }

  mutable absl::Mutex mutex_;
  std::map<PartFileId, File> files_ ABSL_GUARDED_BY(mutex_);
  std::map<Call, absl::Status> failures_ ABSL_GUARDED_BY(mutex_);
  std::set<Call> held_ ABSL_GUARDED_BY(mutex_);
  mutable std::map<Call, int> calls_ ABSL_GUARDED_BY(mutex_);
  uint64_t capacity_ ABSL_GUARDED_BY(mutex_) = ~uint64_t{0};
  uint64_t most_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t next_number_ ABSL_GUARDED_BY(mutex_) = 0;
};

class FakePartFiles : public PartFiles {
 public:
  explicit FakePartFiles(std::shared_ptr<FakeDisk> disk) : disk_(std::move(disk)) {}

  absl::Status Write(const PartFileId& id, std::string_view header, std::string_view bytes) override {
    absl::MutexLock lock(&disk_->mutex_);
    if (absl::Status failure = disk_->Begin(FakeDisk::kWrite); !failure.ok()) return failure;
    std::string all(header);
    all += bytes;
    // What is replaced is there until the end.
    const uint64_t used = disk_->Used() + FakeDisk::Blocks(all.size());
    if (used > disk_->capacity_) return absl::ResourceExhaustedError("no space left on the fake disk");
    disk_->most_bytes_ = std::max(disk_->most_bytes_, used);
    disk_->files_[id] = {std::move(all), disk_->next_number_++};
    return absl::OkStatus();
  }
  absl::StatusOr<size_t> Read(const PartFileId& id, std::span<char> head, std::span<char> body) override {
    absl::MutexLock lock(&disk_->mutex_);
    if (absl::Status failure = disk_->Begin(FakeDisk::kRead); !failure.ok()) return failure;
    const auto it = disk_->files_.find(id);
    if (it == disk_->files_.end()) return absl::NotFoundError("no such file on the fake disk");
    const std::string& bytes = it->second.bytes;
    const size_t first = std::min(head.size(), bytes.size());
    const size_t second = std::min(body.size(), bytes.size() - first);
    std::memcpy(head.data(), bytes.data(), first);
    if (second > 0) std::memcpy(body.data(), bytes.data() + first, second);
    return first + second;
  }
  absl::Status Remove(const PartFileId& id) override {
    absl::MutexLock lock(&disk_->mutex_);
    if (absl::Status failure = disk_->Begin(FakeDisk::kRemove); !failure.ok()) return failure;
    disk_->files_.erase(id);
    return absl::OkStatus();
  }
  absl::Status Scan(absl::FunctionRef<bool(const Found&)> visit) override {
    absl::MutexLock lock(&disk_->mutex_);
    if (absl::Status failure = disk_->Begin(FakeDisk::kScan); !failure.ok()) return failure;
    for (const auto& [id, file] : disk_->files_) {
      if (!visit({id, file.bytes.size(), absl::FromUnixSeconds(static_cast<int64_t>(file.number))})) break;
    }
    return absl::OkStatus();
  }

 private:
  const std::shared_ptr<FakeDisk> disk_;
};

}  // namespace aetherfs

#endif  // AETHERFS_CACHE_TESTING_FAKE_PART_FILES_H_
