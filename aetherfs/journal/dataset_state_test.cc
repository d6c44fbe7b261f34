#include "aetherfs/journal/dataset_state.h"

#include <gtest/gtest.h>

#include <string>

namespace aetherfs {
namespace {

Digest DigestOf(uint8_t seed) {
  std::array<uint8_t, Digest::kSize> bytes{};
  bytes.fill(seed);
  return Digest(bytes);
}

std::string Nonce(uint64_t seq) {
  std::string nonce(16, '\0');
  for (int i = 0; i < 8; ++i) nonce[static_cast<size_t>(i)] = static_cast<char>(seq >> (8 * i));
  return nonce;
}

record::v1::JournalEntry Entry(uint64_t seq) {
  record::v1::JournalEntry entry;
  entry.set_seq(seq);
  entry.set_nonce(Nonce(seq));
  entry.set_time_unix_micros(static_cast<int64_t>(seq) * 1000);
  return entry;
}

record::v1::JournalEntry Publish(uint64_t seq, uint8_t seed, const std::vector<std::string>& tags) {
  record::v1::JournalEntry entry = Entry(seq);
  DatasetState::Snapshot snapshot;
  snapshot.digest = DigestOf(seed);
  snapshot.files = seed;
  SnapshotToRecord(snapshot, entry.mutable_publish()->mutable_snapshot());
  for (const std::string& tag : tags) entry.mutable_publish()->add_tags(tag);
  return entry;
}

TEST(DatasetStateTest, PublishMovesItsTagsAndNoOthers) {
  DatasetState state;
  EXPECT_FALSE(state.exists());
  ASSERT_TRUE(state.Apply(Publish(1, 1, {"a", "b"})).ok());
  ASSERT_TRUE(state.Apply(Publish(2, 2, {"b"})).ok());
  EXPECT_TRUE(state.exists());
  ASSERT_EQ(state.tags.size(), 2u);
  EXPECT_EQ(state.tags["a"].snapshot.digest, DigestOf(1));
  EXPECT_EQ(state.tags["a"].seq, 1u);
  EXPECT_EQ(state.tags["b"].snapshot.digest, DigestOf(2));
  EXPECT_EQ(state.tags["b"].snapshot.files, 2u);
  EXPECT_EQ(state.tags["b"].updated, absl::FromUnixMicros(2000));
}

TEST(DatasetStateTest, TagEntryMovesAndDeletes) {
  DatasetState state;
  ASSERT_TRUE(state.Apply(Publish(1, 1, {"a", "b"})).ok());
  record::v1::JournalEntry entry = Entry(2);
  auto* move = entry.mutable_tag()->add_moves();
  move->set_tag("c");
  SnapshotToRecord(state.tags["a"].snapshot, move->mutable_snapshot());
  entry.mutable_tag()->add_deletes("b");
  entry.mutable_tag()->add_deletes("never-there");
  ASSERT_TRUE(state.Apply(entry).ok());
  EXPECT_EQ(state.tags.count("b"), 0u);
  EXPECT_EQ(state.tags["c"].snapshot, state.tags["a"].snapshot);
}

TEST(DatasetStateTest, CondemnAddsUpAndSettingsMerge) {
  DatasetState state;
  record::v1::JournalEntry condemn = Entry(1);
  condemn.mutable_condemn()->set_epoch(3);
  condemn.mutable_condemn()->add_blocks(std::string(32, '\1'));
  condemn.mutable_condemn()->add_manifests(std::string(32, '\2'));
  ASSERT_TRUE(state.Apply(condemn).ok());
  EXPECT_EQ(state.epoch, 3u);
  EXPECT_TRUE(state.condemned_blocks.contains(DigestOf(1)));
  EXPECT_TRUE(state.condemned_manifests.contains(DigestOf(2)));

  record::v1::JournalEntry settings = Entry(2);
  (*settings.mutable_settings()->mutable_settings())["keep"] = "5";
  (*settings.mutable_settings()->mutable_settings())["quota"] = "1GiB";
  ASSERT_TRUE(state.Apply(settings).ok());
  record::v1::JournalEntry change = Entry(3);
  (*change.mutable_settings()->mutable_settings())["keep"] = "";
  ASSERT_TRUE(state.Apply(change).ok());
  EXPECT_EQ(state.settings.size(), 1u);
  EXPECT_EQ(state.settings["quota"], "1GiB");
}

TEST(DatasetStateTest, MalformedEntriesChangeNothing) {
  DatasetState state;
  ASSERT_TRUE(state.Apply(Publish(1, 1, {"a"})).ok());
  const DatasetState before = state;
  std::vector<record::v1::JournalEntry> malformed;
  malformed.push_back(Publish(1, 1, {"a"}));  // again
  malformed.push_back(Publish(3, 1, {"a"}));  // a gap
  malformed.push_back(Publish(2, 1, {"ok", "not/a tag"}));
  malformed.push_back(Entry(2));  // no kind
  malformed.push_back(Publish(2, 1, {"a"}));
  malformed.back().mutable_publish()->mutable_snapshot()->set_digest("short");
  malformed.push_back(Publish(2, 1, {"a"}));
  malformed.back().set_nonce("short");
  malformed.push_back(Entry(2));
  malformed.back().mutable_condemn()->add_blocks("short");
  malformed.push_back(Entry(2));
  malformed.back().mutable_tag()->add_deletes("");
  for (const record::v1::JournalEntry& entry : malformed) {
    EXPECT_EQ(state.Apply(entry).code(), absl::StatusCode::kDataLoss) << entry.ShortDebugString();
    EXPECT_EQ(state, before);
  }
}

TEST(DatasetStateTest, RemembersItsRecentWritersOnly) {
  DatasetState state;
  const uint64_t count = DatasetState::kRecentWriters + 10;
  for (uint64_t seq = 1; seq <= count; ++seq) ASSERT_TRUE(state.Apply(Publish(seq, 1, {"a"})).ok());
  EXPECT_EQ(state.recent_writers.size(), DatasetState::kRecentWriters);
  EXPECT_EQ(state.SeqOfWriter(Nonce(count)), count);
  EXPECT_EQ(state.SeqOfWriter(Nonce(11)), 11u);
  EXPECT_EQ(state.SeqOfWriter(Nonce(10)), std::nullopt);
}

TEST(DatasetStateTest, CheckpointRoundTrips) {
  DatasetState state;
  for (uint64_t seq = 1; seq <= 300; ++seq) {
    ASSERT_TRUE(state.Apply(Publish(seq, static_cast<uint8_t>(seq), {"t" + std::to_string(seq % 7)})).ok());
  }
  record::v1::JournalEntry condemn = Entry(301);
  condemn.mutable_condemn()->set_epoch(3);
  condemn.mutable_condemn()->add_blocks(std::string(32, '\1'));
  ASSERT_TRUE(state.Apply(condemn).ok());
  record::v1::JournalEntry settings = Entry(302);
  (*settings.mutable_settings()->mutable_settings())["keep"] = "5";
  ASSERT_TRUE(state.Apply(settings).ok());
  const absl::StatusOr<DatasetState> again = DatasetState::FromCheckpoint(state.ToCheckpoint());
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(*again, state);
}

TEST(DatasetStateTest, MalformedCheckpointsAreCorrupt) {
  DatasetState state;
  ASSERT_TRUE(state.Apply(Publish(1, 1, {"a"})).ok());
  const record::v1::Checkpoint good = state.ToCheckpoint();
  std::vector<record::v1::Checkpoint> malformed(7, good);
  malformed[0].set_seq(0);
  malformed[1].mutable_tags(0)->set_name("no tag");
  malformed[2].mutable_tags(0)->mutable_snapshot()->set_digest("x");
  malformed[3].mutable_tags(0)->set_seq(2);
  *malformed[4].add_tags() = good.tags(0);
  malformed[5].mutable_recent_writers(0)->set_nonce("x");
  malformed[6].add_condemned_blocks("x");
  for (const record::v1::Checkpoint& checkpoint : malformed) {
    EXPECT_EQ(DatasetState::FromCheckpoint(checkpoint).status().code(), absl::StatusCode::kDataLoss)
        << checkpoint.ShortDebugString();
  }
}

}  // namespace
}  // namespace aetherfs
