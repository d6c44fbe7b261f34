#ifndef AETHERFS_AGENT_SUBSCRIPTION_RUNNER_H_
#define AETHERFS_AGENT_SUBSCRIPTION_RUNNER_H_

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "aetherfs/agent/agent_metrics.h"
#include "aetherfs/agent/scheduler.h"
#include "aetherfs/agent/snapshot_store.h"
#include "aetherfs/agent/subscription_spec.h"
#include "aetherfs/agent/update.h"
#include "aetherfs/agent/v1/agent.pb.h"
#include "aetherfs/base/clock.h"
#include "aetherfs/base/random.h"
#include "aetherfs/base/thread_pool.h"
#include "aetherfs/client/fetcher.h"
#include "aetherfs/client/server_client.h"
#include "aetherfs/client/subscriber.h"
#include "aetherfs/format/manifest.h"
#include "aetherfs/record/v1/agent_state.pb.h"

namespace aetherfs {

struct UpdateRetryOptions {
  absl::Duration initial = absl::Milliseconds(200);
  absl::Duration most = absl::Seconds(30);
  absl::Duration disk_full = absl::Seconds(5);  // between looks whether there is room now
};

// What all subscriptions of an agent share. Everything outlives them.
struct SubscriptionContext {
  SnapshotStore* store = nullptr;
  ServerClient* client = nullptr;
  Fetcher* fetcher = nullptr;
  ThreadPool* updates = nullptr;       // one task per running update
  ThreadPool* hooks = nullptr;         // notify commands
  ThreadPool* housekeeping = nullptr;  // what comes after a switch
  Scheduler* scheduler = nullptr;
  Clock* clock = nullptr;
  Random* random = nullptr;
  AgentMetrics* metrics = nullptr;
  UpdateRetryOptions retry;
  bool durable = true;
  absl::Duration hook_timeout = absl::Minutes(5);

  // Called with no lock held, by any thread; must be quick. The status of that subscription changed.
  std::function<void(const std::string& reference)> changed;
  // Called with no lock held by threads that may block: what must be remembered changed, or versions became
  // superfluous.
  std::function<void(const SubscriptionSpec& spec)> settled;
};

// Keeps one subscription current: resolve, plan, stage, verify, activate, notify.
//
// At any time it has a target: the pinned version if there is one, otherwise what the tag points at. While
// the target is not active and nothing hinders it, one update runs in the pool `updates`; a target that
// changes meanwhile is taken up when that update has ended, whatever came between. What is active is what
// the symlink points at; it only ever points at snapshots that are whole and were not refused.
//
// An update that fails is tried again after a jittered backoff; at once if the target changes. A version
// that the check command refuses is never tried again, here, until it is forgotten (Unpin of it, or a new
// subscription, does not do that). An error never changes what is active.
//
// Thread-safe. Recover, Stop, Pin and Back block on the disk. Held by shared_ptr: its tasks keep it alive.
class SubscriptionRunner : public std::enable_shared_from_this<SubscriptionRunner> {
 public:
  static constexpr size_t kMaxHistory = 64;
  static constexpr size_t kMaxBad = 64;

  // `saved`: what was remembered of it, or a message with nothing but defaults.
  static std::shared_ptr<SubscriptionRunner> Create(SubscriptionSpec spec, bool by_api,
                                                    const record::v1::AgentSubscription& saved,
                                                    const SubscriptionContext& context);
  ~SubscriptionRunner();

  // Makes the symlink right from what is on disk, with no server. Call once, before Start.
  absl::Status Recover();
  // Begins to follow the tag.
  void Start();
  // Ends: cancels a running update and waits for it. What is active stays. Again: nothing.
  void Stop();

  const SubscriptionSpec& spec() const { return spec_; }
  bool by_api() const { return by_api_; }
  agent::v1::SubscriptionStatus Status() const;
  record::v1::AgentSubscription Remembered() const;
  // Names of the dataset's snapshots that must stay on disk.
  std::set<std::string> KeptNames() const;
  bool HasActive() const;

  // Holds it at a version that the caller knows to exist. A version that is on disk becomes active before
  // this returns. FAILED_PRECONDITION if the check command refused it.
  absl::Status Pin(const Digest& digest);
  void Unpin();
  // NOT_FOUND if no older version is kept.
  absl::Status Back();

 private:
  struct Outcome {
    absl::Status status;
    bool refused = false;
  };

  SubscriptionRunner(SubscriptionSpec spec, bool by_api, const record::v1::AgentSubscription& saved,
                     const SubscriptionContext& context);

  SnapshotKey KeyOf(const Digest& digest) const { return {spec_.dataset, digest, filter_}; }
  std::optional<Digest> Target() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool IsActive(const Digest& digest) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool IsBad(const Digest& digest) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  agent::v1::SubscriptionStatus::State State() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  void OnTag(const TagUpdate& update);
  void OnTrouble(const absl::Status& status);
  // Starts an update if one is due.
  void MaybeUpdate();
  void RunUpdates();
  void Finished(const Digest& target, const Outcome& outcome);
  void RetryLater(absl::Duration delay);

  Outcome Update(const Digest& target);
  absl::Status Stage(const SnapshotKey& key, agent::v1::UpdateStats* stats, bool* refused);
  // From memory, disk or, with `fetched`, a server; then `fetched` has its canonical bytes.
  absl::StatusOr<std::shared_ptr<const Manifest>> LoadManifest(const Digest& digest, std::string* fetched,
                                                               TransferStats* stats);
  // Deltas on ways from what is here to the target.
  std::vector<DeltaOffer> FindOffers(const Digest& target, const std::vector<BaseOnDisk>& bases);
  absl::Status RunCheck(const SnapshotKey& key, bool* refused);
  void RunNotify(const SnapshotKey& key) const;
  // Switches the symlink, unless the target has changed meanwhile: then false.
  absl::StatusOr<bool> Activate(const SnapshotKey& key);
  absl::Status Switch(const SnapshotKey& key);
  void AddToHistory(const Digest& digest) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Has the new state made durable and superfluous versions removed, soon.
  void Settle();
  void Settled();
  void RefreshOnDisk();

  const SubscriptionSpec spec_;
  const std::string reference_;
  const std::string filter_;
  const bool by_api_;
  const SubscriptionContext context_;
  std::atomic<bool> cancelled_{false};

  // Of the active version, if it is small; only the update task (one at a time) uses it.
  std::shared_ptr<const Manifest> manifest_;
  Digest manifest_digest_;
  // A manifest that came from a server and is not on disk yet; as above.
  std::string unsaved_manifest_;

  mutable absl::Mutex mutex_;
  std::optional<TagUpdate> tag_ ABSL_GUARDED_BY(mutex_);
  // tag_ was published as the next version after the one that was active then: no other deltas help more.
  bool offers_suffice_ ABSL_GUARDED_BY(mutex_) = false;
  std::optional<Digest> pinned_ ABSL_GUARDED_BY(mutex_);
  std::optional<std::string> active_ ABSL_GUARDED_BY(mutex_);  // name of the snapshot's directory
  absl::Time activated_ ABSL_GUARDED_BY(mutex_) = absl::UnixEpoch();
  std::vector<std::string> on_disk_ ABSL_GUARDED_BY(mutex_);  // names of the dataset's snapshots, sorted
  std::vector<Digest> history_ ABSL_GUARDED_BY(mutex_);       // newest first
  std::vector<Digest> bad_ ABSL_GUARDED_BY(mutex_);           // newest first
  bool running_ ABSL_GUARDED_BY(mutex_) = false;
  bool waiting_to_retry_ ABSL_GUARDED_BY(mutex_) = false;
  uint64_t retry_generation_ ABSL_GUARDED_BY(mutex_) = 0;
  bool activating_ ABSL_GUARDED_BY(mutex_) = false;
  bool settling_ ABSL_GUARDED_BY(mutex_) = false;  // a task for it is queued
  int settles_running_ ABSL_GUARDED_BY(mutex_) = 0;
  bool settled_once_ ABSL_GUARDED_BY(mutex_) = false;
  bool started_ ABSL_GUARDED_BY(mutex_) = false;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  int failures_ ABSL_GUARDED_BY(mutex_) = 0;  // in a row, of this target
  std::optional<Digest> failed_target_ ABSL_GUARDED_BY(mutex_);
  std::string error_ ABSL_GUARDED_BY(mutex_);     // of the last attempt
  absl::Status trouble_ ABSL_GUARDED_BY(mutex_);  // with the connection; OK: a server answers
  agent::v1::UpdateStats last_update_ ABSL_GUARDED_BY(mutex_);
  bool has_last_update_ ABSL_GUARDED_BY(mutex_) = false;

  std::unique_ptr<Subscriber> subscriber_;  // made by Start, destroyed by Stop
};

}  // namespace aetherfs

#endif  // AETHERFS_AGENT_SUBSCRIPTION_RUNNER_H_
