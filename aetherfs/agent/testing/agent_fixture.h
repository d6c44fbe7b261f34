#ifndef AETHERFS_AGENT_TESTING_AGENT_FIXTURE_H_
#define AETHERFS_AGENT_TESTING_AGENT_FIXTURE_H_

#include <functional>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "aetherfs/agent/agent.h"
#include "aetherfs/agent/testing/test_snapshot.h"
#include "aetherfs/client/testing/fake_server_client.h"
#include "aetherfs/os/file.h"
#include "gtest/gtest.h"

namespace aetherfs {

// Counts changes, so that a test can wait for one.
class CountingWatcher : public Agent::Watcher {
 public:
  void Changed(const std::string& reference) override {
    absl::MutexLock lock(&mutex_);
    ++changes_;
  }
  void Close() override {
    absl::MutexLock lock(&mutex_);
    closed_ = true;
  }
  // Returns once there were more than `seen` changes, or after a while; how many there were.
  int WaitBeyond(int seen, absl::Duration timeout) {
    absl::MutexLock lock(&mutex_);
    const auto more = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return changes_ > seen || closed_; };
    mutex_.AwaitWithTimeout(absl::Condition(&more), timeout);
    return changes_;
  }

 private:
  absl::Mutex mutex_;
  int changes_ ABSL_GUARDED_BY(mutex_) = 0;
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
};

// An agent over a fake server, in one process, with quick retries. Tests wait for statuses, never for time.
class AgentFixture : public ::testing::Test {
 protected:
  using SubscriptionStatus = agent::v1::SubscriptionStatus;
  static constexpr absl::Duration kPatience = absl::Seconds(60);

  void SetUp() override {
    options_.root = JoinPath(temporary_.path(), "root");
    options_.retry = {absl::Milliseconds(1), absl::Milliseconds(5), absl::Milliseconds(5)};
    options_.publish_retry_initial = absl::Milliseconds(1);
    options_.publish_retry_most = absl::Milliseconds(5);
    options_.durable = false;
  }
  void TearDown() override { StopAgent(); }

  // A new agent process, as far as can be told.
  void StartAgent(const std::vector<agent::v1::Subscription>& declared = {}) {
    auto agent = Agent::Create(options_, &server_, &metrics_, &health_, Clock::System(), Random::System());
    ASSERT_TRUE(agent.ok()) << agent.status();
    agent_ = *std::move(agent);
    watcher_ = std::make_shared<CountingWatcher>();
    agent_->AddWatcher(watcher_);
    const absl::Status status = agent_->Declare(declared);
    ASSERT_TRUE(status.ok()) << status;
  }
  void StopAgent() {
    if (agent_ != nullptr) agent_->Stop();
    agent_.reset();
  }

  static agent::v1::Subscription Subscription(const std::string& reference) {
    agent::v1::Subscription subscription;
    subscription.set_reference(reference);
    return subscription;
  }

  // Stores the tree and points the tag at it.
  Digest PublishTree(const TestTree& tree, const std::string& dataset = "maps/city",
                     const std::string& tag = "latest") {
    const TestSnapshot snapshot = StoreSnapshot(server_, dataset, tree);
    server_.SetTag(dataset, tag, snapshot.digest);
    return snapshot.digest;
  }
  static TestTree OneFile(const std::string& contents) { return {{"file", {EntryType::kFile, contents}}}; }

  SubscriptionStatus WaitFor(const std::string& reference,
                             const std::function<bool(const SubscriptionStatus&)>& condition) {
    const absl::Time deadline = absl::Now() + kPatience;
    SubscriptionStatus status;
    for (int seen = 0;;) {
      const auto now = agent_->StatusOf(reference);
      if (now.ok()) {
        status = *now;
        if (condition(status)) return status;
      }
      if (absl::Now() > deadline) break;
      seen = watcher_->WaitBeyond(seen, absl::Milliseconds(100));
    }
    ADD_FAILURE() << reference << " never came there: " << status.ShortDebugString();
    return status;
  }
  SubscriptionStatus WaitForActive(const Digest& digest,
                                   const std::string& reference = "maps/city:latest") {
    return WaitFor(reference, [&](const SubscriptionStatus& status) {
      return status.active_digest() == digest.ToString() &&
             status.state() == SubscriptionStatus::STATE_CURRENT;
    });
  }
  SubscriptionStatus WaitForFailure(const std::string& reference = "maps/city:latest") {
    return WaitFor(reference, [](const SubscriptionStatus& status) {
      return !status.error().empty() && status.state() == SubscriptionStatus::STATE_FAILING;
    });
  }

  std::string LinkPath(const std::string& path = "maps/city/latest") {
    return JoinPath(options_.root, path);
  }
  TestTree Consumed(const std::string& path = "maps/city/latest") {
    return ReadTree(JoinPath(LinkPath(path), "."));
  }
  std::string ConsumedFile(const std::string& name = "maps/city/latest/file") {
    return ReadWholeFile(LinkPath(name), 1 << 20).value_or("nothing");
  }

  TemporaryDirectory temporary_ = *TemporaryDirectory::Create("agent");
  FakeServerClient server_;
  MetricsRegistry metrics_;
  Health health_;
  AgentOptions options_;
  std::shared_ptr<CountingWatcher> watcher_;
  std::unique_ptr<Agent> agent_;
};

}  // namespace aetherfs

#endif  // AETHERFS_AGENT_TESTING_AGENT_FIXTURE_H_
