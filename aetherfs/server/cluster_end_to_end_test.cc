// Several servers in one process, over one store: what they do for each other.
#include <gmock/gmock.h>
#include <grpcpp/client_context.h>
#include <gtest/gtest.h>

#include <atomic>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/time/clock.h"
#include "aetherfs/base/sha256.h"
#include "aetherfs/base/status.h"
#include "aetherfs/block/v1/block.grpc.pb.h"
#include "aetherfs/format/record.h"
#include "aetherfs/journal/journal.h"
#include "aetherfs/object/memory/memory_object_store.h"
#include "aetherfs/peer/v1/peer.grpc.pb.h"
#include "aetherfs/rpc/rpc_status.h"
#include "aetherfs/server/testing/in_process_server.h"
#include "aetherfs/server/testing/open_subscription.h"
#include "aetherfs/server/testing/sample_snapshot.h"

namespace aetherfs {
namespace {

// Counts the bytes of blocks that are read.
class CountingStore : public MemoryObjectStore {
 public:
  absl::StatusOr<ObjectInfo> Get(std::string_view key, const GetOptions& options, ByteSink sink) override {
    return MemoryObjectStore::Get(key, options, [&](std::string_view bytes) {
      if (key.find("/blocks/") != std::string_view::npos) block_bytes += bytes.size();
      return sink(bytes);
    });
  }
  std::atomic<uint64_t> block_bytes = 0;
};

class ClusterTest : public ::testing::Test {
 protected:
  static constexpr int kServers = 3;

  ClusterTest() {
    for (int i = 0; i < kServers; ++i) {
      InProcessServer::Options options;
      options.store = store_;
      options.cache_memory = 128 * kMiB;
      options.poll_interval = absl::Hours(1);  // what is heard, is heard from peers
      servers_.push_back(std::make_unique<InProcessServer>(options));
      addresses_.push_back(servers_.back()->address());
    }
  }

  void FormCluster() {
    for (const auto& server : servers_) server->Join(addresses_);
    for (const auto& server : servers_) AwaitMembers(*server, kServers);
  }

  static void AwaitMembers(InProcessServer& server, size_t count) {
    while (server.app().context().cluster->view()->members.size() != count) {
      absl::SleepFor(absl::Milliseconds(1));
    }
  }

  std::string PutBlock(size_t size) {
    std::string bytes(size, 'x');
    for (size_t i = 0; i < size; ++i) bytes[i] = static_cast<char>(i ^ (i >> 8) ^ (i >> 16));
    const Digest digest = Sha256::Of(bytes);
    PutOptions put;
    put.deadline = absl::InfiniteFuture();
    EXPECT_TRUE(store_->Put(BlockKey(*DatasetName::Parse("a/b"), digest), {bytes}, put).ok());
    return bytes;
  }

  static absl::StatusOr<std::string> Download(InProcessServer& server, const std::string& expected,
                                              bool bypass = false) {
    block::v1::DownloadRequest request;
    request.set_dataset("a/b");
    request.set_kind(block::v1::OBJECT_KIND_BLOCK);
    request.set_digest(Sha256::Of(expected).ToString());
    request.set_bypass_cache(bypass);
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(60));
    const auto stub = block::v1::BlockAPI::NewStub(server.channel());
    const auto reader = stub->Download(&context, request);
    std::string bytes;
    block::v1::DownloadResponse response;
    while (reader->Read(&response)) bytes += response.data();
    RETURN_IF_ERROR(FromGrpc(reader->Finish()));
    return bytes;
  }

  std::shared_ptr<CountingStore> store_ = std::make_shared<CountingStore>();
  std::vector<std::unique_ptr<InProcessServer>> servers_;
  std::vector<std::string> addresses_;
};

TEST_F(ClusterTest, StoreIsReadOnceHoweverManyReadWhereverAtOnce) {
  FormCluster();
  const std::string bytes = PutBlock(9 * kPartSize + 12'345);
  std::vector<std::thread> readers;
  for (int i = 0; i < 4 * kServers; ++i) {
    readers.emplace_back([&, i] {
      const auto downloaded = Download(*servers_[static_cast<size_t>(i % kServers)], bytes);
      ASSERT_TRUE(downloaded.ok()) << downloaded.status();
      EXPECT_TRUE(*downloaded == bytes);
    });
  }
  for (std::thread& reader : readers) reader.join();
  EXPECT_EQ(store_->block_bytes, bytes.size());
}

TEST_F(ClusterTest, SubscribersOfOtherServersHearAtOnce) {
  FormCluster();
  std::vector<std::unique_ptr<OpenSubscription>> subscriptions;
  for (const auto& server : servers_) {
    subscriptions.push_back(std::make_unique<OpenSubscription>(server->channel(), "a/b"));
    EXPECT_TRUE(subscriptions.back()->Next().state().absent());
  }
  for (uint64_t seq = 1; seq <= 6; ++seq) {
    const auto published = PublishSample(servers_[seq % kServers]->channel(), "a/b",
                                         MakeSampleSnapshot(std::to_string(seq)));
    ASSERT_TRUE(published.ok()) << published.status();
    // Whoever writes next may not have heard of it, and reads it from the store then.
    for (const auto& subscription : subscriptions) EXPECT_EQ(subscription->Next().change().seq(), seq);
  }
}

TEST_F(ClusterTest, ServersThatEachTakeTheOtherForTheOwnerDoNotWaitForEachOther) {
  // Each knows only the other one.
  servers_[0]->Join({addresses_[1]});
  servers_[1]->Join({addresses_[0]});
  AwaitMembers(*servers_[0], 1);
  AwaitMembers(*servers_[1], 1);
  const std::string bytes = PutBlock(5 * kPartSize);
  std::vector<std::thread> readers;
  for (size_t i = 0; i < 8; ++i) {
    readers.emplace_back([&, i] {
      const auto downloaded = Download(*servers_[i % 2], bytes);
      ASSERT_TRUE(downloaded.ok()) << downloaded.status();
      EXPECT_TRUE(*downloaded == bytes);
    });
  }
  for (std::thread& reader : readers) reader.join();
  EXPECT_LE(store_->block_bytes, 2 * bytes.size());
}

TEST_F(ClusterTest, OwnersThatAreGoneAreDoneWithout) {
  FormCluster();
  const std::string bytes = PutBlock(6 * kPartSize);
  servers_[1]->Stop();
  servers_[2]->Stop();
  const auto downloaded = Download(*servers_[0], bytes);
  ASSERT_TRUE(downloaded.ok()) << downloaded.status();
  EXPECT_TRUE(*downloaded == bytes);
  AwaitMembers(*servers_[0], 1);
  servers_[1]->Start();
  AwaitMembers(*servers_[0], 2);
}

TEST_F(ClusterTest, ServerThatStartsGetsItsShareFromTheOthersNotFromTheStore) {
  FormCluster();
  const std::string bytes = PutBlock(9 * kPartSize);
  servers_[2]->Stop();
  AwaitMembers(*servers_[0], 2);
  AwaitMembers(*servers_[1], 2);
  ASSERT_TRUE(Download(*servers_[0], bytes).ok());
  EXPECT_EQ(store_->block_bytes, bytes.size());
  servers_[2]->Start();
  for (const auto& server : servers_) AwaitMembers(*server, 3);
  const auto downloaded = Download(*servers_[2], bytes);
  ASSERT_TRUE(downloaded.ok()) << downloaded.status();
  EXPECT_TRUE(*downloaded == bytes);
  EXPECT_EQ(store_->block_bytes, bytes.size());
}

TEST_F(ClusterTest, ReaderThatGotWrongBytesReadsAroundAllCaches) {
  FormCluster();
  const std::string bytes = PutBlock(2 * kPartSize);
  const std::string key = BlockKey(*DatasetName::Parse("a/b"), Sha256::Of(bytes));
  std::string wrong = bytes;
  wrong[0] ^= 1;
  wrong[kPartSize] ^= 1;
  PutOptions put;
  put.deadline = absl::InfiniteFuture();
  put.if_absent = false;
  ASSERT_TRUE(store_->Put(key, {wrong}, put).ok());
  for (const auto& server : servers_) EXPECT_TRUE(*Download(*server, bytes) == wrong);
  ASSERT_TRUE(store_->Put(key, {bytes}, put).ok());
  for (const auto& server : servers_) {
    const auto downloaded = Download(*server, bytes, /*bypass=*/true);
    ASSERT_TRUE(downloaded.ok()) << downloaded.status();
    EXPECT_TRUE(*downloaded == bytes);
  }
}

TEST_F(ClusterTest, PeerApiSharesOnlyImmutableObjectsAndOnlyWithPeers) {
  FormCluster();
  ASSERT_TRUE(PublishSample(servers_[0]->channel(), "a/b", MakeSampleSnapshot("1")).ok());
  const auto ask = [&](const std::string& key) {
    const auto stub = peer::v1::PeerAPI::NewStub(servers_[0]->channel());
    grpc::ClientContext context;
    peer::v1::GetPartRequest request;
    request.set_object_key(key);
    const auto reader = stub->GetPart(&context, request);
    peer::v1::GetPartResponse response;
    while (reader->Read(&response)) {
    }
    return reader->Finish().error_code();
  };
  EXPECT_EQ(ask(BlockKey(*DatasetName::Parse("a/b"), MakeSampleSnapshot("1").block_digest)), grpc::StatusCode::OK);
  EXPECT_EQ(ask(BlockKey(*DatasetName::Parse("a/b"), Sha256::Of("nothing"))), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(ask(JournalKey(*DatasetName::Parse("a/b"), 1)), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(ask("catalog/x"), grpc::StatusCode::INVALID_ARGUMENT);

  // A server whose list has other machines only does not know this one.
  servers_[0]->Join({"192.0.2.1:7400"});
  EXPECT_EQ(ask(BlockKey(*DatasetName::Parse("a/b"), MakeSampleSnapshot("1").block_digest)),
            grpc::StatusCode::PERMISSION_DENIED);
}

TEST_F(ClusterTest, AnnouncementsThatAreWrongLateOrTwiceDoNoHarm) {
  FormCluster();
  OpenSubscription subscription(servers_[0]->channel(), "a/b");
  EXPECT_TRUE(subscription.Next().state().absent());
  ASSERT_TRUE(PublishSample(servers_[1]->channel(), "a/b", MakeSampleSnapshot("1")).ok());
  EXPECT_EQ(subscription.Next().change().seq(), 1u);
  const auto first = servers_[1]->app().context().hub->Open(*DatasetName::Parse("a/b"))->view()->recent.at(0);

  const auto stub = peer::v1::PeerAPI::NewStub(servers_[0]->channel());
  const auto announce = [&](const std::string& dataset, const std::string& entry) {
    peer::v1::AnnounceRequest request;
    peer::v1::AnnounceResponse response;
    request.add_announcements()->set_dataset(dataset);
    request.mutable_announcements(0)->set_entry(entry);
    grpc::ClientContext context;
    return stub->Announce(&context, request, &response).error_code();
  };
  const std::string encoded = EncodeRecord(RecordKind::kJournalEntry, *first);
  EXPECT_EQ(announce("a/b", encoded), grpc::StatusCode::OK);       // twice
  EXPECT_EQ(announce("a/other", encoded), grpc::StatusCode::OK);   // of a dataset that nobody follows here
  EXPECT_EQ(announce("a/b", "rubbish"), grpc::StatusCode::DATA_LOSS);
  EXPECT_EQ(announce("../x", encoded), grpc::StatusCode::INVALID_ARGUMENT);
  record::v1::JournalEntry ahead = *first;
  ahead.set_seq(7);  // what lies between is read from the store, where there is nothing
  EXPECT_EQ(announce("a/b", EncodeRecord(RecordKind::kJournalEntry, ahead)), grpc::StatusCode::OK);

  ASSERT_TRUE(PublishSample(servers_[2]->channel(), "a/b", MakeSampleSnapshot("2")).ok());
  EXPECT_EQ(subscription.Next().change().seq(), 2u);
}

}  // namespace
}  // namespace aetherfs
