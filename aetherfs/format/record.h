#ifndef AETHERFS_FORMAT_RECORD_H_
#define AETHERFS_FORMAT_RECORD_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "google/protobuf/message_lite.h"

namespace aetherfs {

// Records are protobuf messages of aetherfs/record/v1/record.proto in an envelope: magic "AFSR", version,
// kind, length, payload, SHA-256 of all before it (docs/formats/record.md).
enum class RecordKind : uint8_t {
  kJournalEntry = 1,
  kCheckpoint = 2,
  kAgentState = 3,
  kPublication = 4,
  kStatCache = 5,
  kStaging = 6,
};

inline constexpr size_t kMaxRecordSize = 64 * 1024 * 1024;

std::string EncodeRecord(RecordKind kind, const google::protobuf::MessageLite& payload);
// Fills `payload`. DATA_LOSS, saying what is wrong, if it is not a whole record of that kind.
absl::Status DecodeRecord(RecordKind kind, std::string_view record, google::protobuf::MessageLite* payload);

}  // namespace aetherfs

#endif  // AETHERFS_FORMAT_RECORD_H_
