#include "aetherfs/cache/part_file.h"

#include <xxhash.h>

#include <utility>

#include "aetherfs/format/codec.h"

namespace aetherfs {
namespace {

constexpr std::string_view kMagic = "AFSP";
constexpr uint8_t kVersion = 1;
constexpr std::string_view kReserved("\0\0\0", 3);

}  // namespace

std::string EncodePartFileHeader(const PartFileHeader& header) {
  Writer writer;
  writer.Bytes(kMagic);
  writer.Byte(kVersion);
  writer.Bytes(kReserved);
  writer.Fixed64(header.object_size);
  writer.Fixed64(header.key.index);
  writer.Fixed64(header.checksum);
  writer.Varint(header.key.object_key.size());
  writer.Bytes(header.key.object_key);
  writer.Fixed64(XXH3_64bits(writer.bytes().data(), writer.bytes().size()));
  return std::move(writer).Take();
}

size_t PartFileHeaderSize(const PartKey& key) {
  return 32 + VarintSize(key.object_key.size()) + key.object_key.size() + sizeof(uint64_t);
}

absl::StatusOr<DecodedPartFileHeader> DecodePartFileHeader(std::string_view bytes) {
  Reader reader(bytes);
  DecodedPartFileHeader decoded;
  PartFileHeader& header = decoded.header;
  if (reader.Bytes(kMagic.size()) != kMagic) reader.Fail("it is no file of a part");
  if (reader.Byte() != kVersion) reader.Fail("it has an unknown version");
  if (reader.Bytes(kReserved.size()) != kReserved) reader.Fail("reserved bytes are set");
  header.object_size = reader.Fixed64();
  header.key.index = reader.Fixed64();
  header.checksum = reader.Fixed64();
  const uint64_t key_size = reader.Varint(1, kMaxPartFileKey, "the object's key is empty or too long");
  header.key.object_key = reader.Bytes(key_size);
  const size_t covered = bytes.size() - reader.remaining();
  const uint64_t checksum = reader.Fixed64();
  if (reader.ok() && checksum != XXH3_64bits(bytes.data(), covered)) {
    reader.Fail("the header fails its checksum");
  }
  // What the checksum covers may yet be nonsense.
  if (header.object_size == 0 || header.key.index > (header.object_size - 1) / kPartSize) {
    reader.Fail("the object has no such part");
  }
  if (!reader.ok()) return absl::DataLossError(reader.problem());
  decoded.size = covered + sizeof(uint64_t);
  return decoded;
}

}  // namespace aetherfs
