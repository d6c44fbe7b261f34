#include "aetherfs/rpc/raw_messages.h"

#include <algorithm>
#include <string>
#include <utility>

#include "aetherfs/base/status.h"
#include "google/protobuf/io/coded_stream.h"

namespace aetherfs {
namespace {

using google::protobuf::io::CodedOutputStream;

// Wire types of protobuf.
constexpr uint32_t kVarint = 0;
constexpr uint32_t kFixed64 = 1;
constexpr uint32_t kLengthDelimited = 2;
constexpr uint32_t kFixed32 = 5;

constexpr uint32_t Key(uint32_t field, uint32_t wire_type) { return field << 3 | wire_type; }

constexpr uint32_t kUploadHeader = Key(1, kLengthDelimited);
constexpr uint32_t kUploadData = Key(2, kLengthDelimited);
constexpr uint32_t kDownloadData = Key(1, kLengthDelimited);
constexpr uint32_t kDownloadObjectSize = Key(2, kVarint);

// Reads protobuf's wire format from the slices of a message. Every read says whether the message had it.
class WireReader {
 public:
  explicit WireReader(const grpc::ByteBuffer& buffer) {
    valid_ = !buffer.Valid() || buffer.Dump(&slices_).ok();
    for (const grpc::Slice& slice : slices_) left_ += slice.size();
  }

  bool valid() const { return valid_; }
  size_t left() const { return left_; }

  bool ReadVarint(uint64_t* value) {
    *value = 0;
    for (int shift = 0; shift < 70; shift += 7) {
      uint8_t byte;
      if (!ReadByte(&byte)) return false;
      if (shift < 64) *value |= static_cast<uint64_t>(byte & 0x7F) << shift;
      if ((byte & 0x80) == 0) return true;
    }
    return false;
  }

  // `visit(slice index, offset in it, size)` for every piece of the next `size` bytes.
  template <typename Visit>
  bool Take(uint64_t size, Visit visit) {
    if (size > left_) return false;
    while (size > 0) {
      const size_t here = slices_[index_].size() - offset_;
      const size_t taken = std::min<uint64_t>(here, size);
      if (taken > 0) visit(slices_[index_], offset_, taken);
      Advance(taken);
      size -= taken;
    }
    return true;
  }

  bool ReadString(std::string* bytes) {
    uint64_t size;
    if (!ReadVarint(&size) || size > left_) return false;
    bytes->clear();
    bytes->reserve(size);
    return Take(size, [bytes](const grpc::Slice& slice, size_t offset, size_t taken) {
      bytes->append(reinterpret_cast<const char*>(slice.begin()) + offset, taken);
    });
  }

  bool ReadSlices(std::vector<grpc::Slice>* data, size_t* data_size) {
    uint64_t size;
    if (!ReadVarint(&size) || size > left_) return false;
    data->clear();
    *data_size = size;
    return Take(size, [data](const grpc::Slice& slice, size_t offset, size_t taken) {
      data->push_back(taken == slice.size() ? slice : slice.sub(offset, offset + taken));
    });
  }

  bool Skip(uint32_t wire_type) {
    const auto ignore = [](const grpc::Slice&, size_t, size_t) {};
    uint64_t number;
    switch (wire_type) {
      case kVarint:
        return ReadVarint(&number);
      case kFixed64:
        return Take(8, ignore);
      case kLengthDelimited:
        return ReadVarint(&number) && Take(number, ignore);
      case kFixed32:
        return Take(4, ignore);
      default:  // groups do not occur in proto3
        return false;
    }
  }

 private:
  bool ReadByte(uint8_t* byte) {
    return Take(1,
                [byte](const grpc::Slice& slice, size_t offset, size_t) { *byte = slice.begin()[offset]; });
  }

  void Advance(size_t taken) {
    offset_ += taken;
    left_ -= taken;
    while (index_ < slices_.size() && offset_ == slices_[index_].size()) {
      ++index_;
      offset_ = 0;
    }
  }

  std::vector<grpc::Slice> slices_;
  bool valid_ = true;
  size_t index_ = 0;   // of the current slice
  size_t offset_ = 0;  // in it
  size_t left_ = 0;
};

// A slice with the key and length (and nothing else) of a length-delimited field.
grpc::Slice FieldStart(std::string prefix, uint32_t key, size_t size) {
  uint8_t start[20];
  uint8_t* end = CodedOutputStream::WriteVarint32ToArray(key, start);
  end = CodedOutputStream::WriteVarint64ToArray(size, end);
  prefix.append(reinterpret_cast<const char*>(start), static_cast<size_t>(end - start));
  return grpc::Slice(prefix);
}

grpc::ByteBuffer WithData(std::string prefix, uint32_t key, std::span<const grpc::Slice> data) {
  size_t size = 0;
  for (const grpc::Slice& slice : data) size += slice.size();
  std::vector<grpc::Slice> slices;
  slices.reserve(data.size() + 1);
  slices.push_back(FieldStart(std::move(prefix), key, size));
  slices.insert(slices.end(), data.begin(), data.end());
  return grpc::ByteBuffer(slices.data(), slices.size());
}

}  // namespace

grpc::Slice SliceOf(std::shared_ptr<const void> owner, std::string_view bytes) {
  auto* held = new std::shared_ptr<const void>(std::move(owner));
  return grpc::Slice(
      const_cast<char*>(bytes.data()), bytes.size(),
      [](void* user_data) { delete static_cast<std::shared_ptr<const void>*>(user_data); }, held);
}

std::string_view BytesOf(const grpc::Slice& slice) {
  return {reinterpret_cast<const char*>(slice.begin()), slice.size()};
}

grpc::ByteBuffer EncodeUploadHeader(const block::v1::UploadHeader& header) {
  const std::string bytes = header.SerializeAsString();
  const grpc::Slice slices[] = {FieldStart("", kUploadHeader, bytes.size()), grpc::Slice(bytes)};
  return grpc::ByteBuffer(slices, 2);
}

grpc::ByteBuffer EncodeUploadData(std::span<const grpc::Slice> data) {
  return WithData("", kUploadData, data);
}

absl::StatusOr<UploadPart> DecodeUploadRequest(const grpc::ByteBuffer& message) {
  const absl::Status malformed = absl::InvalidArgumentError("malformed UploadRequest");
  WireReader reader(message);
  if (!reader.valid()) return malformed;
  UploadPart part;
  while (reader.left() > 0) {
    uint64_t key;
    if (!reader.ReadVarint(&key)) return malformed;
    if (key == kUploadHeader) {
      std::string bytes;
      if (!reader.ReadString(&bytes)) return malformed;
      block::v1::UploadHeader header;
      if (!header.ParseFromString(bytes)) return malformed;
      part.data.clear();
      part.data_size = 0;
      if (part.header.has_value()) {
        part.header->MergeFrom(header);
      } else {
        part.header = std::move(header);
      }
    } else if (key == kUploadData) {
      part.header.reset();
      if (!reader.ReadSlices(&part.data, &part.data_size)) return malformed;
    } else if (key >> 3 == 0 || !reader.Skip(key & 7)) {
      return malformed;
    }
  }
  return part;
}

grpc::ByteBuffer EncodeDownloadResponse(uint64_t object_size, std::span<const grpc::Slice> data) {
  std::string size_field;
  if (object_size > 0) {
    uint8_t bytes[20];
    uint8_t* end = CodedOutputStream::WriteVarint32ToArray(kDownloadObjectSize, bytes);
    end = CodedOutputStream::WriteVarint64ToArray(object_size, end);
    size_field.assign(reinterpret_cast<const char*>(bytes), static_cast<size_t>(end - bytes));
  }
  if (data.empty()) {
    const grpc::Slice only(size_field);
    return grpc::ByteBuffer(&only, 1);
  }
  return WithData(std::move(size_field), kDownloadData, data);
}

absl::StatusOr<DownloadPart> DecodeDownloadResponse(const grpc::ByteBuffer& message) {
  const absl::Status malformed = absl::DataLossError("malformed DownloadResponse");
  WireReader reader(message);
  if (!reader.valid()) return malformed;
  DownloadPart part;
  while (reader.left() > 0) {
    uint64_t key;
    if (!reader.ReadVarint(&key)) return malformed;
    if (key == kDownloadData) {
      if (!reader.ReadSlices(&part.data, &part.data_size)) return malformed;
    } else if (key == kDownloadObjectSize) {
      if (!reader.ReadVarint(&part.object_size)) return malformed;
    } else if (key >> 3 == 0 || !reader.Skip(key & 7)) {
      return malformed;
    }
  }
  return part;
}

grpc::ByteBuffer SerializeMessage(const google::protobuf::MessageLite& message) {
  const size_t size = message.ByteSizeLong();
  grpc::Slice slice(size);
  message.SerializeWithCachedSizesToArray(const_cast<uint8_t*>(slice.begin()));
  return grpc::ByteBuffer(&slice, 1);
}

absl::Status ParseMessage(const grpc::ByteBuffer& buffer, google::protobuf::MessageLite* message) {
  grpc::Slice slice;
  bool whole = true;
  if (buffer.Valid() && buffer.Length() > 0) whole = buffer.DumpToSingleSlice(&slice).ok();
  if (!whole || !message->ParseFromArray(slice.begin(), static_cast<int>(slice.size()))) {
    return absl::InvalidArgumentError("malformed " + message->GetTypeName());
  }
  return absl::OkStatus();
}

}  // namespace aetherfs
