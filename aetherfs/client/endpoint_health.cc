#include "aetherfs/client/endpoint_health.h"

#include <algorithm>
#include <utility>

namespace aetherfs {

EndpointHealth::EndpointHealth(size_t count, Clock* clock, Random* random)
    : clock_(clock),
      endpoints_(count),
      preferred_(static_cast<size_t>(random->Below(count))),
      next_(preferred_) {}

std::vector<size_t> EndpointHealth::Order(Policy policy) {
  const absl::Time now = clock_->Now();
  absl::MutexLock lock(&mutex_);
  const size_t count = endpoints_.size();
  const size_t first = policy == Policy::kSticky ? preferred_ : next_++ % count;
  // By when they are free again, those that are by their turn.
  std::vector<std::pair<absl::Time, size_t>> turns;
  for (size_t i = 0; i < count; ++i) {
    turns.emplace_back(std::max(now, endpoints_[(first + i) % count].avoid_until), i);
  }
  std::sort(turns.begin(), turns.end());
  std::vector<size_t> order;
  for (const auto& [free, turn] : turns) order.push_back((first + turn) % count);
  return order;
}

void EndpointHealth::Succeeded(size_t endpoint) {
  absl::MutexLock lock(&mutex_);
  endpoints_[endpoint] = Endpoint();
}

void EndpointHealth::Failed(size_t endpoint) {
  const absl::Time now = clock_->Now();
  absl::MutexLock lock(&mutex_);
  Endpoint& failed = endpoints_[endpoint];
  constexpr int kMaxDoublings = 10;
  const int64_t factor = int64_t{1} << std::min(failed.failures++, kMaxDoublings);
  failed.avoid_until = now + std::min(kFirstAvoidance * factor, kLongestAvoidance);
  if (endpoint == preferred_) preferred_ = (preferred_ + 1) % endpoints_.size();
}

}  // namespace aetherfs
