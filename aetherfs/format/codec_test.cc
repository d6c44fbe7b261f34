#include "aetherfs/format/codec.h"

#include <limits>

#include "gmock/gmock.h"

namespace aetherfs {
namespace {

std::string VarintBytes(uint64_t value) {
  Writer writer;
  writer.Varint(value);
  return std::move(writer).Take();
}

TEST(CodecTest, VarintsComeBackInAsFewBytesAsPossible) {
  for (int bit = 0; bit < 64; ++bit) {
    for (const uint64_t value : {uint64_t{1} << bit, (uint64_t{1} << bit) - 1, ~uint64_t{0} >> bit}) {
      const std::string bytes = VarintBytes(value);
      EXPECT_EQ(bytes.size(), VarintSize(value));
      Reader reader(bytes);
      EXPECT_EQ(reader.Varint(), value);
      EXPECT_TRUE(reader.ok());
      EXPECT_EQ(reader.remaining(), 0u);
    }
  }
  EXPECT_EQ(VarintBytes(127).size(), 1u);
  EXPECT_EQ(VarintBytes(128).size(), 2u);
  EXPECT_EQ(VarintBytes(~uint64_t{0}).size(), 10u);
}

TEST(CodecTest, LongerVarintsThanNeededAreRefused) {
  for (const std::string& bytes : {std::string("\x80\x00", 2), std::string("\xff\x80\x00", 3)}) {
    Reader reader(bytes);
    EXPECT_EQ(reader.Varint(), 0u);
    EXPECT_STREQ(reader.problem(), "a number is longer than it need be");
  }
}

TEST(CodecTest, VarintsBeyond64BitsAreRefused) {
  const std::string nine(9, '\xff');
  for (const std::string& bytes : {nine + "\x02", nine + "\x81\x01", std::string(20, '\xff')}) {
    Reader reader(bytes);
    EXPECT_EQ(reader.Varint(), 0u);
    EXPECT_STREQ(reader.problem(), "a number has more than 64 bits");
  }
}

TEST(CodecTest, ZigZagMapsSmallMagnitudesToSmallNumbers) {
  EXPECT_EQ(ZigZag(0), 0u);
  EXPECT_EQ(ZigZag(-1), 1u);
  EXPECT_EQ(ZigZag(1), 2u);
  for (const int64_t value : {INT64_MIN, INT64_MAX, int64_t{-12345}, int64_t{0}}) {
    EXPECT_EQ(UnZigZag(ZigZag(value)), value);
  }
}

TEST(CodecTest, FixedNumbersAreLittleEndian) {
  Writer writer;
  writer.Fixed64(0x0102030405060708);
  EXPECT_EQ(writer.bytes(), "\x08\x07\x06\x05\x04\x03\x02\x01");
  Reader reader(writer.bytes());
  EXPECT_EQ(reader.Fixed64(), 0x0102030405060708u);
}

TEST(CodecTest, TheFirstFailureSticks) {
  const std::string bytes = "\x05\x01";
  Reader reader(bytes);
  EXPECT_EQ(reader.Varint(6, 7, "out of range"), 0u);
  EXPECT_FALSE(reader.ok());
  EXPECT_EQ(reader.Byte(), 0);
  EXPECT_EQ(reader.Bytes(1), "");
  EXPECT_EQ(reader.ReadDigest(), Digest());
  EXPECT_EQ(reader.Fixed64(), 0u);
  EXPECT_EQ(reader.remaining(), 0u);
  EXPECT_STREQ(reader.problem(), "out of range");
}

TEST(CodecTest, ACountIsNeverLargerThanWhatCanFollow) {
  const std::string two_items = std::string("\x02", 1) + std::string(8, 'x');
  EXPECT_EQ(Reader(two_items).Count(4), 2u);
  Reader reader(two_items);
  EXPECT_EQ(reader.Count(5), 0u);
  EXPECT_FALSE(reader.ok());
  const std::string huge = VarintBytes(~uint64_t{0}) + "xxxx";
  EXPECT_EQ(Reader(huge).Count(1), 0u);
}

}  // namespace
}  // namespace aetherfs
