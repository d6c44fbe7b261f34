#include "aetherfs/format/chunker.h"

#include <numeric>
#include <set>
#include <vector>

#include "aetherfs/format/gear.h"
#include "aetherfs/format/testing/samples.h"
#include "gmock/gmock.h"

namespace aetherfs {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;

constexpr ChunkerParameters kSmall = {.min_size = 64, .average_size = 256, .max_size = 1024};

// docs/formats/chunking.md, word by word.
uint32_t Fingerprint(std::string_view data, size_t end) {
  uint32_t sum = 0;
  for (size_t i = 0; i < 32; ++i) {
    const auto byte = static_cast<uint8_t>(data[end - 1 - i]);
    sum += (kGearTables.low[byte % 16] + kGearTables.high[byte / 16]) << i;
  }
  return sum;
}
size_t ReferenceCut(std::string_view data, const ChunkerParameters& p) {
  uint32_t bits = 0;
  while ((1u << bits) < p.average_size) ++bits;
  for (size_t size = p.min_size; size < std::min<size_t>(data.size(), p.max_size); ++size) {
    const uint32_t leading_zeros = size < p.average_size ? bits + 2 : bits - 2;
    if (Fingerprint(data, size) >> (32 - leading_zeros) == 0) return size;
  }
  return std::min<size_t>(data.size(), p.max_size);
}

std::vector<size_t> Cut(std::string_view data, const ChunkerParameters& parameters = {}) {
  Chunker chunker(parameters);
  std::vector<size_t> sizes;
  while (const size_t size = chunker.NextCut(data, true)) {
    sizes.push_back(size);
    data.remove_prefix(size);
  }
  return sizes;
}

// The same, of a file that becomes known piece by piece.
std::vector<size_t> CutInPieces(std::string_view data, SeededSequence& random, size_t most,
                                const ChunkerParameters& parameters = {}) {
  Chunker chunker(parameters);
  std::vector<size_t> sizes;
  size_t begin = 0;
  size_t known = 0;
  while (begin < data.size()) {
    const bool whole = known == data.size();
    const size_t size = chunker.NextCut(data.substr(begin, known - begin), whole);
    if (size == 0) {
      EXPECT_LT(known - begin, parameters.max_size);
      known = std::min(data.size(), known + 1 + random.Below(most));
    } else {
      sizes.push_back(size);
      begin += size;
    }
  }
  return sizes;
}

std::string Text(size_t size) {
  SeededSequence random(5);
  std::string text;
  while (text.size() < size) text += std::to_string(random.Below(1000)) + ",city,\n";
  return text;
}

std::vector<std::string> Inputs() {
  SeededSequence random(1);
  return {random.Bytes(700000), Text(500000), std::string(300000, '\0'),
          random.Bytes(100000) + std::string(300000, 'x') + random.Bytes(100000)};
}

TEST(ChunkerTest, CutsAsTheSpecificationSays) {
  for (const std::string& input : Inputs()) {
    for (const ChunkerParameters& parameters : {ChunkerParameters{}, kSmall}) {
      std::vector<size_t> expected;
      for (std::string_view rest = input; !rest.empty(); rest.remove_prefix(expected.back())) {
        expected.push_back(ReferenceCut(rest, parameters));
      }
      EXPECT_EQ(Cut(input, parameters), expected);
    }
  }
}

TEST(ChunkerTest, HowTheBytesComeDoesNotMatter) {
  SeededSequence random(2);
  for (const std::string& input : Inputs()) {
    EXPECT_EQ(CutInPieces(input, random, 100000), Cut(input));
    EXPECT_EQ(CutInPieces(input, random, 3000), Cut(input));
    EXPECT_EQ(CutInPieces(input.substr(0, 50000), random, 7, kSmall), Cut(input.substr(0, 50000), kSmall));
  }
}

TEST(ChunkerTest, SizesAreWithinBoundsAndNearTheAverage) {
  std::vector<size_t> sizes = Cut(SeededSequence(3).Bytes(32 * 1024 * 1024));
  const size_t average = std::accumulate(sizes.begin(), sizes.end(), size_t{0}) / sizes.size();
  EXPECT_GT(average, 60000u);
  EXPECT_LT(average, 85000u);
  sizes.pop_back();
  EXPECT_THAT(sizes, Each(testing::AllOf(testing::Ge(16384u), testing::Le(262144u))));
}

TEST(ChunkerTest, ShortInputsAreOneChunk) {
  Chunker chunker;
  EXPECT_EQ(chunker.NextCut("", true), 0u);
  EXPECT_EQ(chunker.NextCut("", false), 0u);
  EXPECT_EQ(chunker.NextCut("x", false), 0u);
  EXPECT_EQ(chunker.NextCut("x", true), 1u);
  EXPECT_EQ(chunker.NextCut(std::string(16384, 'x'), true), 16384u);
}

TEST(ChunkerTest, NoRunOfOneByteCutsEarly) {
  for (int byte = 0; byte < 256; ++byte) {
    EXPECT_THAT(Cut(std::string(300000, static_cast<char>(byte))), ElementsAre(262144, 300000 - 262144))
        << byte;
  }
}

TEST(ChunkerTest, NoTwoBytesShareAGearValue) {
  std::set<uint32_t> values;
  for (const uint32_t low : kGearTables.low) {
    for (const uint32_t high : kGearTables.high) values.insert(low + high);
  }
  EXPECT_EQ(values.size(), 256u);
  EXPECT_EQ(kGearTables.low[0], 0x0e1ed0d9u);
  EXPECT_EQ(kGearTables.high[15], 0xdecdfe55u);
}

TEST(ChunkerTest, MaxSizeIsKnownWithoutTheEndOfTheFile) {
  Chunker chunker;
  EXPECT_EQ(chunker.NextCut(std::string(262143, 'x'), false), 0u);
  EXPECT_EQ(chunker.NextCut(std::string(262144, 'x'), false), 262144u);
}

TEST(ChunkerTest, AnInsertionChangesOnlyWhatIsNearIt) {
  const std::string before = SeededSequence(4).Bytes(8 * 1024 * 1024);
  const std::string after = before.substr(0, 4000000) + "inserted" + before.substr(4000000);
  const auto chunks_of = [](std::string_view data) {
    std::multiset<std::string_view> chunks;
    for (const size_t size : Cut(data)) {
      chunks.insert(data.substr(0, size));
      data.remove_prefix(size);
    }
    return chunks;
  };
  const auto old_chunks = chunks_of(before);
  size_t changed = 0;
  for (const std::string_view chunk : chunks_of(after)) changed += !old_chunks.contains(chunk);
  EXPECT_LE(changed, 6u);
}

TEST(ChunkerTest, EveryKernelFindsTheSame) {
  const std::string data = SeededSequence(6).Bytes(300000);
  const auto* bytes = reinterpret_cast<const uint8_t*>(data.data());
  SeededSequence random(8);
  for (int round = 0; round < 2000; ++round) {
    const size_t from = kGearWindow + random.Below(100000);
    const size_t to = from + random.Below(100000);
    const uint32_t threshold = uint32_t{1} << random.Below(22);
    const size_t expected = FindGearBelow(nullptr, bytes, from, to, threshold);
    EXPECT_EQ(FindGearBelow(ChooseGearMinimaKernel(), bytes, from, to, threshold), expected);
  }
}

}  // namespace
}  // namespace aetherfs
