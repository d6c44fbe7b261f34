#include "aetherfs/cache/part.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>
#include <cstring>
#include <iterator>

namespace aetherfs {

Part::Part(PartBuffers::Buffer buffer, uint64_t object_size)
    : buffer_(std::move(buffer)), object_size_(object_size) {}

Part::~Part() = default;

bool Part::complete() const {
  absl::MutexLock lock(&mutex_);
  return ended_ && status_.ok();
}

absl::Status Part::status() const {
  absl::MutexLock lock(&mutex_);
  return status_;
}

uint64_t Part::checksum() const {
  absl::MutexLock lock(&mutex_);
  if (!checksum_.has_value()) checksum_ = XXH3_64bits(buffer_.data(), buffer_.size());
  return *checksum_;
}

void Part::WhenMoreThan(uint64_t offset, std::function<void()> wake) const {
  {
    absl::MutexLock lock(&mutex_);
    if (!ended_ && arrived_.load(std::memory_order_relaxed) <= offset) {
      waiters_.push_back({offset, std::move(wake)});
      return;
    }
  }
  wake();
}

void Part::WhenEnded(std::function<void(const absl::Status&)> ended) const {
  // Nothing arrives behind the end, so only the end wakes this one.
  WhenMoreThan(buffer_.size(), [this, ended = std::move(ended)] { ended(status()); });
}

bool Part::AtRelease(std::function<void()> released) const {
  absl::MutexLock lock(&mutex_);
  if (release_.call) return false;
  release_.call = std::move(released);
  return true;
}

void Part::ForgetRelease() const {
  absl::MutexLock lock(&mutex_);
  release_.call = nullptr;
}

absl::Status Part::Write(uint64_t offset, std::string_view bytes) {
  std::vector<Waiter> woken;
  {
    absl::MutexLock lock(&mutex_);
    const uint64_t arrived = arrived_.load(std::memory_order_relaxed);
    if (offset > arrived || bytes.size() > buffer_.size() - offset) {
      return absl::InternalError(fmt::format("{} bytes at {} of a part of {} of which {} have arrived",
                                             bytes.size(), offset, buffer_.size(), arrived));
    }
    if (ended_ || offset + bytes.size() <= arrived) return absl::OkStatus();
    const std::string_view fresh = bytes.substr(arrived - offset);
    std::memcpy(buffer_.data() + arrived, fresh.data(), fresh.size());
    const uint64_t now = arrived + fresh.size();
    arrived_.store(now, std::memory_order_release);
    const auto ready = std::stable_partition(waiters_.begin(), waiters_.end(),
                                             [now](const Waiter& waiter) { return waiter.offset >= now; });
    std::move(ready, waiters_.end(), std::back_inserter(woken));
    waiters_.erase(ready, waiters_.end());
  }
  for (const Waiter& waiter : woken) waiter.wake();
  return absl::OkStatus();
}

void Part::End(const absl::Status& status, std::optional<uint64_t> checksum) {
  std::vector<Waiter> woken;
  {
    absl::MutexLock lock(&mutex_);
    if (ended_) return;
    ended_ = true;
    status_ = status;
    const uint64_t arrived = arrived_.load(std::memory_order_relaxed);
    if (status_.ok() && arrived < buffer_.size()) {
      status_ = absl::DataLossError(fmt::format("{} of {} bytes arrived", arrived, buffer_.size()));
    } else if (status_.ok() && checksum.has_value()) {
      checksum_ = XXH3_64bits(buffer_.data(), buffer_.size());
      if (*checksum_ != *checksum) status_ = absl::DataLossError("what arrived fails its checksum");
    }
    woken.swap(waiters_);
  }
  for (const Waiter& waiter : woken) waiter.wake();
}

}  // namespace aetherfs
