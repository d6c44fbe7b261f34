#ifndef AETHERFS_CLUSTER_PEER_FETCH_H_
#define AETHERFS_CLUSTER_PEER_FETCH_H_

#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "aetherfs/cluster/peer_part_source.h"

namespace aetherfs {

// One part on its way from peers: the attempts, one after the other or two side by side, that fill one
// Part. Lives as long as an attempt is under way. Thread-safe.
class PeerFetch : public std::enable_shared_from_this<PeerFetch> {
 public:
  PeerFetch(PeerPartSource& source, PartKey key, const PartSource::Options& options, PartSource::Done done);
  ~PeerFetch();

  // Asks these, in this order, and the store when they fail.
  void StartWithOwners(std::vector<ClusterMember> candidates);
  // Asks this one for what its caches have, and the store if that fails.
  void StartWithPreviousOwner(const ClusterMember& member);
  void Cancel();

 private:
  struct Attempt {
    ClusterMember member;
    absl::Time began;
    absl::Time last_progress;
    absl::Time hedge_at;  // if it has brought nothing by then
    bool cached_only = false;
    bool hedge = false;
    bool accepted = false;
    bool over = false;
    uint64_t received = 0;
    std::shared_ptr<PeerCall> call;
    std::unique_ptr<Alarms::Alarm> alarm;
  };
  using AttemptPtr = std::shared_ptr<Attempt>;

  // Infinite `hedge_after`: never.
  void Ask(const ClusterMember& member, bool cached_only, bool hedge, absl::Duration hedge_after);
  void OnSize(const AttemptPtr& attempt, uint64_t object_size);
  absl::Status OnBytes(const AttemptPtr& attempt, std::string_view bytes);
  void OnDone(const AttemptPtr& attempt, const absl::Status& status, std::optional<uint64_t> checksum);
  void OnAlarm(const AttemptPtr& attempt);
  // Sets the attempt's alarm for when something is to be decided next.
  void SetAlarm(const AttemptPtr& attempt) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  static absl::Duration Patience(const Attempt& attempt);
  // Goes on after an attempt that brought nothing, or not all.
  void OnFailed(const AttemptPtr& attempt, const absl::Status& status);
  // Asks the next candidate, or the store. `hedge`: in addition to what is under way.
  void Next(bool hedge);
  void ReadStore(bool own);
  void OnStorePart(absl::StatusOr<PartPtr> part, PartOrigin origin);
  // Copies what `from` has, as it arrives, to the part that was handed out already.
  void Follow(const PartPtr& from);
  void Finish(const absl::Status& status);
  void CancelAttempts();

  PeerPartSource& source_;
  const PartKey key_;
  const PartSource::Options options_;
  const absl::Time began_;

  absl::Mutex mutex_;
  PartSource::Done done_ ABSL_GUARDED_BY(mutex_);  // null once it was called
  std::shared_ptr<Part> part_ ABSL_GUARDED_BY(mutex_);  // once its size is known
  std::vector<ClusterMember> candidates_ ABSL_GUARDED_BY(mutex_);  // not asked yet, the next one last
  std::vector<AttemptPtr> attempts_ ABSL_GUARDED_BY(mutex_);
  bool own_ ABSL_GUARDED_BY(mutex_) = false;  // this server is to read the store, whatever peers say
  bool reading_store_ ABSL_GUARDED_BY(mutex_) = false;
  bool hedged_ ABSL_GUARDED_BY(mutex_) = false;
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace aetherfs

#endif  // AETHERFS_CLUSTER_PEER_FETCH_H_
