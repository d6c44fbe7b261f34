#ifndef AETHERFS_BASE_THREAD_POOL_H_
#define AETHERFS_BASE_THREAD_POOL_H_

#include <deque>
#include <functional>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace aetherfs {

// A fixed number of named threads that run tasks in the order given. Every pool of a process is listed
// in docs/threading.md. Thread-safe. Tasks may block and may submit tasks; they must not throw.
class ThreadPool {
 public:
  // `name`, at most 15 bytes, is what debuggers and `top -H` show. At most `max_queued` tasks wait;
  // Submit() blocks while that many do.
  ThreadPool(std::string name, int threads, size_t max_queued = 65536);
  // Runs what is queued, then ends.
  ~ThreadPool();

  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  // Blocks while the queue is full, unless called by a task of this pool.
  void Submit(std::function<void()> task);
  // False, and nothing done, if the queue is full.
  bool TrySubmit(std::function<void()> task);

  // Runs `body(0) … body(count - 1)`, some of them in the calling thread, at most `parallelism` at once,
  // and returns when all are done. May be called by a task of this pool.
  void ParallelFor(size_t count, size_t parallelism, const std::function<void(size_t)>& body);

  size_t queued() const;
  int threads() const { return static_cast<int>(threads_.size()); }

 private:
  void Run(const std::string& name);
  bool IsOwnThread() const;

  const size_t max_queued_;
  mutable absl::Mutex mutex_;
  std::deque<std::function<void()>> queue_ ABSL_GUARDED_BY(mutex_);
  bool ending_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::thread> threads_;
};

}  // namespace aetherfs

#endif  // AETHERFS_BASE_THREAD_POOL_H_
