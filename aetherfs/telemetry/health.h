#ifndef AETHERFS_TELEMETRY_HEALTH_H_
#define AETHERFS_TELEMETRY_HEALTH_H_

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "aetherfs/telemetry/http_server.h"
#include "aetherfs/telemetry/metrics.h"

namespace aetherfs {

// Whether the process lives and whether it can serve. It is ready when every named condition is met, and
// it has none at first. Thread-safe.
class Health {
 public:
  struct Condition {
    std::string name;
    bool met = false;
    std::string reason;  // why it is not
  };

  // Declares the condition or changes it. `reason` is for operators: "no answer from the store".
  void SetUnmet(std::string_view name, std::string_view reason);
  void SetMet(std::string_view name);
  // Forgets the condition; fine if there is none.
  void Remove(std::string_view name);

  bool IsReady() const;
  // By name.
  std::vector<Condition> Conditions() const;

  // The process cannot recover and asks to be started again. There is no way back.
  void SetDead(std::string_view reason);
  bool IsAlive() const;
  std::string DeathReason() const;

 private:
  mutable absl::Mutex mutex_;
  std::map<std::string, Condition, std::less<>> conditions_ ABSL_GUARDED_BY(mutex_);
  bool alive_ ABSL_GUARDED_BY(mutex_) = true;
  std::string death_reason_ ABSL_GUARDED_BY(mutex_);
};

// How many unmet conditions /readyz names; of the others it gives the number.
inline constexpr size_t kMaxShownConditions = 100;

// Adds /metrics, /healthz, /readyz and /version. /healthz and /readyz answer 200, or 503 with what is
// wrong; /readyz and /version answer JSON to `Accept: application/json`. `health` and `metrics` must
// outlive the server.
void RegisterStandardEndpoints(HttpRoutes& routes, const Health* health, MetricsRegistry* metrics);

}  // namespace aetherfs

#endif  // AETHERFS_TELEMETRY_HEALTH_H_
