#include "aetherfs/format/record.h"

#include "aetherfs/base/digest.h"
#include "aetherfs/base/sha256.h"
#include "aetherfs/format/codec.h"
#include "fmt/format.h"
#include "google/protobuf/io/coded_stream.h"
#include "google/protobuf/io/zero_copy_stream_impl_lite.h"

// docs/formats/record.md

namespace aetherfs {
namespace {

constexpr std::string_view kMagic = "AFSR";
constexpr uint8_t kVersion = 1;
constexpr std::string_view kReserved("\0\0", 2);
constexpr size_t kHeaderSize = kMagic.size() + 1 + 1 + kReserved.size() + 8;

std::string_view NameOf(RecordKind kind) {
  switch (kind) {
    case RecordKind::kJournalEntry:
      return "a journal entry";
    case RecordKind::kCheckpoint:
      return "a checkpoint";
    case RecordKind::kAgentState:
      return "the agent's state";
    case RecordKind::kPublication:
      return "a recorded publication";
    case RecordKind::kStatCache:
      return "a stat cache";
    case RecordKind::kStaging:
      return "a staging record";
  }
  return "a record";
}

absl::Status Malformed(RecordKind kind, std::string_view why) {
  return absl::DataLossError(fmt::format("reading {}: it is malformed: {}", NameOf(kind), why));
}

}  // namespace

std::string EncodeRecord(RecordKind kind, const google::protobuf::MessageLite& payload) {
  const size_t size = payload.ByteSizeLong();
  Writer header;
  header.Reserve(kHeaderSize + size + Digest::kSize);
  header.Bytes(kMagic);
  header.Byte(kVersion);
  header.Byte(static_cast<uint8_t>(kind));
  header.Bytes(kReserved);
  header.Fixed64(size);
  std::string record = std::move(header).Take();
  {
    // Deterministic: maps in the order of their keys, so that equal messages are equal records.
    google::protobuf::io::StringOutputStream stream(&record);
    google::protobuf::io::CodedOutputStream coded(&stream);
    coded.SetSerializationDeterministic(true);
    payload.SerializeWithCachedSizes(&coded);
  }
  record.append(Sha256::Of(record).bytes());
  return record;
}

absl::Status DecodeRecord(RecordKind kind, std::string_view record,
                          google::protobuf::MessageLite* payload) {
  if (record.size() > kMaxRecordSize) return Malformed(kind, "it is too large");
  Reader reader(record);
  if (reader.Bytes(kMagic.size()) != kMagic) return Malformed(kind, "it does not begin as a record");
  const uint8_t version = reader.Byte();
  const uint8_t found = reader.Byte();
  const std::string_view reserved = reader.Bytes(kReserved.size());
  const uint64_t size = reader.Fixed64();
  if (!reader.ok()) return Malformed(kind, reader.problem());
  if (version != kVersion) {
    return Malformed(kind, fmt::format("its version is {}, and only {} is known here", version, kVersion));
  }
  if (reserved != kReserved) return Malformed(kind, "reserved bytes are not zero");
  if (reader.remaining() < Digest::kSize || size != reader.remaining() - Digest::kSize) {
    return Malformed(kind, "it is cut short, or bytes are left over behind its end");
  }
  const std::string_view checked = record.substr(0, record.size() - Digest::kSize);
  if (Sha256::Of(checked).bytes() != record.substr(checked.size())) {
    return Malformed(kind, "it does not match its checksum");
  }
  if (found != static_cast<uint8_t>(kind)) {
    return Malformed(kind, fmt::format("it is {}", NameOf(static_cast<RecordKind>(found))));
  }
  if (!payload->ParseFromArray(checked.data() + kHeaderSize, static_cast<int>(size))) {
    return Malformed(kind, "its payload is no such message");
  }
  return absl::OkStatus();
}

}  // namespace aetherfs
