#include "aetherfs/server/download_call.h"

#include <gmock/gmock.h>
#include <grpcpp/client_context.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "absl/synchronization/notification.h"
#include "aetherfs/base/sha256.h"
#include "aetherfs/journal/journal.h"
#include "aetherfs/object/testing/stepping_object_store.h"
#include "aetherfs/rpc/rpc_status.h"
#include "aetherfs/server/testing/in_process_server.h"
#include "aetherfs/server/testing/sample_snapshot.h"

namespace aetherfs {
namespace {

class DownloadCallTest : public ::testing::Test {
 protected:
  // Uploads it, and from then on the store gives what it is told to.
  void SetUp() override {
    for (size_t i = 0; i < bytes_.size(); ++i) bytes_[i] = static_cast<char>(i * 7 ^ (i >> 9));
    ASSERT_TRUE(
        UploadObject(channel_, "a/b", block::v1::OBJECT_KIND_BLOCK, Sha256::Of(bytes_), bytes_).ok());
    store_->Hold();
    request_.set_dataset("a/b");
    request_.set_kind(block::v1::OBJECT_KIND_BLOCK);
    request_.set_digest(Sha256::Of(bytes_).ToString());
  }

  // Reads until `size` bytes have come, or the stream has ended.
  bool ReadUntil(size_t size) {
    block::v1::DownloadResponse response;
    while (received_.size() < size && reader_->Read(&response)) {
      received_ += response.data();
      messages_ += response.data().empty() ? 0 : 1;
    }
    return received_.size() >= size;
  }
  void Open() { reader_ = stub_->Download(&context_, request_); }
  // Of the first part alone, so that no other one is read beside it.
  void OpenFirstPart() {
    request_.add_ranges()->set_size(kPartSize);
    Open();
  }
  absl::Status Finish() { return FromGrpc(reader_->Finish()); }

  std::string bytes_ = std::string(2 * kPartSize + 1000, '-');
  std::shared_ptr<SteppingObjectStore> store_ = std::make_shared<SteppingObjectStore>();
  InProcessServer server_{{.store = store_}};
  std::shared_ptr<grpc::Channel> channel_ = server_.channel();
  std::unique_ptr<block::v1::BlockAPI::Stub> stub_ = block::v1::BlockAPI::NewStub(channel_);
  block::v1::DownloadRequest request_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReader<block::v1::DownloadResponse>> reader_;
  std::string received_;
  uint64_t messages_ = 0;  // with bytes
};

TEST_F(DownloadCallTest, BytesAreSentAsTheyComeFromTheStore) {
  OpenFirstPart();
  store_->Give(kPartSize / 2);
  ASSERT_TRUE(ReadUntil(kPartSize / 2));
  EXPECT_EQ(received_.size(), kPartSize / 2);
  store_->Give(kPartSize / 2);
  ASSERT_TRUE(ReadUntil(kPartSize));
  EXPECT_TRUE(received_ == bytes_.substr(0, kPartSize));
  EXPECT_FALSE(ReadUntil(kPartSize + 1));
  EXPECT_TRUE(Finish().ok());
}

TEST_F(DownloadCallTest, SmallPiecesAreSentTogether) {
  OpenFirstPart();
  for (uint64_t given = 0; given < kPartSize; given += 1000) store_->Give(1000);
  ASSERT_TRUE(ReadUntil(kPartSize));
  EXPECT_TRUE(Finish().ok());
  EXPECT_TRUE(received_ == bytes_.substr(0, kPartSize));
  EXPECT_LE(messages_, kPartSize / (128 * kKiB));
}

TEST_F(DownloadCallTest, WhatIsLessThanAPieceComesWithTheRest) {
  auto* range = request_.add_ranges();
  range->set_offset(kPartSize - 10);
  range->set_size(30);
  range = request_.add_ranges();
  range->set_offset(5);
  range->set_size(7);
  Open();
  store_->Give(bytes_.size());
  ASSERT_TRUE(ReadUntil(37));
  EXPECT_TRUE(Finish().ok());
  EXPECT_EQ(received_, bytes_.substr(kPartSize - 10, 30) + bytes_.substr(5, 7));
}

TEST_F(DownloadCallTest, ReadThatBreaksHalfWayEndsTheStreamForAnotherTry) {
  OpenFirstPart();
  store_->Give(1 * kMiB);
  ASSERT_TRUE(ReadUntil(1 * kMiB));
  store_->SetFailure(absl::PermissionDeniedError("the store's token has just expired"));
  EXPECT_FALSE(ReadUntil(kPartSize));
  const absl::Status status = Finish();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << "the client tries elsewhere: " << status;
  EXPECT_TRUE(received_ == bytes_.substr(0, received_.size()));
}

TEST_F(DownloadCallTest, HarmThatIsFoundHalfWayIsSaid) {
  OpenFirstPart();
  store_->Give(1 * kMiB);
  ASSERT_TRUE(ReadUntil(1 * kMiB));
  store_->SetFailure(absl::OutOfRangeError("it ends here"));
  EXPECT_FALSE(ReadUntil(kPartSize));
  EXPECT_EQ(Finish().code(), absl::StatusCode::kDataLoss) << "the client tries around the caches";
}

TEST_F(DownloadCallTest, ClientThatLeavesFailsNobodyElse) {
  OpenFirstPart();
  store_->Give(kPartSize / 2);
  ASSERT_TRUE(ReadUntil(kPartSize / 2));
  grpc::ClientContext other_context;
  const auto other = stub_->Download(&other_context, request_);
  block::v1::DownloadResponse response;
  std::string received;
  while (received.size() < kPartSize / 2 && other->Read(&response)) received += response.data();
  context_.TryCancel();
  Finish().IgnoreError();
  store_->Give(bytes_.size());
  while (other->Read(&response)) received += response.data();
  EXPECT_TRUE(other->Finish().ok());
  EXPECT_TRUE(received == bytes_.substr(0, kPartSize));
  EXPECT_EQ(server_.app().context().store_parts->stats().bytes, kPartSize) << "and it is read once";
}

TEST_F(DownloadCallTest, WhatIsReadIsCountedByLevelAndUnique) {
  store_->Give(bytes_.size());
  const std::string key = BlockKey(*DatasetName::Parse("a/b"), Sha256::Of(bytes_));
  for (uint64_t index = 0; index < 3; ++index) {
    absl::Notification whole;
    server_.app().context().parts->Get({key, index}, {}, [&](absl::StatusOr<PartPtr> part, PartOrigin) {
      ASSERT_TRUE(part.ok()) << part.status();
      (*part)->WhenEnded([&](const absl::Status&) { whole.Notify(); });
    });
    whole.WaitForNotification();
  }
  Open();
  EXPECT_TRUE(ReadUntil(bytes_.size()));
  EXPECT_FALSE(ReadUntil(bytes_.size() + 1));
  EXPECT_TRUE(Finish().ok());
  const std::string metrics = server_.app().metrics().Scrape();
  EXPECT_THAT(metrics, ::testing::HasSubstr("aetherfs_parts_total{level=\"memory\"} 3\n"));
  EXPECT_THAT(metrics, ::testing::HasSubstr("aetherfs_parts_total{level=\"store\"} 3\n"));
  EXPECT_THAT(metrics, ::testing::HasSubstr("aetherfs_parts_total{level=\"peer\"} 0\n"));
  const std::string size = std::to_string(bytes_.size());
  EXPECT_THAT(metrics, ::testing::HasSubstr("aetherfs_part_bytes_total{level=\"store\"} " + size + "\n"));
  EXPECT_THAT(metrics, ::testing::HasSubstr("aetherfs_store_read_bytes_total " + size + "\n"));
  EXPECT_THAT(metrics, ::testing::HasSubstr("aetherfs_store_unique_read_bytes_total " + size + "\n"));
}

}  // namespace
}  // namespace aetherfs
