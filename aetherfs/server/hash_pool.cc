#include "aetherfs/server/hash_pool.h"

#include <pthread.h>

#include <algorithm>
#include <utility>

namespace aetherfs {

HashPool::HashPool(int threads) {
  for (int i = 0; i < threads; ++i) threads_.emplace_back([this] { Run(); });
}

HashPool::~HashPool() {
  {
    absl::MutexLock lock(&mutex_);
    ending_ = true;
  }
  for (std::thread& thread : threads_) thread.join();
}

HashPool::StreamPtr HashPool::NewStream() {
  auto stream = std::make_shared<Stream>();
  stream->pool_ = this;
  stream->self_ = stream;
  return stream;
}

void HashPool::Stream::Update(std::shared_ptr<const void> owner, std::string_view bytes) {
  if (bytes.empty()) return;
  absl::MutexLock lock(&pool_->mutex_);
  pieces_.push_back({std::move(owner), bytes});
  pool_->Schedule(*this);
}

void HashPool::Stream::Finish(std::function<void(const Digest&)> done) {
  absl::MutexLock lock(&pool_->mutex_);
  done_ = std::move(done);
  ended_ = true;
  pool_->Schedule(*this);
}

void HashPool::Schedule(Stream& stream) {
  if (stream.scheduled_) return;
  stream.scheduled_ = true;
  ready_.push_back(stream.self_.lock());
}

std::vector<HashPool::Step> HashPool::Take() {
  std::vector<Step> steps;
  while (!ready_.empty() && steps.size() < kMaxLanes) {
    Step step;
    step.stream = std::move(ready_.front());
    ready_.pop_front();
    Stream& stream = *step.stream;
    if (stream.pieces_.empty()) {
      step.last = true;
    } else {
      Stream::Piece& first = stream.pieces_.front();
      step.piece = {first.owner, first.bytes.substr(0, kMaxStep)};
      first.bytes.remove_prefix(step.piece.bytes.size());
      if (first.bytes.empty()) stream.pieces_.pop_front();
    }
    steps.push_back(std::move(step));
  }
  return steps;
}

void HashPool::Run() {
  pthread_setname_np(pthread_self(), "hash");
  const auto wanted = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return ending_ || ready_.size() >= (busy_ == 0 ? 1 : kWorthAnotherThread);
  };
  for (;;) {
    std::vector<Step> steps;
    {
      absl::MutexLock lock(&mutex_);
      mutex_.Await(absl::Condition(&wanted));
      steps = Take();
      if (steps.empty() && busy_ == 0) return;  // ending, and nothing can come any more
      if (steps.empty()) {
        const auto idle = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
          return busy_ == 0 || !ready_.empty();
        };
        mutex_.Await(absl::Condition(&idle));
        continue;
      }
      ++busy_;
    }
    std::vector<Sha256*> hashes;
    std::vector<std::string_view> bytes;
    for (const Step& step : steps) {
      if (step.last) continue;
      hashes.push_back(&step.stream->hash_);
      bytes.push_back(step.piece.bytes);
    }
    Sha256UpdateMany(hashes, bytes);
    {
      absl::MutexLock lock(&mutex_);
      --busy_;
      for (const Step& step : steps) {
        Stream& stream = *step.stream;
        stream.scheduled_ = false;
        if (!step.last && (!stream.pieces_.empty() || stream.ended_)) Schedule(stream);
      }
    }
    for (const Step& step : steps) {
      if (step.last && step.stream->done_)
        std::exchange(step.stream->done_, nullptr)(step.stream->hash_.Finish());
    }
  }
}

}  // namespace aetherfs
