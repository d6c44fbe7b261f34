#include "aetherfs/format/manifest.h"

#include <algorithm>
#include <functional>
#include <set>

#include "aetherfs/base/sha256.h"
#include "aetherfs/base/status.h"
#include "aetherfs/format/manifest_check.h"
#include "aetherfs/format/testing/samples.h"
#include "fmt/format.h"
#include "gmock/gmock.h"

namespace aetherfs {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// What a manifest says of the files, wherever its chunks lie.
using Meaning = std::set<std::string>;
Meaning MeaningOf(const Manifest& manifest) {
  Meaning meaning;
  for (const Manifest::Entry& entry : manifest.entries) {
    std::string line = fmt::format("{} {} {:o} {} {} {}", entry.path, static_cast<int>(entry.type),
                                   entry.mode, entry.mtime_ns, entry.size, entry.target);
    for (const uint32_t ref : manifest.RefsOf(entry)) {
      const Manifest::Chunk& chunk = manifest.chunks[ref];
      const Manifest::Frame& frame = manifest.frames[chunk.frame];
      line += fmt::format(" {}@{}+{}@{}+{}", chunk.digest.Short(), chunk.offset, chunk.size, frame.offset,
                          manifest.blocks[frame.block].digest.Short());
    }
    meaning.insert(line);
  }
  return meaning;
}

// The same manifest with everything in another order, and things in it that nothing uses.
Manifest Shuffled(const Manifest& manifest, uint64_t seed) {
  SeededSequence random(seed);
  const auto permutation = [&random](size_t size) {
    std::vector<uint32_t> order(size);
    for (uint32_t i = 0; i < size; ++i) order[i] = i;
    for (size_t i = size; i > 1; --i) std::swap(order[i - 1], order[random.Below(i)]);
    return order;
  };
  Manifest shuffled = manifest;
  const auto blocks = permutation(manifest.blocks.size());
  const auto frames = permutation(manifest.frames.size());
  const auto chunks = permutation(manifest.chunks.size());
  for (size_t i = 0; i < blocks.size(); ++i) shuffled.blocks[blocks[i]] = manifest.blocks[i];
  for (size_t i = 0; i < frames.size(); ++i) {
    shuffled.frames[frames[i]] = manifest.frames[i];
    shuffled.frames[frames[i]].block = blocks[manifest.frames[i].block];
  }
  for (size_t i = 0; i < chunks.size(); ++i) {
    shuffled.chunks[chunks[i]] = manifest.chunks[i];
    shuffled.chunks[chunks[i]].frame = frames[manifest.chunks[i].frame];
  }
  shuffled.entries.clear();
  shuffled.chunk_refs.clear();
  for (const uint32_t i : permutation(manifest.entries.size())) {
    Manifest::Entry entry = manifest.entries[i];
    entry.first_ref = static_cast<uint32_t>(shuffled.chunk_refs.size());
    for (const uint32_t ref : manifest.RefsOf(manifest.entries[i]))
      shuffled.chunk_refs.push_back(chunks[ref]);
    shuffled.entries.push_back(entry);
  }
  shuffled.blocks.push_back({SampleDigest(random.Next()), 100});
  shuffled.frames.push_back(
      {.block = static_cast<uint32_t>(blocks.size()), .stored_size = 9, .raw_size = 9});
  shuffled.chunks.push_back(
      {.digest = SampleDigest(random.Next()), .size = 9, .frame = static_cast<uint32_t>(frames.size())});
  return shuffled;
}

TEST(ManifestTest, AnEmptyManifestIsValid) {
  const std::string canonical = EncodeManifest(Manifest());
  const auto decoded = DecodeManifest(canonical);
  ASSERT_TRUE(decoded.ok()) << decoded.status();
  EXPECT_EQ(*decoded, Manifest());
  EXPECT_EQ(canonical.size(), 7u);
}

TEST(ManifestTest, TheSampleComesBack) {
  const Manifest sample = SampleManifest();
  ASSERT_TRUE(CheckCanonical(sample).ok()) << CheckCanonical(sample);
  const auto decoded = DecodeManifest(EncodeManifest(sample));
  ASSERT_TRUE(decoded.ok()) << decoded.status();
  EXPECT_EQ(*decoded, sample);
  EXPECT_EQ(decoded->FileCount(), 5u);
  EXPECT_EQ(decoded->TotalBytes(), 199999u + 170000u + 1000u + 2000u);
}

TEST(ManifestTest, AnyManifestComesBack) {
  for (uint64_t seed = 0; seed < 300; ++seed) {
    const Manifest manifest = RandomManifest(seed, seed % 50);
    const std::string canonical = EncodeManifest(manifest);
    const auto decoded = DecodeManifest(canonical);
    ASSERT_TRUE(decoded.ok()) << seed << decoded.status();
    EXPECT_EQ(*decoded, manifest) << seed;
    EXPECT_EQ(EncodeManifest(*decoded), canonical) << seed;
  }
}

TEST(ManifestTest, EveryOrderHasOneCanonicalForm) {
  for (uint64_t seed = 0; seed < 200; ++seed) {
    const Manifest manifest = RandomManifest(seed, 20);
    const Manifest shuffled = Shuffled(manifest, seed);
    const auto canonical = Canonicalize(shuffled);
    ASSERT_TRUE(canonical.ok()) << seed << canonical.status();
    EXPECT_EQ(*canonical, manifest) << seed;
    EXPECT_EQ(MeaningOf(*canonical), MeaningOf(shuffled)) << seed;
  }
}

TEST(ManifestTest, ChunksThatOccurTwiceBecomeTheFirstUsed) {
  Manifest manifest = SampleManifest();
  // A copy of chunk 0 in another block, used by the last file only, and listed first.
  Manifest copy = manifest;
  copy.blocks.push_back({SampleDigest(3), 200000});
  copy.frames.push_back({.block = 2, .offset = 7, .stored_size = 100000, .raw_size = 100000});
  copy.chunks.insert(copy.chunks.begin(), {.digest = SampleDigest(10), .size = 100000, .frame = 3});
  for (uint32_t& ref : copy.chunk_refs) ++ref;
  copy.chunk_refs.push_back(0);
  copy.entries[7].ref_count = 3;
  copy.entries[7].size += 100000;
  copy.entries[8].first_ref = 8;
  const auto canonical = Canonicalize(copy);
  ASSERT_TRUE(canonical.ok()) << canonical.status();
  EXPECT_EQ(canonical->blocks, manifest.blocks);
  EXPECT_EQ(canonical->frames, manifest.frames);
  EXPECT_EQ(canonical->chunks, manifest.chunks);
  EXPECT_THAT(canonical->chunk_refs, ElementsAre(0, 1, 2, 0, 3, 3, 3, 0));
}

TEST(ManifestTest, BlocksAndFramesThatOccurTwiceAreMerged) {
  const Manifest manifest = SampleManifest();
  // As after joining two manifests: everything listed twice, each half of the files using its own.
  Manifest twice = manifest;
  for (const auto& block : manifest.blocks) twice.blocks.push_back(block);
  for (auto frame : manifest.frames) {
    frame.block += 2;
    twice.frames.push_back(frame);
  }
  for (auto chunk : manifest.chunks) {
    chunk.frame += 3;
    twice.chunks.push_back(chunk);
  }
  twice.chunk_refs[1] += 4;
  twice.chunk_refs[3] += 4;
  twice.chunk_refs[5] += 4;
  const auto canonical = Canonicalize(twice);
  ASSERT_TRUE(canonical.ok()) << canonical.status();
  EXPECT_EQ(*canonical, manifest);
}

struct Defect {
  std::string name, problem;
  std::function<void(Manifest&)> make;
};
const std::vector<Defect>& Defects() {
  static const auto* defects = new std::vector<Defect>{
      {"NoParent", "'data/empty' lies in no directory",
       [](Manifest& m) { m.entries.erase(m.entries.begin() + 3); }},
      {"FileAsParent", "'bin/run' lies in no directory",
       [](Manifest& m) {
         m.entries[0].type = EntryType::kFile;
         m.entries[0].mode = 0644;
       }},
      {"SymlinkAsParent", "'bin/run' lies in no directory",
       [](Manifest& m) {
         m.entries[0].type = EntryType::kSymlink;
         m.entries[0].mode = 0777;
         m.entries[0].target = "/etc";
       }},
      {"PathTwice", "'data/nothing' occurs twice", [](Manifest& m) { m.entries[7].path = "data/nothing"; }},
      {"DotDot", "'../x' has a '.' or '..' component", [](Manifest& m) { m.entries[0].path = "../x"; }},
      {"AbsolutePath", "'/x' has an empty component", [](Manifest& m) { m.entries[0].path = "/x"; }},
      {"WrongSize", "'bin/run' has a size other than that of its chunks",
       [](Manifest& m) { m.entries[1].size = 5; }},
      {"SetuidMode", "'bin/run' has mode bits", [](Manifest& m) { m.entries[1].mode = 04755; }},
      {"DirectoryMode", "'bin' is a directory with a mode", [](Manifest& m) { m.entries[0].mode = 0700; }},
      {"SymlinkMode", "'latest' is a symbolic link with a mode",
       [](Manifest& m) { m.entries[8].mode = 0; }},
      {"SymlinkWithoutTarget", "'latest' is a symbolic link whose",
       [](Manifest& m) { m.entries[8].target = ""; }},
      {"SymlinkTargetWithNul", "'latest' is a symbolic link whose",
       [](Manifest& m) { m.entries[8].target = std::string("a\0b", 3); }},
      {"SymlinkTargetTooLong", "'latest' is a symbolic link whose",
       [](Manifest& m) { m.entries[8].target = std::string(4096, 'x'); }},
      {"FileWithTarget", "'bin/run' is a file with", [](Manifest& m) { m.entries[1].target = "x"; }},
      {"DirectoryWithTarget", "'bin' is a directory with a link",
       [](Manifest& m) { m.entries[0].target = "x"; }},
      {"DirectoryWithTime", "'bin' is no file but", [](Manifest& m) { m.entries[0].mtime_ns = 1; }},
      {"UnknownType", "'bin' has an unknown type",
       [](Manifest& m) { m.entries[0].type = static_cast<EntryType>(3); }},
      {"EmptyChunk", "has 0 bytes", [](Manifest& m) { m.chunks[0].size = 0; }},
      {"ChunkTooLarge", "has 262145 bytes", [](Manifest& m) { m.chunks[0].size = kMaxChunkSize + 1; }},
      {"ChunkOutsideItsFrame", "overlaps", [](Manifest& m) { m.chunks[1].offset = 150000; }},
      {"ChunkOffsetThatOverflows", "overlaps", [](Manifest& m) { m.chunks[1].offset = UINT32_MAX; }},
      {"ChunksThatOverlap", "overlaps", [](Manifest& m) { m.chunks[1].offset = 99999; }},
      {"EmptyFrame", "frame 0 has 0 bytes", [](Manifest& m) { m.frames[0].raw_size = 0; }},
      {"FrameTooLarge", "frame 0 has 262145 bytes", [](Manifest& m) { m.frames[0].raw_size = 262145; }},
      {"RawFrameOfAnotherSize", "cannot be", [](Manifest& m) { m.frames[1].stored_size = 60000; }},
      {"CompressedFrameThatGrew", "cannot be", [](Manifest& m) { m.frames[0].stored_size = 200000; }},
      {"UnknownCodec", "cannot be", [](Manifest& m) { m.frames[0].codec = static_cast<FrameCodec>(9); }},
      {"FrameOutsideItsBlock", "overlaps", [](Manifest& m) { m.frames[1].offset = 290000; }},
      {"FrameOffsetThatOverflows", "overlaps", [](Manifest& m) { m.frames[1].offset = UINT64_MAX - 5; }},
      {"FramesThatOverlap", "overlaps", [](Manifest& m) { m.frames[1].offset = 100000; }},
      {"EmptyBlock", "has 0 bytes", [](Manifest& m) { m.blocks[0].size = 0; }},
      {"BlockTooLarge", "has 67108865 bytes", [](Manifest& m) { m.blocks[0].size = kMaxBlockSize + 1; }},
      {"ReferenceOutsideTheChunks", "which it lacks", [](Manifest& m) { m.chunk_refs[0] = 4; }},
      {"ReferencesOutsideTheList", "that the manifest lacks",
       [](Manifest& m) { m.entries[7].ref_count = 9; }},
      {"FrameOutsideTheFrames", "which it lacks", [](Manifest& m) { m.chunks[0].frame = 3; }},
      {"BlockOutsideTheBlocks", "which it lacks", [](Manifest& m) { m.frames[0].block = 2; }},
  };
  return *defects;
}

TEST(ManifestTest, DefectsThatOrderingCannotCureAreNamed) {
  for (const Defect& defect : Defects()) {
    Manifest manifest = SampleManifest();
    defect.make(manifest);
    const auto canonical = Canonicalize(manifest);
    EXPECT_EQ(canonical.status().code(), absl::StatusCode::kInvalidArgument) << defect.name;
    EXPECT_THAT(std::string(Message(canonical.status())), HasSubstr(defect.problem)) << defect.name;
  }
}

TEST(ManifestTest, WhatIsNotInOrderIsNotCanonical) {
  for (uint64_t seed = 0; seed < 100; ++seed) {
    EXPECT_FALSE(CheckCanonical(Shuffled(RandomManifest(seed, 20), seed)).ok()) << seed;
  }
}

TEST(ManifestTest, EveryPrefixIsRefused) {
  const std::string canonical = EncodeManifest(SampleManifest());
  for (size_t size = 0; size < canonical.size(); ++size) {
    EXPECT_EQ(DecodeManifest(canonical.substr(0, size)).status().code(), absl::StatusCode::kDataLoss)
        << size;
  }
  EXPECT_EQ(DecodeManifest(canonical + '\0').status().code(), absl::StatusCode::kDataLoss);
}

TEST(ManifestTest, WhateverIsDecodedIsWhatWouldBeEncoded) {
  SeededSequence random(7);
  size_t accepted = 0;
  for (int round = 0; round < 20000; ++round) {
    std::string bytes = EncodeManifest(RandomManifest(random.Below(20), random.Below(6)));
    for (size_t n = 1 + random.Below(3); n > 0; --n) {
      bytes[random.Below(bytes.size())] =
          static_cast<char>(random.Below(4) == 0 ? random.Next() : random.Below(9));
    }
    const auto decoded = DecodeManifest(bytes);
    if (!decoded.ok()) {
      EXPECT_EQ(decoded.status().code(), absl::StatusCode::kDataLoss);
      continue;
    }
    ++accepted;
    EXPECT_TRUE(CheckCanonical(*decoded).ok());
    EXPECT_EQ(EncodeManifest(*decoded), bytes);
  }
  EXPECT_GT(accepted, 100u);
}

TEST(ManifestTest, AFileOfOneChunkTakesAtMost60BytesBeyondItsPath) {
  // The worst case: nothing shares a frame, times are far apart, sizes are large.
  Manifest manifest;
  size_t path_bytes = 0;
  const uint32_t files = 5000;
  const uint32_t size = 250000;
  for (uint32_t i = 0; i < files; ++i) {
    if (i % 250 == 0) manifest.blocks.push_back({SampleDigest(1000000 + i), kMaxBlockSize});
    manifest.frames.push_back({.block = i / 250,
                               .offset = 16 + uint64_t{i % 250} * 240000,
                               .stored_size = 240000,
                               .raw_size = size,
                               .codec = FrameCodec::kZstd});
    manifest.chunks.push_back({.digest = SampleDigest(i), .size = size, .frame = i});
    manifest.chunk_refs.push_back(i);
    Manifest::Entry& entry = manifest.entries.emplace_back();
    entry.path = fmt::format("{}-{:06}", SampleDigest(i / 3).Short(), i);
    entry.mode = 0644;
    entry.mtime_ns = static_cast<int64_t>(SampleDigest(i).data()[0]) << 52;
    entry.size = size;
    entry.ref_count = 1;
    entry.first_ref = i;
    path_bytes += entry.path.size();
  }
  const auto canonical = Canonicalize(std::move(manifest));
  ASSERT_TRUE(canonical.ok()) << canonical.status();
  const std::string encoded = EncodeManifest(*canonical);
  EXPECT_LE(encoded.size(), path_bytes + 60 * files);
}

}  // namespace
}  // namespace aetherfs
