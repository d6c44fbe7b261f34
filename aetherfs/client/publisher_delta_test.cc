// What a publisher makes of the step from one version to the next.

#include "aetherfs/base/sha256.h"
#include "aetherfs/base/testing/fake_clock.h"
#include "aetherfs/client/delta_offer.h"
#include "aetherfs/client/testing/publisher_fixture.h"
#include "fmt/format.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace aetherfs {
namespace {

using Method = FakeServerClient::Method;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using ::testing::UnorderedElementsAre;

class PublisherDeltaTest : public PublisherTest {
 protected:
  PublisherDeltaTest() : text_(RandomText(2'000'000, 1)) { WriteTestFile(Tree("table"), text_); }

  // One line of many is another one.
  void ChangeALine(size_t at) {
    text_.replace(at, 7, fmt::format("{:07}", at));
    WriteTestFile(Tree("table"), text_);
  }
  Digest MustPublish() {
    const auto result = Publish();
    EXPECT_TRUE(result.ok()) << result.status();
    return result.ok() ? result->digest : Digest();
  }
  std::vector<DeltaOffer> Announced() const { return OffersFrom(client_.last_publish().deltas()); }
  std::vector<DeltaOffer> Told(const Digest& digest) {
    dataset::v1::LookupRequest request;
    request.set_dataset("geo/city");
    request.set_digest(digest.ToString());
    const auto found = client_.Lookup(request);
    EXPECT_TRUE(found.ok()) << found.status();
    return found.ok() ? OffersFrom(found->deltas()) : std::vector<DeltaOffer>();
  }
  static std::vector<Digest> BasesOf(const std::vector<DeltaOffer>& offers) {
    std::vector<Digest> bases;
    for (const DeltaOffer& offer : offers) bases.push_back(offer.from);
    return bases;
  }

  std::string text_;
};

TEST_F(PublisherDeltaTest, SmallChangeIsAnnouncedAsADeltaThatIsThere) {
  const Digest first = MustPublish();
  EXPECT_THAT(Announced(), IsEmpty()) << "there is no version before";
  ChangeALine(900'000);
  const auto second = Publish();
  ASSERT_TRUE(second.ok()) << second.status();
  const std::vector<DeltaOffer> offers = Announced();
  ASSERT_THAT(offers, SizeIs(1));
  EXPECT_EQ(offers[0].from, first);
  EXPECT_EQ(offers[0].to, second->digest);
  EXPECT_EQ(offers[0].parts_size, 0u);
  EXPECT_LT(offers[0].size, 2048u) << "seven bytes are others";
  const auto object = client_.Object("geo/city", offers[0].digest);
  ASSERT_TRUE(object.has_value());
  EXPECT_EQ(object->size(), offers[0].size);
  EXPECT_EQ(Sha256::Of(*object), offers[0].digest);
  EXPECT_EQ(second->delta_bytes, offers[0].size);
  EXPECT_EQ(client_.last_publish().stats().delta_bytes(), offers[0].size);
  EXPECT_EQ(second->warning, "");
  ExpectRoundTrip(second->digest);
}

TEST_F(PublisherDeltaTest, EachVersionIsReachedFromTheOnesBefore) {
  const Digest first = MustPublish();
  ChangeALine(900'000);
  const Digest second = MustPublish();
  ChangeALine(300'000);
  const Digest third = MustPublish();
  EXPECT_THAT(BasesOf(Told(third)), ElementsAre(second, first)) << "nearest first";
  EXPECT_THAT(CheapestChain({&first, 1}, third, Told(third), UINT64_MAX), SizeIs(2));
}

TEST_F(PublisherDeltaTest, EachDistinctBaseHasOneDelta) {
  options_.tags = {"latest", "v1"};
  const Digest first = MustPublish();
  ChangeALine(900'000);
  options_.tags = {"next"};
  const Digest second = MustPublish();
  EXPECT_THAT(Announced(), IsEmpty()) << "a tag that was not there moved from nowhere";
  ChangeALine(300'000);
  options_.tags = {"latest", "v1", "next", "new"};
  MustPublish();
  EXPECT_THAT(BasesOf(Announced()), UnorderedElementsAre(first, second));
}

TEST_F(PublisherDeltaTest, TagsThatStayHaveNoPart) {
  MustPublish();
  options_.tags = {"other"};
  ChangeALine(900'000);
  MustPublish();
  options_.tags = {"latest"};
  const Digest latest = *client_.TagDigest("geo/city", "latest");
  ChangeALine(300'000);
  MustPublish();
  EXPECT_THAT(BasesOf(Announced()), UnorderedElementsAre(latest));
}

// A tag that follows later, by a publish of the same tree, which is not read again.
TEST_F(PublisherDeltaTest, TagThatMovesAloneGetsADeltaUnlessOneLeadsThere) {
  FakeClock clock(absl::Now() + absl::Hours(1));  // the files were written long before
  const auto publish = [&](const std::string& tag) {
    options_.tags = {tag};
    const auto result = PublishJob(&client_, options_, nullptr, nullptr, nullptr, &clock).Run();
    EXPECT_TRUE(result.ok()) << result.status();
    return result.ok() ? result->digest : Digest();
  };
  const Digest first = publish("stable");
  ChangeALine(900'000);
  const Digest second = publish("latest");
  EXPECT_THAT(Announced(), IsEmpty());
  EXPECT_EQ(publish("stable"), second);
  EXPECT_THAT(BasesOf(Announced()), ElementsAre(first));
  EXPECT_THAT(BasesOf(Told(second)), ElementsAre(first));

  ChangeALine(300'000);
  const Digest third = publish("latest");
  EXPECT_THAT(BasesOf(Announced()), ElementsAre(second));
  EXPECT_EQ(publish("stable"), third);
  EXPECT_THAT(Announced(), IsEmpty()) << "the one that was made for latest does";
}

TEST_F(PublisherDeltaTest, EachDeltaThatCannotBeMadeIsNamed) {
  options_.tags = {"a"};
  const Digest first = MustPublish();
  ChangeALine(900'000);
  options_.tags = {"b"};
  const Digest second = MustPublish();
  ChangeALine(300'000);
  options_.tags = {"a", "b"};
  int uploads = 0;
  // After a block and the manifest both deltas are refused.
  client_.SetTransferHook([&](Method method, const Digest&) {
    if (method == Method::kUpload && ++uploads == 2) {
      client_.FailNext(Method::kUpload, absl::ResourceExhaustedError("the store is full"), 2);
    }
  });
  const auto result = Publish();
  client_.SetTransferHook(nullptr);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_THAT(Announced(), IsEmpty());
  EXPECT_THAT(result->warning, HasSubstr(first.Short()));
  EXPECT_THAT(result->warning, HasSubstr(second.Short()));
}

TEST_F(PublisherDeltaTest, WhoWantsNoneGetsNone) {
  MustPublish();
  ChangeALine(900'000);
  options_.make_deltas = false;
  const int uploads = client_.Calls(Method::kUpload);
  const auto result = Publish();
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_THAT(Announced(), IsEmpty());
  EXPECT_EQ(result->delta_bytes, 0u);
  EXPECT_EQ(client_.Calls(Method::kUpload), uploads + 2) << "a block and the manifest";
}

TEST_F(PublisherDeltaTest, DeltaThatCannotBeUploadedIsDoneWithoutAndSaidSo) {
  MustPublish();
  ChangeALine(900'000);
  int uploads = 0;
  // Block and manifest are there when the third upload, the delta's, is refused.
  client_.SetTransferHook([&](Method method, const Digest&) {
    if (method == Method::kUpload && ++uploads == 2) {
      client_.FailNext(Method::kUpload, absl::ResourceExhaustedError("the store is full"));
    }
  });
  const auto result = Publish();
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(uploads, 2);
  EXPECT_THAT(Announced(), IsEmpty());
  EXPECT_EQ(result->delta_bytes, 0u);
  EXPECT_THAT(result->warning, HasSubstr("no delta from version"));
  EXPECT_THAT(result->warning, HasSubstr("the store is full"));
  EXPECT_EQ(client_.TagDigest("geo/city", "latest"), result->digest);
  client_.SetTransferHook(nullptr);
  ExpectRoundTrip(result->digest);
}

// The base's changed chunk is to be had from the server only, and comes wrong.
TEST_F(PublisherDeltaTest, BaseThatCannotBeReadIsDoneWithoutAndSaidSo) {
  const Digest first = MustPublish();
  const std::vector<Digest> blocks = client_.Blocks("geo/city");
  ASSERT_THAT(blocks, SizeIs(1));
  client_.CorruptDownloads(blocks[0], 1000, /*also_around_caches=*/true);
  ChangeALine(900'000);
  const auto result = Publish();
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_THAT(Announced(), IsEmpty());
  EXPECT_THAT(result->warning, HasSubstr("no delta from version " + first.Short()));
  client_.CorruptDownloads(blocks[0], 0);
  ExpectRoundTrip(result->digest);
}

TEST_F(PublisherDeltaTest, TinyChangesAreNotWorthOne) {
  for (int i = 0; i < 3; ++i) WriteTestFile(Tree(fmt::format("{}", i)), "small");
  RemoveFile(Tree("table")).IgnoreError();
  MustPublish();
  WriteTestFile(Tree("1"), "other");
  const int uploads = client_.Calls(Method::kUpload);
  const auto result = Publish();
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_THAT(Announced(), IsEmpty());
  EXPECT_EQ(result->warning, "");
  EXPECT_EQ(client_.Calls(Method::kUpload), uploads + 2) << "a block and the manifest";
}

TEST_F(PublisherDeltaTest, WhatSharesNothingHasNoDelta) {
  WriteTestFile(Tree("table"), RandomBytes(1'000'000, 1));
  MustPublish();
  WriteTestFile(Tree("table"), RandomBytes(1'000'000, 2));
  MustPublish();
  EXPECT_THAT(Announced(), IsEmpty());
}

TEST_F(PublisherDeltaTest, TheSameVersionForAnotherTagHasADeltaFromThatTagsVersion) {
  options_.tags = {"stable", "latest"};
  const Digest first = MustPublish();
  options_.tags = {"latest"};
  ChangeALine(900'000);
  const Digest second = MustPublish();
  options_.cache_dir.clear();  // so that the tree is looked at again
  options_.tags = {"stable"};
  EXPECT_EQ(MustPublish(), second);
  EXPECT_THAT(BasesOf(Announced()), UnorderedElementsAre(first));
}

}  // namespace
}  // namespace aetherfs
