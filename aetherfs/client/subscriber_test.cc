#include "aetherfs/client/subscriber.h"

#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "aetherfs/base/sha256.h"
#include "aetherfs/base/status.h"
#include "aetherfs/client/testing/fake_server_client.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace aetherfs {
namespace {

class SubscriberTest : public ::testing::Test {
 protected:
  std::unique_ptr<Subscriber> Follow(const std::string& tag = "latest") {
    return std::make_unique<Subscriber>(
        &client_, *DatasetName::Parse("geo/city"), tag,
        [this](const TagUpdate& update) {
          absl::MutexLock lock(&mutex_);
          updates_.push_back(update);
        },
        [this](const absl::Status& status) {
          absl::MutexLock lock(&mutex_);
          troubles_.push_back(status);
        });
  }
  // Waits for the update number `count`, the first being 1.
  TagUpdate Update(size_t count) {
    absl::MutexLock lock(&mutex_);
    const auto there = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return updates_.size() >= count; };
    if (!mutex_.AwaitWithTimeout(absl::Condition(&there), absl::Seconds(20))) {
      ADD_FAILURE() << "update " << count << " never came";
      return {};
    }
    return updates_[count - 1];
  }
  size_t updates() {
    absl::MutexLock lock(&mutex_);
    return updates_.size();
  }

  FakeServerClient client_;
  absl::Mutex mutex_;
  std::vector<TagUpdate> updates_ ABSL_GUARDED_BY(mutex_);
  std::vector<absl::Status> troubles_ ABSL_GUARDED_BY(mutex_);
  const Digest one_ = Sha256::Of("one");
  const Digest two_ = Sha256::Of("two");
};

TEST_F(SubscriberTest, StateComesFirstThenEveryChange) {
  client_.SetTag("geo/city", "latest", one_);
  const auto subscriber = Follow();
  EXPECT_EQ(Update(1).digest, one_);
  EXPECT_EQ(Update(1).seq, 1u);
  client_.SetTag("geo/city", "latest", two_);
  EXPECT_EQ(Update(2).digest, two_);
  EXPECT_EQ(Update(2).seq, 2u);
}

TEST_F(SubscriberTest, DatasetThatIsNotThereYetIsAnnouncedWhenItIs) {
  const auto subscriber = Follow();
  EXPECT_EQ(Update(1).digest, std::nullopt);
  client_.SetTag("geo/city", "latest", one_);
  EXPECT_EQ(Update(2).digest, one_);
}

TEST_F(SubscriberTest, OtherTagsAreNotTold) {
  client_.SetTag("geo/city", "latest", one_);
  const auto subscriber = Follow();
  Update(1);
  client_.SetTag("geo/city", "stable", two_);
  client_.Condemn("geo/city", {});
  client_.SetTag("geo/city", "latest", two_);
  EXPECT_EQ(Update(2).digest, two_);
  EXPECT_EQ(Update(2).seq, 4u);
}

TEST_F(SubscriberTest, BrokenStreamIsOpenedAgainAndMissedChangesAreSeen) {
  client_.SetTag("geo/city", "latest", one_);
  const auto subscriber = Follow();
  Update(1);
  client_.SetAway(true);
  client_.SetTag("geo/city", "latest", two_);
  client_.SetAway(false);
  EXPECT_EQ(Update(2).digest, two_);
  absl::MutexLock lock(&mutex_);
  ASSERT_FALSE(troubles_.empty());
  EXPECT_TRUE(absl::IsUnavailable(troubles_.front()));
}

TEST_F(SubscriberTest, ReconnectTellsTheStateAlsoIfNothingChanged) {
  client_.SetTag("geo/city", "latest", one_);
  const auto subscriber = Follow();
  Update(1);
  client_.BreakStreams(absl::OkStatus());
  EXPECT_EQ(Update(2).digest, one_);
  absl::MutexLock lock(&mutex_);
  EXPECT_TRUE(troubles_.empty()) << "a server that lets a stream end in peace is no trouble";
}

TEST_F(SubscriberTest, StaleStateSaysSo) {
  client_.SetTag("geo/city", "latest", one_);
  client_.SetStale(true, 60'000);
  const auto subscriber = Follow();
  const TagUpdate update = Update(1);
  EXPECT_TRUE(update.stale);
  EXPECT_LT(update.confirmed, absl::Now() - absl::Seconds(50));
}

TEST_F(SubscriberTest, NothingIsTouchedAfterTheEnd) {
  client_.SetTag("geo/city", "latest", one_);
  auto subscriber = Follow();
  Update(1);
  subscriber.reset();
  EXPECT_EQ(client_.open_streams(), 0u);
  const size_t before = updates();
  client_.SetTag("geo/city", "latest", two_);
  EXPECT_EQ(updates(), before);
}

TEST_F(SubscriberTest, CanEndAtAnyMoment) {
  client_.SetTag("geo/city", "latest", one_);
  for (int i = 0; i < 200; ++i) {
    auto subscriber = Follow();
    if (i % 3 == 0) client_.BreakStreams(absl::UnavailableError("broken"));
    if (i % 5 == 0) client_.SetTag("geo/city", "latest", two_);
    subscriber.reset();
  }
  EXPECT_EQ(client_.open_streams(), 0u);
}

}  // namespace
}  // namespace aetherfs
