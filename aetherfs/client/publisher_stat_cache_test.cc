// Publishes that rely on what an earlier one noted of the files.

#include <set>

#include "absl/synchronization/mutex.h"
#include "aetherfs/base/testing/fake_clock.h"
#include "aetherfs/client/testing/publisher_fixture.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace aetherfs {
namespace {

using Method = FakeServerClient::Method;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Not;

// The files were written long before the scan, by this clock, so the stat cache trusts them.
class PublisherLaterTest : public PublisherTest {
 protected:
  absl::StatusOr<PublishResult> PublishCounting() {
    read_.clear();
    return PublishJob(
               &client_, options_, nullptr, nullptr,
               [this](const std::string& path) {
                 absl::MutexLock lock(&mutex_);
                 read_.insert(path);
               },
               &clock_)
        .Run();
  }

  FakeClock clock_{absl::Now() + absl::Hours(1)};
  absl::Mutex mutex_;
  std::set<std::string> read_;
};

TEST_F(PublisherLaterTest, UnchangedTreeIsNotReadAndCostsOneCall) {
  MakeRandomTree(options_.path, 4);
  const auto first = PublishCounting();
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_THAT(read_, Not(IsEmpty()));
  const int uploads = client_.Calls(Method::kUpload);
  const int publishes = client_.Calls(Method::kPublish);
  const int downloads = client_.Calls(Method::kDownload);
  const auto second = PublishCounting();
  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_THAT(read_, IsEmpty());
  EXPECT_TRUE(second->unchanged);
  EXPECT_EQ(second->digest, first->digest);
  EXPECT_EQ(second->files, first->files);
  EXPECT_EQ(second->bytes, first->bytes);
  EXPECT_EQ(second->chunks, first->chunks);
  EXPECT_EQ(second->uploaded_bytes, 0u);
  EXPECT_EQ(client_.Calls(Method::kUpload), uploads);
  EXPECT_EQ(client_.Calls(Method::kPublish), publishes);
  EXPECT_EQ(client_.Calls(Method::kDownload), downloads);
}

TEST_F(PublisherLaterTest, OnlyTheFileThatChangedIsRead) {
  MakeRandomTree(options_.path, 4);
  WriteTestFile(Tree("changing"), "old");
  ASSERT_TRUE(PublishCounting().ok());
  WriteTestFile(Tree("changing"), "new, and longer");
  WriteTestFile(Tree("added"), "added");
  const auto result = PublishCounting();
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_THAT(read_, ElementsAre("added", "changing"));
  ExpectRoundTrip(result->digest);
}

TEST_F(PublisherLaterTest, RemovedAndRenamedFilesAreSeen) {
  WriteTestFile(Tree("a"), "1");
  WriteTestFile(Tree("b"), RandomBytes(200'000, 1));
  WriteTestFile(Tree("c"), "3");
  ASSERT_TRUE(PublishCounting().ok());
  RemoveFile(Tree("a")).IgnoreError();
  ASSERT_TRUE(Rename(Tree("b"), Tree("moved")).ok());
  const auto result = PublishCounting();
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_THAT(read_, ElementsAre("moved"));
  EXPECT_EQ(result->new_chunks, 0u);
  ExpectRoundTrip(result->digest);
}

TEST_F(PublisherLaterTest, UnchangedTreeWhoseSnapshotIsGoneIsUploadedAgain) {
  MakeRandomTree(options_.path, 4);
  const auto first = PublishCounting();
  ASSERT_TRUE(first.ok()) << first.status();
  for (const Digest& block : client_.Blocks("geo/city")) client_.RemoveObject("geo/city", block);
  options_.tags = {"other"};
  const auto second = PublishCounting();
  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_EQ(client_.TagDigest("geo/city", "other"), second->digest);
  ExpectRoundTrip(second->digest);
}

TEST_F(PublisherLaterTest, TagThatWasMovedAwayIsMovedBack) {
  WriteTestFile(Tree("a"), "1");
  const auto first = PublishCounting();
  ASSERT_TRUE(first.ok()) << first.status();
  WriteTestFile(Tree("a"), "22");
  const auto second = PublishCounting();
  ASSERT_TRUE(second.ok()) << second.status();
  client_.SetTag("geo/city", "latest", first->digest);
  const auto third = PublishCounting();
  ASSERT_TRUE(third.ok()) << third.status();
  EXPECT_EQ(third->digest, second->digest);
  EXPECT_FALSE(third->unchanged);
  EXPECT_EQ(client_.TagDigest("geo/city", "latest"), second->digest);
}

TEST_F(PublisherLaterTest, ServerThatOnlyRemembersIsAskedToPublish) {
  WriteTestFile(Tree("a"), "1");
  ASSERT_TRUE(PublishCounting().ok());
  client_.SetStale(true);
  const int publishes = client_.Calls(Method::kPublish);
  ASSERT_TRUE(PublishCounting().ok());
  EXPECT_EQ(client_.Calls(Method::kPublish), publishes + 1);
}

}  // namespace
}  // namespace aetherfs
