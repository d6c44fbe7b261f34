#include "aetherfs/server/upload_budget.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace aetherfs {

struct UploadLedger : std::enable_shared_from_this<UploadLedger> {
  struct Waiter {
    uint64_t announced;
    UploadBudget::Admitted admitted;
  };

  explicit UploadLedger(uint64_t bytes) : budget(bytes) {}

  uint64_t ShareOf(uint64_t announced) const { return std::min(announced, budget); }

  std::unique_ptr<char[]> TakeSegment() {
    {
      absl::MutexLock lock(&mutex);
      if (!free.empty()) {
        std::unique_ptr<char[]> segment = std::move(free.back());
        free.pop_back();
        return segment;
      }
    }
    return std::make_unique_for_overwrite<char[]>(UploadBudget::kSegmentSize);
  }

  const uint64_t budget;
  absl::Mutex mutex;
  uint64_t used ABSL_GUARDED_BY(mutex) = 0;
  std::deque<Waiter> waiting ABSL_GUARDED_BY(mutex);
  // Kept for the next upload: fresh memory costs page faults.
  std::vector<std::unique_ptr<char[]>> free ABSL_GUARDED_BY(mutex);
};

UploadBudget::UploadBudget(uint64_t bytes) : ledger_(std::make_shared<UploadLedger>(bytes)) {}

bool UploadBudget::Admit(uint64_t announced, Admitted admitted) {
  // Made before the share is taken: it gives the share back, whatever happens.
  const uint64_t share = ledger_->ShareOf(announced);
  {
    absl::MutexLock lock(&ledger_->mutex);
    if (!ledger_->waiting.empty() || ledger_->used + share > ledger_->budget) {
      if (ledger_->waiting.size() >= kMaxWaiting) return false;
      ledger_->waiting.push_back({announced, std::move(admitted)});
      return true;
    }
    ledger_->used += share;
  }
  std::shared_ptr<Bytes> bytes(new Bytes());
  bytes->ledger_ = ledger_;
  bytes->share_ = share;
  bytes->announced_ = announced;
  admitted(std::move(bytes));
  return true;
}

UploadBudget::Bytes::~Bytes() {
  std::vector<std::pair<UploadLedger::Waiter, std::shared_ptr<Bytes>>> next;
  {
    absl::MutexLock lock(&ledger_->mutex);
    for (Segment& segment : segments_) {
      if (segment.capacity == kSegmentSize && ledger_->free.size() < kMaxFreeSegments) {
        ledger_->free.push_back(std::move(segment.data));
      }
    }
    ledger_->used -= share_;
    while (!ledger_->waiting.empty()) {
      const uint64_t share = ledger_->ShareOf(ledger_->waiting.front().announced);
      if (ledger_->used + share > ledger_->budget) break;
      ledger_->used += share;
      std::shared_ptr<Bytes> bytes(new Bytes());
      bytes->ledger_ = ledger_;
      bytes->share_ = share;
      bytes->announced_ = ledger_->waiting.front().announced;
      next.emplace_back(std::move(ledger_->waiting.front()), std::move(bytes));
      ledger_->waiting.pop_front();
    }
  }
  for (auto& [waiter, bytes] : next) waiter.admitted(std::move(bytes));
}

void UploadBudget::Bytes::Append(std::string_view bytes) {
  while (!bytes.empty()) {
    const size_t at = size_ % kSegmentSize;
    if (at == 0) {
      Segment segment;
      segment.capacity = std::min<uint64_t>(kSegmentSize, announced_ - size_);
      segment.data = segment.capacity == kSegmentSize
                         ? ledger_->TakeSegment()
                         : std::make_unique_for_overwrite<char[]>(segment.capacity);
      segments_.push_back(std::move(segment));
    }
    const size_t taken = std::min(bytes.size(), segments_.back().capacity - at);
    std::memcpy(segments_.back().data.get() + at, bytes.data(), taken);
    size_ += taken;
    bytes.remove_prefix(taken);
  }
}

std::vector<std::string_view> UploadBudget::Bytes::Pieces() const {
  std::vector<std::string_view> pieces;
  pieces.reserve(segments_.size());
  for (uint64_t offset = 0; offset < size_; offset += kSegmentSize) pieces.push_back(From(offset));
  return pieces;
}

std::string_view UploadBudget::Bytes::From(uint64_t offset) const {
  if (offset >= size_) return {};
  const size_t segment = offset / kSegmentSize;
  const size_t at = offset % kSegmentSize;
  const uint64_t end = std::min<uint64_t>(size_, (segment + 1) * kSegmentSize);
  return {segments_[segment].data.get() + at, static_cast<size_t>(end - offset)};
}

uint64_t UploadBudget::used() const {
  absl::MutexLock lock(&ledger_->mutex);
  return ledger_->used;
}

size_t UploadBudget::waiting() const {
  absl::MutexLock lock(&ledger_->mutex);
  return ledger_->waiting.size();
}

}  // namespace aetherfs
