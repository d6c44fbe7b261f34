#include "aetherfs/server/subscribe_call.h"

#include <gmock/gmock.h>
#include <grpcpp/client_context.h>
#include <gtest/gtest.h>

#include <string>

#include "aetherfs/dataset/v1/dataset.grpc.pb.h"
#include "aetherfs/server/dataset_hub.h"
#include "aetherfs/server/testing/in_process_server.h"
#include "aetherfs/server/testing/open_subscription.h"
#include "aetherfs/server/testing/sample_snapshot.h"

namespace aetherfs {
namespace {

using ::testing::ElementsAre;

class SubscribeCallTest : public ::testing::Test {
 protected:
  uint64_t Publish(const std::string& text, const std::vector<std::string>& tags = {"latest"}) {
    const auto published = PublishSample(channel_, "a/b", MakeSampleSnapshot(text), tags);
    EXPECT_TRUE(published.ok()) << published.status();
    return published.ok() ? published->seq() : 0;
  }

  InProcessServer server_;
  std::shared_ptr<grpc::Channel> channel_ = server_.channel();
};

TEST_F(SubscribeCallTest, StateComesFirstThenEveryChange) {
  Publish("1");
  OpenSubscription subscription(channel_, "a/b");
  const auto state = subscription.Next();
  ASSERT_TRUE(state.has_state());
  EXPECT_EQ(state.state().seq(), 1u);
  EXPECT_EQ(state.state().tags(0).snapshot().digest(), MakeSampleSnapshot("1").manifest_digest.ToString());
  EXPECT_FALSE(state.state().absent());
  for (uint64_t seq = 2; seq <= 5; ++seq) Publish(std::to_string(seq));
  for (uint64_t seq = 2; seq <= 5; ++seq) {
    const auto change = subscription.Next();
    ASSERT_TRUE(change.has_change());
    EXPECT_EQ(change.change().seq(), seq);
    EXPECT_EQ(change.change().publication().snapshot().digest(),
              MakeSampleSnapshot(std::to_string(seq)).manifest_digest.ToString());
  }
}

TEST_F(SubscribeCallTest, AbsentDatasetIsSaidAndThenAwaited) {
  OpenSubscription subscription(channel_, "a/b");
  const auto state = subscription.Next();
  ASSERT_TRUE(state.has_state());
  EXPECT_TRUE(state.state().absent());
  Publish("1");
  EXPECT_EQ(subscription.Next().change().seq(), 1u);
}

TEST_F(SubscribeCallTest, ResumesBehindASequenceNumber) {
  Publish("1");
  Publish("2");
  OpenSubscription up_to_date(channel_, "a/b", {}, 2);
  OpenSubscription behind(channel_, "a/b", {}, 1);
  OpenSubscription ahead(channel_, "a/b", {}, 99);
  EXPECT_EQ(behind.Next().state().seq(), 2u);
  EXPECT_EQ(ahead.Next().state().seq(), 2u);
  Publish("3");
  for (OpenSubscription* subscription : {&up_to_date, &behind, &ahead}) {
    EXPECT_EQ(subscription->Next().change().seq(), 3u);
  }
}

TEST_F(SubscribeCallTest, OnlyChangesOfTheNamedTagsAreSent) {
  Publish("1", {"latest", "other"});
  OpenSubscription subscription(channel_, "a/b", {"latest"});
  const auto state = subscription.Next();
  ASSERT_EQ(state.state().tags_size(), 1);
  EXPECT_EQ(state.state().tags(0).name(), "latest");
  Publish("2", {"other"});
  Publish("3", {"latest"});
  EXPECT_EQ(subscription.Next().change().seq(), 3u);
}

TEST_F(SubscribeCallTest, ChangesOfOtherServersAreFoundByPolling) {
  InProcessServer other({.store = server_.shared_store()});
  Publish("1");
  OpenSubscription subscription(other.channel(), "a/b");
  EXPECT_EQ(subscription.Next().state().seq(), 1u);
  Publish("2");
  EXPECT_EQ(subscription.Next().change().seq(), 2u);
}

TEST_F(SubscribeCallTest, ReaderThatFallsFarBehindGetsAState) {
  Publish("0");
  OpenSubscription subscription(channel_, "a/b");
  // More than the journal's recent entries, while nobody reads: the stream's window takes some of them.
  const std::string label(2000, 'x');
  const SampleSnapshot samples[] = {MakeSampleSnapshot("a"), MakeSampleSnapshot("b")};
  for (const SampleSnapshot& sample : samples) ASSERT_TRUE(UploadSample(channel_, "a/b", sample).ok());
  const auto stub = dataset::v1::DatasetAPI::NewStub(channel_);
  uint64_t last = 0;
  for (size_t i = 0; i < 3 * Journal::kRecentEntries; ++i) {
    dataset::v1::PublishRequest request = PublishRequestFor("a/b", samples[i % 2]);
    request.set_message(label);
    grpc::ClientContext context;
    dataset::v1::PublishResponse response;
    ASSERT_TRUE(stub->Publish(&context, request, &response).ok());
    last = response.seq();
  }
  uint64_t seq = 0;
  bool caught_up_by_state = false;
  int messages = 0;
  while (seq < last) {
    const auto response = subscription.Next();
    const uint64_t next = response.has_state() ? response.state().seq() : response.change().seq();
    if (messages++ > 0 && response.has_state()) caught_up_by_state = true;
    ASSERT_GT(next, seq);
    if (response.has_change()) {
      EXPECT_EQ(next, seq + 1);
    }
    seq = next;
  }
  EXPECT_TRUE(caught_up_by_state || messages > static_cast<int>(3 * Journal::kRecentEntries));
}

TEST_F(SubscribeCallTest, BadRequestsAreRefused) {
  EXPECT_EQ(OpenSubscription(channel_, "A").End().error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(OpenSubscription(channel_, "a", {"no tag"}).End().error_code(), grpc::StatusCode::INVALID_ARGUMENT);
}

TEST_F(SubscribeCallTest, SubscribersGoWhenTheirStreamsEnd) {
  {
    OpenSubscription subscription(channel_, "a/b");
    subscription.Next();
    EXPECT_EQ(server_.app().context().hub->subscribers(), 1u);
  }
  const absl::Time end = absl::Now() + absl::Seconds(20);
  while (server_.app().context().hub->subscribers() > 0 && absl::Now() < end) std::this_thread::yield();
  EXPECT_EQ(server_.app().context().hub->subscribers(), 0u);
}

TEST_F(SubscribeCallTest, ServerThatShutsDownSendsItsReadersElsewhere) {
  OpenSubscription subscription(channel_, "a/b");
  subscription.Next();
  server_.app().Shutdown(absl::Seconds(20));
  EXPECT_EQ(subscription.End().error_code(), grpc::StatusCode::UNAVAILABLE);
}

TEST_F(SubscribeCallTest, ManySubscribersHearOfOnePublish) {
  Publish("1");
  constexpr int kStreams = 600;  // more than one wake batch
  std::vector<std::unique_ptr<OpenSubscription>> streams;
  for (int i = 0; i < kStreams; ++i) streams.push_back(std::make_unique<OpenSubscription>(channel_, "a/b"));
  for (const auto& stream : streams) EXPECT_EQ(stream->Next().state().seq(), 1u);
  Publish("2");
  for (const auto& stream : streams) EXPECT_EQ(stream->Next().change().seq(), 2u);
}

}  // namespace
}  // namespace aetherfs
