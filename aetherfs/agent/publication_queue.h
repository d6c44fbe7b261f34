#ifndef AETHERFS_AGENT_PUBLICATION_QUEUE_H_
#define AETHERFS_AGENT_PUBLICATION_QUEUE_H_

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "aetherfs/agent/agent_metrics.h"
#include "aetherfs/agent/scheduler.h"
#include "aetherfs/agent/v1/agent.pb.h"
#include "aetherfs/base/clock.h"
#include "aetherfs/base/random.h"
#include "aetherfs/base/thread_pool.h"
#include "aetherfs/client/publisher.h"
#include "aetherfs/client/server_client.h"
#include "aetherfs/record/v1/agent_state.pb.h"

namespace aetherfs {

// What an API request means as a publish. INVALID_ARGUMENT, naming what is wrong.
absl::StatusOr<PublishOptions> ToPublishOptions(const agent::v1::PublishRequest& request);
agent::v1::PublishResult ToProto(const PublishResult& result);

// Publishes through the agent: at once, or recorded on disk first and retried until done.
//
// An asynchronous publication is acknowledged when its record is on disk, and goes on after any crash, with
// the same nonce: however often it is tried it makes one journal entry. It ends as done, or as failed when
// it can never succeed. The newest kMaxFinished finished ones are remembered.
//
// Thread-safe. Pool and scheduler may hold calls into it after Stop(): destroy first the scheduler, then
// the pool, then this. Everything else outlives it.
class PublicationQueue {
 public:
  static constexpr size_t kMaxFinished = 100;
  static constexpr size_t kMaxWaiting = 10'000;

  struct Options {
    std::string directory;  // of the records
    std::string cache_dir;  // the publisher's
    absl::Duration retry_initial = absl::Seconds(1);
    absl::Duration retry_most = absl::Minutes(1);
  };
  PublicationQueue(Options options, ServerClient* client, ThreadPool* pool, Scheduler* scheduler,
                   Clock* clock, Random* random, AgentMetrics* metrics);
  // Stops.
  ~PublicationQueue();

  // Reads what an earlier process left and goes on with it. Unreadable records are set aside, with a
  // warning.
  absl::Status Recover();

  // Publishes now; `done` is called once, by a thread that may block.
  void Publish(const agent::v1::PublishRequest& request,
               std::function<void(absl::StatusOr<PublishResult>)> done);
  // Blocks until the record is on disk; its id. RESOURCE_EXHAUSTED if too many wait.
  absl::StatusOr<std::string> Enqueue(const agent::v1::PublishRequest& request);

  absl::StatusOr<agent::v1::Publication> Get(const std::string& id) const;
  // Newest first.
  std::vector<agent::v1::Publication> List() const;

  // Waits until nothing is unfinished (true), until the time, or until Stop() (false).
  bool AwaitIdle(absl::Time deadline) const;
  // Cancels what runs and waits for it. What is recorded goes on in the next process.
  void Stop();

 private:
  using Record = record::v1::AgentPublication;

  std::string PathOf(const std::string& id) const;
  absl::Status Save(const Record& record) const;
  void Start(const std::string& id);
  void Attempt(const std::string& id);
  void Ended(const std::string& id, const absl::StatusOr<PublishResult>& result);
  void Forget();

  const Options options_;
  ServerClient* const client_;
  ThreadPool* const pool_;
  Scheduler* const scheduler_;
  Clock* const clock_;
  Random* const random_;
  AgentMetrics* const metrics_;
  std::atomic<bool> cancelled_{false};

  mutable absl::Mutex mutex_;
  std::map<std::string, Record> records_ ABSL_GUARDED_BY(mutex_);  // by id; ids sort by time
  size_t running_ ABSL_GUARDED_BY(mutex_) = 0;                     // tasks in the pool
  uint64_t next_number_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace aetherfs

#endif  // AETHERFS_AGENT_PUBLICATION_QUEUE_H_
