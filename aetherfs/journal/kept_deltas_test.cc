#include "aetherfs/journal/kept_deltas.h"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "aetherfs/format/testing/samples.h"
#include "aetherfs/journal/dataset_state.h"

namespace aetherfs {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

// Snapshots are numbers; a delta's own digest follows from its ends, and from `variant`.
KeptDelta Delta(uint64_t from, uint64_t to, std::vector<std::string> tags = {"latest"},
                uint64_t variant = 0) {
  KeptDelta delta;
  delta.digest = SampleDigest(1'000'000 + 1000 * variant + 100 * from + to);
  delta.from = SampleDigest(from);
  delta.to = SampleDigest(to);
  delta.size = 100;
  delta.head_size = 10;
  delta.tags = std::move(tags);
  return delta;
}

record::v1::JournalEntry Entry(uint64_t seq) {
  record::v1::JournalEntry entry;
  entry.set_seq(seq);
  entry.set_nonce(fmt::format("{:016}", seq));
  return entry;
}

// Publishes the snapshot `to` with one delta from each of `bases`.
record::v1::JournalEntry Publish(uint64_t seq, uint64_t to, const std::vector<uint64_t>& bases,
                                 const std::vector<std::string>& tags = {"latest"}) {
  record::v1::JournalEntry entry = Entry(seq);
  DatasetState::Snapshot snapshot;
  snapshot.digest = SampleDigest(to);
  SnapshotToRecord(snapshot, entry.mutable_publish()->mutable_snapshot());
  for (const std::string& tag : tags) entry.mutable_publish()->add_tags(tag);
  for (const uint64_t from : bases) DeltaToRecord(Delta(from, to), entry.mutable_publish()->add_deltas());
  return entry;
}

record::v1::JournalEntry Keep(uint64_t seq, const std::string& keep) {
  record::v1::JournalEntry entry = Entry(seq);
  (*entry.mutable_settings()->mutable_settings())["deltas.keep"] = keep;
  return entry;
}

std::vector<uint64_t> Seqs(const DatasetState& state) {
  std::vector<uint64_t> seqs;
  for (const KeptDelta& delta : state.deltas) seqs.push_back(delta.seq);
  return seqs;
}

TEST(KeptDeltasTest, TagKeepsTheLastEight) {
  DatasetState state;
  for (uint64_t seq = 1; seq <= 12; ++seq)
    ASSERT_TRUE(state.Apply(Publish(seq, seq, {seq + 100}, {"latest", "latest"})).ok());
  EXPECT_THAT(Seqs(state), ElementsAre(5, 6, 7, 8, 9, 10, 11, 12));
  EXPECT_EQ(state.deltas[0].digest, Delta(105, 5).digest);
  EXPECT_EQ(state.deltas[0].from, SampleDigest(105));
  EXPECT_EQ(state.deltas[0].to, SampleDigest(5));
  EXPECT_EQ(state.deltas[0].size, 100u);
  EXPECT_EQ(state.deltas[0].head_size, 10u);
  EXPECT_THAT(state.deltas[0].tags, ElementsAre("latest"));
}

TEST(KeptDeltasTest, OnlyPublicationsOfATagPushItsDeltasOut) {
  DatasetState state;
  ASSERT_TRUE(state.Apply(Keep(1, "2")).ok());
  ASSERT_TRUE(state.Apply(Publish(2, 2, {1}, {"stable", "latest"})).ok());
  for (uint64_t seq = 3; seq <= 6; ++seq) ASSERT_TRUE(state.Apply(Publish(seq, seq, {seq - 1})).ok());
  EXPECT_THAT(Seqs(state), ElementsAre(2, 5, 6));
  EXPECT_THAT(state.deltas[0].tags, ElementsAre("stable"));
  // A publication without deltas leaves those that there are.
  ASSERT_TRUE(state.Apply(Publish(7, 7, {})).ok());
  EXPECT_THAT(Seqs(state), ElementsAre(2, 5, 6));
}

TEST(KeptDeltasTest, MovingATagByHandChangesNothingAndDeletingItDropsWhatOnlyItKeeps) {
  DatasetState state;
  ASSERT_TRUE(state.Apply(Publish(1, 1, {9}, {"latest", "v1"})).ok());
  ASSERT_TRUE(state.Apply(Publish(2, 2, {1}, {"v2"})).ok());
  const KeptDeltas before = state.deltas;
  record::v1::JournalEntry move = Entry(3);
  move.mutable_tag()->add_moves()->set_tag("v1");
  SnapshotToRecord(state.tags["v2"].snapshot, move.mutable_tag()->mutable_moves(0)->mutable_snapshot());
  ASSERT_TRUE(state.Apply(move).ok());
  EXPECT_EQ(state.deltas, before);
  record::v1::JournalEntry untag = Entry(4);
  untag.mutable_tag()->add_deletes("v1");
  untag.mutable_tag()->add_deletes("v2");
  ASSERT_TRUE(state.Apply(untag).ok());
  ASSERT_THAT(Seqs(state), ElementsAre(1));
  EXPECT_THAT(state.deltas[0].tags, ElementsAre("latest"));
}

TEST(KeptDeltasTest, SettingPrunesAtOnceAndNonsenseIsTheDefault) {
  DatasetState state;
  ASSERT_TRUE(state.Apply(Keep(1, "64")).ok());
  for (uint64_t seq = 2; seq <= 21; ++seq) ASSERT_TRUE(state.Apply(Publish(seq, seq, {seq - 1})).ok());
  EXPECT_EQ(state.deltas.size(), 20u);
  ASSERT_TRUE(state.Apply(Keep(22, "many")).ok());
  EXPECT_EQ(state.deltas.size(), kDefaultDeltasKeep);
  ASSERT_TRUE(state.Apply(Keep(23, "1")).ok());
  EXPECT_THAT(Seqs(state), ElementsAre(21));
  ASSERT_TRUE(state.Apply(Keep(24, "0")).ok());
  EXPECT_THAT(Seqs(state), IsEmpty());
  ASSERT_TRUE(state.Apply(Publish(25, 25, {21})).ok());
  EXPECT_THAT(Seqs(state), IsEmpty());
}

TEST(KeptDeltasTest, ListIsBoundedWhateverTheTagsClaim) {
  DatasetState state;
  const uint64_t count = kMaxKeptDeltas + 5;
  for (uint64_t seq = 1; seq <= count; ++seq)
    ASSERT_TRUE(state.Apply(Publish(seq, seq, {seq + 1}, {fmt::format("build-{}", seq)})).ok());
  ASSERT_EQ(state.deltas.size(), kMaxKeptDeltas);
  EXPECT_EQ(state.deltas.front().seq, 6u);
  EXPECT_EQ(state.deltas.back().seq, count);
}

TEST(KeptDeltasTest, ImpossibleDeltasAreMalformed) {
  DatasetState state;
  std::vector<record::v1::JournalEntry> malformed(5, Publish(1, 1, {2}));
  const auto delta = [&](size_t i) { return malformed[i].mutable_publish()->mutable_deltas(0); };
  delta(0)->set_digest("short");
  delta(1)->set_from("short");
  delta(2)->set_from(std::string(SampleDigest(1).bytes()));
  delta(3)->set_head_size(0);
  delta(4)->set_head_size(101);
  for (const record::v1::JournalEntry& entry : malformed) {
    EXPECT_EQ(state.Apply(entry).code(), absl::StatusCode::kDataLoss) << entry.ShortDebugString();
    EXPECT_EQ(state, DatasetState());
  }
}

TEST(KeptDeltasTest, MalformedCheckpointsAreCorrupt) {
  DatasetState state;
  ASSERT_TRUE(state.Apply(Publish(1, 1, {9}, {"a", "b"})).ok());
  ASSERT_TRUE(state.Apply(Publish(2, 2, {1}, {"a"})).ok());
  const record::v1::Checkpoint good = state.ToCheckpoint();
  ASSERT_TRUE(DatasetState::FromCheckpoint(good).ok());
  std::vector<record::v1::Checkpoint> malformed(10, good);
  malformed[0].mutable_deltas(0)->set_to("x");
  malformed[1].mutable_deltas(0)->mutable_delta()->set_digest("x");
  malformed[2].mutable_deltas(0)->clear_tags();
  malformed[3].mutable_deltas(0)->set_tags(0, "b");                    // twice
  malformed[4].mutable_deltas(0)->mutable_tags()->SwapElements(0, 1);  // not sorted
  malformed[5].mutable_deltas(0)->set_tags(1, "none");
  malformed[6].mutable_deltas(0)->set_seq(0);
  malformed[7].mutable_deltas(1)->set_seq(3);
  malformed[8].mutable_deltas()->SwapElements(0, 1);
  while (static_cast<size_t>(malformed[9].deltas_size()) <= kMaxKeptDeltas)
    *malformed[9].add_deltas() = good.deltas(1);
  for (const record::v1::Checkpoint& checkpoint : malformed) {
    EXPECT_EQ(DatasetState::FromCheckpoint(checkpoint).status().code(), absl::StatusCode::kDataLoss)
        << checkpoint.ShortDebugString().substr(0, 2000);
  }
  // What a version without deltas wrote.
  record::v1::Checkpoint old = good;
  old.clear_deltas();
  const auto read = DatasetState::FromCheckpoint(old);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_THAT(read->deltas, IsEmpty());
}

// Whatever happens to a dataset, and wherever a reader takes a checkpoint instead of the entries before it,
// all see the same.
TEST(KeptDeltasPropertyTest, ReplayingAndCheckpointsAnywhereGiveTheSameState) {
  const std::vector<std::string> names = {"a", "b", "c", "d", "e"};
  for (uint64_t seed = 0; seed < 60; ++seed) {
    SeededSequence random(seed);
    DatasetState replayed;
    DatasetState restarted;
    for (uint64_t seq = 1; seq <= 120; ++seq) {
      record::v1::JournalEntry entry;
      const uint64_t dice = random.Below(10);
      if (dice < 7 || seq == 1) {
        std::vector<std::string> tags;
        for (uint64_t i = 0; i <= random.Below(3); ++i) tags.push_back(names[random.Below(names.size())]);
        std::vector<uint64_t> bases;
        for (uint64_t i = random.Below(4); i > 0; --i) bases.push_back(random.Below(20) + 20 * i);
        entry = Publish(seq, random.Below(20), bases, tags);
      } else if (dice == 7) {
        entry = Keep(seq, std::vector<std::string>{"", "0", "1", "3", "64", "?"}[random.Below(6)]);
      } else {
        entry = Entry(seq);
        entry.mutable_tag()->add_deletes(names[random.Below(names.size())]);
        auto* move = entry.mutable_tag()->add_moves();
        move->set_tag(names[random.Below(names.size())]);
        move->mutable_snapshot()->set_digest(std::string(SampleDigest(random.Below(20)).bytes()));
      }
      ASSERT_TRUE(replayed.Apply(entry).ok()) << entry.ShortDebugString();
      ASSERT_TRUE(restarted.Apply(entry).ok()) << entry.ShortDebugString();
      if (random.Below(4) == 0) {
        auto read = DatasetState::FromCheckpoint(restarted.ToCheckpoint());
        ASSERT_TRUE(read.ok()) << read.status();
        restarted = *std::move(read);
      }
      ASSERT_EQ(restarted, replayed) << "seed " << seed << ", entry " << seq;
      for (const std::string& name : names) {
        const auto claims =
            std::count_if(replayed.deltas.begin(), replayed.deltas.end(), [&](const KeptDelta& delta) {
              return std::find(delta.tags.begin(), delta.tags.end(), name) != delta.tags.end();
            });
        ASSERT_LE(static_cast<uint64_t>(claims), DeltasToKeep(replayed.settings));
      }
    }
  }
}

std::vector<std::pair<Digest, Digest>> Towards(const KeptDeltas& deltas, uint64_t to, size_t most = 64) {
  std::vector<std::pair<Digest, Digest>> steps;
  for (const KeptDelta* delta : DeltasTowards(deltas, SampleDigest(to), most))
    steps.emplace_back(delta->from, delta->to);
  return steps;
}
std::pair<Digest, Digest> Step(uint64_t from, uint64_t to) {
  return {SampleDigest(from), SampleDigest(to)};
}

TEST(DeltasTowardsTest, NearestComeFirstAndOfThoseTheNewest) {
  const KeptDeltas deltas = {Delta(1, 2), Delta(2, 3), Delta(1, 4), Delta(3, 4), Delta(7, 8)};
  EXPECT_THAT(Towards(deltas, 4), ElementsAre(Step(3, 4), Step(1, 4), Step(2, 3), Step(1, 2)));
  EXPECT_THAT(Towards(deltas, 2), ElementsAre(Step(1, 2)));
  EXPECT_THAT(Towards(deltas, 1), IsEmpty());
  EXPECT_THAT(Towards(deltas, 99), IsEmpty());
  EXPECT_THAT(Towards({}, 1), IsEmpty());
}

TEST(DeltasTowardsTest, CirclesEndAndNothingLeadsAwayFirst) {
  // 1 → 2 → 1 → 3 → 1: versions that came back.
  const KeptDeltas deltas = {Delta(1, 2), Delta(2, 1), Delta(1, 3), Delta(3, 1)};
  EXPECT_THAT(Towards(deltas, 1), ElementsAre(Step(3, 1), Step(2, 1)));
  EXPECT_THAT(Towards(deltas, 3), ElementsAre(Step(1, 3), Step(2, 1), Step(1, 2)));
}

TEST(DeltasTowardsTest, OneAnnouncedTwiceIsNamedOnceAndTwoOfTheSameStepBoth) {
  const KeptDeltas deltas = {Delta(1, 2), Delta(1, 2, {"v2"}), Delta(1, 2, {"v3"}, 1)};
  EXPECT_THAT(Towards(deltas, 2), ElementsAre(Step(1, 2), Step(1, 2)));
}

TEST(DeltasTowardsTest, NeverMoreThanWanted) {
  KeptDeltas deltas;
  for (uint64_t i = 1; i < 90; ++i) deltas.push_back(Delta(i, i + 1));
  const auto steps = Towards(deltas, 90, 5);
  EXPECT_THAT(steps, ElementsAre(Step(89, 90), Step(88, 89), Step(87, 88), Step(86, 87), Step(85, 86)));
}

}  // namespace
}  // namespace aetherfs
