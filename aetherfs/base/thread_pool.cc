#include "aetherfs/base/thread_pool.h"

#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <utility>

namespace aetherfs {
namespace {

thread_local const ThreadPool* own_pool = nullptr;

}  // namespace

ThreadPool::ThreadPool(std::string name, int threads, size_t max_queued) : max_queued_(max_queued) {
  threads_.reserve(static_cast<size_t>(threads));
  for (int i = 0; i < threads; ++i) threads_.emplace_back([this, name] { Run(name); });
}

ThreadPool::~ThreadPool() {
  {
    absl::MutexLock lock(&mutex_);
    ending_ = true;
  }
  for (std::thread& thread : threads_) thread.join();
}

bool ThreadPool::IsOwnThread() const { return own_pool == this; }

void ThreadPool::Submit(std::function<void()> task) {
  const bool may_wait = !IsOwnThread();  // a task that waited for its own pool could wait for ever
  absl::MutexLock lock(&mutex_);
  if (may_wait) {
    const auto has_room = [this]()
                              ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return queue_.size() < max_queued_; };
    mutex_.Await(absl::Condition(&has_room));
  }
  queue_.push_back(std::move(task));
}

bool ThreadPool::TrySubmit(std::function<void()> task) {
  absl::MutexLock lock(&mutex_);
  if (queue_.size() >= max_queued_) return false;
  queue_.push_back(std::move(task));
  return true;
}

void ThreadPool::ParallelFor(size_t count, size_t parallelism, const std::function<void(size_t)>& body) {
  if (count == 0) return;
  // Helpers that start after all is done find nothing to do, so the caller never waits for a pool that
  // is busy with something else.
  struct Shared {
    std::atomic<size_t> next{0};
    absl::Mutex mutex;
    size_t done ABSL_GUARDED_BY(mutex) = 0;
  };
  auto shared = std::make_shared<Shared>();
  const auto work = [shared, count, &body] {
    size_t finished = 0;
    for (size_t i; (i = shared->next.fetch_add(1)) < count; ++finished) body(i);
    if (finished > 0) {
      absl::MutexLock lock(&shared->mutex);
      shared->done += finished;
    }
  };
  const size_t helpers = std::min({count - 1, parallelism > 0 ? parallelism - 1 : 0, threads_.size()});
  for (size_t i = 0; i < helpers && TrySubmit(work); ++i) {
  }
  work();
  absl::MutexLock lock(&shared->mutex);
  const auto all_done = [&]()
                            ABSL_EXCLUSIVE_LOCKS_REQUIRED(shared->mutex) { return shared->done == count; };
  shared->mutex.Await(absl::Condition(&all_done));
}

size_t ThreadPool::queued() const {
  absl::MutexLock lock(&mutex_);
  return queue_.size();
}

void ThreadPool::Run(const std::string& name) {
  own_pool = this;
  pthread_setname_np(pthread_self(), name.substr(0, 15).c_str());
  const auto has_work = [this]()
                            ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return !queue_.empty() || ending_; };
  for (;;) {
    std::function<void()> task;
    {
      absl::MutexLock lock(&mutex_);
      mutex_.Await(absl::Condition(&has_work));
      if (queue_.empty()) return;
      task = std::move(queue_.front());
      queue_.pop_front();
    }
    task();
  }
}

}  // namespace aetherfs
