#ifndef AETHERFS_CLUSTER_ANNOUNCER_H_
#define AETHERFS_CLUSTER_ANNOUNCER_H_

#include <deque>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/synchronization/mutex.h"
#include "aetherfs/base/clock.h"
#include "aetherfs/cluster/cluster_metrics.h"
#include "aetherfs/cluster/cluster_view.h"

namespace aetherfs {

// Tells the other servers of journal entries that were written here. To each of them one message at a
// time, with all that has gathered meanwhile; what cannot be told is dropped, for whoever misses an entry
// finds it by polling. Thread-safe; never blocks. What it is given must outlive it.
class Announcer {
 public:
  static constexpr size_t kMaxPending = 1024;  // entries that wait for one peer; the oldest go
  static constexpr size_t kMaxBatch = 64;      // entries in one message
  static constexpr size_t kMaxBatchBytes = 4 * 1024 * 1024;
  static constexpr absl::Duration kTimeout = absl::Seconds(2);

  Announcer(ClusterViewSource* view, Clock* clock, ClusterMetrics* metrics);
  ~Announcer();

  // `entry` as it lies in the store. An entry of more than kMaxBatchBytes is not told.
  void Announce(const std::string& dataset, std::string entry);

  // Announces no more, and waits for the messages under way.
  void Stop();

 private:
  struct Line {
    std::shared_ptr<Peer> peer;
    std::deque<peer::v1::Announcement> pending;
    bool sending = false;
  };

  void Send(const std::string& address);
  void OnSent(const std::string& address, size_t entries, const absl::Status& status);

  ClusterViewSource& view_;
  Clock& clock_;
  ClusterMetrics& metrics_;
  absl::Mutex mutex_;
  absl::flat_hash_map<std::string, Line> lines_ ABSL_GUARDED_BY(mutex_);  // by the peer's address
  size_t sending_ ABSL_GUARDED_BY(mutex_) = 0;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace aetherfs

#endif  // AETHERFS_CLUSTER_ANNOUNCER_H_
