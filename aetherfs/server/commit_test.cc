#include "aetherfs/server/commit.h"

#include <gtest/gtest.h>

#include <string>

namespace aetherfs {
namespace {

Digest DigestOf(uint8_t seed) {
  std::array<uint8_t, Digest::kSize> bytes{};
  bytes.fill(seed);
  return Digest(bytes);
}

dataset::v1::PublishRequest Request() {
  dataset::v1::PublishRequest request;
  request.set_dataset("a/b");
  request.add_tags("v2");
  request.add_tags("latest");
  request.add_tags("v2");
  request.set_digest(DigestOf(1).ToString());
  request.set_nonce(std::string(16, 'n'));
  (*request.mutable_labels())["k"] = "v";
  return request;
}

ManifestSummary Summary(uint8_t seed) {
  ManifestSummary summary;
  summary.snapshot.digest = DigestOf(seed);
  summary.blocks.push_back({DigestOf(100), 10});
  return summary;
}

DatasetState StateWith(const std::string& tag, uint8_t seed) {
  DatasetState state;
  state.seq = 1;
  state.tags[tag].snapshot.digest = DigestOf(seed);
  return state;
}

TEST(CommitTest, PublishRequestIsCheckedAndNormalised) {
  const auto commit = CheckPublish(Request());
  ASSERT_TRUE(commit.ok()) << commit.status();
  EXPECT_EQ(commit->tags, (std::vector<std::string>{"latest", "v2"}));
  EXPECT_EQ(commit->entry.publish().labels().at("k"), "v");
  dataset::v1::PublishRequest no_tags = Request();
  no_tags.clear_tags();
  EXPECT_EQ(CheckPublish(no_tags)->tags, std::vector<std::string>{"latest"});
}

TEST(CommitTest, BadPublishRequestsAreInvalid) {
  std::vector<dataset::v1::PublishRequest> bad(8, Request());
  bad[0].set_dataset("/");
  bad[1].set_tags(0, "no tag");
  bad[2].set_digest("sha256:12");
  bad[3].set_nonce("short");
  bad[4].set_message(std::string(kMaxMessageBytes + 1, 'm'));
  (*bad[5].mutable_labels())["k"] = std::string(kMaxLabelBytes, 'v');
  for (size_t i = 0; i <= kMaxTagsPerCommit; ++i) bad[6].add_tags("t" + std::to_string(i));
  bad[7].mutable_expectation()->set_digest("x");
  for (const auto& request : bad) {
    EXPECT_EQ(CheckPublish(request).status().code(), absl::StatusCode::kInvalidArgument)
        << request.ShortDebugString();
  }
}

void AddDelta(dataset::v1::PublishRequest& request, uint8_t seed, uint8_t from) {
  dataset::v1::Delta& delta = *request.add_deltas();
  delta.set_digest(DigestOf(seed).ToString());
  delta.set_from(DigestOf(from).ToString());
  delta.set_size(kMaxDeltaSize);
  delta.set_head_size(1);
}

TEST(CommitTest, DeltasGoIntoTheEntry) {
  dataset::v1::PublishRequest request = Request();
  AddDelta(request, 50, 2);
  AddDelta(request, 51, 3);
  request.mutable_deltas(1)->set_to(request.digest());
  const auto commit = CheckPublish(request);
  ASSERT_TRUE(commit.ok()) << commit.status();
  const auto proposed = ProposePublish(*commit, Summary(1), DatasetState());
  ASSERT_TRUE(proposed.ok() && proposed->has_value());
  const record::v1::Publish& publish = (*proposed)->publish();
  ASSERT_EQ(publish.deltas_size(), 2);
  EXPECT_EQ(publish.deltas(0).digest(), DigestOf(50).bytes());
  EXPECT_EQ(publish.deltas(0).from(), DigestOf(2).bytes());
  EXPECT_EQ(publish.deltas(0).size(), kMaxDeltaSize);
  EXPECT_EQ(publish.deltas(0).head_size(), 1u);
  EXPECT_EQ(publish.deltas(1).from(), DigestOf(3).bytes());
  ASSERT_EQ(commit->deltas.size(), 2u);
  EXPECT_EQ(commit->deltas[1].to, DigestOf(1));
}

TEST(CommitTest, BadDeltasAreInvalid) {
  dataset::v1::PublishRequest good = Request();
  AddDelta(good, 50, 2);
  ASSERT_TRUE(CheckPublish(good).ok());
  std::vector<dataset::v1::PublishRequest> bad(10, good);
  const auto delta = [&bad](size_t i) { return bad[i].mutable_deltas(0); };
  delta(0)->set_digest("sha256:12");
  delta(1)->set_from("");
  delta(2)->set_from(good.digest());
  delta(3)->set_to(DigestOf(9).ToString());
  delta(4)->set_to("nonsense");
  delta(5)->set_size(0);
  delta(6)->set_size(kMaxDeltaSize + 1);
  delta(7)->set_head_size(0);
  delta(8)->set_size(10);
  delta(8)->set_head_size(11);
  AddDelta(bad[9], 51, 2);  // the same base
  bad.push_back(good);
  for (uint8_t i = 0; i < kMaxDeltasPerCommit; ++i) AddDelta(bad.back(), 60, 100 + i);
  for (const auto& request : bad) {
    EXPECT_EQ(CheckPublish(request).status().code(), absl::StatusCode::kInvalidArgument)
        << request.ShortDebugString();
  }
}

TEST(CommitTest, SettingsAreCheckedAndOnlyWhatChangesIsWritten) {
  dataset::v1::UpdateSettingsRequest request;
  request.set_dataset("a/b");
  request.set_nonce(std::string(16, 'n'));
  EXPECT_EQ(CheckUpdateSettings(request).status().code(), absl::StatusCode::kInvalidArgument);  // nothing
  (*request.mutable_settings())["deltas.keep"] = "012";
  const auto commit = CheckUpdateSettings(request);
  ASSERT_TRUE(commit.ok()) << commit.status();
  EXPECT_EQ(ProposeSettings(*commit, DatasetState()).status().code(), absl::StatusCode::kNotFound);
  DatasetState state = StateWith("latest", 1);
  auto proposed = ProposeSettings(*commit, state);
  ASSERT_TRUE(proposed.ok() && proposed->has_value());
  EXPECT_EQ((*proposed)->settings().settings().at("deltas.keep"), "12");
  state.settings["deltas.keep"] = "12";
  proposed = ProposeSettings(*commit, state);
  ASSERT_TRUE(proposed.ok());
  EXPECT_FALSE(proposed->has_value());
  (*request.mutable_settings())["deltas.keep"] = "";
  proposed = ProposeSettings(*CheckUpdateSettings(request), state);
  ASSERT_TRUE(proposed.ok() && proposed->has_value());
  EXPECT_EQ((*proposed)->settings().settings().at("deltas.keep"), "");
  EXPECT_FALSE(ProposeSettings(*CheckUpdateSettings(request), StateWith("latest", 1))->has_value());

  std::vector<dataset::v1::UpdateSettingsRequest> bad(5, request);
  bad[0].set_dataset("/");
  bad[1].set_nonce("short");
  (*bad[2].mutable_settings())["deltas.keep"] = "65";
  (*bad[3].mutable_settings())["nonsense"] = "1";
  bad[4].set_author(std::string(kMaxAuthorBytes + 1, 'a'));
  for (const auto& wrong : bad) {
    EXPECT_EQ(CheckUpdateSettings(wrong).status().code(), absl::StatusCode::kInvalidArgument)
        << wrong.ShortDebugString();
  }
}

TEST(CommitTest, PublishOfWhatTheTagsPointAtChangesNothing) {
  PublishCommit commit = *CheckPublish(Request());
  DatasetState state = StateWith("latest", 1);
  auto proposed = ProposePublish(commit, Summary(1), state);
  ASSERT_TRUE(proposed.ok());
  EXPECT_TRUE(proposed->has_value());  // v2 is not there yet
  state.tags["v2"].snapshot.digest = DigestOf(1);
  proposed = ProposePublish(commit, Summary(1), state);
  ASSERT_TRUE(proposed.ok());
  EXPECT_FALSE(proposed->has_value());
}

TEST(CommitTest, ExpectationsThatDoNotHoldAbort) {
  PublishCommit commit = *CheckPublish(Request());
  commit.expectation.absent = true;
  EXPECT_TRUE(ProposePublish(commit, Summary(1), DatasetState()).ok());
  EXPECT_EQ(ProposePublish(commit, Summary(1), StateWith("v2", 9)).status().code(),
            absl::StatusCode::kAborted);
  commit.expectation.absent = false;
  commit.expectation.digest = DigestOf(9);
  EXPECT_EQ(ProposePublish(commit, Summary(1), StateWith("v2", 9)).status().code(),
            absl::StatusCode::kAborted);
  DatasetState both = StateWith("v2", 9);
  both.tags["latest"].snapshot.digest = DigestOf(9);
  EXPECT_TRUE(ProposePublish(commit, Summary(1), both).ok());
  both.tags["latest"].snapshot.digest = DigestOf(8);
  EXPECT_EQ(ProposePublish(commit, Summary(1), both).status().code(), absl::StatusCode::kAborted);
}

TEST(CommitTest, NothingCondemnedIsCommitted) {
  const PublishCommit commit = *CheckPublish(Request());
  DatasetState state;
  state.condemned_blocks.insert(DigestOf(100));
  EXPECT_EQ(ProposePublish(commit, Summary(1), state).status().code(),
            absl::StatusCode::kFailedPrecondition);
  state.condemned_blocks.clear();
  state.condemned_manifests.insert(DigestOf(1));
  EXPECT_EQ(ProposePublish(commit, Summary(1), state).status().code(),
            absl::StatusCode::kFailedPrecondition);
}

TEST(CommitTest, TagsMoveAndGoInOneEntry) {
  dataset::v1::UpdateTagsRequest request;
  request.set_dataset("a/b");
  request.set_nonce(std::string(16, 'n'));
  EXPECT_EQ(CheckUpdateTags(request).status().code(), absl::StatusCode::kInvalidArgument);  // no tags
  auto* move = request.add_moves();
  move->set_tag("stable");
  move->set_digest(DigestOf(1).ToString());
  request.add_deletes("old");
  TagCommit commit = *CheckUpdateTags(request);
  const std::vector<ManifestSummaryPtr> summaries = {std::make_shared<ManifestSummary>(Summary(1))};
  EXPECT_EQ(ProposeTags(commit, summaries, DatasetState()).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(ProposeTags(commit, summaries, StateWith("latest", 1)).status().code(),
            absl::StatusCode::kNotFound);
  const auto proposed = ProposeTags(commit, summaries, StateWith("old", 1));
  ASSERT_TRUE(proposed.ok() && proposed->has_value());
  EXPECT_EQ((*proposed)->tag().moves_size(), 1);
  EXPECT_EQ((*proposed)->tag().deletes(0), "old");

  request.add_deletes("stable");
  EXPECT_EQ(CheckUpdateTags(request).status().code(), absl::StatusCode::kInvalidArgument);  // twice
  commit.deletes.clear();
  const auto unchanged = ProposeTags(commit, summaries, StateWith("stable", 1));
  ASSERT_TRUE(unchanged.ok());
  EXPECT_FALSE(unchanged->has_value());
}

}  // namespace
}  // namespace aetherfs
