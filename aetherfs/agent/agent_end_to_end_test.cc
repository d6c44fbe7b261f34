#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <random>

#include "absl/synchronization/notification.h"
#include "aetherfs/agent/agent.h"
#include "aetherfs/agent/materializer.h"
#include "aetherfs/agent/testing/agent_fixture.h"
#include "aetherfs/agent/tree.h"
#include "aetherfs/server/testing/in_process_server.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace aetherfs {
namespace {

// A producing and a consuming agent over a real server in this process.
class AgentEndToEndTest : public ::testing::Test {
 protected:
  struct Side {
    std::unique_ptr<ServerClient> client;
    MetricsRegistry metrics;
    Health health;
    std::shared_ptr<CountingWatcher> watcher = std::make_shared<CountingWatcher>();
    std::unique_ptr<Agent> agent;
    ~Side() {
      if (agent != nullptr) agent->Stop();
    }
  };

  std::unique_ptr<Side> StartSide(const std::string& root) {
    auto side = std::make_unique<Side>();
    ServerClientOptions options;
    options.servers = {server_.address()};
    options.patience = absl::Seconds(20);
    side->client = *ServerClient::Create(options);
    AgentOptions agent;
    agent.root = JoinPath(temporary_.path(), root);
    agent.durable = false;
    agent.retry = {absl::Milliseconds(5), absl::Milliseconds(50), absl::Milliseconds(50)};
    agent.publish_retry_initial = absl::Milliseconds(5);
    side->agent = *Agent::Create(agent, side->client.get(), &side->metrics, &side->health, Clock::System(),
                                 Random::System());
    side->agent->AddWatcher(side->watcher);
    return side;
  }

  void WriteTree(const std::string& directory, const TestTree& tree) {
    ASSERT_TRUE(RemoveTree(directory).ok());
    ASSERT_TRUE(MakeDirectories(directory).ok());
    for (const auto& [path, file] : tree) {
      const std::string at = JoinPath(directory, path);
      ASSERT_TRUE(MakeDirectories(ParentPath(at)).ok());
      if (file.type == EntryType::kDirectory) {
        ASSERT_TRUE(MakeDirectories(at).ok());
      } else if (file.type == EntryType::kSymlink) {
        ASSERT_EQ(::symlink(file.contents.c_str(), at.c_str()), 0);
      } else {
        std::ofstream(at, std::ios::binary) << file.contents;
        const timespec times[2] = {{0, UTIME_OMIT}, ToTimespec(file.mtime_ns)};
        ASSERT_EQ(::utimensat(AT_FDCWD, at.c_str(), times, 0), 0);
        ASSERT_EQ(::chmod(at.c_str(), file.mode), 0);
      }
    }
  }

  Digest Publish(Side& side, const std::string& path) {
    agent::v1::PublishRequest request;
    request.set_reference("maps/city");
    request.set_path(path);
    absl::Notification done;
    Digest digest;
    side.agent->Publish(request, [&](absl::StatusOr<agent::v1::PublishResponse> response) {
      EXPECT_TRUE(response.ok()) << response.status();
      if (response.ok()) digest = *Digest::Parse(response->result().digest());
      done.Notify();
    });
    done.WaitForNotification();
    return digest;
  }

  void WaitForActive(Side& side, const Digest& digest) {
    const absl::Time deadline = absl::Now() + absl::Seconds(60);
    for (int seen = 0; absl::Now() < deadline;
         seen = side.watcher->WaitBeyond(seen, absl::Milliseconds(100))) {
      const auto status = side.agent->StatusOf("maps/city");
      if (status.ok() && status->active_digest() == digest.ToString()) return;
    }
    FAIL() << "not active: " << side.agent->StatusOf("maps/city")->ShortDebugString();
  }

  agent::v1::Subscription City() {
    agent::v1::Subscription subscription;
    subscription.set_reference("maps/city");
    return subscription;
  }

  TemporaryDirectory temporary_ = *TemporaryDirectory::Create("agent-end-to-end");
  InProcessServer server_;
};

TEST_F(AgentEndToEndTest, ConsumerFollowsTheProducerByteForByte) {
  const std::unique_ptr<Side> producer = StartSide("producer");
  const std::unique_ptr<Side> consumer = StartSide("consumer");
  ASSERT_TRUE(producer->agent->Declare({}).ok());
  ASSERT_TRUE(consumer->agent->Declare({City()}).ok());
  std::mt19937_64 random(11);
  TestTree tree = RandomTree(random, 40);
  tree["big"] = {EntryType::kFile, std::string(3 << 20, 'b') + "end", 0644, 5};
  const std::string work = JoinPath(temporary_.path(), "work");
  for (int version = 0; version < 5; ++version) {
    WriteTree(work, tree);
    const Digest digest = Publish(*producer, work);
    WaitForActive(*consumer, digest);
    EXPECT_EQ(ReadTree(JoinPath(temporary_.path(), "consumer/maps/city/latest/.")), Expected(tree, true));
    tree = Mutated(tree, random);
  }
  const auto status = consumer->agent->StatusOf("maps/city");
  EXPECT_GT(status->last_update().reused_bytes(), 1 << 20);
}

TEST_F(AgentEndToEndTest, ConsumerOutlivesItsServer) {
  const std::unique_ptr<Side> producer = StartSide("producer");
  const std::unique_ptr<Side> consumer = StartSide("consumer");
  ASSERT_TRUE(producer->agent->Declare({}).ok());
  ASSERT_TRUE(consumer->agent->Declare({City()}).ok());
  const std::string work = JoinPath(temporary_.path(), "work");
  WriteTree(work, {{"file", {EntryType::kFile, "one"}}});
  WaitForActive(*consumer, Publish(*producer, work));
  server_.Stop();
  EXPECT_EQ(*ReadWholeFile(JoinPath(temporary_.path(), "consumer/maps/city/latest/file"), 100), "one");
  server_.Start();
  WriteTree(work, {{"file", {EntryType::kFile, "two"}}});
  WaitForActive(*consumer, Publish(*producer, work));
  EXPECT_EQ(*ReadWholeFile(JoinPath(temporary_.path(), "consumer/maps/city/latest/file"), 100), "two");
}

}  // namespace
}  // namespace aetherfs
