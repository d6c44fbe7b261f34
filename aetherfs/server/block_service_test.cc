#include "aetherfs/server/block_service.h"

#include <gmock/gmock.h>
#include <grpcpp/client_context.h>
#include <gtest/gtest.h>

#include <string>
#include <thread>

#include "aetherfs/base/sha256.h"
#include "aetherfs/base/status.h"
#include "aetherfs/journal/journal.h"
#include "aetherfs/rpc/rpc_status.h"
#include "aetherfs/server/download_call.h"
#include "aetherfs/server/testing/in_process_server.h"
#include "aetherfs/server/testing/sample_snapshot.h"
#include "aetherfs/server/testing/switchable_store.h"

namespace aetherfs {
namespace {

using ::testing::HasSubstr;

std::string Bytes(size_t size, char seed = 0) {
  std::string bytes(size, seed);
  for (size_t i = 0; i < size; ++i)
    bytes[i] = static_cast<char>(seed + static_cast<char>(i ^ (i >> 8) ^ (i >> 17)));
  return bytes;
}

class BlockServiceTest : public ::testing::Test {
 protected:
  std::shared_ptr<SwitchableStore> store_ = std::make_shared<SwitchableStore>();
  InProcessServer server_{{.store = store_}};
  std::shared_ptr<grpc::Channel> channel_ = server_.channel();
  std::unique_ptr<block::v1::BlockAPI::Stub> stub_ = block::v1::BlockAPI::NewStub(channel_);

  absl::StatusOr<block::v1::UploadResponse> Upload(const std::string& bytes, size_t step = 64 * 1024) {
    return UploadObject(channel_, "a/b", block::v1::OBJECT_KIND_BLOCK, Sha256::Of(bytes), bytes, step);
  }
  block::v1::DownloadRequest Request(const Digest& digest, const std::vector<ByteRange>& ranges = {}) {
    block::v1::DownloadRequest request;
    request.set_dataset("a/b");
    request.set_kind(block::v1::OBJECT_KIND_BLOCK);
    request.set_digest(digest.ToString());
    for (const ByteRange& range : ranges) {
      request.add_ranges()->set_offset(range.offset);
      request.mutable_ranges(request.ranges_size() - 1)->set_size(range.size);
    }
    return request;
  }
  absl::StatusOr<std::string> Download(const block::v1::DownloadRequest& request,
                                       uint64_t* object_size = nullptr) {
    grpc::ClientContext context;
    const auto reader = stub_->Download(&context, request);
    std::string bytes;
    block::v1::DownloadResponse response;
    bool first = true;
    while (reader->Read(&response)) {
      EXPECT_EQ(first, response.data().empty());
      if (first && object_size != nullptr) *object_size = response.object_size();
      first = false;
      bytes += response.data();
    }
    RETURN_IF_ERROR(FromGrpc(reader->Finish()));
    return bytes;
  }
};

TEST_F(BlockServiceTest, WhatIsUploadedIsDownloadedWholeAndInRanges) {
  for (const size_t size : {size_t{1}, size_t{100}, size_t{70'000}, kPartSize, 2 * kPartSize + 777}) {
    const std::string bytes = Bytes(size, static_cast<char>(size));
    const Digest digest = Sha256::Of(bytes);
    const auto uploaded = Upload(bytes, 300'000);
    ASSERT_TRUE(uploaded.ok()) << uploaded.status();
    EXPECT_FALSE(uploaded->already_present());
    uint64_t object_size = 0;
    auto downloaded = Download(Request(digest), &object_size);
    ASSERT_TRUE(downloaded.ok()) << downloaded.status();
    EXPECT_EQ(object_size, size);
    EXPECT_TRUE(*downloaded == bytes);
    const std::vector<ByteRange> ranges = {
        {size / 2, size - size / 2}, {0, 1}, {size - 1, 1}, {size / 3, (size + 1) / 2}};
    std::string expected;
    for (const ByteRange& range : ranges) expected += bytes.substr(range.offset, range.size);
    downloaded = Download(Request(digest, ranges));
    ASSERT_TRUE(downloaded.ok()) << downloaded.status();
    EXPECT_TRUE(*downloaded == expected);
  }
}

TEST_F(BlockServiceTest, SecondUploadIsAlreadyPresent) {
  const std::string bytes = Bytes(1000);
  ASSERT_TRUE(Upload(bytes).ok());
  const auto again = Upload(bytes);
  ASSERT_TRUE(again.ok());
  EXPECT_TRUE(again->already_present());
}

TEST_F(BlockServiceTest, BytesThatDoNotMatchTheirNameAreNotStored) {
  for (const size_t size : {size_t{1000}, size_t{3'000'000}}) {
    std::string bytes = Bytes(size, 'x');
    const Digest digest = Sha256::Of(bytes);
    bytes[size / 2] ^= 1;
    const auto uploaded = UploadObject(channel_, "a/b", block::v1::OBJECT_KIND_BLOCK, digest, bytes);
    EXPECT_EQ(uploaded.status().code(), absl::StatusCode::kDataLoss);
    EXPECT_EQ(Download(Request(digest)).status().code(), absl::StatusCode::kNotFound);
  }
  EXPECT_THAT(server_.app().metrics().Scrape(),
              HasSubstr("aetherfs_integrity_failures_total{source=\"upload\"} 2"));
}

TEST_F(BlockServiceTest, UploadsThatDoNotKeepToTheProtocolAreRefused) {
  const std::string bytes = Bytes(10);
  struct Case {
    std::string dataset = "a/b";
    block::v1::ObjectKind kind = block::v1::OBJECT_KIND_BLOCK;
    std::string digest = Sha256::Of(Bytes(10)).ToString();
    uint64_t size = 10;
    bool header = true;
    std::string data = Bytes(10);
    absl::StatusCode code = absl::StatusCode::kInvalidArgument;
  };
  std::vector<Case> cases(9);
  cases[0].dataset = "A";
  cases[1].kind = block::v1::OBJECT_KIND_UNSPECIFIED;
  cases[2].digest = "x";
  cases[3].size = 0;
  cases[4].size = kMaxBlockSize + 1;
  cases[5].header = false;
  cases[6] = {.data = Bytes(9), .code = absl::StatusCode::kDataLoss};
  cases[7] = {.data = Bytes(11), .code = absl::StatusCode::kDataLoss};
  cases[8] = {.data = "", .code = absl::StatusCode::kDataLoss};
  for (const Case& c : cases) {
    grpc::ClientContext context;
    block::v1::UploadResponse response;
    const auto writer = stub_->Upload(&context, &response);
    block::v1::UploadRequest request;
    if (c.header) {
      request.mutable_header()->set_dataset(c.dataset);
      request.mutable_header()->set_kind(c.kind);
      request.mutable_header()->set_digest(c.digest);
      request.mutable_header()->set_size(c.size);
      writer->Write(request);
    }
    request.set_data(c.data);
    if (!c.data.empty()) writer->Write(request);
    writer->WritesDone();
    EXPECT_EQ(FromGrpc(writer->Finish()).code(), c.code);
  }
  EXPECT_EQ(server_.app().context().upload_budget->used(), 0u);
}

TEST_F(BlockServiceTest, ManifestsMustBeCanonical) {
  const SampleSnapshot sample = MakeSampleSnapshot("text");
  EXPECT_TRUE(UploadObject(channel_, "a/b", block::v1::OBJECT_KIND_MANIFEST, sample.manifest_digest,
                           sample.manifest_object)
                  .ok());
  const std::string junk = "junk";
  EXPECT_EQ(UploadObject(channel_, "a/b", block::v1::OBJECT_KIND_MANIFEST, Sha256::Of(junk), junk)
                .status()
                .code(),
            absl::StatusCode::kDataLoss);
  std::string enveloped = EncodeManifestObject(junk);
  EXPECT_EQ(UploadObject(channel_, "a/b", block::v1::OBJECT_KIND_MANIFEST, Sha256::Of(junk), enveloped)
                .status()
                .code(),
            absl::StatusCode::kDataLoss);
}

TEST_F(BlockServiceTest, ManyUploadsMoreThanTheBudgetHoldsAllArrive) {
  std::vector<std::thread> threads;
  for (int i = 0; i < 12; ++i) {
    threads.emplace_back([this, i] {
      const auto uploaded = Upload(Bytes(9'000'000, static_cast<char>(i)), 1'000'000);
      EXPECT_TRUE(uploaded.ok()) << uploaded.status();
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (int i = 0; i < 12; ++i) {
    EXPECT_TRUE(Download(Request(Sha256::Of(Bytes(9'000'000, static_cast<char>(i))))).ok());
  }
}

TEST_F(BlockServiceTest, RangesBehindTheEndAreOutOfRange) {
  const std::string bytes = Bytes(1000);
  const Digest digest = Sha256::Of(bytes);
  ASSERT_TRUE(Upload(bytes).ok());
  EXPECT_EQ(Download(Request(digest, {{0, 1001}})).status().code(), absl::StatusCode::kOutOfRange);
  EXPECT_EQ(Download(Request(digest, {{0, 10}, {1000, 1}})).status().code(), absl::StatusCode::kOutOfRange);
  EXPECT_EQ(Download(Request(digest, {{100 * kPartSize, 1}})).status().code(),
            absl::StatusCode::kOutOfRange);
  EXPECT_EQ(Download(Request(digest, {{UINT64_MAX, 2}})).status().code(), absl::StatusCode::kOutOfRange);
  EXPECT_EQ(Download(Request(digest, {{0, 0}})).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Download(Request(Sha256::Of("none"))).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(BlockServiceTest, ReadsGoOnFromTheCacheWithTheStoreAway) {
  const std::string bytes = Bytes(kPartSize + 5);
  ASSERT_TRUE(Upload(bytes).ok());
  ASSERT_TRUE(Download(Request(Sha256::Of(bytes))).ok());
  store_->SetAway(true);
  const auto again = Download(Request(Sha256::Of(bytes)));
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_TRUE(*again == bytes);
  block::v1::DownloadRequest around = Request(Sha256::Of(bytes));
  around.set_bypass_cache(true);
  EXPECT_FALSE(Download(around).ok());
}

TEST_F(BlockServiceTest, BypassSeesWhatTheStoreHasNow) {
  const std::string bytes = Bytes(500);
  const Digest digest = Sha256::Of(bytes);
  ASSERT_TRUE(Upload(bytes).ok());
  ASSERT_TRUE(Download(Request(digest)).ok());
  std::string rotten = bytes;
  rotten[7] ^= 1;
  ASSERT_TRUE(store_->Put(BlockKey(*DatasetName::Parse("a/b"), digest), {rotten}, {}).ok());
  EXPECT_TRUE(*Download(Request(digest)) == bytes);
  block::v1::DownloadRequest around = Request(digest);
  around.set_bypass_cache(true);
  EXPECT_TRUE(*Download(around) == rotten);
}

TEST_F(BlockServiceTest, BypassesAreCounted) {
  const std::string bytes = Bytes(500);
  ASSERT_TRUE(Upload(bytes).ok());
  block::v1::DownloadRequest request = Request(Sha256::Of(bytes));
  ASSERT_TRUE(Download(request).ok());
  EXPECT_THAT(server_.app().metrics().Scrape(),
              HasSubstr("aetherfs_integrity_failures_total{source=\"client\"} 0"));
  request.set_bypass_cache(true);
  ASSERT_TRUE(Download(request).ok());
  EXPECT_THAT(server_.app().metrics().Scrape(),
              HasSubstr("aetherfs_integrity_failures_total{source=\"client\"} 1"));
}

TEST_F(BlockServiceTest, HarmedObjectThatWasRepairedIsServedAgain) {
  const std::string bytes = Bytes(2 * kPartSize + 100);
  const Digest digest = Sha256::Of(bytes);
  const std::string key = BlockKey(*DatasetName::Parse("a/b"), digest);
  ASSERT_TRUE(Upload(bytes).ok());
  for (const size_t size : {size_t{0}, size_t{100}, kPartSize, 2 * kPartSize}) {
    ASSERT_TRUE(store_->Put(key, {std::string_view(bytes).substr(0, size)}, {}).ok());
    block::v1::DownloadRequest request = Request(digest, {{0, bytes.size()}});
    request.set_bypass_cache(true);
    // The answer may be known before what was kept is dropped, which is when the read ends.
    do {
      EXPECT_FALSE(Download(request).ok());
    } while (Download(Request(digest, {{0, bytes.size()}})).ok());
    ASSERT_TRUE(store_->Put(key, {bytes}, {}).ok());
    const auto repaired = Download(request);
    ASSERT_TRUE(repaired.ok()) << size << ": " << repaired.status();
    EXPECT_TRUE(*repaired == bytes);
    EXPECT_TRUE(*Download(Request(digest)) == bytes) << "and so it is remembered";
  }
}

TEST_F(BlockServiceTest, PartsOfTwoContentsAreNeverMixed) {
  // Parts 0 and 2 of a long object are in memory, part 1 is not; then the object becomes a shorter one.
  const std::string bytes = Bytes(3 * kPartSize);
  const Digest digest = Sha256::Of(bytes);
  const std::string key = BlockKey(*DatasetName::Parse("a/b"), digest);
  ASSERT_TRUE(Upload(bytes).ok());
  ASSERT_TRUE(Download(Request(digest, {{0, 1}, {2 * kPartSize, 1}})).ok());
  ASSERT_TRUE(store_->Put(key, {std::string_view(bytes).substr(0, kPartSize + 10)}, {}).ok());
  EXPECT_FALSE(Download(Request(digest, {{kPartSize, 1}})).ok()) << "the size that is remembered is wrong";
  EXPECT_TRUE(Download(Request(digest, {{kPartSize, 1}})).ok()) << "it is asked for again";
  const auto mixed = Download(Request(digest, {{0, 1}, {kPartSize + 5, 100}}));
  EXPECT_EQ(mixed.status().code(), absl::StatusCode::kDataLoss) << mixed.status();
}

TEST_F(BlockServiceTest, LookupTellsWhatExists) {
  const std::string bytes = Bytes(1234);
  ASSERT_TRUE(Upload(bytes).ok());
  block::v1::LookupRequest request;
  request.set_dataset("a/b");
  request.set_kind(block::v1::OBJECT_KIND_BLOCK);
  request.add_digests(Sha256::Of("none").ToString());
  request.add_digests(Sha256::Of(bytes).ToString());
  block::v1::LookupResponse response;
  {
    grpc::ClientContext context;
    ASSERT_TRUE(stub_->Lookup(&context, request, &response).ok());
  }
  ASSERT_EQ(response.objects_size(), 2);
  EXPECT_FALSE(response.objects(0).exists());
  EXPECT_TRUE(response.objects(1).exists());
  EXPECT_EQ(response.objects(1).size(), 1234u);
  for (size_t i = 0; i < BlockService::kMaxLookup; ++i) request.add_digests(request.digests(0));
  grpc::ClientContext context;
  EXPECT_EQ(stub_->Lookup(&context, request, &response).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
}

TEST_F(BlockServiceTest, DeltasAreObjectsOfTheirOwnNamedByTheirBytes) {
  const std::string bytes = Bytes(200'000);
  const Digest digest = Sha256::Of(bytes);
  block::v1::DownloadRequest request = Request(digest, {{150'000, 50'000}, {0, 10}});
  request.set_kind(block::v1::OBJECT_KIND_DELTA);
  block::v1::LookupRequest lookup;
  lookup.set_dataset("a/b");
  lookup.set_kind(block::v1::OBJECT_KIND_DELTA);
  lookup.add_digests(digest.ToString());
  const auto exists = [&] {
    grpc::ClientContext context;
    block::v1::LookupResponse response;
    EXPECT_TRUE(stub_->Lookup(&context, lookup, &response).ok());
    return response.objects_size() == 1 && response.objects(0).exists() &&
           response.objects(0).size() == bytes.size();
  };
  // A block with the same bytes is something else.
  ASSERT_TRUE(Upload(bytes).ok());
  EXPECT_FALSE(exists());
  EXPECT_EQ(Download(request).status().code(), absl::StatusCode::kNotFound);

  EXPECT_EQ(
      UploadObject(channel_, "a/b", block::v1::OBJECT_KIND_DELTA, digest, bytes.substr(1)).status().code(),
      absl::StatusCode::kDataLoss);
  const auto uploaded = UploadObject(channel_, "a/b", block::v1::OBJECT_KIND_DELTA, digest, bytes);
  ASSERT_TRUE(uploaded.ok()) << uploaded.status();
  EXPECT_FALSE(uploaded->already_present());
  EXPECT_TRUE(
      UploadObject(channel_, "a/b", block::v1::OBJECT_KIND_DELTA, digest, bytes)->already_present());
  EXPECT_TRUE(store_->Head("datasets/a%2Fb/deltas/" + digest.Hex(), absl::InfiniteFuture()).ok());
  EXPECT_TRUE(exists());
  const auto downloaded = Download(request);
  ASSERT_TRUE(downloaded.ok()) << downloaded.status();
  EXPECT_TRUE(*downloaded == bytes.substr(150'000) + bytes.substr(0, 10));
}

TEST_F(BlockServiceTest, CancelledDownloadGivesItsPartsBack) {
  const std::string bytes = Bytes(3 * kPartSize);
  ASSERT_TRUE(Upload(bytes, 1 << 20).ok());
  {
    grpc::ClientContext context;
    const auto reader = stub_->Download(&context, Request(Sha256::Of(bytes)));
    block::v1::DownloadResponse response;
    ASSERT_TRUE(reader->Read(&response));
    context.TryCancel();
    while (reader->Read(&response)) {
    }
    EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
  }
  EXPECT_TRUE(*Download(Request(Sha256::Of(bytes))) == bytes);
}

class FakeDownload : public StallableDownload {
 public:
  absl::Time waiting_since() override { return since; }
  void Cancel() override { cancelled = true; }
  absl::Time since = absl::InfiniteFuture();
  bool cancelled = false;
};

TEST(DownloadRegistryTest, OnlyStalledDownloadsAreEnded) {
  const absl::Time now = absl::FromUnixSeconds(1000);
  DownloadRegistry registry;
  auto idle = std::make_shared<FakeDownload>();
  auto slow = std::make_shared<FakeDownload>();
  slow->since = now - kDownloadStall + absl::Seconds(1);
  auto stalled = std::make_shared<FakeDownload>();
  stalled->since = now - kDownloadStall;
  auto gone = std::make_shared<FakeDownload>();
  gone->since = absl::InfinitePast();
  for (const auto& download : {idle, slow, stalled, gone}) registry.Add(download);
  registry.Remove(gone.get());
  EXPECT_EQ(registry.EndStalled(now), 1u);
  EXPECT_TRUE(stalled->cancelled);
  EXPECT_FALSE(slow->cancelled || idle->cancelled || gone->cancelled);
}

}  // namespace
}  // namespace aetherfs
