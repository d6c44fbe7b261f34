#include "aetherfs/format/block.h"

#include <numeric>

#include "aetherfs/base/sha256.h"
#include "aetherfs/base/status.h"
#include "aetherfs/format/testing/samples.h"
#include "gmock/gmock.h"

namespace aetherfs {
namespace {

using ::testing::HasSubstr;

TEST(FrameTest, WhatCompressesIsSmallerAndComesBack) {
  FrameEncoder encoder(3);
  FrameDecoder decoder;
  for (const size_t size : {100u, 5000u, 262144u}) {
    std::string raw;
    while (raw.size() < size) raw += "chunk " + std::to_string(raw.size()) + "; ";
    raw.resize(size);
    const EncodedFrame frame = encoder.Encode(raw);
    EXPECT_EQ(frame.codec, FrameCodec::kZstd);
    EXPECT_LT(frame.stored.size(), raw.size() - raw.size() / 32);
    std::string decoded(size, '\0');
    EXPECT_TRUE(decoder.Decode(frame.codec, frame.stored, decoded.data(), size).ok());
    EXPECT_EQ(decoded, raw);
  }
}

TEST(FrameTest, WhatDoesNotCompressIsStoredRaw) {
  FrameEncoder encoder(3);
  FrameDecoder decoder;
  for (const size_t size : {1u, 2u, 40u, 262144u}) {
    const std::string raw = SeededSequence(size).Bytes(size);
    const EncodedFrame frame = encoder.Encode(raw);
    EXPECT_EQ(frame.codec, FrameCodec::kRaw);
    EXPECT_TRUE(frame.stored.empty());
    std::string decoded(size, '\0');
    EXPECT_TRUE(decoder.Decode(frame.codec, raw, decoded.data(), size).ok());
    EXPECT_EQ(decoded, raw);
  }
}

TEST(FrameTest, EverythingElseIsDataLoss) {
  FrameEncoder encoder(3);
  FrameDecoder decoder;
  const std::string raw(1000, 'x');
  const std::string stored = encoder.Encode(raw).stored;
  std::string room(kMaxFrameSize + 1, '\0');
  const auto code = [&](FrameCodec codec, std::string_view bytes, size_t size) {
    return decoder.Decode(codec, bytes, room.data(), size).code();
  };
  EXPECT_EQ(code(FrameCodec::kZstd, stored, 1000), absl::StatusCode::kOk);
  EXPECT_EQ(code(FrameCodec::kZstd, stored, 999), absl::StatusCode::kDataLoss);
  EXPECT_EQ(code(FrameCodec::kZstd, stored, 1001), absl::StatusCode::kDataLoss);
  EXPECT_EQ(code(FrameCodec::kZstd, stored, 0), absl::StatusCode::kDataLoss);
  EXPECT_EQ(code(FrameCodec::kZstd, stored + "x", 1000), absl::StatusCode::kDataLoss);
  EXPECT_EQ(code(FrameCodec::kZstd, stored + stored, 2000), absl::StatusCode::kDataLoss);
  EXPECT_EQ(code(FrameCodec::kZstd, stored.substr(1), 1000), absl::StatusCode::kDataLoss);
  EXPECT_EQ(code(FrameCodec::kZstd, "", 1000), absl::StatusCode::kDataLoss);
  EXPECT_EQ(code(FrameCodec::kRaw, stored, 1000), absl::StatusCode::kDataLoss);
  EXPECT_EQ(code(FrameCodec::kRaw, "", 0), absl::StatusCode::kDataLoss);
  EXPECT_EQ(code(FrameCodec::kRaw, room, room.size()), absl::StatusCode::kDataLoss);
  EXPECT_EQ(code(static_cast<FrameCodec>(2), stored, 1000), absl::StatusCode::kDataLoss);
  for (size_t size = 0; size < stored.size(); ++size) {
    EXPECT_EQ(code(FrameCodec::kZstd, stored.substr(0, size), 1000), absl::StatusCode::kDataLoss);
  }
  EXPECT_EQ(code(FrameCodec::kZstd, stored, 1000), absl::StatusCode::kOk);  // still fit for use
}

// What was put in, to compare with what the index says.
struct Built {
  std::string block;
  BlockIndex index;
};
Built BuildBlock(uint64_t seed) {
  SeededSequence random(seed);
  Built built;
  built.index.epoch = random.Next() >> random.Below(64);
  BlockBuilder builder(built.index.epoch, 100000);
  EXPECT_TRUE(builder.empty());
  for (size_t f = 1 + random.Below(200); f > 0; --f) {
    BlockIndex::Frame frame;
    for (size_t c = 1 + random.Below(5); c > 0; --c) {
      frame.chunks.push_back({SampleDigest(random.Next()), static_cast<uint32_t>(1 + random.Below(400))});
      frame.raw_size += frame.chunks.back().size;
    }
    frame.stored_size = frame.raw_size;
    if (frame.raw_size > 1 && random.Below(2) == 0) {
      frame.codec = FrameCodec::kZstd;
      frame.stored_size = 1 + static_cast<uint32_t>(random.Below(frame.raw_size - 1));
    }
    frame.offset =
        builder.AddFrame(frame.codec, random.Bytes(frame.stored_size), frame.raw_size, frame.chunks);
    EXPECT_EQ(builder.size(), frame.offset + frame.stored_size);
    built.index.frames.push_back(frame);
  }
  EXPECT_FALSE(builder.empty());
  const size_t promised = builder.FinishedSize();
  built.block = std::move(builder).Finish();
  EXPECT_EQ(built.block.size(), promised);
  return built;
}

void ExpectEqual(const BlockIndex& a, const BlockIndex& b) {
  EXPECT_EQ(a.epoch, b.epoch);
  ASSERT_EQ(a.frames.size(), b.frames.size());
  for (size_t i = 0; i < a.frames.size(); ++i) {
    EXPECT_EQ(a.frames[i].offset, b.frames[i].offset);
    EXPECT_EQ(a.frames[i].stored_size, b.frames[i].stored_size);
    EXPECT_EQ(a.frames[i].raw_size, b.frames[i].raw_size);
    EXPECT_EQ(a.frames[i].codec, b.frames[i].codec);
    ASSERT_EQ(a.frames[i].chunks.size(), b.frames[i].chunks.size());
    for (size_t c = 0; c < a.frames[i].chunks.size(); ++c) {
      EXPECT_EQ(a.frames[i].chunks[c].digest, b.frames[i].chunks[c].digest);
      EXPECT_EQ(a.frames[i].chunks[c].size, b.frames[i].chunks[c].size);
    }
  }
}

TEST(BlockTest, TheIndexSaysWhatWasPutIn) {
  for (uint64_t seed = 0; seed < 50; ++seed) {
    const Built built = BuildBlock(seed);
    const auto index = DecodeBlockIndex(built.block);
    ASSERT_TRUE(index.ok()) << index.status();
    ExpectEqual(*index, built.index);
  }
}

TEST(BlockTest, TheEpochMakesAnotherBlockOfTheSameContent) {
  const auto build = [](uint64_t epoch) {
    BlockBuilder builder(epoch);
    builder.AddFrame(FrameCodec::kRaw, "abc", 3, {{SampleDigest(1), 3}});
    return Sha256::Of(std::move(builder).Finish());
  };
  EXPECT_EQ(build(1), build(1));
  EXPECT_NE(build(1), build(2));
}

TEST(BlockTest, EveryPrefixAndEveryChangedDescriptionIsRefused) {
  BlockBuilder builder(7);
  const uint64_t first = builder.size();
  builder.AddFrame(FrameCodec::kRaw, "abcdef", 6, {{SampleDigest(1), 2}, {SampleDigest(2), 4}});
  builder.AddFrame(FrameCodec::kZstd, "xy", 3, {{SampleDigest(3), 3}});
  const uint64_t frames_end = builder.size();
  const std::string block = std::move(builder).Finish();
  ASSERT_TRUE(DecodeBlockIndex(block).ok());
  for (size_t size = 0; size < block.size(); ++size) {
    EXPECT_EQ(DecodeBlockIndex(block.substr(0, size)).status().code(), absl::StatusCode::kDataLoss) << size;
  }
  EXPECT_FALSE(DecodeBlockIndex(block + "x").ok());
  for (size_t at = 0; at < block.size(); ++at) {
    std::string changed = block;
    changed[at] = static_cast<char>(changed[at] ^ 4);
    // The frames themselves are covered by the block's name and the chunks' digests.
    EXPECT_EQ(DecodeBlockIndex(changed).ok(), at >= first && at < frames_end) << at;
  }
}

TEST(BlockTest, MoreThanTheLargestBlockIsRefused) {
  const auto index = DecodeBlockIndex(std::string(kMaxBlockSize + 1, 'x'));
  EXPECT_THAT(std::string(Message(index.status())), HasSubstr("too large"));
}

}  // namespace
}  // namespace aetherfs
