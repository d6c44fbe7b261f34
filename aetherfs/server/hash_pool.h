#ifndef AETHERFS_SERVER_HASH_POOL_H_
#define AETHERFS_SERVER_HASH_POOL_H_

#include <deque>
#include <functional>
#include <memory>
#include <string_view>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "aetherfs/base/digest.h"
#include "aetherfs/base/sha256.h"

namespace aetherfs {

// Hashes many messages that arrive piece by piece, side by side: a processor without SHA instructions does
// 16 of them in little more than the time of one (base/sha256.h). Thread-safe; never blocks its callers.
class HashPool {
 public:
  static constexpr size_t kMaxLanes = 16;
  static constexpr size_t kMaxStep = 256 * 1024;  // bytes of each message at a time
  // With fewer messages ready one thread does them all: shared out they would fill no lanes.
  static constexpr size_t kWorthAnotherThread = 8;

  // One message. Pieces are given in order, by one thread at a time.
  class Stream {
   public:
    // `owner` keeps `bytes` alive until they are hashed.
    void Update(std::shared_ptr<const void> owner, std::string_view bytes);
    // Ends the message; `done` is called once, in a thread of the pool. It must not block.
    void Finish(std::function<void(const Digest&)> done);

   private:
    friend class HashPool;
    struct Piece {
      std::shared_ptr<const void> owner;
      std::string_view bytes;
    };
    HashPool* pool_ = nullptr;
    std::weak_ptr<Stream> self_;
    Sha256 hash_;  // of whichever thread has the stream in its lanes
    // The pool's mutex guards the rest.
    std::deque<Piece> pieces_;
    std::function<void(const Digest&)> done_;
    bool ended_ = false;
    bool scheduled_ = false;  // in ready_ or in a lane
  };
  using StreamPtr = std::shared_ptr<Stream>;

  explicit HashPool(int threads);
  // Finishes what was given.
  ~HashPool();

  StreamPtr NewStream();

 private:
  struct Step {
    StreamPtr stream;
    Stream::Piece piece;  // as much of it as is hashed now
    bool last = false;    // of the message: nothing to hash any more
  };

  void Schedule(Stream& stream) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Run();
  std::vector<Step> Take() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  absl::Mutex mutex_;
  std::deque<StreamPtr> ready_ ABSL_GUARDED_BY(mutex_);
  int busy_ ABSL_GUARDED_BY(mutex_) = 0;  // threads with something in their lanes
  bool ending_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::thread> threads_;
};

}  // namespace aetherfs

#endif  // AETHERFS_SERVER_HASH_POOL_H_
