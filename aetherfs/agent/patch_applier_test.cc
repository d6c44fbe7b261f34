#include "aetherfs/agent/patch_applier.h"

#include "aetherfs/agent/update.h"
#include "aetherfs/client/publisher.h"
#include "aetherfs/client/testing/fake_server_client.h"
#include "aetherfs/client/testing/tree.h"
#include "aetherfs/os/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace aetherfs {
namespace {

using ::testing::SizeIs;

// The first of two versions on disk, and a delta to the second that is too large to come in one piece.
class PatchApplierTest : public ::testing::Test {
 protected:
  PatchApplierTest() {
    publish_.dataset = dataset_;
    publish_.tags = {"latest"};
    publish_.path = Dir("source");
    std::string text = RandomText(8'000'000, 7);
    const Digest first = Publish(text);
    EXPECT_TRUE(PullTree(server_, dataset_, first, Dir("v1")).ok());
    const std::string other = RandomText(text.size(), 8);
    for (size_t at = 0; at + 2000 < text.size(); at += 2000) text.replace(at, 1200, other, at, 1200);
    target_ = Publish(text);
    base_ = std::make_shared<const Manifest>(
        *DecodeManifest(*fetcher_.FetchManifest(dataset_, first, nullptr)));
    base_digest_ = first;
    dataset::v1::LookupRequest request;
    request.set_dataset(dataset_.str());
    offers_ = OffersFrom(server_.Lookup(request)->deltas());
  }

  std::string Dir(const std::string& name) { return JoinPath(temporary_.path(), name); }
  Digest Publish(std::string_view text) {
    WriteTestFile(Dir("source/table"), text);
    const auto result = PublishDirectory(server_, publish_);
    EXPECT_TRUE(result.ok()) << result.status();
    return result->digest;
  }
  void Update() {
    UpdateRequest request;
    request.dataset = dataset_;
    request.target = target_;
    request.sources.push_back({Dir("v1"), base_.get(), /*may_link=*/true});
    request.bases.push_back({base_digest_, base_, 0});
    request.offers = offers_;
    request.directory = Dir("v2");
    request.scratch = [this](const Digest&) { return Dir("between"); };
    const auto result = StageUpdate(fetcher_, std::move(request), &stats_, nullptr);
    ASSERT_TRUE(result.ok()) << result.status();
    EXPECT_EQ(DescribeTree(Dir("v2")), DescribeTree(Dir("source")));
  }

  TemporaryDirectory temporary_ = *TemporaryDirectory::Create("patch-applier");
  FakeServerClient server_;
  Fetcher fetcher_{&server_};
  const DatasetName dataset_ = *DatasetName::Parse("test/data");
  PublishOptions publish_;
  Digest base_digest_;
  Digest target_;
  std::shared_ptr<const Manifest> base_;
  std::vector<DeltaOffer> offers_;
  TransferStats stats_;
};

TEST_F(PatchApplierTest, PatchesThatComeWrongAreAskedForAgainAroundTheCaches) {
  ASSERT_THAT(offers_, SizeIs(1));
  ASSERT_GT(offers_[0].TotalSize(), DeltaFetcher::kWhole);
  server_.CorruptDownloads(offers_[0].digest, 2);  // the head and the first patches
  Update();
  EXPECT_EQ(stats_.integrity_failures, 2u);
  EXPECT_EQ(stats_.delta_failures, 0u);
  EXPECT_GT(stats_.delta_bytes, offers_[0].TotalSize()) << "some came twice";
  EXPECT_LE(stats_.downloaded_bytes, stats_.delta_bytes) << "no block was needed";
}

TEST_F(PatchApplierTest, BaseThatIsNoLongerWhatItWasIsNotAskedForTwice) {
  ASSERT_THAT(offers_, SizeIs(1));
  std::string wrong = RandomText(8'000'000, 9);
  WriteTestFile(Dir("v1/table"), wrong);
  Update();
  EXPECT_EQ(stats_.integrity_failures, 0u);
  EXPECT_GT(stats_.delta_failures, 0u);
  EXPECT_LT(stats_.delta_bytes, 2 * offers_[0].TotalSize()) << "only the first were asked for again";
}

}  // namespace
}  // namespace aetherfs
