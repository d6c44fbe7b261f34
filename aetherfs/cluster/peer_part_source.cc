#include "aetherfs/cluster/peer_part_source.h"

#include <fmt/format.h>

#include <utility>
#include <vector>

#include "aetherfs/cluster/peer_fetch.h"

namespace aetherfs {

PeerPartSource::PeerPartSource(ClusterViewSource* view, PartSource* store, Alarms* alarms, Clock* clock,
                               ClusterMetrics* metrics)
    : view_(*view),
      store_(*store),
      alarms_(*alarms),
      clock_(*clock),
      metrics_(*metrics),
      fallbacks_(kFallbackRate, kFallbackBurst, clock) {}

PeerPartSource::~PeerPartSource() { Stop(); }

void PeerPartSource::Get(const PartKey& key, const Options& options, Done done) {
  // What waits for nobody must not ask anybody: two servers that each take the other for the previous owner
  // would ask in a circle.
  if (options.scope == PartScope::kCached) {
    return done(absl::UnavailableError(fmt::format("{} is not cached here", key.object_key)),
                PartOrigin::kPeer);
  }
  const ClusterViewPtr view = view_.view();
  std::vector<ClusterMember> candidates;
  std::optional<ClusterMember> previous_owner;
  if (!options.bypass_cache && options.scope == PartScope::kAnywhere) {
    for (ClusterMember& member : ClusterView::Ranked(view->members, key)) {
      if (member.peer == nullptr || candidates.size() == kMaxCandidates) break;
      candidates.push_back(std::move(member));
    }
  }
  if (!options.bypass_cache && candidates.empty() && clock_.Now() < view->previous_until) {
    const std::vector<ClusterMember> previous = ClusterView::Ranked(view->previous, key);
    for (const ClusterMember& member : view->members) {
      if (!previous.empty() && member.address == previous.front().address && member.peer != nullptr &&
          member.protocol >= kPeerProtocolCachedOnly) {
        previous_owner = member;
      }
    }
  }
  if (candidates.empty() && !previous_owner.has_value()) {
    store_.Get(key, options, std::move(done));
    return;
  }
  auto fetch = std::make_shared<PeerFetch>(*this, key, options, done);
  if (!Add(fetch)) {
    done(absl::CancelledError("this server is shutting down"), PartOrigin::kPeer);
  } else if (previous_owner.has_value()) {
    fetch->StartWithPreviousOwner(*previous_owner);
  } else {
    fetch->StartWithOwners(std::move(candidates));
  }
}

bool PeerPartSource::Add(const std::shared_ptr<PeerFetch>& fetch) {
  absl::MutexLock lock(&mutex_);
  if (stopping_) return false;
  fetches_[fetch.get()] = fetch;
  return true;
}

void PeerPartSource::Remove(PeerFetch* fetch) {
  absl::MutexLock lock(&mutex_);
  fetches_.erase(fetch);
}

void PeerPartSource::Stop() {
  std::vector<std::shared_ptr<PeerFetch>> running;
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
    for (const auto& [raw, fetch] : fetches_) {
      if (std::shared_ptr<PeerFetch> alive = fetch.lock()) running.push_back(std::move(alive));
    }
  }
  for (const std::shared_ptr<PeerFetch>& fetch : running) fetch->Cancel();
  running.clear();
  absl::MutexLock lock(&mutex_);
  const auto none = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return fetches_.empty(); };
  mutex_.Await(absl::Condition(&none));
}

}  // namespace aetherfs
