// Files that were written once, in tests/compat/v1, and must be read for ever. Where no compressor is
// involved, what is written today must be the same bytes too: a manifest's digest is a snapshot's name, and
// equal content must make equal blocks.

#include "aetherfs/base/sha256.h"
#include "aetherfs/base/status.h"
#include "aetherfs/format/block.h"
#include "aetherfs/format/chunker.h"
#include "aetherfs/format/delta.h"
#include "aetherfs/format/manifest.h"
#include "aetherfs/format/record.h"
#include "aetherfs/format/testing/samples.h"
#include "aetherfs/record/v1/record.pb.h"
#include "fmt/format.h"
#include "gmock/gmock.h"
#include "google/protobuf/util/message_differencer.h"

namespace aetherfs {
namespace {

using google::protobuf::util::MessageDifferencer;

void ExpectSameBytes(const std::string& name, const std::string& bytes) {
  WriteSample("compat/v1/" + name, bytes);
  EXPECT_TRUE(ReadSample("compat/v1/" + name) == bytes) << name;
}

TEST(GoldenTest, ManifestsAreWhatTheyWere) {
  ExpectSameBytes("manifest", EncodeManifest(SampleManifest()));
  const auto decoded = DecodeManifest(ReadSample("compat/v1/manifest"));
  ASSERT_TRUE(decoded.ok()) << decoded.status();
  EXPECT_EQ(*decoded, SampleManifest());
  EXPECT_EQ(Sha256::Of(ReadSample("compat/v1/manifest")).Hex(),
            "5b7bd6698ccd8fd9f351025f2f8402071fa7c3f01c78628682a49f85911251f4");
}

TEST(GoldenTest, ManifestObjectsAreStillRead) {
  const std::string canonical = EncodeManifest(SampleManifest());
  WriteSample("compat/v1/manifest-object", EncodeManifestObject(canonical));
  const auto decoded = DecodeManifestObject(ReadSample("compat/v1/manifest-object"), Sha256::Of(canonical));
  ASSERT_TRUE(decoded.ok()) << decoded.status();
  EXPECT_EQ(*decoded, canonical);
}

TEST(GoldenTest, BlocksAreWhatTheyWere) {
  BlockBuilder builder(3);
  const std::string one = SeededSequence(1).Bytes(100);
  const std::string two = SeededSequence(2).Bytes(50);
  builder.AddFrame(FrameCodec::kRaw, one, 100,
                   {{Sha256::Of(one.substr(0, 60)), 60}, {Sha256::Of(one.substr(60)), 40}});
  builder.AddFrame(FrameCodec::kRaw, two, 50, {{Sha256::Of(two), 50}});
  ExpectSameBytes("block", std::move(builder).Finish());

  const std::string block = ReadSample("compat/v1/block");
  const auto index = DecodeBlockIndex(block);
  ASSERT_TRUE(index.ok()) << index.status();
  EXPECT_EQ(index->epoch, 3u);
  ASSERT_EQ(index->frames.size(), 2u);
  EXPECT_EQ(index->frames[0].chunks[1].digest, Sha256::Of(one.substr(60)));
  EXPECT_EQ(block.substr(index->frames[1].offset, index->frames[1].stored_size), two);
}

TEST(GoldenTest, CompressedBlocksAreStillRead) {
  const std::string raw(5000, 'x');
  const EncodedFrame frame = FrameEncoder(3).Encode(raw);
  BlockBuilder builder(0);
  builder.AddFrame(frame.codec, frame.stored, 5000, {{Sha256::Of(raw), 5000}});
  WriteSample("compat/v1/block-zstd", std::move(builder).Finish());

  const std::string block = ReadSample("compat/v1/block-zstd");
  const auto index = DecodeBlockIndex(block);
  ASSERT_TRUE(index.ok()) << index.status();
  ASSERT_EQ(index->frames.size(), 1u);
  const BlockIndex::Frame& read = index->frames[0];
  std::string decoded(read.raw_size, '\0');
  const std::string_view stored = std::string_view(block).substr(read.offset, read.stored_size);
  ASSERT_TRUE(FrameDecoder().Decode(read.codec, stored, decoded.data(), decoded.size()).ok());
  EXPECT_EQ(Sha256::Of(decoded), read.chunks[0].digest);
}

record::v1::Snapshot SampleSnapshot(uint64_t n) {
  record::v1::Snapshot snapshot;
  snapshot.set_digest(std::string(SampleDigest(n).bytes()));
  snapshot.set_files(10 * n);
  snapshot.set_bytes(1000 * n);
  snapshot.set_chunks(20 * n);
  snapshot.set_blocks(n);
  return snapshot;
}

TEST(GoldenTest, JournalEntriesAreWhatTheyWere) {
  record::v1::JournalEntry entry;
  entry.set_seq(33);
  entry.set_nonce("0123456789abcdef");
  entry.set_time_unix_micros(1700000000000000);
  entry.set_author("builder@example");
  *entry.mutable_publish()->mutable_snapshot() = SampleSnapshot(1);
  entry.mutable_publish()->add_tags("latest");
  entry.mutable_publish()->add_tags("v1");
  entry.mutable_publish()->set_message("a first one");
  (*entry.mutable_publish()->mutable_labels())["commit"] = "abc";
  (*entry.mutable_publish()->mutable_labels())["branch"] = "main";
  entry.mutable_publish()->set_new_chunks(20);
  ExpectSameBytes("journal-entry", EncodeRecord(RecordKind::kJournalEntry, entry));
  record::v1::JournalEntry decoded;
  const std::string record = ReadSample("compat/v1/journal-entry");
  ASSERT_TRUE(DecodeRecord(RecordKind::kJournalEntry, record, &decoded).ok());
  EXPECT_TRUE(MessageDifferencer::Equals(decoded, entry));
}

record::v1::Delta SampleDelta() {
  record::v1::Delta delta;
  delta.set_digest(std::string(SampleDigest(7).bytes()));
  delta.set_from(std::string(SampleDigest(8).bytes()));
  delta.set_size(8100);
  delta.set_head_size(300);
  return delta;
}

// Since deltas are announced.
TEST(GoldenTest, JournalEntriesWithDeltasAreWhatTheyWere) {
  record::v1::JournalEntry entry;
  entry.set_seq(34);
  entry.set_nonce("0123456789abcdef");
  entry.set_time_unix_micros(1700000000000000);
  *entry.mutable_publish()->mutable_snapshot() = SampleSnapshot(1);
  entry.mutable_publish()->add_tags("latest");
  entry.mutable_publish()->set_delta_bytes(8100);
  *entry.mutable_publish()->add_deltas() = SampleDelta();
  ExpectSameBytes("journal-entry-deltas", EncodeRecord(RecordKind::kJournalEntry, entry));
  record::v1::JournalEntry decoded;
  const std::string record = ReadSample("compat/v1/journal-entry-deltas");
  ASSERT_TRUE(DecodeRecord(RecordKind::kJournalEntry, record, &decoded).ok());
  EXPECT_TRUE(MessageDifferencer::Equals(decoded, entry));
}

TEST(GoldenTest, CheckpointsWithDeltasAreWhatTheyWere) {
  record::v1::Checkpoint checkpoint;
  checkpoint.set_seq(64);
  record::v1::Checkpoint::Tag* tag = checkpoint.add_tags();
  tag->set_name("latest");
  *tag->mutable_snapshot() = SampleSnapshot(2);
  tag->set_seq(33);
  (*checkpoint.mutable_settings())["deltas.keep"] = "4";
  record::v1::Checkpoint::KeptDelta* kept = checkpoint.add_deltas();
  *kept->mutable_delta() = SampleDelta();
  kept->set_to(std::string(SampleDigest(2).bytes()));
  kept->set_seq(33);
  kept->add_tags("latest");
  ExpectSameBytes("checkpoint-deltas", EncodeRecord(RecordKind::kCheckpoint, checkpoint));
  record::v1::Checkpoint decoded;
  const std::string record = ReadSample("compat/v1/checkpoint-deltas");
  ASSERT_TRUE(DecodeRecord(RecordKind::kCheckpoint, record, &decoded).ok());
  EXPECT_TRUE(MessageDifferencer::Equals(decoded, checkpoint));
}

TEST(GoldenTest, CheckpointsAreWhatTheyWere) {
  record::v1::Checkpoint checkpoint;
  checkpoint.set_seq(64);
  record::v1::Checkpoint::Tag* tag = checkpoint.add_tags();
  tag->set_name("latest");
  *tag->mutable_snapshot() = SampleSnapshot(2);
  tag->set_seq(33);
  tag->set_time_unix_micros(1700000000000000);
  checkpoint.set_epoch(2);
  checkpoint.add_condemned_blocks(std::string(SampleDigest(5).bytes()));
  checkpoint.add_condemned_manifests(std::string(SampleDigest(6).bytes()));
  (*checkpoint.mutable_settings())["keep"] = "10";
  checkpoint.add_recent_writers()->set_nonce("0123456789abcdef");
  ExpectSameBytes("checkpoint", EncodeRecord(RecordKind::kCheckpoint, checkpoint));
  record::v1::Checkpoint decoded;
  const std::string record = ReadSample("compat/v1/checkpoint");
  ASSERT_TRUE(DecodeRecord(RecordKind::kCheckpoint, record, &decoded).ok());
  EXPECT_TRUE(MessageDifferencer::Equals(decoded, checkpoint));
}

TEST(GoldenTest, DeltasAreStillRead) {
  const std::string base = EncodeManifest(SampleManifest());
  const std::string old = SeededSequence(3).Bytes(1000);  // what "data/naïve €.txt" holds
  const std::string raw = old.substr(0, 500) + "changed" + old.substr(507);
  Manifest manifest = SampleManifest();
  manifest.chunks[3].digest = Sha256::Of(raw);
  manifest.entries[5].mtime_ns = 5;
  const std::string target = EncodeManifest(manifest);
  const std::string more = SeededSequence(4).Bytes(70000);  // of "bin-old", in a part
  const std::string patch = PatchEncoder().Encode(old, raw, 19);
  const std::string more_patch = PatchEncoder().Encode({}, more, 19);
  Delta delta;
  delta.from = Sha256::Of(base);
  delta.to = Sha256::Of(target);
  delta.parts = {{Sha256::Of(more_patch), more_patch.size()}};
  delta.patches = {{{{5, 0, 1000}}, {3}, 0, 0, static_cast<uint32_t>(patch.size())},
                   {{}, {2}, 1, 0, static_cast<uint32_t>(more_patch.size())}};
  WriteSample("compat/v1/delta", EncodeDeltaHead(delta, base, target, false) + patch);

  const std::string object = ReadSample("compat/v1/delta");
  const auto size = DeltaHeadSize(std::string_view(object).substr(0, kDeltaPreludeSize));
  ASSERT_TRUE(size.ok()) << size.status();
  const auto head = DecodeDeltaHead(std::string_view(object).substr(0, *size));
  ASSERT_TRUE(head.ok()) << head.status();
  EXPECT_EQ(head->delta.from.Hex(), "5b7bd6698ccd8fd9f351025f2f8402071fa7c3f01c78628682a49f85911251f4");
  EXPECT_EQ(head->delta.to, delta.to);
  ASSERT_EQ(head->delta.parts.size(), 1u);
  ASSERT_EQ(head->delta.patches.size(), 2u);
  EXPECT_EQ(head->delta.patches[0].base, delta.patches[0].base);
  EXPECT_EQ(head->delta.patches[0].chunks, delta.patches[0].chunks);
  EXPECT_EQ(head->delta.patches[1].part, 1u);
  const auto canonical = ApplyManifestPatch(*head, ReadSample("compat/v1/manifest"));
  ASSERT_TRUE(canonical.ok()) << canonical.status();
  EXPECT_EQ(*canonical, target);
  EXPECT_TRUE(CheckManifest(*head, *canonical).ok());
  EXPECT_TRUE(CheckDelta(head->delta, SampleManifest(), manifest).ok());
  std::string decoded(1000, '\0');
  const std::string_view stored = std::string_view(object).substr(*size);
  ASSERT_EQ(stored.size(), head->delta.patches[0].stored_size);
  ASSERT_TRUE(PatchDecoder().Decode(old, stored, decoded.data(), decoded.size()).ok());
  EXPECT_EQ(Sha256::Of(decoded), manifest.chunks[3].digest);
}

TEST(GoldenTest, DeltasWithoutDigestsAreStillRead) {
  const std::string base = EncodeManifest(SampleManifest());
  Manifest manifest = SampleManifest();
  manifest.chunks[3].digest = SampleDigest(100);
  const std::string target = EncodeManifest(manifest);
  Delta delta;
  delta.from = Sha256::Of(base);
  delta.to = Sha256::Of(target);
  delta.patches = {{{{5, 0, 1000}}, {3}, 0, 0, 20}};
  WriteSample("compat/v1/delta-head-without-digests", EncodeDeltaHead(delta, base, target, true));

  const std::string bytes = ReadSample("compat/v1/delta-head-without-digests");
  const auto head = DecodeDeltaHead(bytes);
  ASSERT_TRUE(head.ok()) << head.status();
  EXPECT_TRUE(head->leaves_out_digests);
  EXPECT_EQ(head->delta, delta);
  auto canonical = ApplyManifestPatch(*head, base);
  ASSERT_TRUE(canonical.ok()) << canonical.status();
  const size_t at = FindDigestColumn(*canonical)->offset + 3 * Digest::kSize;
  EXPECT_EQ(canonical->substr(at, Digest::kSize), std::string(Digest::kSize, '\0'));
  canonical->replace(at, Digest::kSize, SampleDigest(100).bytes());
  EXPECT_TRUE(CheckManifest(*head, *canonical).ok());
}

TEST(GoldenTest, FilesAreCutWhereTheyWere) {
  const std::string data = SeededSequence(1).Bytes(3000000);
  std::string cuts;
  Chunker chunker;
  for (std::string_view rest = data; !rest.empty();) {
    const size_t size = chunker.NextCut(rest, true);
    cuts += fmt::format("{}\n", size);
    rest.remove_prefix(size);
  }
  ExpectSameBytes("chunk-sizes", cuts);
}

}  // namespace
}  // namespace aetherfs
