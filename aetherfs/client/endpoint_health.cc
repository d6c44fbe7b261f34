#include "aetherfs/client/endpoint_health.h"

#include <algorithm>

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
  std::vector<size_t> order;
  for (size_t i = 0; i < count; ++i) order.push_back((first + i) % count);
  const auto avoided = [&](size_t endpoint) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return endpoints_[endpoint].avoid_until > now;
  };
  const auto failing = std::stable_partition(order.begin(), order.end(), [&](size_t endpoint) {
    mutex_.AssertHeld();
    return !avoided(endpoint);
  });
  std::stable_sort(failing, order.end(), [&](size_t a, size_t b) {
    mutex_.AssertHeld();
    return endpoints_[a].avoid_until < endpoints_[b].avoid_until;
  });
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
