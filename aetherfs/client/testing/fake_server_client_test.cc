#include "aetherfs/client/testing/fake_server_client.h"

#include "absl/synchronization/notification.h"
#include "aetherfs/base/sha256.h"
#include "aetherfs/format/manifest.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace aetherfs {
namespace {

using Method = FakeServerClient::Method;

class FakeServerClientTest : public ::testing::Test {
 protected:
  absl::StatusOr<block::v1::UploadResponse> Upload(const std::string& bytes, const Digest& digest) {
    block::v1::UploadHeader header;
    header.set_dataset("d");
    header.set_kind(block::v1::OBJECT_KIND_BLOCK);
    header.set_digest(digest.ToString());
    header.set_size(bytes.size());
    return client_.Upload(header, bytes);
  }
  absl::Status Download(const Digest& digest, std::string* got, bool bypass_cache = false) {
    block::v1::DownloadRequest request;
    request.set_dataset("d");
    request.set_kind(block::v1::OBJECT_KIND_BLOCK);
    request.set_digest(digest.ToString());
    request.set_bypass_cache(bypass_cache);
    got->clear();
    return client_.Download(request, [got](std::string_view piece) {
      got->append(piece);
      return absl::OkStatus();
    });
  }

  FakeServerClient client_;
  const std::string bytes_ = "some bytes";
  const Digest digest_ = Sha256::Of(bytes_);
};

TEST_F(FakeServerClientTest, UploadsAreCheckedAndKeptOnce) {
  EXPECT_TRUE(absl::IsDataLoss(Upload("other bytes", digest_).status()));
  ASSERT_TRUE(Upload(bytes_, digest_).ok());
  EXPECT_TRUE(Upload(bytes_, digest_)->already_present());
  EXPECT_EQ(client_.uploaded_bytes(), bytes_.size());
  std::string got;
  ASSERT_TRUE(Download(digest_, &got).ok());
  EXPECT_EQ(got, bytes_);
}

TEST_F(FakeServerClientTest, ScriptedFailuresComeAsOftenAsTold) {
  ASSERT_TRUE(Upload(bytes_, digest_).ok());
  client_.FailNext(Method::kDownload, absl::UnavailableError("scripted"), 2);
  std::string got;
  EXPECT_TRUE(absl::IsUnavailable(Download(digest_, &got)));
  EXPECT_TRUE(absl::IsUnavailable(Download(digest_, &got)));
  EXPECT_TRUE(Download(digest_, &got).ok());
  EXPECT_EQ(client_.Calls(Method::kDownload), 3);
}

TEST_F(FakeServerClientTest, CorruptionIsInTheCachesUnlessToldOtherwise) {
  ASSERT_TRUE(Upload(bytes_, digest_).ok());
  client_.CorruptDownloads(digest_, 2);
  std::string got;
  ASSERT_TRUE(Download(digest_, &got, true).ok());
  EXPECT_EQ(got, bytes_);
  ASSERT_TRUE(Download(digest_, &got).ok());
  EXPECT_NE(got, bytes_);
  client_.CorruptDownloads(digest_, 1, true);
  ASSERT_TRUE(Download(digest_, &got, true).ok());
  EXPECT_NE(got, bytes_);
}

TEST_F(FakeServerClientTest, AwayServerAnswersNothingAndEndsStreams) {
  absl::Notification ended;
  const auto stream = client_.Subscribe(
      {}, [](const dataset::v1::SubscribeResponse&) {},
      [&](const absl::Status& status) {
        EXPECT_TRUE(absl::IsUnavailable(status));
        ended.Notify();
      });
  client_.SetAway(true);
  ended.WaitForNotification();
  EXPECT_FALSE(client_.connected());
  EXPECT_TRUE(absl::IsUnavailable(client_.ListTags({}).status()));
  client_.SetAway(false);
  EXPECT_TRUE(client_.ListDatasets({}).ok());
}

TEST_F(FakeServerClientTest, DeltasAreObjectsOfTheirOwn) {
  client_.AddObject("d", block::v1::OBJECT_KIND_DELTA, digest_, bytes_);
  std::string got;
  EXPECT_TRUE(absl::IsNotFound(Download(digest_, &got))) << "that asks for a block";
  EXPECT_EQ(client_.Object("d", digest_), bytes_);
  EXPECT_TRUE(client_.Blocks("d").empty());
  EXPECT_TRUE(client_.RemoveObject("d", digest_));
}

TEST_F(FakeServerClientTest, AnnouncedDeltasMustBeThereAndAreTold) {
  const std::string canonical = EncodeManifest(*Canonicalize({}));
  const Digest snapshot = Sha256::Of(canonical);
  client_.AddObject("d", block::v1::OBJECT_KIND_MANIFEST, snapshot, EncodeManifestObject(canonical));
  dataset::v1::PublishRequest request;
  request.set_dataset("d");
  request.add_tags("latest");
  request.set_nonce("0123456789abcdef");
  request.set_digest(snapshot.ToString());
  auto* delta = request.add_deltas();
  delta->set_digest(digest_.ToString());
  delta->set_from(Sha256::Of("before").ToString());
  delta->set_to(digest_.ToString());
  delta->set_size(bytes_.size());
  EXPECT_TRUE(absl::IsInvalidArgument(client_.Publish(request).status())) << "it is to another snapshot";
  delta->set_to(snapshot.ToString());
  EXPECT_TRUE(absl::IsFailedPrecondition(client_.Publish(request).status())) << "it is not there";
  client_.AddObject("d", block::v1::OBJECT_KIND_DELTA, digest_, bytes_);
  ASSERT_TRUE(client_.Publish(request).ok());
  dataset::v1::LookupRequest lookup;
  lookup.set_dataset("d");
  const auto found = client_.Lookup(lookup);
  ASSERT_TRUE(found.ok()) << found.status();
  ASSERT_EQ(found->deltas_size(), 1);
  EXPECT_EQ(found->deltas(0).digest(), digest_.ToString());
  EXPECT_EQ(found->change().publication().deltas_size(), 1);
}

TEST_F(FakeServerClientTest, PublishNeedsItsManifest) {
  dataset::v1::PublishRequest request;
  request.set_dataset("d");
  request.add_tags("latest");
  request.set_nonce("0123456789abcdef");
  request.set_digest(digest_.ToString());
  EXPECT_TRUE(absl::IsNotFound(client_.Publish(request).status()));
}

}  // namespace
}  // namespace aetherfs
