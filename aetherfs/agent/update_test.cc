#include "aetherfs/agent/update.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "aetherfs/client/publisher.h"
#include "aetherfs/client/testing/fake_server_client.h"
#include "aetherfs/client/testing/tree.h"
#include "aetherfs/os/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace aetherfs {
namespace {

using ::testing::HasSubstr;
using ::testing::SizeIs;

// Three versions at a server, with a delta for each step, and the first of them on disk.
class UpdateTest : public ::testing::Test {
 protected:
  UpdateTest() {
    publish_.dataset = dataset_;
    publish_.tags = {"latest"};
    publish_.path = Dir("source");
    for (size_t version = 1; version <= 3; ++version) {
      text_.replace(version * 100'000, 7, "changed");
      WriteTestFile(Dir("source/table"), text_);
      // The third version has the second one's.
      if (version <= 2) WriteTestFile(Dir("source/note"), RandomText(20'000, version));
      const auto result = PublishDirectory(server_, publish_);
      EXPECT_TRUE(result.ok()) << result.status();
      digests_.push_back(result->digest);
      if (version == 1) {
        EXPECT_TRUE(PullTree(server_, dataset_, digests_[0], Dir("v1")).ok());
      }
      if (version == 2) second_ = DescribeTree(Dir("source"));
    }
    canonical_ = *fetcher_.FetchManifest(dataset_, digests_[0], nullptr);
    base_ = std::make_shared<const Manifest>(*DecodeManifest(canonical_));
    dataset::v1::LookupRequest request;
    request.set_dataset(dataset_.str());
    offers_ = OffersFrom(server_.Lookup(request)->deltas());
  }

  std::string Dir(const std::string& name) { return JoinPath(temporary_.path(), name); }

  // From the first version to the last.
  absl::StatusOr<UpdateResult> Update() {
    UpdateRequest request;
    request.dataset = dataset_;
    request.target = digests_[2];
    request.sources.push_back({Dir("v1"), base_.get(), /*may_link=*/true});
    request.bases.push_back({digests_[0], base_, 0});
    request.offers = offers_;
    request.directory = Dir("v3");
    request.scratch = [this](const Digest&) { return Dir("between"); };
    return StageUpdate(fetcher_, std::move(request), &stats_, nullptr);
  }

  TemporaryDirectory temporary_ = *TemporaryDirectory::Create("update");
  FakeServerClient server_;
  Fetcher fetcher_{&server_};
  const DatasetName dataset_ = *DatasetName::Parse("test/data");
  PublishOptions publish_;
  std::string text_ = RandomText(1'000'000, 7);
  std::vector<Digest> digests_;
  std::map<std::string, std::string> second_;
  std::string canonical_;
  std::shared_ptr<const Manifest> base_;
  std::vector<DeltaOffer> offers_;
  TransferStats stats_;
};

TEST_F(UpdateTest, ChainLeadsOverAVersionBetweenAndRemovesIt) {
  ASSERT_THAT(offers_, SizeIs(2));
  const auto result = Update();
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(DescribeTree(Dir("v3")), DescribeTree(Dir("source")));
  EXPECT_EQ(stats_.downloaded_bytes, offers_[0].TotalSize() + offers_[1].TotalSize());
  EXPECT_EQ(stats_.delta_bytes, stats_.downloaded_bytes);
  EXPECT_EQ(stats_.requests, 2u);
  EXPECT_EQ(stats_.delta_failures, 0u);
  EXPECT_EQ(result->warning, "");
  EXPECT_FALSE(Exists(Dir("between")));
}

// As after a power failure in an update before: all looks well, but what was not synced is lost.
TEST_F(UpdateTest, WhatLiesWhereTheVersionBetweenIsMadeIsNotTrusted) {
  ASSERT_TRUE(PullTree(server_, dataset_, digests_[1], Dir("between")).ok());
  ASSERT_EQ(DescribeTree(Dir("between")), second_);
  struct stat status;
  ASSERT_EQ(stat(Dir("between/note").c_str(), &status), 0);
  WriteTestFile(Dir("between/note"), std::string(20'000, '\0'));
  const timespec times[2] = {status.st_mtim, status.st_mtim};
  ASSERT_EQ(utimensat(AT_FDCWD, Dir("between/note").c_str(), times, 0), 0);
  const auto result = Update();
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(DescribeTree(Dir("v3")), DescribeTree(Dir("source")));
}

TEST_F(UpdateTest, DeltaThatIsGoneIsDoneWithoutCountedAndTold) {
  ASSERT_TRUE(server_.RemoveObject(dataset_.str(), offers_[1].digest));
  const auto result = Update();
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(DescribeTree(Dir("v3")), DescribeTree(Dir("source")));
  EXPECT_EQ(stats_.delta_failures, 1u);
  EXPECT_THAT(result->warning, HasSubstr(offers_[1].digest.ToString()));
  EXPECT_FALSE(Exists(Dir("between")));
}

}  // namespace
}  // namespace aetherfs
