#ifndef AETHERFS_CLUSTER_PEER_PART_SOURCE_H_
#define AETHERFS_CLUSTER_PEER_PART_SOURCE_H_

#include <memory>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/synchronization/mutex.h"
#include "aetherfs/base/clock.h"
#include "aetherfs/cache/part_buffers.h"
#include "aetherfs/cache/part_source.h"
#include "aetherfs/cluster/alarms.h"
#include "aetherfs/cluster/cluster_metrics.h"
#include "aetherfs/cluster/cluster_view.h"
#include "aetherfs/cluster/hedge_policy.h"
#include "aetherfs/cluster/token_bucket.h"

namespace aetherfs {

class PeerFetch;

// Parts from the server that owns them, else from the next in rank, else from the store.
//
// kAnywhere: the owner is asked, which reads the store if it must; when it fails, also in the middle of a
// part, the next goes on where it ended. When it is slow, the next is asked in addition (HedgePolicy).
// When all fail, the store is read here, within a budget (TokenBucket).
// kStore, and whatever this server owns itself: the store is read here; before that, for a while after the
// members have changed, whoever owned the part before is asked whether it is in its caches.
// bypass_cache: the store, always.
//
// What comes from a peer is held against the checksum that the peer sends, and ends badly if it fails: then
// it is not kept, and whoever reads it asks again, around the caches.
//
// Thread-safe; never blocks. `view`, `store`, `alarms`, `clock`, `metrics` must outlive it.
class PeerPartSource : public PartSource {
 public:
  // Members that are asked for one part, before the store is.
  static constexpr size_t kMaxCandidates = 2;
  // A peer that has not even accepted a request by then has failed.
  static constexpr absl::Duration kAcceptTimeout = absl::Seconds(3);
  // One that has accepted it, and brings nothing for this long, too: it may be waiting for the store.
  static constexpr absl::Duration kStallTimeout = absl::Seconds(15);
  // How long a previous owner may take to begin.
  static constexpr absl::Duration kHandoverTimeout = absl::Milliseconds(500);
  // Parts per second that are read from the store because their owners failed.
  static constexpr double kFallbackRate = 32;
  static constexpr double kFallbackBurst = 128;

  PeerPartSource(ClusterViewSource* view, PartSource* store, Alarms* alarms, Clock* clock,
                 ClusterMetrics* metrics);
  ~PeerPartSource() override;

  void Get(const PartKey& key, const Options& options, Done done) override;

  // Ends what is under way, with CANCELLED, and waits for that; later requests fail.
  void Stop();

 private:
  friend class PeerFetch;

  bool Add(const std::shared_ptr<PeerFetch>& fetch);
  void Remove(PeerFetch* fetch);

  ClusterViewSource& view_;
  PartSource& store_;
  Alarms& alarms_;
  Clock& clock_;
  ClusterMetrics& metrics_;
  PartBuffers buffers_;
  HedgePolicy hedges_;
  TokenBucket fallbacks_;

  absl::Mutex mutex_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  absl::flat_hash_map<PeerFetch*, std::weak_ptr<PeerFetch>> fetches_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace aetherfs

#endif  // AETHERFS_CLUSTER_PEER_PART_SOURCE_H_
