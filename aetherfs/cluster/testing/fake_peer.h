#ifndef AETHERFS_CLUSTER_TESTING_FAKE_PEER_H_
#define AETHERFS_CLUSTER_TESTING_FAKE_PEER_H_

#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "aetherfs/cluster/alarms.h"
#include "aetherfs/cluster/cluster_view.h"
#include "aetherfs/cluster/peer.h"

namespace aetherfs {

// A peer that does what a test says. Health and Hello are answered at once; parts and announcements wait
// for the test. Not thread-safe.
class FakePeer : public Peer {
 public:
  class PartRequest : public PeerCall {
   public:
    PartRequest(PartKey asked, bool only_cached, PartHandler handler)
        : key(std::move(asked)), cached_only(only_cached), handler_(std::move(handler)) {}

    void Accept() { handler_.accepted(); }
    void Size(uint64_t object_size) { handler_.size(object_size); }
    absl::Status Bytes(std::string_view bytes) { return handler_.bytes(bytes); }
    void Done(const absl::Status& status, std::optional<uint64_t> checksum = std::nullopt) {
      if (std::exchange(done_, true)) return;
      const PartHandler handler = std::exchange(handler_, {});
      handler.done(status, checksum);
    }
    void Cancel() override {
      cancelled = true;
      Done(absl::CancelledError("cancelled"));
    }

    const PartKey key;
    const bool cached_only;
    bool cancelled = false;

   private:
    PartHandler handler_;
    bool done_ = false;
  };

  explicit FakePeer(std::string address) : address_(std::move(address)) {
    hello.set_protocol(kPeerProtocol);
    hello.set_server_id("id of " + address_);
    hello.set_ranking(kRankingVersion);
  }

  const std::string& address() const override { return address_; }
  void Check(absl::Time, std::function<void(const absl::Status&)> done) override {
    ++checks;
    done(health);
  }
  void Hello(const peer::v1::HelloRequest&, absl::Time,
             std::function<void(absl::StatusOr<peer::v1::HelloResponse>)> done) override {
    ++hellos;
    done(hello);
  }
  void Announce(const peer::v1::AnnounceRequest& request, absl::Time,
                std::function<void(const absl::Status&)> done) override {
    announced.push_back(request);
    announce_done.push_back(std::move(done));
  }
  std::shared_ptr<PeerCall> GetPart(const PartKey& key, bool cached_only, absl::Time,
                                    PartHandler handler) override {
    requests.push_back(std::make_shared<PartRequest>(key, cached_only, std::move(handler)));
    return requests.back();
  }

  absl::Status health;
  peer::v1::HelloResponse hello;
  int checks = 0;
  int hellos = 0;
  std::vector<peer::v1::AnnounceRequest> announced;
  std::deque<std::function<void(const absl::Status&)>> announce_done;
  std::vector<std::shared_ptr<PartRequest>> requests;

 private:
  const std::string address_;
};

// Alarms that ring when the test says so.
class ManualAlarms : public Alarms {
 public:
  std::unique_ptr<Alarm> After(absl::Duration delay, std::function<void()> ring) override {
    auto set = std::make_shared<Set>(Set{delay, std::move(ring)});
    sets_.push_back(set);
    return std::make_unique<Handle>(std::move(set));
  }

  // The delays of those that are set, in the order in which they were.
  std::vector<absl::Duration> pending() const {
    std::vector<absl::Duration> delays;
    for (const auto& weak : sets_) {
      if (const auto set = weak.lock(); set != nullptr && set->ring) delays.push_back(set->delay);
    }
    return delays;
  }

  // Rings the first that is set.
  void RingFirst() {
    for (const auto& weak : std::vector<std::weak_ptr<Set>>(sets_)) {
      const auto set = weak.lock();
      if (set == nullptr || !set->ring) continue;
      const std::function<void()> ring = std::exchange(set->ring, nullptr);
      ring();
      return;
    }
  }

 private:
  struct Set {
    absl::Duration delay;
    std::function<void()> ring;
  };
  struct Handle : public Alarm {
    explicit Handle(std::shared_ptr<Set> alarm) : set(std::move(alarm)) {}
    std::shared_ptr<Set> set;
  };

  std::vector<std::weak_ptr<Set>> sets_;
};

// A view that a test sets.
class FixedClusterView : public ClusterViewSource {
 public:
  ClusterViewPtr view() const override { return std::make_shared<const ClusterView>(current); }
  void Suspect(const std::string& address) override { suspected.push_back(address); }

  ClusterView current;
  std::vector<std::string> suspected;
};

}  // namespace aetherfs

#endif  // AETHERFS_CLUSTER_TESTING_FAKE_PEER_H_
