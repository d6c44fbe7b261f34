#include "aetherfs/cache/part_buffers.h"

#include <sys/mman.h>

#include <cstdint>
#include <new>
#include <utility>

namespace aetherfs {
namespace {

// A huge page of the processors this runs on. Mappings are aligned to it, or the system could not use one.
constexpr uintptr_t kHugePage = 2 * 1024 * 1024;

char* MapPart() {
  void* const mapped =
      mmap(nullptr, kPartSize + kHugePage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) throw std::bad_alloc();  // as operator new does
  char* const begin = static_cast<char*>(mapped);
  const uintptr_t before = -reinterpret_cast<uintptr_t>(begin) % kHugePage;
  if (before > 0) munmap(begin, before);
  munmap(begin + before + kPartSize, kHugePage - before);
  madvise(begin + before, kPartSize, MADV_HUGEPAGE);
  return begin + before;
}

}  // namespace

struct FreePartBuffers {
  ~FreePartBuffers() {
    for (char* buffer : free) munmap(buffer, kPartSize);
  }

  char* Take() {
    {
      absl::MutexLock lock(&mutex);
      if (!free.empty()) {
        char* buffer = free.back();
        free.pop_back();
        return buffer;
      }
    }
    return MapPart();
  }

  void GiveBack(char* buffer) {
    {
      absl::MutexLock lock(&mutex);
      if (free.size() < PartBuffers::kMaxFree) {
        free.push_back(buffer);
        return;
      }
    }
    munmap(buffer, kPartSize);
  }

  absl::Mutex mutex;
  std::vector<char*> free ABSL_GUARDED_BY(mutex);
};

PartBuffers::PartBuffers() : free_(std::make_shared<FreePartBuffers>()) {}

PartBuffers::Buffer PartBuffers::Allocate(size_t size) {
  Buffer buffer;
  buffer.size_ = size;
  if (size >= PartBuffers::kLeastPooled) {
    buffer.home_ = free_;
    buffer.data_ = free_->Take();
  } else {
    buffer.data_ = static_cast<char*>(::operator new(size));
  }
  return buffer;
}

PartBuffers::Buffer::Buffer(Buffer&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)),
      home_(std::move(other.home_)) {}

PartBuffers::Buffer& PartBuffers::Buffer::operator=(Buffer&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  std::swap(home_, other.home_);
  return *this;
}

PartBuffers::Buffer::~Buffer() {
  if (data_ == nullptr) return;
  if (home_ != nullptr) {
    home_->GiveBack(data_);
  } else {
    ::operator delete(data_);
  }
}

}  // namespace aetherfs
