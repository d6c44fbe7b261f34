#ifndef AETHERFS_SERVER_UPLOAD_BUDGET_H_
#define AETHERFS_SERVER_UPLOAD_BUDGET_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "aetherfs/base/quantity.h"

namespace aetherfs {

// Memory for objects that are being received, one budget for all of them. An upload is admitted, in the
// order of arrival, when there is room for all that it has announced, so none waits in its middle for
// memory that another one holds. One that announced more than the budget is admitted alone.
// Thread-safe; never blocks. What it hands out may outlive it.
class UploadBudget {
 public:
  static constexpr uint64_t kDefaultBytes = 64 * kMiB;
  static constexpr size_t kSegmentSize = 1 * kMiB;
  static constexpr size_t kMaxWaiting = 1024;
  static constexpr size_t kMaxFreeSegments = kDefaultBytes / kSegmentSize;

  // The bytes of one upload, in segments; its share of the budget goes back when it goes. Not thread-safe.
  class Bytes {
   public:
    ~Bytes();
    Bytes(const Bytes&) = delete;
    Bytes& operator=(const Bytes&) = delete;

    // No more than was announced in all.
    void Append(std::string_view bytes);
    uint64_t size() const { return size_; }
    // Everything so far; the bytes stay where they are.
    std::vector<std::string_view> Pieces() const;
    // What has come since `offset` within the segment that holds it.
    std::string_view From(uint64_t offset) const;

   private:
    friend class UploadBudget;
    struct Segment {
      std::unique_ptr<char[]> data;
      size_t capacity = 0;
    };
    Bytes() = default;
    std::shared_ptr<struct UploadLedger> ledger_;
    uint64_t share_ = 0;
    uint64_t announced_ = 0;
    uint64_t size_ = 0;
    std::vector<Segment> segments_;
  };
  using Admitted = std::function<void(std::shared_ptr<Bytes>)>;

  explicit UploadBudget(uint64_t bytes = kDefaultBytes);

  // Calls `admitted` once there is room for `announced` bytes: now, or in the thread that gives some back.
  // False, and it will not be called, if too many wait already. It must not block.
  bool Admit(uint64_t announced, Admitted admitted);

  uint64_t used() const;
  size_t waiting() const;

 private:
  const std::shared_ptr<struct UploadLedger> ledger_;
};

}  // namespace aetherfs

#endif  // AETHERFS_SERVER_UPLOAD_BUDGET_H_
