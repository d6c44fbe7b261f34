#include "aetherfs/cluster/alarms.h"

#include <grpcpp/alarm.h>

#include <utility>

#include "absl/time/clock.h"

namespace aetherfs {
namespace {

class GrpcAlarm : public Alarms::Alarm {
 public:
  GrpcAlarm(absl::Duration delay, std::function<void()> ring) {
    alarm_.Set(absl::ToChronoTime(absl::Now() + delay), [ring = std::move(ring)](bool expired) {
      if (expired) ring();
    });
  }

 private:
  grpc::Alarm alarm_;  // cancels when it goes
};

class GrpcAlarms : public Alarms {
 public:
  std::unique_ptr<Alarm> After(absl::Duration delay, std::function<void()> ring) override {
    return std::make_unique<GrpcAlarm>(delay, std::move(ring));
  }
};

}  // namespace

Alarms* Alarms::System() {
  static auto* const alarms = new GrpcAlarms;
  return alarms;
}

}  // namespace aetherfs
