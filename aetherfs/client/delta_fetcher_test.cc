#include "aetherfs/client/delta_fetcher.h"

#include <algorithm>
#include <functional>
#include <map>
#include <utility>

#include "aetherfs/base/sha256.h"
#include "aetherfs/client/testing/publisher_fixture.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace aetherfs {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

// Two versions of two tables, each line of which is another one, and the delta between them, which leaves
// out digests and has several patches.
class DeltaFetcherTest : public PublisherTest {
 protected:
  // The base's files in memory.
  class BasesInMemory : public PatchBases {
   public:
    explicit BasesInMemory(const DeltaFetcherTest& test) : test_(test) {}
    absl::StatusOr<std::string_view> Read(const DeltaPatch& patch) override {
      bytes_.clear();
      for (const DeltaPatch::BaseRange& range : patch.base) {
        const auto file = test_.old_.find(test_.base_.entries[range.entry].path);
        if (file == test_.old_.end()) return absl::NotFoundError("left out");
        bytes_ += file->second.substr(range.offset, range.size);
      }
      return std::string_view(bytes_);
    }

   private:
    const DeltaFetcherTest& test_;
    std::string bytes_;
  };

  DeltaFetcherTest() {
    for (const char* name : {"a", "b"}) {
      std::string& text = old_[name];
      text = RandomText(1'500'000, static_cast<uint64_t>(name[0]));
      WriteTestFile(Tree(name), text);
    }
    const auto first = Publish();
    EXPECT_TRUE(first.ok()) << first.status();
    for (const auto& [name, text] : old_) {
      std::string changed = text;
      for (size_t at = 1000; at < changed.size(); at += 10'000) changed.replace(at, 3, "new");
      WriteTestFile(Tree(name), changed);
    }
    const auto second = Publish();
    EXPECT_TRUE(second.ok()) << second.status();
    const std::vector<DeltaOffer> offers = OffersFrom(client_.last_publish().deltas());
    EXPECT_EQ(offers.size(), 1u);
    offer_ = offers.at(0);
    base_canonical_ = *Fetcher(&client_).FetchManifest(dataset_, first->digest, nullptr);
    target_canonical_ = *Fetcher(&client_).FetchManifest(dataset_, second->digest, nullptr);
    base_ = *DecodeManifest(base_canonical_);
    object_ = *client_.Object(dataset_.str(), offer_.digest);
    delta_ = DecodeDeltaHead(std::string_view(object_).substr(0, offer_.head_size))->delta;
  }

  absl::StatusOr<std::shared_ptr<const LoadedDelta>> Load(
      const DeltaOffer& offer, uint64_t max_yielded = DeltaFetcher::kMaxYielded) {
    return DeltaFetcher(&client_, max_yielded)
        .Load(dataset_, offer, base_, [this] { return std::make_unique<BasesInMemory>(*this); }, &stats_);
  }

  // The same delta, changed.
  DeltaOffer Changed(const std::function<void(Delta& delta, std::string& patches)>& change) {
    Delta delta = delta_;
    std::string patches = object_.substr(offer_.head_size);
    change(delta, patches);
    const std::string head = EncodeDeltaHead(delta, base_canonical_, target_canonical_, true);
    DeltaOffer offer = offer_;
    offer.head_size = head.size();
    offer.size = head.size() + patches.size();
    offer.digest = Sha256::Of(head + patches);
    client_.AddObject(dataset_.str(), block::v1::OBJECT_KIND_DELTA, offer.digest, head + patches);
    return offer;
  }

  const DatasetName dataset_ = *DatasetName::Parse("geo/city");
  std::map<std::string, std::string> old_;
  DeltaOffer offer_;
  std::string base_canonical_;
  std::string target_canonical_;
  Manifest base_;
  std::string object_;
  Delta delta_;
  TransferStats stats_;
};

TEST_F(DeltaFetcherTest, WhatPatchesYieldIsKeptForThoseWhoApplyThem) {
  ASSERT_GE(delta_.patches.size(), 2u);
  const auto loaded = Load(offer_);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  const Manifest& target = *(*loaded)->manifest;
  EXPECT_EQ((*loaded)->canonical, target_canonical_);
  for (size_t i = 0; i < delta_.patches.size(); ++i) {
    const char* yielded = (*loaded)->Yielded(i);
    ASSERT_NE(yielded, nullptr);
    for (const uint32_t chunk : delta_.patches[i].chunks) {
      EXPECT_EQ(Sha256::Of(std::string_view(yielded, target.chunks[chunk].size)),
                target.chunks[chunk].digest);
      yielded += target.chunks[chunk].size;
    }
  }
}

TEST_F(DeltaFetcherTest, NoMoreIsKeptThanMayBe) {
  const auto none = Load(offer_, 0);
  ASSERT_TRUE(none.ok()) << none.status();
  EXPECT_EQ((*none)->canonical, target_canonical_);
  const uint64_t size = PatchTargetSize(delta_.patches[0], *(*none)->manifest);
  const auto some = Load(offer_, size);
  ASSERT_TRUE(some.ok()) << some.status();
  uint64_t kept = 0;
  for (size_t i = 0; i < delta_.patches.size(); ++i) {
    EXPECT_EQ((*none)->Yielded(i), nullptr);
    if ((*some)->Yielded(i) != nullptr) kept += PatchTargetSize(delta_.patches[i], *(*some)->manifest);
  }
  EXPECT_LE(kept, size);
}

TEST_F(DeltaFetcherTest, WithAPartOfTheBaseTheManifestIsFetchedAndNothingKept) {
  old_.erase("b");
  const auto loaded = Load(offer_);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ((*loaded)->canonical, target_canonical_);
  EXPECT_THAT((*loaded)->yielded, IsEmpty());
  EXPECT_GT(stats_.downloaded_bytes, stats_.delta_bytes);
}

TEST_F(DeltaFetcherTest, ChunkInTwoPatchesIsRefused) {
  const DeltaOffer twice = Changed([](Delta& delta, std::string& patches) {
    DeltaPatch again = delta.patches[0];
    again.offset = patches.size();
    patches += patches.substr(delta.patches[0].offset, delta.patches[0].stored_size);
    delta.patches.push_back(again);
  });
  const auto loaded = Load(twice);
  EXPECT_TRUE(absl::IsDataLoss(loaded.status())) << loaded.status();
  EXPECT_THAT(std::string(loaded.status().message()), HasSubstr("same chunk"));
}

TEST_F(DeltaFetcherTest, OtherBytesInTheBaseMakeAnotherManifest) {
  for (char& byte : old_["a"]) byte = static_cast<char>(byte ^ 1);
  const auto loaded = Load(offer_);
  EXPECT_TRUE(absl::IsDataLoss(loaded.status())) << loaded.status();
}

}  // namespace
}  // namespace aetherfs
