#include "aetherfs/server/dataset_service.h"

#include <gmock/gmock.h>
#include <grpcpp/client_context.h>
#include <gtest/gtest.h>

#include <string>
#include <thread>

#include "aetherfs/base/random.h"
#include "aetherfs/base/sha256.h"
#include "aetherfs/base/status.h"
#include "aetherfs/journal/journal.h"
#include "aetherfs/rpc/rpc_status.h"
#include "aetherfs/server/testing/in_process_server.h"
#include "aetherfs/server/testing/sample_snapshot.h"
#include "aetherfs/server/testing/switchable_store.h"

namespace aetherfs {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class DatasetServiceTest : public ::testing::Test {
 protected:
  std::shared_ptr<SwitchableStore> store_ = std::make_shared<SwitchableStore>();
  InProcessServer server_{{.store = store_}};
  std::shared_ptr<grpc::Channel> channel_ = server_.channel();
  std::unique_ptr<dataset::v1::DatasetAPI::Stub> stub_ = dataset::v1::DatasetAPI::NewStub(channel_);
  const SampleSnapshot one_ = MakeSampleSnapshot("one");
  const SampleSnapshot two_ = MakeSampleSnapshot("two");

  template <typename Request, typename Response>
  absl::Status Call(grpc::Status (dataset::v1::DatasetAPI::Stub::*method)(grpc::ClientContext*,
                                                                          const Request&, Response*),
                    const Request& request, Response* response) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(30));
    return FromGrpc((stub_.get()->*method)(&context, request, response));
  }
  absl::StatusOr<dataset::v1::PublishResponse> Publish(const dataset::v1::PublishRequest& request) {
    dataset::v1::PublishResponse response;
    RETURN_IF_ERROR(Call(&dataset::v1::DatasetAPI::Stub::Publish, request, &response));
    return response;
  }
  absl::StatusOr<dataset::v1::LookupResponse> Lookup(const std::string& dataset, const std::string& tag,
                                                     const std::string& digest = "") {
    dataset::v1::LookupRequest request;
    request.set_dataset(dataset);
    request.set_tag(tag);
    request.set_digest(digest);
    dataset::v1::LookupResponse response;
    RETURN_IF_ERROR(Call(&dataset::v1::DatasetAPI::Stub::Lookup, request, &response));
    return response;
  }
  absl::StatusOr<dataset::v1::UpdateSettingsResponse> Set(const std::string& value,
                                                          const std::string& nonce) {
    dataset::v1::UpdateSettingsRequest request;
    request.set_dataset("a/b");
    (*request.mutable_settings())["deltas.keep"] = value;
    request.set_author("ada");
    request.set_nonce(nonce);
    dataset::v1::UpdateSettingsResponse response;
    RETURN_IF_ERROR(Call(&dataset::v1::DatasetAPI::Stub::UpdateSettings, request, &response));
    return response;
  }
  absl::StatusOr<dataset::v1::GetSettingsResponse> Settings() {
    dataset::v1::GetSettingsRequest request;
    request.set_dataset("a/b");
    dataset::v1::GetSettingsResponse response;
    RETURN_IF_ERROR(Call(&dataset::v1::DatasetAPI::Stub::GetSettings, request, &response));
    return response;
  }
  // Uploads `bytes` as a delta from `from`, and a request that publishes `to` with it.
  dataset::v1::PublishRequest WithDelta(const SampleSnapshot& from, const SampleSnapshot& to,
                                        const std::string& bytes) {
    EXPECT_TRUE(UploadSample(channel_, "a/b", to).ok());
    const Digest digest = Sha256::Of(bytes);
    EXPECT_TRUE(UploadObject(channel_, "a/b", block::v1::OBJECT_KIND_DELTA, digest, bytes).ok());
    dataset::v1::PublishRequest request = PublishRequestFor("a/b", to);
    dataset::v1::Delta& delta = *request.add_deltas();
    delta.set_digest(digest.ToString());
    delta.set_from(from.manifest_digest.ToString());
    delta.set_size(bytes.size());
    delta.set_head_size(1);
    return request;
  }
};

TEST_F(DatasetServiceTest, DeltasOfAPublicationAreAnnounced) {
  ASSERT_TRUE(PublishSample(channel_, "a/b", one_).ok());
  const dataset::v1::PublishRequest request = WithDelta(one_, two_, "delta of one to two");
  const auto published = Publish(request);
  ASSERT_TRUE(published.ok()) << published.status();
  const SampleSnapshot three = MakeSampleSnapshot("three");
  ASSERT_TRUE(Publish(WithDelta(two_, three, "delta of two to three")).ok());

  const auto found = Lookup("a/b", "");
  ASSERT_TRUE(found.ok()) << found.status();
  ASSERT_EQ(found->deltas_size(), 2);  // nearest first
  EXPECT_EQ(found->deltas(0).from(), two_.manifest_digest.ToString());
  EXPECT_EQ(found->deltas(0).to(), three.manifest_digest.ToString());
  EXPECT_EQ(found->deltas(1).digest(), request.deltas(0).digest());
  EXPECT_EQ(found->deltas(1).from(), one_.manifest_digest.ToString());
  EXPECT_EQ(found->deltas(1).to(), two_.manifest_digest.ToString());
  EXPECT_EQ(found->deltas(1).size(), 19u);
  EXPECT_EQ(found->deltas(1).head_size(), 1u);
  ASSERT_EQ(found->change().publication().deltas_size(), 1);
  EXPECT_EQ(found->change().publication().deltas(0).ShortDebugString(),
            found->deltas(0).ShortDebugString());
  EXPECT_EQ(Lookup("a/b", "", two_.manifest_digest.ToString())->deltas_size(), 1);
  EXPECT_EQ(Lookup("a/b", "", one_.manifest_digest.ToString())->deltas_size(), 0);

  // Another server, from the store alone; and one whose store is away, from what it knows.
  InProcessServer other({.store = store_});
  stub_ = dataset::v1::DatasetAPI::NewStub(other.channel());
  EXPECT_EQ(Lookup("a/b", "")->deltas_size(), 2);
  store_->SetAway(true);
  const auto stale = Lookup("a/b", "");
  ASSERT_TRUE(stale.ok()) << stale.status();
  EXPECT_TRUE(stale->freshness().stale());
  EXPECT_EQ(stale->deltas_size(), 2);
}

TEST_F(DatasetServiceTest, DeltasMustBeThereUnlessNothingIsWritten) {
  ASSERT_TRUE(PublishSample(channel_, "a/b", one_).ok());
  const dataset::v1::PublishRequest good = WithDelta(one_, two_, "delta");
  dataset::v1::PublishRequest request = good;
  // Another size; a block of that name; another dataset's.
  request.mutable_deltas(0)->set_size(6);
  absl::Status refused = Publish(request).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(Message(refused)), HasSubstr(request.deltas(0).digest()));
  const std::string bytes = "bytes";
  request.mutable_deltas(0)->set_size(bytes.size());
  request.mutable_deltas(0)->set_digest(Sha256::Of(bytes).ToString());
  ASSERT_TRUE(UploadObject(channel_, "a/b", block::v1::OBJECT_KIND_BLOCK, Sha256::Of(bytes), bytes).ok());
  ASSERT_TRUE(UploadObject(channel_, "a/c", block::v1::OBJECT_KIND_DELTA, Sha256::Of(bytes), bytes).ok());
  refused = Publish(request).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(Message(refused)), HasSubstr(request.deltas(0).digest()));
  EXPECT_EQ(Lookup("a/b", "")->seq(), 1u);
  ASSERT_TRUE(Publish(good).ok());
  request.set_nonce(std::string(16, 'x'));
  const auto unchanged = Publish(request);
  ASSERT_TRUE(unchanged.ok()) << unchanged.status();
  EXPECT_TRUE(unchanged->unchanged());
}

TEST_F(DatasetServiceTest, SettingsAreShownAndChanged) {
  EXPECT_EQ(Settings().status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(Set("3", std::string(16, '0')).status().code(), absl::StatusCode::kNotFound);
  ASSERT_TRUE(PublishSample(channel_, "a/b", one_).ok());
  EXPECT_EQ(Settings()->settings().at("deltas.keep"), "8");
  const auto set = Set("3", std::string(16, '1'));
  ASSERT_TRUE(set.ok()) << set.status();
  EXPECT_EQ(set->seq(), 2u);
  EXPECT_FALSE(set->unchanged());
  const auto again = Set("3", std::string(16, '1'));  // the answer was lost
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(again->seq(), 2u);
  EXPECT_TRUE(Set("3", std::string(16, '2'))->unchanged());
  EXPECT_EQ(Set("many", std::string(16, '3')).status().code(), absl::StatusCode::kInvalidArgument);
  const auto shown = Settings();
  ASSERT_TRUE(shown.ok()) << shown.status();
  EXPECT_EQ(shown->settings().at("deltas.keep"), "3");
  EXPECT_EQ(shown->seq(), 2u);
  EXPECT_FALSE(shown->freshness().stale());
  EXPECT_FALSE(Set("", std::string(16, '4'))->unchanged());
  EXPECT_EQ(Settings()->settings().at("deltas.keep"), "8");
}

TEST_F(DatasetServiceTest, KeepingNoDeltasForgetsThoseThatThereAre) {
  ASSERT_TRUE(PublishSample(channel_, "a/b", one_).ok());
  ASSERT_TRUE(Publish(WithDelta(one_, two_, "delta")).ok());
  ASSERT_EQ(Lookup("a/b", "")->deltas_size(), 1);
  ASSERT_TRUE(Set("0", std::string(16, '0')).ok());
  const auto found = Lookup("a/b", "");
  ASSERT_TRUE(found.ok());
  EXPECT_EQ(found->deltas_size(), 0);
  // What happened stays told.
  EXPECT_EQ(found->change().publication().deltas_size(), 1);
}

TEST_F(DatasetServiceTest, PublishedSnapshotIsFoundByTagAndByDigest) {
  const auto published = PublishSample(channel_, "a/b", one_, {"latest", "v1"});
  ASSERT_TRUE(published.ok()) << published.status();
  EXPECT_EQ(published->seq(), 1u);
  EXPECT_FALSE(published->unchanged());
  const auto found = Lookup("a/b", "");
  ASSERT_TRUE(found.ok()) << found.status();
  EXPECT_EQ(found->snapshot().digest(), one_.manifest_digest.ToString());
  EXPECT_EQ(found->snapshot().files(), 1u);
  EXPECT_EQ(found->snapshot().bytes(), 3u);
  EXPECT_EQ(found->snapshot().blocks(), 1u);
  EXPECT_EQ(found->tag(), "latest");
  EXPECT_FALSE(found->freshness().stale());
  EXPECT_THAT(found->change().publication().tags(), ElementsAre("latest", "v1"));
  EXPECT_TRUE(Lookup("a/b", "", one_.manifest_digest.ToString()).ok());
  EXPECT_EQ(Lookup("a/b", "none").status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(Lookup("a/b", "", two_.manifest_digest.ToString()).status().code(),
            absl::StatusCode::kNotFound);
  EXPECT_EQ(Lookup("a/c", "").status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(Lookup("A", "").status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(DatasetServiceTest, SnapshotThatNoTagPointsAtIsFoundByItsDigest) {
  ASSERT_TRUE(PublishSample(channel_, "a/b", one_).ok());
  ASSERT_TRUE(PublishSample(channel_, "a/b", two_).ok());
  InProcessServer other({.store = store_});  // knows nothing yet
  stub_ = dataset::v1::DatasetAPI::NewStub(other.channel());
  const auto found = Lookup("a/b", "", one_.manifest_digest.ToString());
  ASSERT_TRUE(found.ok()) << found.status();
  EXPECT_EQ(found->snapshot().bytes(), 3u);
  EXPECT_EQ(found->seq(), 2u);
}

TEST_F(DatasetServiceTest, PublishOfSameContentChangesNothing) {
  ASSERT_TRUE(PublishSample(channel_, "a/b", one_).ok());
  const auto again = PublishSample(channel_, "a/b", one_);
  ASSERT_TRUE(again.ok());
  EXPECT_TRUE(again->unchanged());
  EXPECT_EQ(again->seq(), 1u);
}

TEST_F(DatasetServiceTest, SameNonceAtAnotherServerIsTheSameEntry) {
  ASSERT_TRUE(UploadSample(channel_, "a/b", one_).ok());
  const dataset::v1::PublishRequest request = PublishRequestFor("a/b", one_);
  ASSERT_TRUE(Publish(request).ok());
  ASSERT_TRUE(PublishSample(channel_, "a/b", two_).ok());
  InProcessServer other({.store = store_});
  stub_ = dataset::v1::DatasetAPI::NewStub(other.channel());
  const auto again = Publish(request);
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(again->seq(), 1u);
  EXPECT_FALSE(again->unchanged());
}

TEST_F(DatasetServiceTest, WhatTheManifestNeedsMustBeThere) {
  EXPECT_EQ(Publish(PublishRequestFor("a/b", one_)).status().code(), absl::StatusCode::kNotFound);
  ASSERT_TRUE(UploadObject(channel_, "a/b", block::v1::OBJECT_KIND_MANIFEST, one_.manifest_digest,
                           one_.manifest_object)
                  .ok());
  const absl::Status missing = Publish(PublishRequestFor("a/b", one_)).status();
  EXPECT_EQ(missing.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(Message(missing)), HasSubstr(one_.block_digest.ToString()));
  // In another dataset is not here.
  ASSERT_TRUE(UploadSample(channel_, "a/c", one_).ok());
  EXPECT_EQ(Publish(PublishRequestFor("a/b", one_)).status().code(), absl::StatusCode::kFailedPrecondition);
  ASSERT_TRUE(UploadSample(channel_, "a/b", one_).ok());
  EXPECT_TRUE(Publish(PublishRequestFor("a/b", one_)).ok());
}

TEST_F(DatasetServiceTest, CondemnedBlocksRefuseThePublish) {
  ASSERT_TRUE(UploadSample(channel_, "a/b", one_).ok());
  ThreadPool pool("journal", 2);
  Journal journal(*DatasetName::Parse("a/b"), store_.get(), &pool, Clock::System(), Random::System());
  ASSERT_TRUE(journal
                  .Append(std::string(16, 'g'), absl::InfiniteFuture(),
                          [&](const DatasetState&) {
                            record::v1::JournalEntry entry;
                            entry.mutable_condemn()->set_epoch(7);
                            entry.mutable_condemn()->add_blocks(std::string(one_.block_digest.bytes()));
                            return std::optional(entry);
                          })
                  .ok());
  EXPECT_EQ(Publish(PublishRequestFor("a/b", one_)).status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(DatasetServiceTest, ExpectationThatDoesNotHoldIsAborted) {
  ASSERT_TRUE(PublishSample(channel_, "a/b", one_).ok());
  ASSERT_TRUE(UploadSample(channel_, "a/b", two_).ok());
  dataset::v1::PublishRequest request = PublishRequestFor("a/b", two_);
  request.mutable_expectation()->set_absent(true);
  EXPECT_EQ(Publish(request).status().code(), absl::StatusCode::kAborted);
  request.mutable_expectation()->set_digest(two_.manifest_digest.ToString());
  EXPECT_EQ(Publish(request).status().code(), absl::StatusCode::kAborted);
  request.mutable_expectation()->set_digest(one_.manifest_digest.ToString());
  EXPECT_TRUE(Publish(request).ok());
}

TEST_F(DatasetServiceTest, TagsAreMovedDeletedAndListed) {
  ASSERT_TRUE(PublishSample(channel_, "a/b", one_, {"latest", "old"}).ok());
  ASSERT_TRUE(PublishSample(channel_, "a/b", two_).ok());
  dataset::v1::UpdateTagsRequest update;
  update.set_dataset("a/b");
  update.set_nonce(std::string(16, 'u'));
  auto* move = update.add_moves();
  move->set_tag("stable");
  move->set_digest(one_.manifest_digest.ToString());
  update.add_deletes("old");
  dataset::v1::UpdateTagsResponse updated;
  ASSERT_TRUE(Call(&dataset::v1::DatasetAPI::Stub::UpdateTags, update, &updated).ok());
  EXPECT_EQ(updated.seq(), 3u);
  dataset::v1::ListTagsRequest list;
  list.set_dataset("a/b");
  dataset::v1::ListTagsResponse listed;
  ASSERT_TRUE(Call(&dataset::v1::DatasetAPI::Stub::ListTags, list, &listed).ok());
  ASSERT_EQ(listed.tags_size(), 2);
  EXPECT_EQ(listed.tags(0).name(), "latest");
  EXPECT_EQ(listed.tags(0).snapshot().digest(), two_.manifest_digest.ToString());
  EXPECT_EQ(listed.tags(1).name(), "stable");
  EXPECT_EQ(listed.tags(1).snapshot().digest(), one_.manifest_digest.ToString());
  update.set_nonce(std::string(16, 'v'));
  EXPECT_EQ(Call(&dataset::v1::DatasetAPI::Stub::UpdateTags, update, &updated).code(),
            absl::StatusCode::kNotFound);
}

TEST_F(DatasetServiceTest, DatasetsAreListedInPages) {
  for (const char* name : {"b", "a/x", "a/y", "@s/z"})
    ASSERT_TRUE(PublishSample(channel_, name, one_).ok());
  std::vector<std::string> all;
  dataset::v1::ListDatasetsRequest request;
  request.set_page_size(3);
  dataset::v1::ListDatasetsResponse response;
  do {
    request.set_page_token(response.next_page_token());
    ASSERT_TRUE(Call(&dataset::v1::DatasetAPI::Stub::ListDatasets, request, &response).ok());
    EXPECT_LE(response.datasets_size(), 3);
    all.insert(all.end(), response.datasets().begin(), response.datasets().end());
  } while (!response.next_page_token().empty());
  EXPECT_THAT(all, ::testing::UnorderedElementsAre("@s/z", "a/x", "a/y", "b"));
  request.Clear();
  request.set_prefix("a/");
  ASSERT_TRUE(Call(&dataset::v1::DatasetAPI::Stub::ListDatasets, request, &response).ok());
  EXPECT_THAT(response.datasets(), ElementsAre("a/x", "a/y"));
  request.set_page_token("nonsense%");
  EXPECT_EQ(Call(&dataset::v1::DatasetAPI::Stub::ListDatasets, request, &response).code(),
            absl::StatusCode::kInvalidArgument);
}

TEST_F(DatasetServiceTest, HistoryIsNewestFirst) {
  ASSERT_TRUE(PublishSample(channel_, "a/b", one_).ok());
  ASSERT_TRUE(PublishSample(channel_, "a/b", two_).ok());
  dataset::v1::HistoryRequest request;
  request.set_dataset("a/b");
  dataset::v1::HistoryResponse response;
  ASSERT_TRUE(Call(&dataset::v1::DatasetAPI::Stub::History, request, &response).ok());
  ASSERT_EQ(response.changes_size(), 2);
  EXPECT_EQ(response.changes(0).seq(), 2u);
  EXPECT_EQ(response.changes(0).publication().snapshot().digest(), two_.manifest_digest.ToString());
  request.set_dataset("none");
  EXPECT_EQ(Call(&dataset::v1::DatasetAPI::Stub::History, request, &response).code(),
            absl::StatusCode::kNotFound);
}

TEST_F(DatasetServiceTest, WithTheStoreAwayAnswersAreStaleAndSaySo) {
  ASSERT_TRUE(PublishSample(channel_, "a/b", one_).ok());
  store_->SetAway(true);
  const auto found = Lookup("a/b", "");
  ASSERT_TRUE(found.ok()) << found.status();
  EXPECT_TRUE(found->freshness().stale());
  EXPECT_EQ(found->snapshot().digest(), one_.manifest_digest.ToString());
  EXPECT_EQ(Lookup("never/seen", "").status().code(), absl::StatusCode::kDeadlineExceeded);
  dataset::v1::ListDatasetsRequest list;
  dataset::v1::ListDatasetsResponse listed;
  ASSERT_TRUE(Call(&dataset::v1::DatasetAPI::Stub::ListDatasets, list, &listed).ok());
  EXPECT_TRUE(listed.freshness().stale());
  EXPECT_THAT(listed.datasets(), ElementsAre("a/b"));
  EXPECT_FALSE(PublishSample(channel_, "a/b", two_).ok());
}

TEST_F(DatasetServiceTest, ManyPublishersAtTwoServersLoseNothing) {
  InProcessServer other({.store = store_});
  constexpr int kEach = 10;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      const auto channel = t % 2 == 0 ? server_.channel() : other.channel();
      for (int i = 0; i < kEach; ++i) {
        const std::string name = std::to_string(t) + "." + std::to_string(i);
        const auto published = PublishSample(channel, "a/b", MakeSampleSnapshot(name), {"t" + name});
        EXPECT_TRUE(published.ok()) << published.status();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  dataset::v1::ListTagsRequest list;
  list.set_dataset("a/b");
  dataset::v1::ListTagsResponse listed;
  ASSERT_TRUE(Call(&dataset::v1::DatasetAPI::Stub::ListTags, list, &listed).ok());
  EXPECT_EQ(listed.tags_size(), 4 * kEach);
  EXPECT_EQ(listed.seq(), 4u * kEach);
}

}  // namespace
}  // namespace aetherfs
