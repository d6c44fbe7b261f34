#ifndef AETHERFS_SERVER_DATASET_HUB_H_
#define AETHERFS_SERVER_DATASET_HUB_H_

#include <grpcpp/support/byte_buffer.h>

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "aetherfs/base/clock.h"
#include "aetherfs/base/random.h"
#include "aetherfs/base/thread_pool.h"
#include "aetherfs/journal/journal.h"
#include "aetherfs/object/object_store.h"
#include "aetherfs/server/change_codec.h"
#include "aetherfs/server/server_metrics.h"

namespace aetherfs {

// Who follows a dataset.
class DatasetSubscriber {
 public:
  virtual ~DatasetSubscriber() = default;
  // The dataset's view has moved on: look at DatasetLine::view(). Must not block.
  virtual void Wake() = 0;
  // The server is going: end with `status`.
  virtual void End(const absl::Status& status) = 0;
};
using DatasetSubscriberPtr = std::shared_ptr<DatasetSubscriber>;

// One dataset as this server follows it: its journal, and who is to be told. Thread-safe.
class DatasetLine {
 public:
  DatasetLine(DatasetName name, ObjectStore* store, ThreadPool* pool, Clock* clock, Random* random)
      : journal_(std::move(name), store, pool, clock, random) {}

  const DatasetName& name() const { return journal_.dataset(); }
  std::shared_ptr<const JournalView> view() const { return journal_.view(); }
  Journal& journal() { return journal_; }

  // The message of a subscription that carries this entry; made once, shared by all who send it.
  grpc::ByteBuffer EncodedChange(const record::v1::JournalEntry& entry);

 private:
  friend class DatasetHub;
  static constexpr size_t kEncodedKept = 8;
  using RefreshDone = std::function<void(absl::StatusOr<SeenDataset>)>;

  Journal journal_;
  absl::Mutex mutex_;
  absl::flat_hash_map<DatasetSubscriber*, DatasetSubscriberPtr> subscribers_ ABSL_GUARDED_BY(mutex_);
  std::vector<RefreshDone> waiting_ ABSL_GUARDED_BY(mutex_);  // for the next refresh
  bool refreshing_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Time last_failure_ ABSL_GUARDED_BY(mutex_) = absl::InfinitePast();
  absl::Time next_poll_ ABSL_GUARDED_BY(mutex_) = absl::InfinitePast();
  uint64_t notified_seq_ ABSL_GUARDED_BY(mutex_) = 0;
  std::vector<std::pair<uint64_t, grpc::ByteBuffer>> encoded_ ABSL_GUARDED_BY(mutex_);

  absl::Time last_used_;  // guarded by the hub's mutex
};
using DatasetLinePtr = std::shared_ptr<DatasetLine>;

// All datasets that this server follows. What changes here is told to the subscribers at once; what other
// servers change is found by reading the journals of the datasets that have subscribers, each once in a
// poll interval, with jitter. Others are kept while there is room (kMaxIdle).
//
// Thread-safe. `control`, where it works, and all else it is given must outlive it; so must whoever calls
// what it hands out. Nothing blocks but Append().
class DatasetHub {
 public:
  static constexpr size_t kMaxIdle = 4096;
  static constexpr size_t kMaxSubscribers = 100'000;
  // A store that does not answer within this is away, for whoever has an older view to go on with.
  static constexpr absl::Duration kRefreshTimeout = absl::Seconds(3);
  static constexpr absl::Duration kColdStartTimeout = absl::Seconds(20);
  // After a failure, readers get what is known at once for this long.
  static constexpr absl::Duration kFailureHold = absl::Seconds(1);
  // Subscribers that one task wakes.
  static constexpr size_t kWakeBatch = 256;
  static constexpr size_t kWakeParallelism = 4;

  struct Environment {
    ObjectStore* store = nullptr;
    ThreadPool* control = nullptr;
    Clock* clock = nullptr;
    Random* random = nullptr;
    ServerMetrics* metrics = nullptr;
    // Is told of every entry that was written here, as it lies in the store; may be empty. Must not block.
    std::function<void(const DatasetName&, const record::v1::JournalEntry&)> appended;
  };
  DatasetHub(const Environment& environment, absl::Duration poll_interval);

  DatasetLinePtr Open(const DatasetName& name);

  // Reads the journal on and calls `done` with what is there, or with what was known, marked stale, if the
  // store is away; its error if nothing was known. Concurrent calls are collapsed. `done` runs in a thread
  // of `control`, or in this one if the answer is at hand.
  void Refresh(const DatasetLinePtr& line, std::function<void(absl::StatusOr<SeenDataset>)> done);

  // Journal::Append, and tells the subscribers. Blocks.
  absl::StatusOr<Journal::Appended> Append(const DatasetLinePtr& line, const std::string& nonce,
                                           absl::Time deadline, const Journal::Propose& propose);

  // Another server has written this entry: subscribers hear of it now, not after the next poll. Does
  // nothing for a dataset that is not followed here. Never blocks: a gap is read from the store later.
  void Offer(const DatasetName& name, JournalEntryPtr entry);

  // RESOURCE_EXHAUSTED beyond kMaxSubscribers; UNAVAILABLE after EndSubscriptions().
  absl::Status Subscribe(const DatasetLinePtr& line, DatasetSubscriberPtr subscriber);
  void Unsubscribe(const DatasetLinePtr& line, DatasetSubscriber* subscriber);
  // Ends all subscriptions; there will be no new ones.
  void EndSubscriptions(const absl::Status& status);

  // Reads the journals whose time has come. Called every now and then.
  void Poll();

  // Names of the datasets that exist, as far as this server happens to know; sorted.
  std::vector<std::string> KnownDatasets();
  size_t subscribers();
  size_t lines();

 private:
  void RunRefresh(const DatasetLinePtr& line);
  void Notify(const DatasetLinePtr& line);
  void DropIdle() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  SeenDataset Seen(std::shared_ptr<const JournalView> view, bool stale);

  const Environment environment_;
  const absl::Duration poll_interval_;
  absl::Mutex mutex_;
  absl::flat_hash_map<DatasetName, DatasetLinePtr> lines_ ABSL_GUARDED_BY(mutex_);
  size_t subscribers_ ABSL_GUARDED_BY(mutex_) = 0;
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace aetherfs

#endif  // AETHERFS_SERVER_DATASET_HUB_H_
