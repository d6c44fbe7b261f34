#include "aetherfs/format/record.h"

#include "aetherfs/base/sha256.h"
#include "aetherfs/base/status.h"
#include "aetherfs/record/v1/record.pb.h"
#include "gmock/gmock.h"
#include "google/protobuf/util/message_differencer.h"

namespace aetherfs {
namespace {

using ::testing::HasSubstr;

record::v1::JournalEntry SampleEntry() {
  record::v1::JournalEntry entry;
  entry.set_seq(7);
  entry.set_nonce("0123456789abcdef");
  for (const char* label : {"b", "a", "d", "c"}) (*entry.mutable_publish()->mutable_labels())[label] = "x";
  return entry;
}

TEST(RecordTest, AMessageComesBack) {
  const std::string record = EncodeRecord(RecordKind::kJournalEntry, SampleEntry());
  record::v1::JournalEntry entry;
  ASSERT_TRUE(DecodeRecord(RecordKind::kJournalEntry, record, &entry).ok());
  EXPECT_TRUE(google::protobuf::util::MessageDifferencer::Equals(entry, SampleEntry()));
}

TEST(RecordTest, AnEmptyMessageIsARecordToo) {
  const std::string record = EncodeRecord(RecordKind::kCheckpoint, record::v1::Checkpoint());
  EXPECT_EQ(record.size(), 16u + 32u);
  record::v1::Checkpoint checkpoint;
  EXPECT_TRUE(DecodeRecord(RecordKind::kCheckpoint, record, &checkpoint).ok());
}

TEST(RecordTest, EqualMessagesAreEqualRecords) {
  record::v1::JournalEntry other;
  for (const char* label : {"c", "d", "a", "b"}) (*other.mutable_publish()->mutable_labels())[label] = "x";
  other.set_nonce("0123456789abcdef");
  other.set_seq(7);
  EXPECT_EQ(EncodeRecord(RecordKind::kJournalEntry, other),
            EncodeRecord(RecordKind::kJournalEntry, SampleEntry()));
}

TEST(RecordTest, EveryPrefixAndEveryFlippedBitIsRefused) {
  const std::string record = EncodeRecord(RecordKind::kJournalEntry, SampleEntry());
  record::v1::JournalEntry entry;
  for (size_t size = 0; size < record.size(); ++size) {
    EXPECT_EQ(DecodeRecord(RecordKind::kJournalEntry, record.substr(0, size), &entry).code(),
              absl::StatusCode::kDataLoss);
  }
  EXPECT_FALSE(DecodeRecord(RecordKind::kJournalEntry, record + "x", &entry).ok());
  for (size_t bit = 0; bit < 8 * record.size(); ++bit) {
    std::string flipped = record;
    flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << bit % 8));
    EXPECT_FALSE(DecodeRecord(RecordKind::kJournalEntry, flipped, &entry).ok()) << bit;
  }
}

TEST(RecordTest, ARecordOfAnotherKindIsNamed) {
  const std::string record = EncodeRecord(RecordKind::kJournalEntry, SampleEntry());
  record::v1::Checkpoint checkpoint;
  const absl::Status status = DecodeRecord(RecordKind::kCheckpoint, record, &checkpoint);
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(Message(status), "reading a checkpoint: it is malformed: it is a journal entry");
}

TEST(RecordTest, MoreThanTheLargestRecordIsRefused) {
  record::v1::JournalEntry entry;
  const absl::Status status =
      DecodeRecord(RecordKind::kJournalEntry, std::string(kMaxRecordSize + 1, 'x'), &entry);
  EXPECT_THAT(std::string(Message(status)), HasSubstr("too large"));
}

}  // namespace
}  // namespace aetherfs
