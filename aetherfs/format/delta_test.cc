#include "aetherfs/format/delta.h"

#include <algorithm>
#include <string>
#include <vector>

#include "aetherfs/base/sha256.h"
#include "aetherfs/base/status.h"
#include "aetherfs/format/codec.h"
#include "aetherfs/format/testing/samples.h"
#include "gmock/gmock.h"

namespace aetherfs {
namespace {

using ::testing::HasSubstr;

constexpr size_t kFlagsAt = 5;
constexpr auto kDataLoss = absl::StatusCode::kDataLoss;

// Of byte `at` of a head: all in the part whose size is fixed.
int BitsTried(size_t at) { return at < 104 ? 8 : 1; }

// With the digest that its bytes have.
std::string Sealed(std::string head) {
  head.resize(head.size() - Digest::kSize);
  return head + std::string(Sha256::Of(head).bytes());
}

absl::StatusOr<std::string> Applied(const DeltaHead& head, std::string_view base) {
  ASSIGN_OR_RETURN(std::string canonical, ApplyManifestPatch(head, base));
  RETURN_IF_ERROR(CheckManifest(head, canonical));
  return canonical;
}

// Any delta that can be: parts that are used up by their patches, ranges and chunks anywhere. Its manifest
// is bytes as a real one's digests are, so that there is room for the chunks.
struct RandomDelta {
  explicit RandomDelta(uint64_t seed) {
    SeededSequence random(seed);
    delta.from = SampleDigest(random.Next());
    delta.to = SampleDigest(random.Next());
    const auto parts = static_cast<uint32_t>(random.Below(4));
    size_t chunks = 0;
    for (uint32_t part = 0; part <= parts; ++part) {
      uint64_t offset = 0;
      for (size_t n = part == 0 ? random.Below(4) : 1 + random.Below(4); n > 0; --n) {
        DeltaPatch patch = AnyPatch(random);
        patch.part = part;
        patch.offset = offset;
        offset += patch.stored_size;
        chunks += patch.chunks.size();
        delta.patches.push_back(std::move(patch));
      }
      if (part > 0) delta.parts.push_back({SampleDigest(random.Next()), offset});
    }
    target = random.Bytes(100 + chunks * Digest::kSize);
    base = random.Bytes(random.Below(1000));
  }

  static DeltaPatch AnyPatch(SeededSequence& random) {
    DeltaPatch patch;
    patch.stored_size = static_cast<uint32_t>(1 + random.Below(random.Below(2) == 0 ? 100 : 1 << 20));
    for (size_t n = random.Below(6); n > 0; --n) {
      const bool next = !patch.base.empty() && random.Below(2) == 0;  // right behind the one before
      DeltaPatch::BaseRange range;
      range.entry = next ? patch.base.back().entry : static_cast<uint32_t>(random.Below(kMaxEntries));
      range.offset = next ? patch.base.back().offset + patch.base.back().size
                          : random.Next() >> (2 + random.Below(62));
      range.size = static_cast<uint32_t>(1 + random.Below(kMaxPatchBase / 6));
      patch.base.push_back(range);
    }
    for (size_t n = 1 + random.Below(5); n > 0; --n) {
      auto chunk = static_cast<uint32_t>(random.Next() >> (33 + random.Below(31)));
      for (size_t count = 1 + random.Below(20); count > 0; --count) patch.chunks.push_back(chunk++);
    }
    return patch;
  }

  std::string Head() const { return EncodeDeltaHead(delta, base, target, false); }

  Delta delta;
  std::string base;
  std::string target;
};

TEST(DeltaTest, WhatIsEncodedComesBack) {
  for (uint64_t seed = 0; seed < 300; ++seed) {
    SCOPED_TRACE(seed);
    RandomDelta random(seed);
    random.delta.to = Sha256::Of(random.target);
    const std::string head = random.Head();
    EXPECT_EQ(*DeltaHeadSize(std::string_view(head).substr(0, kDeltaPreludeSize)), head.size());
    const auto decoded = DecodeDeltaHead(head);
    ASSERT_TRUE(decoded.ok()) << decoded.status();
    EXPECT_EQ(decoded->delta, random.delta);
    EXPECT_EQ(decoded->target_size, random.target.size());
    const auto target = Applied(*decoded, random.base);
    ASSERT_TRUE(target.ok()) << target.status();
    EXPECT_EQ(*target, random.target);
  }
}

TEST(DeltaTest, DeltaOfAManifestAloneHasNoPatches) {
  const std::string base = EncodeManifest(SampleManifest());
  Manifest changed = SampleManifest();
  changed.entries[1].mtime_ns += 1;
  const std::string target = EncodeManifest(changed);
  Delta delta;
  delta.from = Sha256::Of(base);
  delta.to = Sha256::Of(target);
  const std::string head = EncodeDeltaHead(delta, base, target, false);
  EXPECT_LT(head.size(), 250u);
  const auto decoded = DecodeDeltaHead(head);
  ASSERT_TRUE(decoded.ok()) << decoded.status();
  EXPECT_EQ(decoded->delta, delta);
  EXPECT_EQ(*Applied(*decoded, base), target);
}

TEST(DeltaTest, DigestsCanBeLeftOut) {
  const std::string base = EncodeManifest(SampleManifest());
  Manifest changed = SampleManifest();
  changed.chunks[1].digest = SampleDigest(100);
  changed.chunks[3].digest = SampleDigest(101);
  const std::string target = EncodeManifest(changed);
  Delta delta;
  delta.from = Sha256::Of(base);
  delta.to = Sha256::Of(target);
  delta.patches.push_back({{{1, 0, 100}}, {1, 3}, 0, 0, 50});
  const std::string with = EncodeDeltaHead(delta, base, target, false);
  const std::string without = EncodeDeltaHead(delta, base, target, true);
  EXPECT_LE(without.size() + Digest::kSize, with.size());
  EXPECT_FALSE(DecodeDeltaHead(with)->leaves_out_digests);
  const auto decoded = DecodeDeltaHead(without);
  ASSERT_TRUE(decoded.ok()) << decoded.status();
  EXPECT_TRUE(decoded->leaves_out_digests);
  EXPECT_EQ(decoded->delta, delta);
  std::string canonical = *ApplyManifestPatch(*decoded, base);
  EXPECT_EQ(CheckManifest(*decoded, canonical).code(), kDataLoss);
  const auto column = FindDigestColumn(canonical);
  ASSERT_TRUE(column.ok()) << column.status();
  for (const uint32_t chunk : {1u, 3u}) {
    const size_t at = column->offset + chunk * Digest::kSize;
    EXPECT_EQ(canonical.substr(at, Digest::kSize), std::string(Digest::kSize, '\0'));
    canonical.replace(at, Digest::kSize, changed.chunks[chunk].digest.bytes());
  }
  EXPECT_TRUE(CheckManifest(*decoded, canonical).ok());
  EXPECT_EQ(canonical, target);
}

// A reader would have to believe in too many chunks.
TEST(DeltaTest, TooManyDigestsAreNotLeftOut) {
  Manifest manifest;
  manifest.blocks.push_back({SampleDigest(1), kMaxBlockSize});
  Manifest::Entry& entry = manifest.entries.emplace_back();
  entry.path = "a";
  entry.mode = 0644;
  constexpr uint32_t kChunks = kMaxDigestsLeftOut + 1;
  Delta delta;
  delta.patches.push_back({{}, {}, 0, 0, 50});
  SeededSequence random(8);
  for (uint32_t i = 0; i < kChunks; ++i) {
    if (i % 1024 == 0) {
      const uint32_t raw = std::min(kChunks - i, 1024u);
      manifest.frames.push_back({0, i, raw, raw, FrameCodec::kRaw});
    }
    manifest.chunks.push_back({*Digest::FromBytes(random.Bytes(Digest::kSize)), 1, i / 1024, i % 1024});
    manifest.chunk_refs.push_back(i);
    delta.patches[0].chunks.push_back(i);
  }
  entry.size = entry.ref_count = kChunks;
  const std::string target = EncodeManifest(manifest);
  const std::string with = EncodeDeltaHead(delta, {}, target, true);
  EXPECT_GT(with.size(), kChunks * Digest::kSize);
  auto decoded = DecodeDeltaHead(with);
  ASSERT_TRUE(decoded.ok()) << decoded.status();
  EXPECT_FALSE(decoded->leaves_out_digests);
  delta.patches[0].chunks.pop_back();
  const std::string without = EncodeDeltaHead(delta, {}, target, true);
  EXPECT_LT(without.size(), 2000u);
  decoded = DecodeDeltaHead(without);
  ASSERT_TRUE(decoded.ok()) << decoded.status();
  EXPECT_TRUE(decoded->leaves_out_digests);
}

TEST(DeltaTest, DigestsAreFoundInAnyManifest) {
  for (uint64_t seed = 0; seed < 100; ++seed) {
    const Manifest manifest = RandomManifest(seed, 30);
    const std::string canonical = EncodeManifest(manifest);
    const auto column = FindDigestColumn(canonical);
    ASSERT_TRUE(column.ok()) << column.status();
    ASSERT_EQ(column->chunk_sizes.size(), manifest.chunks.size());
    for (size_t i = 0; i < manifest.chunks.size(); ++i) {
      EXPECT_EQ(column->chunk_sizes[i], manifest.chunks[i].size);
      EXPECT_EQ(canonical.substr(column->offset + i * Digest::kSize, Digest::kSize),
                manifest.chunks[i].digest.bytes());
    }
    const size_t end = column->offset + manifest.chunks.size() * Digest::kSize;
    for (size_t size = 0; size < end; ++size) {
      EXPECT_EQ(FindDigestColumn(canonical.substr(0, size)).status().code(), kDataLoss) << size;
    }
  }
}

TEST(DeltaTest, AnotherBaseOrTargetIsFoundOut) {
  RandomDelta random(5);
  random.delta.parts.clear();
  random.delta.patches.clear();
  random.base = random.target;
  random.base[50] ^= 1;
  random.delta.to = Sha256::Of(random.target);
  const std::string head = random.Head();
  const auto decoded = DecodeDeltaHead(head);
  ASSERT_TRUE(decoded.ok()) << decoded.status();
  EXPECT_TRUE(Applied(*decoded, random.base).ok());
  for (const std::string& wrong :
       {std::string(), random.base.substr(0, 50), random.base + "x", SeededSequence(1).Bytes(5000)}) {
    EXPECT_EQ(Applied(*decoded, wrong).status().code(), kDataLoss);
  }
  for (size_t i = 0; i < random.base.size(); i += 7) {
    std::string wrong = random.base;
    wrong[i] ^= 4;
    const auto target = Applied(*decoded, wrong);
    // Only the byte that the target does not share may differ.
    EXPECT_TRUE(target.ok() ? *target == random.target : target.status().code() == kDataLoss) << i;
  }
  random.delta.to = SampleDigest(1);
  const std::string lie = random.Head();
  const auto lying = DecodeDeltaHead(lie);
  ASSERT_TRUE(lying.ok()) << lying.status();
  const absl::Status status = Applied(*lying, random.base).status();
  EXPECT_EQ(status.code(), kDataLoss);
  EXPECT_THAT(std::string(Message(status)), HasSubstr("another manifest"));
}

TEST(DeltaTest, HeadsThatAreCutShortOrTooLongAreRefused) {
  const std::string head = RandomDelta(7).Head();
  ASSERT_TRUE(DecodeDeltaHead(head).ok());
  for (size_t size = 0; size < head.size(); ++size) {
    EXPECT_EQ(DecodeDeltaHead(head.substr(0, size)).status().code(), kDataLoss) << size;
    if (size < Digest::kSize) continue;
    EXPECT_EQ(DecodeDeltaHead(Sealed(head.substr(0, size))).status().code(), kDataLoss) << size;
  }
  EXPECT_EQ(DecodeDeltaHead(head + "x").status().code(), kDataLoss);
  for (size_t size = 0; size < kDeltaPreludeSize; ++size) {
    EXPECT_EQ(DeltaHeadSize(head.substr(0, size)).status().code(), kDataLoss) << size;
  }
}

TEST(DeltaTest, EveryBitOfAHeadCounts) {
  const RandomDelta random(9);
  const std::string head = random.Head();
  for (size_t i = 0; i < head.size(); ++i) {
    for (int bit = 0; bit < BitsTried(i); ++bit) {
      std::string changed = head;
      changed[i] = static_cast<char>(changed[i] ^ (1 << bit));
      EXPECT_EQ(DecodeDeltaHead(changed).status().code(), kDataLoss) << i << "." << bit;
    }
  }
}

// Whoever lies can compute a digest too.
TEST(DeltaTest, LiesUnderARightDigestAreFoundOut) {
  const RandomDelta random(9);
  const std::string head = random.Head();
  const size_t digests = kDeltaPreludeSize + 2 * Digest::kSize;
  for (size_t i = 0; i < head.size() - Digest::kSize; ++i) {
    for (int bit = 0; bit < BitsTried(i); ++bit) {
      std::string changed = head;
      changed[i] = static_cast<char>(changed[i] ^ (1 << bit));
      changed = Sealed(changed);
      const auto decoded = DecodeDeltaHead(changed);
      if (!decoded.ok()) {
        EXPECT_EQ(decoded.status().code(), kDataLoss);
        continue;
      }
      // What two digests, or a manifest's size and patch say can't be judged yet; and a table that was
      // changed may be another good one.
      EXPECT_TRUE(i >= kDeltaPreludeSize || i == kFlagsAt) << i << "." << bit;
      if (i >= digests && i < digests + 16) ADD_FAILURE() << "the table's size is not checked: " << i;
      const auto target = Applied(*decoded, random.base);
      EXPECT_EQ(target.status().code(), kDataLoss) << i << "." << bit;
    }
  }
}

TEST(DeltaTest, RangesAndChunksMustFitTheManifests) {
  const Manifest base = SampleManifest();  // entry 0 is a directory, entry 1 has 199,999 bytes
  const Manifest target = SampleManifest();
  const auto check = [&](std::vector<DeltaPatch::BaseRange> ranges, std::vector<uint32_t> chunks) {
    Delta delta;
    delta.patches.push_back({std::move(ranges), std::move(chunks), 0, 0, 1});
    return CheckDelta(delta, base, target);
  };
  EXPECT_TRUE(check({}, {0, 1, 2, 3}).ok());
  EXPECT_TRUE(check({{1, 0, 199999}, {1, 199998, 1}, {5, 0, 1000}}, {3}).ok());
  const auto message = [&](std::vector<DeltaPatch::BaseRange> ranges, std::vector<uint32_t> chunks) {
    const absl::Status status = check(std::move(ranges), std::move(chunks));
    EXPECT_EQ(status.code(), kDataLoss);
    return std::string(Message(status));
  };
  EXPECT_THAT(message({{9, 0, 1}}, {0}), HasSubstr("no file of the base"));
  EXPECT_THAT(message({{UINT32_MAX, 0, 1}}, {0}), HasSubstr("no file of the base"));
  EXPECT_THAT(message({{0, 0, 1}}, {0}), HasSubstr("behind its file"));  // a directory
  EXPECT_THAT(message({{8, 0, 1}}, {0}), HasSubstr("behind its file"));  // a link
  EXPECT_THAT(message({{6, 0, 1}}, {0}), HasSubstr("behind its file"));  // nothing in it
  EXPECT_THAT(message({{1, 0, 200000}}, {0}), HasSubstr("behind its file"));
  EXPECT_THAT(message({{1, 199999, 1}}, {0}), HasSubstr("behind its file"));
  EXPECT_THAT(message({{1, UINT64_MAX, 2}}, {0}), HasSubstr("behind its file"));
  EXPECT_THAT(message({}, {4}), HasSubstr("chunk that there is not"));
  EXPECT_THAT(message({}, {UINT32_MAX}), HasSubstr("chunk that there is not"));
  EXPECT_THAT(message({}, std::vector<uint32_t>(42, 0)), HasSubstr("yields too much"));
  EXPECT_THAT(message({}, {2, 0, 2}), HasSubstr("yielded twice"));
}

TEST(DeltaTest, TwoPatchesDoNotYieldTheSameChunk) {
  const Manifest manifest = SampleManifest();
  Delta delta;
  delta.patches.push_back({{}, {0, 1}, 0, 0, 1});
  delta.patches.push_back({{}, {2}, 0, 1, 1});
  EXPECT_TRUE(CheckDelta(delta, manifest, manifest).ok());
  delta.patches[1].chunks = {1};
  EXPECT_EQ(CheckDelta(delta, manifest, manifest).code(), kDataLoss);
}

// --- Patches.

std::string Decoded(std::string_view prefix, std::string_view stored, size_t size, absl::Status* status) {
  std::string raw(size, '\0');
  *status = PatchDecoder().Decode(prefix, stored, raw.data(), size);
  return raw;
}

TEST(PatchTest, WhatIsEncodedComesBackWhateverThePrefix) {
  SeededSequence random(3);
  PatchEncoder encoder;
  PatchDecoder decoder;
  const std::string old = random.Bytes(300000);
  for (const size_t size : {1u, 2u, 100u, 70000u, 400000u}) {
    std::string raw = old.substr(0, std::min(size, old.size())) + random.Bytes(size / 10);
    raw[raw.size() / 2] ^= 1;
    for (const int level : {1, 3, 12, PatchEncoder::kMaxLevel}) {
      for (const std::string& prefix : {std::string(), std::string("x"), old, old + raw}) {
        const std::string stored = encoder.Encode(prefix, raw, level);
        std::string decoded(raw.size(), '\0');
        const absl::Status status = decoder.Decode(prefix, stored, decoded.data(), decoded.size());
        EXPECT_TRUE(status.ok()) << status;
        EXPECT_EQ(decoded, raw) << size << " bytes at level " << level;
      }
    }
  }
}

TEST(PatchTest, WhatThePrefixHasCostsNextToNothing) {
  SeededSequence random(4);
  const std::string old = random.Bytes(3000000);
  // A piece moved from the end to the front, one inserted, one gone.
  const std::string raw =
      old.substr(2500000) + old.substr(0, 1000000) + random.Bytes(500) + old.substr(1200000, 1300000);
  PatchEncoder encoder;
  for (const int level : {3, 19}) {
    const std::string stored = encoder.Encode(old, raw, level);
    EXPECT_LT(stored.size(), 1500u) << level;
    absl::Status status;
    EXPECT_EQ(Decoded(old, stored, raw.size(), &status), raw);
  }
}

TEST(PatchTest, WrongPrefixNeverYieldsMoreThanWrongBytes) {
  SeededSequence random(5);
  const std::string prefix = random.Bytes(100000);
  const std::string raw = prefix.substr(5000, 60000) + random.Bytes(300);
  const std::string stored = PatchEncoder().Encode(prefix, raw, 19);
  const std::vector<std::string> wrong = {"",
                                          "x",
                                          prefix.substr(0, 1000),
                                          prefix.substr(0, prefix.size() - 1),
                                          prefix + "x",
                                          random.Bytes(prefix.size()),
                                          random.Bytes(10)};
  for (const std::string& other : wrong) {
    absl::Status status;
    const std::string decoded = Decoded(other, stored, raw.size(), &status);
    EXPECT_TRUE(status.ok() ? decoded != raw : status.code() == kDataLoss) << other.size();
  }
}

TEST(PatchTest, SizesThatLieAreDataLoss) {
  const std::string prefix = SeededSequence(6).Bytes(5000);
  const std::string raw = prefix.substr(1000, 3000) + "and more";
  const std::string stored = PatchEncoder().Encode(prefix, raw, 3);
  absl::Status status;
  EXPECT_EQ(Decoded(prefix, stored, raw.size(), &status), raw);
  for (const size_t size : {size_t{0}, size_t{1}, raw.size() - 1, raw.size() + 1, 2 * raw.size()}) {
    Decoded(prefix, stored, size, &status);
    EXPECT_EQ(status.code(), kDataLoss) << size;
  }
  for (const std::string& other :
       {stored + "x", stored + stored, stored.substr(1), std::string("garbage")}) {
    Decoded(prefix, other, raw.size(), &status);
    EXPECT_EQ(status.code(), kDataLoss);
  }
  for (size_t size = 0; size < stored.size(); ++size) {
    Decoded(prefix, stored.substr(0, size), raw.size(), &status);
    EXPECT_EQ(status.code(), kDataLoss) << size;
  }
}

TEST(PatchTest, EveryFlippedBitIsSurvived) {
  const std::string prefix = SeededSequence(7).Bytes(2000);
  std::string raw;
  for (int i = 0; raw.size() < 3000; ++i) raw += "line " + std::to_string(i * i) + prefix.substr(i, 20);
  const std::string stored = PatchEncoder().Encode(prefix, raw, 19);
  for (size_t i = 0; i < stored.size() * 8; ++i) {
    std::string changed = stored;
    changed[i / 8] = static_cast<char>(changed[i / 8] ^ (1 << (i % 8)));
    absl::Status status;
    const std::string decoded = Decoded(prefix, changed, raw.size(), &status);
    EXPECT_EQ(decoded.size(), raw.size());
    EXPECT_TRUE(status.ok() || status.code() == kDataLoss) << status;
  }
}

}  // namespace
}  // namespace aetherfs
