#include "aetherfs/client/fetcher.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <random>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "aetherfs/base/sha256.h"
#include "aetherfs/base/status.h"
#include "aetherfs/client/publisher.h"
#include "aetherfs/client/testing/fake_server_client.h"
#include "aetherfs/client/testing/tree.h"
#include "aetherfs/os/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace aetherfs {
namespace {

using Method = FakeServerClient::Method;
using ::testing::HasSubstr;

class FetcherTest : public ::testing::Test {
 protected:
  FetcherTest() {
    const auto dir = TemporaryDirectory::Create("fetcher");
    WriteTestFile(JoinPath(dir->path(), "random"), RandomBytes(5'000'000, 1));
    WriteTestFile(JoinPath(dir->path(), "text"), RandomText(1'500'000, 2));
    for (int i = 0; i < 50; ++i) {
      WriteTestFile(JoinPath(dir->path(), "small" + std::to_string(i)), RandomText(500, 100 + i));
    }
    PublishOptions options;
    options.dataset = dataset_;
    options.tags = {"latest"};
    options.path = dir->path();
    digest_ = PublishDirectory(client_, options).value().digest;
    manifest_ = DecodeManifest(Fetcher(&client_).FetchManifest(dataset_, digest_, nullptr).value()).value();
    all_.resize(manifest_.chunks.size());
    std::iota(all_.begin(), all_.end(), 0u);
  }

  // Fetches and keeps the chunks; a chunk that comes twice is an error.
  absl::Status Fetch(const std::vector<uint32_t>& wanted, int parallelism = 4) {
    {
      absl::MutexLock lock(&mutex_);
      got_.clear();
    }
    return Fetcher(&client_, {.parallelism = parallelism})
        .FetchChunks(
            dataset_, manifest_, wanted,
            [this](uint32_t chunk, std::string_view bytes) {
              absl::MutexLock lock(&mutex_);
              return got_.emplace(chunk, bytes).second ? absl::OkStatus()
                                                       : absl::InternalError("came twice");
            },
            &stats_);
  }
  void ExpectGot(const std::vector<uint32_t>& wanted) {
    absl::MutexLock lock(&mutex_);
    ASSERT_EQ(got_.size(), wanted.size());
    for (const uint32_t chunk : wanted) {
      EXPECT_EQ(Sha256::Of(got_.at(chunk)), manifest_.chunks[chunk].digest);
    }
  }

  const DatasetName dataset_ = *DatasetName::Parse("geo/city");
  FakeServerClient client_;
  Digest digest_;
  Manifest manifest_;
  std::vector<uint32_t> all_;
  TransferStats stats_;
  absl::Mutex mutex_;
  std::map<uint32_t, std::string> got_ ABSL_GUARDED_BY(mutex_);
};

TEST_F(FetcherTest, EveryChunkComesOnceAndVerified) {
  for (const int parallelism : {1, 4}) {
    const absl::Status status = Fetch(all_, parallelism);
    ASSERT_TRUE(status.ok()) << status;
    ExpectGot(all_);
  }
  EXPECT_EQ(stats_.integrity_failures, 0u);
}

TEST_F(FetcherTest, StatsCountWhatMoved) {
  ASSERT_TRUE(Fetch(all_).ok());
  const FetchPlan plan = PlanFetch(manifest_, all_);
  EXPECT_EQ(stats_.downloaded_bytes, plan.bytes);
  EXPECT_EQ(stats_.requests, plan.requests.size());
  uint64_t raw = 0;
  for (const auto& chunk : manifest_.chunks) raw += chunk.size;
  EXPECT_EQ(stats_.verified_bytes, raw);
}

TEST_F(FetcherTest, AnySubsetOfChunksCanBeFetched) {
  std::mt19937 random(1);
  for (int round = 0; round < 8; ++round) {
    std::vector<uint32_t> wanted;
    const uint32_t stride = 1 + random() % 20;
    for (const uint32_t chunk : all_) {
      if (random() % stride == 0) wanted.push_back(chunk);
    }
    const absl::Status status = Fetch(wanted);
    ASSERT_TRUE(status.ok()) << status;
    ExpectGot(wanted);
  }
}

TEST_F(FetcherTest, BadBytesAreFetchedAgainAroundTheCaches) {
  for (const Manifest::Block& block : manifest_.blocks) client_.CorruptDownloads(block.digest, 1);
  const absl::Status status = Fetch(all_);
  ASSERT_TRUE(status.ok()) << status;
  ExpectGot(all_);
  EXPECT_GE(stats_.integrity_failures, manifest_.blocks.size());
  EXPECT_EQ(client_.bypassing_downloads(), static_cast<int>(manifest_.blocks.size()));
  // Only the frame that was bad came again.
  EXPECT_LE(stats_.downloaded_bytes,
            PlanFetch(manifest_, all_).bytes + manifest_.blocks.size() * kMaxFrameSize);
}

TEST_F(FetcherTest, BadBytesOnceAroundTheCachesTooAreFetchedAgain) {
  client_.CorruptDownloads(manifest_.blocks[0].digest, 2, true);
  const absl::Status status = Fetch(all_, 1);
  ASSERT_TRUE(status.ok()) << status;
  ExpectGot(all_);
}

TEST_F(FetcherTest, BlockThatIsCorruptEverywhereIsDataLossByName) {
  const Digest& block = manifest_.blocks.back().digest;
  client_.CorruptDownloads(block, 1000, true);
  const absl::Status status = Fetch(all_);
  EXPECT_TRUE(absl::IsDataLoss(status)) << status;
  EXPECT_THAT(std::string(Message(status)), HasSubstr(block.ToString()));
  EXPECT_THAT(std::string(Message(status)), HasSubstr("geo/city"));
}

TEST_F(FetcherTest, BadBytesAreNeverHandedOn) {
  for (const Manifest::Block& block : manifest_.blocks) client_.CorruptDownloads(block.digest, 1000, true);
  EXPECT_FALSE(Fetch(all_).ok());
  absl::MutexLock lock(&mutex_);
  for (const auto& [chunk, bytes] : got_) EXPECT_EQ(Sha256::Of(bytes), manifest_.chunks[chunk].digest);
}

TEST_F(FetcherTest, DataLossSaidByTheServerIsTriedAroundTheCaches) {
  client_.FailNext(Method::kDownload, absl::DataLossError("the store's bytes are bad"));
  const absl::Status status = Fetch(all_, 1);
  ASSERT_TRUE(status.ok()) << status;
  ExpectGot(all_);
}

TEST_F(FetcherTest, ShortBlockIsAskedForAroundTheCachesThenDataLossByName) {
  const Digest& block = manifest_.blocks.back().digest;
  const std::string whole = *client_.Object("geo/city", block);
  for (const size_t size : {whole.size() / 3, size_t{0}}) {
    client_.AddObject("geo/city", block::v1::OBJECT_KIND_BLOCK, block, whole.substr(0, size));
    const int around = client_.bypassing_downloads();
    stats_.integrity_failures = 0;
    const absl::Status status = Fetch(all_, 1);
    EXPECT_TRUE(absl::IsDataLoss(status)) << status;
    EXPECT_THAT(std::string(Message(status)), HasSubstr(block.ToString()));
    EXPECT_THAT(std::string(Message(status)), HasSubstr("a range ends behind")) << "what the server said";
    EXPECT_GT(client_.bypassing_downloads(), around);
    EXPECT_GT(stats_.integrity_failures, 0u);
  }
  client_.AddObject("geo/city", block::v1::OBJECT_KIND_BLOCK, block, whole);
  EXPECT_TRUE(Fetch(all_).ok());
}

TEST_F(FetcherTest, ServerThatRemembersAShortBlockIsAskedAroundItsCaches) {
  client_.FailNext(Method::kDownload, absl::OutOfRangeError("the range ends behind it"));
  const absl::Status status = Fetch(all_, 1);
  ASSERT_TRUE(status.ok()) << status;
  ExpectGot(all_);
  EXPECT_EQ(client_.bypassing_downloads(), 1);
  EXPECT_EQ(stats_.integrity_failures, 1u);
}

TEST_F(FetcherTest, MissingBlockIsNotFoundByName) {
  const Digest block = manifest_.blocks.front().digest;
  client_.RemoveObject("geo/city", block);
  const absl::Status status = Fetch(all_);
  EXPECT_TRUE(absl::IsNotFound(status)) << status;
  EXPECT_THAT(std::string(Message(status)), HasSubstr(block.ToString()));
}

TEST_F(FetcherTest, ErrorOfTheSinkEndsTheFetch) {
  std::atomic<int> calls{0};
  const auto sink = [&](uint32_t, std::string_view) -> absl::Status {
    if (++calls == 3) return absl::DataLossError("disk says no");
    return absl::OkStatus();
  };
  const absl::Status status =
      Fetcher(&client_, {.parallelism = 1}).FetchChunks(dataset_, manifest_, all_, sink, &stats_);
  EXPECT_EQ(Message(status), "disk says no");
  EXPECT_EQ(calls, 3);
  EXPECT_EQ(client_.bypassing_downloads(), 0);
}

TEST_F(FetcherTest, CancelledFetchEnds) {
  std::atomic<bool> cancelled{false};
  const auto sink = [&](uint32_t, std::string_view) {
    cancelled = true;
    return absl::OkStatus();
  };
  EXPECT_TRUE(absl::IsCancelled(
      Fetcher(&client_).FetchChunks(dataset_, manifest_, all_, sink, &stats_, &cancelled)));
}

TEST_F(FetcherTest, CorruptManifestIsFetchedAroundTheCaches) {
  client_.CorruptDownloads(digest_, 1);
  const auto canonical = Fetcher(&client_).FetchManifest(dataset_, digest_, &stats_);
  ASSERT_TRUE(canonical.ok()) << canonical.status();
  EXPECT_EQ(Sha256::Of(*canonical), digest_);
  EXPECT_EQ(stats_.integrity_failures, 1u);
  client_.CorruptDownloads(digest_, 100, true);
  EXPECT_TRUE(absl::IsDataLoss(Fetcher(&client_).FetchManifest(dataset_, digest_, &stats_).status()));
}

TEST_F(FetcherTest, ShortManifestIsAskedForAroundTheCachesThenDataLoss) {
  client_.FailNext(Method::kDownload, absl::OutOfRangeError("it has 0 bytes"));
  EXPECT_TRUE(Fetcher(&client_).FetchManifest(dataset_, digest_, &stats_).ok());
  EXPECT_EQ(client_.bypassing_downloads(), 1);
  client_.FailNext(Method::kDownload, absl::OutOfRangeError("it has 0 bytes"), 100);
  const absl::Status status = Fetcher(&client_).FetchManifest(dataset_, digest_, &stats_).status();
  EXPECT_TRUE(absl::IsDataLoss(status)) << status;
  EXPECT_THAT(std::string(Message(status)), HasSubstr(digest_.ToString()));
  EXPECT_THAT(std::string(Message(status)), HasSubstr("it has 0 bytes"));
}

TEST_F(FetcherTest, MissingManifestIsNotFound) {
  EXPECT_TRUE(
      absl::IsNotFound(Fetcher(&client_).FetchManifest(dataset_, Sha256::Of("another"), &stats_).status()));
}

}  // namespace
}  // namespace aetherfs
