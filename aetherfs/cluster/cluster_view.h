#ifndef AETHERFS_CLUSTER_CLUSTER_VIEW_H_
#define AETHERFS_CLUSTER_CLUSTER_VIEW_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "aetherfs/cache/part_source.h"
#include "aetherfs/cluster/peer.h"
#include "aetherfs/cluster/rendezvous.h"

namespace aetherfs {

struct ClusterMember {
  std::string address;
  std::shared_ptr<Peer> peer;  // null: this server itself
  uint32_t protocol = 0;
};

// The servers that work, as this one sees it at a moment. Immutable. Servers may see different ones at the
// same time; then some part is read from the store more than once, and nothing worse.
struct ClusterView {
  std::vector<ClusterMember> members;  // healthy, this server among them if it knows its own address
  // Those before the last change, as long as they may have what now belongs to others.
  std::vector<ClusterMember> previous;
  absl::Time previous_until = absl::InfinitePast();

  // How far a client's request for a part goes: to the peers, unless the part is this server's own.
  PartScope ScopeForClients(const PartKey& key) const {
    return members.empty() || Ranked(members, key).front().peer == nullptr ? PartScope::kStore
                                                                           : PartScope::kAnywhere;
  }

  // `members` in the order in which they should be asked for a part: its owner first.
  static std::vector<ClusterMember> Ranked(const std::vector<ClusterMember>& members, const PartKey& key) {
    std::vector<std::string> addresses;
    addresses.reserve(members.size());
    for (const ClusterMember& member : members) addresses.push_back(member.address);
    std::vector<ClusterMember> ranked;
    ranked.reserve(members.size());
    for (const size_t index : RankMembers(addresses, key)) ranked.push_back(members[index]);
    return ranked;
  }
};
using ClusterViewPtr = std::shared_ptr<const ClusterView>;

// Where the current view comes from. Thread-safe, cheap.
class ClusterViewSource {
 public:
  virtual ~ClusterViewSource() = default;
  virtual ClusterViewPtr view() const = 0;
  // A call to that member failed as if nobody were there: look at it soon.
  virtual void Suspect(const std::string& address) = 0;
};

}  // namespace aetherfs

#endif  // AETHERFS_CLUSTER_CLUSTER_VIEW_H_
