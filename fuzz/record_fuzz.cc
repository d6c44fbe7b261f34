// The input as a record, its checksum put right first, and as the payload of one.

#include <string>

#include "aetherfs/base/sha256.h"
#include "aetherfs/format/codec.h"
#include "aetherfs/format/record.h"
#include "aetherfs/record/v1/record.pb.h"
#include "fuzz/fuzz.h"

using namespace aetherfs;

namespace {

std::string Sealed(std::string_view bytes) { return std::string(bytes).append(Sha256::Of(bytes).bytes()); }

template <typename Message>
void Try(RecordKind kind, const std::string& record) {
  Message message;
  const absl::Status status = DecodeRecord(kind, record, &message);
  if (!status.ok()) {
    FUZZ_CHECK(status.code() == absl::StatusCode::kDataLoss);
    return;
  }
  // A second time round nothing changes any more (fields that are unknown are kept).
  const std::string again = EncodeRecord(kind, message);
  Message decoded;
  FUZZ_CHECK(DecodeRecord(kind, again, &decoded).ok());
  FUZZ_CHECK(EncodeRecord(kind, decoded) == again);
}

}  // namespace

int LLVMFuzzerTestOneInput(const unsigned char* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const std::string record =
      size < Digest::kSize ? std::string(bytes) : Sealed(bytes.substr(0, size - Digest::kSize));
  Try<record::v1::JournalEntry>(RecordKind::kJournalEntry, record);
  Try<record::v1::Checkpoint>(RecordKind::kCheckpoint, record);
  for (const RecordKind kind : {RecordKind::kJournalEntry, RecordKind::kCheckpoint}) {
    Writer writer;
    writer.Bytes("AFSR\1");
    writer.Byte(static_cast<uint8_t>(kind));
    writer.Bytes(std::string_view("\0\0", 2));
    writer.Fixed64(size);
    writer.Bytes(bytes);
    Try<record::v1::JournalEntry>(kind, Sealed(writer.bytes()));
    Try<record::v1::Checkpoint>(kind, Sealed(writer.bytes()));
  }
  return 0;
}
