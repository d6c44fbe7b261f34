#ifndef AETHERFS_CACHE_PART_BUFFERS_H_
#define AETHERFS_CACHE_PART_BUFFERS_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace aetherfs {

// Objects are cached in parts: aligned pieces of kPartSize bytes, the last one shorter.
inline constexpr uint64_t kPartSize = 4 * 1024 * 1024;

// Memory for the bytes of parts. Parts that are about whole (blocks are finished just before they would be
// larger) use mappings of kPartSize, of huge pages where there are any, that are kept for the next one:
// faulting in 4 MiB of fresh pages costs more than reading that much from a page cache. Thread-safe; what
// it hands out may outlive it.
class PartBuffers {
 public:
  static constexpr size_t kMaxFree = 8;  // × kPartSize = 32 MiB
  // From this size on a mapping is used; so at most an eighth of one is wasted.
  static constexpr size_t kLeastPooled = kPartSize - kPartSize / 8;

  // Bytes that are not initialised. Gives its memory back when it goes.
  class Buffer {
   public:
    Buffer() = default;
    Buffer(Buffer&& other) noexcept;
    Buffer& operator=(Buffer&& other) noexcept;
    ~Buffer();
    char* data() const { return data_; }
    size_t size() const { return size_; }

   private:
    friend class PartBuffers;
    char* data_ = nullptr;
    size_t size_ = 0;
    std::shared_ptr<struct FreePartBuffers> home_;  // null: from the heap
  };

  PartBuffers();
  // `size` is 1 to kPartSize.
  Buffer Allocate(size_t size);

 private:
  const std::shared_ptr<struct FreePartBuffers> free_;
};

}  // namespace aetherfs

#endif  // AETHERFS_CACHE_PART_BUFFERS_H_
