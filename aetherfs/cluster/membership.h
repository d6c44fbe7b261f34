#ifndef AETHERFS_CLUSTER_MEMBERSHIP_H_
#define AETHERFS_CLUSTER_MEMBERSHIP_H_

#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/btree_map.h"
#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/synchronization/mutex.h"
#include "aetherfs/base/clock.h"
#include "aetherfs/base/random.h"
#include "aetherfs/cluster/cluster_metrics.h"
#include "aetherfs/cluster/cluster_view.h"
#include "aetherfs/cluster/peer_list.h"

namespace aetherfs {

// Which servers there are and which of them work. Names are looked up again every few seconds; each server
// is asked for its health every second, and is told about (ClusterView) once it has answered. One that
// stops answering stays until it has failed twice, so that a lost packet moves no parts; one that says that
// it is going, goes at once. Nothing here comes from a request of anybody: only from the list.
//
// This server recognises itself by its advertised address, or, if it has none, by asking: whoever answers
// with its own id is itself.
//
// Thread-safe. Start() runs a thread that looks names up and may block there; tests call Tick() instead.
// What it is given must outlive it.
class Membership : public ClusterViewSource {
 public:
  static constexpr absl::Duration kCheckInterval = absl::Seconds(1);
  // Of one that does not work, so that it is soon found to be back.
  static constexpr absl::Duration kSearchInterval = absl::Milliseconds(300);
  static constexpr absl::Duration kCheckTimeout = absl::Seconds(1);
  static constexpr absl::Duration kResolveInterval = absl::Seconds(5);
  // After a stranger called: it may be a server that has just come.
  static constexpr absl::Duration kResolveSoon = absl::Seconds(1);
  static constexpr int kFailuresToGo = 2;     // in a row
  static constexpr int kSuccessesToReturn = 2;  // in a row, after a failure
  // Changes that follow each other faster than this are one change.
  static constexpr absl::Duration kSettleTime = absl::Seconds(5);
  // How long the caches of those who owned parts before a change are asked for them.
  static constexpr absl::Duration kHandoverTime = absl::Minutes(10);

  using PeerFactory = std::function<std::shared_ptr<Peer>(const std::string& address)>;
  struct Environment {
    HostResolver* resolver = nullptr;
    PeerFactory connect;
    Clock* clock = nullptr;
    Random* random = nullptr;
    ClusterMetrics* metrics = nullptr;
  };

  // `advertise` is one of the list's addresses, or empty. `server_id` is this process's.
  Membership(PeerList list, std::string advertise, std::string server_id, const Environment& environment);
  ~Membership() override;

  void Start();
  // Ends the thread and waits for the checks under way.
  void Stop();
  // Does what is due; returns when to call again.
  absl::Time Tick();

  ClusterViewPtr view() const override;
  void Suspect(const std::string& address) override;

  // Whether a server of the list has this address (text, no port).
  bool IsPeerAddress(const std::string& ip);
  const std::string& server_id() const { return server_id_; }

 private:
  struct Member {
    std::shared_ptr<Peer> peer;
    bool self = false;
    bool healthy = false;
    bool failed_before = false;
    bool checking = false;
    int failures = 0;   // in a row
    int successes = 0;  // in a row
    uint32_t protocol = 0;  // 0: it has not said Hello since it came (back)
    absl::Time next_check = absl::InfinitePast();
  };

  void Run();
  void Resolve();
  void StartCheck(const std::string& address, const std::shared_ptr<Peer>& peer);
  void OnChecked(const std::string& address, const std::shared_ptr<Peer>& peer, const absl::Status& status);
  void OnHello(const std::string& address, const absl::StatusOr<peer::v1::HelloResponse>& hello);
  void EndCheck(const std::string& address, const absl::Status& status);
  void UpdateView() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const PeerList list_;
  const std::string advertise_;
  const std::string server_id_;
  const Environment environment_;

  mutable absl::Mutex mutex_;
  absl::btree_map<std::string, Member> members_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_set<std::string> ips_ ABSL_GUARDED_BY(mutex_);
  absl::Time next_resolve_ ABSL_GUARDED_BY(mutex_) = absl::InfinitePast();
  absl::Time resolved_ ABSL_GUARDED_BY(mutex_) = absl::InfinitePast();
  ClusterViewPtr view_ ABSL_GUARDED_BY(mutex_);
  std::vector<ClusterMember> settled_ ABSL_GUARDED_BY(mutex_);  // before the change that is going on
  absl::Time changed_ ABSL_GUARDED_BY(mutex_) = absl::InfinitePast();
  size_t checking_ ABSL_GUARDED_BY(mutex_) = 0;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  bool due_ ABSL_GUARDED_BY(mutex_) = false;  // something is due sooner than was said
  std::thread thread_;
};

}  // namespace aetherfs

#endif  // AETHERFS_CLUSTER_MEMBERSHIP_H_
