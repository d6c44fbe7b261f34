#include "aetherfs/rpc/raw_messages.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>

namespace aetherfs {
namespace {

std::string Flatten(const grpc::ByteBuffer& buffer) {
  std::vector<grpc::Slice> slices;
  EXPECT_TRUE(buffer.Dump(&slices).ok());
  std::string bytes;
  for (const grpc::Slice& slice : slices) bytes += BytesOf(slice);
  return bytes;
}

std::string Concat(const std::vector<grpc::Slice>& slices) {
  std::string bytes;
  for (const grpc::Slice& slice : slices) bytes += BytesOf(slice);
  return bytes;
}

// A buffer of `bytes` in slices of `step` bytes.
grpc::ByteBuffer Cut(const std::string& bytes, size_t step) {
  std::vector<grpc::Slice> slices;
  for (size_t i = 0; i < bytes.size(); i += step) slices.emplace_back(bytes.substr(i, step));
  return grpc::ByteBuffer(slices.data(), slices.size());
}

block::v1::UploadHeader SomeHeader() {
  block::v1::UploadHeader header;
  header.set_dataset("a/b");
  header.set_kind(block::v1::OBJECT_KIND_BLOCK);
  header.set_digest("sha256:00");
  header.set_size(12345678901);
  return header;
}

TEST(RawMessagesTest, UploadHeaderIsWhatProtobufReads) {
  block::v1::UploadRequest request;
  ASSERT_TRUE(request.ParseFromString(Flatten(EncodeUploadHeader(SomeHeader()))));
  EXPECT_EQ(request.header().SerializeAsString(), SomeHeader().SerializeAsString());
}

TEST(RawMessagesTest, UploadDataIsWhatProtobufReads) {
  const grpc::Slice pieces[] = {grpc::Slice(std::string(300, 'a')), grpc::Slice(std::string("b"))};
  block::v1::UploadRequest request;
  ASSERT_TRUE(request.ParseFromString(Flatten(EncodeUploadData(pieces))));
  EXPECT_EQ(request.data(), std::string(300, 'a') + "b");
}

TEST(RawMessagesTest, DecodesWhatProtobufWroteHoweverItIsCut) {
  block::v1::UploadRequest request;
  *request.mutable_header() = SomeHeader();
  block::v1::UploadRequest data;
  data.set_data(std::string(1000, 'x'));
  for (size_t step : {1, 2, 7, 4096}) {
    absl::StatusOr<UploadPart> part = DecodeUploadRequest(Cut(request.SerializeAsString(), step));
    ASSERT_TRUE(part.ok());
    ASSERT_TRUE(part->header.has_value());
    EXPECT_EQ(part->header->SerializeAsString(), SomeHeader().SerializeAsString());
    part = DecodeUploadRequest(Cut(data.SerializeAsString(), step));
    ASSERT_TRUE(part.ok());
    EXPECT_FALSE(part->header.has_value());
    EXPECT_EQ(part->data_size, 1000u);
    EXPECT_EQ(Concat(part->data), data.data());
  }
}

TEST(RawMessagesTest, DownloadResponsesRoundTripThroughProtobuf) {
  const grpc::Slice piece(std::string(70000, 'y'));
  block::v1::DownloadResponse response;
  ASSERT_TRUE(response.ParseFromString(Flatten(EncodeDownloadResponse(99, {&piece, 1}))));
  EXPECT_EQ(response.object_size(), 99u);
  EXPECT_EQ(response.data().size(), 70000u);
  ASSERT_TRUE(response.ParseFromString(Flatten(EncodeDownloadResponse(7, {}))));
  EXPECT_EQ(response.object_size(), 7u);
  EXPECT_TRUE(response.data().empty());

  response.set_data("zz");
  const absl::StatusOr<DownloadPart> part = DecodeDownloadResponse(Cut(response.SerializeAsString(), 1));
  ASSERT_TRUE(part.ok());
  EXPECT_EQ(part->object_size, 7u);
  EXPECT_EQ(Concat(part->data), "zz");
}

TEST(RawMessagesTest, UnknownFieldsAreSkippedAndTheLastOfAOneofWins) {
  block::v1::UploadRequest request;
  *request.mutable_header() = SomeHeader();
  std::string bytes = request.SerializeAsString();
  bytes += std::string("\x78\x05", 2);               // field 15, varint
  bytes += std::string("\x79") + std::string(8, 1);  // field 15, 64 bits
  bytes += std::string("\x7d") + std::string(4, 1);  // field 15, 32 bits
  bytes += std::string("\x7a\x02hi");                // field 15, bytes
  request.set_data("last");
  bytes += request.SerializeAsString();
  const absl::StatusOr<UploadPart> part = DecodeUploadRequest(Cut(bytes, 3));
  ASSERT_TRUE(part.ok());
  EXPECT_FALSE(part->header.has_value());
  EXPECT_EQ(Concat(part->data), "last");
}

TEST(RawMessagesTest, MalformedMessagesAreRefused) {
  block::v1::UploadRequest data;
  data.set_data("0123456789");
  const std::string whole = data.SerializeAsString();
  for (size_t size = 1; size < whole.size(); ++size) {
    EXPECT_EQ(DecodeUploadRequest(Cut(whole.substr(0, size), 4)).status().code(),
              absl::StatusCode::kInvalidArgument);
  }
  const std::string endless(11, '\xff');
  EXPECT_FALSE(DecodeUploadRequest(Cut(endless, 4)).ok());
  EXPECT_FALSE(DecodeUploadRequest(Cut(std::string("\x02\x00", 2), 4)).ok());  // field 0
  EXPECT_FALSE(DecodeUploadRequest(Cut("\x0b", 4)).ok());                      // a group
  // A length of almost 2^64.
  EXPECT_FALSE(DecodeDownloadResponse(Cut("\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 4)).ok());
  EXPECT_TRUE(DecodeUploadRequest(grpc::ByteBuffer()).ok());
}

TEST(RawMessagesTest, SliceKeepsItsOwnerAlive) {
  auto owner = std::make_shared<std::string>("bytes");
  std::weak_ptr<std::string> watch = owner;
  {
    const grpc::Slice slice = SliceOf(owner, *owner);
    owner.reset();
    EXPECT_EQ(BytesOf(slice), "bytes");
  }
  EXPECT_TRUE(watch.expired());
}

TEST(RawMessagesTest, MessagesRoundTrip) {
  block::v1::UploadHeader header;
  ASSERT_TRUE(ParseMessage(SerializeMessage(SomeHeader()), &header).ok());
  EXPECT_EQ(header.dataset(), "a/b");
  ASSERT_TRUE(ParseMessage(SerializeMessage(block::v1::UploadHeader()), &header).ok());
  EXPECT_EQ(header.dataset(), "");
  EXPECT_EQ(ParseMessage(Cut("\x0a\x7f", 1), &header).code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace aetherfs
