#ifndef AETHERFS_AGENT_AGENT_H_
#define AETHERFS_AGENT_AGENT_H_

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "aetherfs/agent/agent_metrics.h"
#include "aetherfs/agent/publication_queue.h"
#include "aetherfs/agent/scheduler.h"
#include "aetherfs/agent/snapshot_store.h"
#include "aetherfs/agent/subscription_runner.h"
#include "aetherfs/agent/v1/agent.pb.h"
#include "aetherfs/base/clock.h"
#include "aetherfs/base/random.h"
#include "aetherfs/base/thread_pool.h"
#include "aetherfs/client/fetcher.h"
#include "aetherfs/client/server_client.h"
#include "aetherfs/telemetry/health.h"
#include "aetherfs/telemetry/metrics.h"

namespace aetherfs {

struct AgentOptions {
  std::string root;
  std::vector<std::string> servers;  // for Status() only
  uint32_t keep = 2;
  UpdateRetryOptions retry;
  absl::Duration publish_retry_initial = absl::Seconds(1);
  absl::Duration publish_retry_most = absl::Minutes(1);
  absl::Duration hook_timeout = absl::Minutes(5);
  int update_threads = 2;
  int publish_threads = 2;
  int fetch_parallelism = 4;
  bool durable = true;  // false: snapshots are not synced
};

// The sidecar: owns one directory tree, keeps subscriptions current in it and publishes for local programs.
// What the AgentAPI offers, without RPC.
//
// What survives a restart: subscriptions made here, pins, refused versions, what was active, asynchronous
// publications. Declared subscriptions come from outside at every start; until then nothing runs.
//
// Thread-safe. All methods block on the disk, Pin and Publish on servers, too. Everything given outlives
// it.
class Agent {
 public:
  static constexpr size_t kMaxSubscriptions = 10'000;

  // FAILED_PRECONDITION if another agent has the root.
  static absl::StatusOr<std::unique_ptr<Agent>> Create(AgentOptions options, ServerClient* client,
                                                       MetricsRegistry* metrics, Health* health,
                                                       Clock* clock, Random* random);
  // Stops.
  ~Agent();
  Agent(const Agent&) = delete;
  Agent& operator=(const Agent&) = delete;

  // Makes these the declared subscriptions, instead of those before; the first call also brings back those
  // made by Subscribe(). INVALID_ARGUMENT, and nothing done, if one of them is wrong or two conflict.
  absl::Status Declare(const std::vector<agent::v1::Subscription>& subscriptions);

  absl::StatusOr<agent::v1::SubscriptionStatus> Subscribe(const agent::v1::Subscription& subscription);
  absl::Status Unsubscribe(const std::string& reference, bool remove_files);
  absl::StatusOr<agent::v1::SubscriptionStatus> StatusOf(const std::string& reference) const;
  agent::v1::StatusResponse Status() const;
  absl::StatusOr<agent::v1::SubscriptionStatus> Pin(const std::string& reference,
                                                    const std::string& digest);
  absl::StatusOr<agent::v1::SubscriptionStatus> Unpin(const std::string& reference);
  absl::StatusOr<agent::v1::SubscriptionStatus> Back(const std::string& reference);

  // `done` is called once, perhaps before this returns.
  void Publish(const agent::v1::PublishRequest& request,
               std::function<void(absl::StatusOr<agent::v1::PublishResponse>)> done);
  absl::StatusOr<agent::v1::Publication> GetPublication(const std::string& id) const;

  // Is told that something about a subscription changed: it asks StatusOf() when it wants to know what.
  class Watcher {
   public:
    virtual ~Watcher() = default;
    virtual void Changed(const std::string& reference) = 0;
    // The agent ends; nothing more will come.
    virtual void Close() = 0;
  };
  void AddWatcher(std::shared_ptr<Watcher> watcher);
  void RemoveWatcher(const Watcher* watcher);
  std::vector<std::string> References() const;

  // Takes no new work from now on (UNAVAILABLE) and waits until all publishes are done. False if the time
  // came first, or Stop().
  bool Drain(absl::Time deadline);
  // Cancels what runs, waits for it and closes the watchers. What is active stays. Again: nothing.
  void Stop();

 private:
  using RunnerPtr = std::shared_ptr<SubscriptionRunner>;

  Agent(AgentOptions options, std::unique_ptr<SnapshotStore> store, ServerClient* client,
        MetricsRegistry* metrics, Health* health, Clock* clock, Random* random);

  // Operations that change the set of subscriptions take turns.
  class Turn {
   public:
    explicit Turn(Agent& agent);
    ~Turn();

   private:
    Agent& agent_;
  };

  absl::Status LoadState();
  absl::Status SaveState();
  absl::Status CheckOpen() const;
  absl::StatusOr<RunnerPtr> Find(const std::string& reference) const;
  absl::Status CheckConflicts(const SubscriptionSpec& spec) const;
  // With a turn.
  void Put(SubscriptionSpec spec, bool by_api);
  void Remove(const RunnerPtr& runner, bool remove_files);

  void OnChanged(const std::string& reference);
  void OnSettled(const SubscriptionSpec& spec);
  bool MustStay(const std::string& dataset_directory, const std::string& name) const;
  void RemoveOrphans();
  void UpdateHealth(const SubscriptionRunner& runner);
  void RefreshGauges();

  const AgentOptions options_;
  const std::unique_ptr<SnapshotStore> store_;
  ServerClient* const client_;
  Health* const health_;
  Clock* const clock_;
  AgentMetrics metrics_;
  Fetcher fetcher_;
  SubscriptionContext context_;

  mutable absl::Mutex mutex_;
  std::map<std::string, RunnerPtr> runners_ ABSL_GUARDED_BY(mutex_);  // by reference
  std::map<std::string, record::v1::AgentSubscription> remembered_
      ABSL_GUARDED_BY(mutex_);                                          // of no runner (yet)
  std::map<std::string, DatasetName> retired_ ABSL_GUARDED_BY(mutex_);  // symlinks that were left, by path
  std::vector<std::shared_ptr<Watcher>> watchers_ ABSL_GUARDED_BY(mutex_);
  std::string saved_state_ ABSL_GUARDED_BY(mutex_);  // as it is on disk
  bool saving_ ABSL_GUARDED_BY(mutex_) = false;
  bool turn_taken_ ABSL_GUARDED_BY(mutex_) = false;
  bool declared_ ABSL_GUARDED_BY(mutex_) = false;
  bool draining_ ABSL_GUARDED_BY(mutex_) = false;
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;

  // In this order: the last ones hold calls into those before them.
  std::unique_ptr<PublicationQueue> publications_;
  ThreadPool updates_;
  ThreadPool publishes_;
  ThreadPool hooks_;
  ThreadPool housekeeping_;
  Scheduler scheduler_;
  MetricsRegistry::ScrapeHook scrape_hook_;
};

}  // namespace aetherfs

#endif  // AETHERFS_AGENT_AGENT_H_
