#ifndef AETHERFS_CLIENT_SAMPLE_INDEX_H_
#define AETHERFS_CLIENT_SAMPLE_INDEX_H_

#include <compare>
#include <cstdint>
#include <string_view>
#include <vector>

#include "aetherfs/format/delta.h"

namespace aetherfs {

// Where in a large file content like that of another file lies: a sample of its 32-byte strings, chosen by
// what they are (a gear fingerprint below a threshold), so that the same string is a sample wherever it
// lies. Finds what has moved far from where it was: pages of a database, records of a table.
//
// At most kMaxSamples are kept, 16 bytes each, whatever the file's size. Const
// methods are thread-safe.
class SampleIndex {
 public:
  static constexpr size_t kMaxSamples = 512 * 1024;
  // One string in so many bytes, in a file that is not large.
  static constexpr uint64_t kLeastSpacing = 256;
  // What is found is taken from the base in pieces of this size.
  static constexpr uint32_t kSegment = 16 * 1024;

  // For a file of that many bytes.
  explicit SampleIndex(uint64_t file_size);

  // Adds the bytes that lie at `offset`.
  void Add(std::string_view bytes, uint64_t offset);

  // Nothing is added afterwards, and nothing chosen before.
  void Seal();

  // The segments that have most of `target`'s samples, at most `most` bytes, in the order of the file, as
  // ranges of `entry`. Where they are fewer than the target has bytes, they are filled up from `expected`,
  // which is where the target would lie if nothing had moved; if next to nothing is found, they are that.
  // At most `most_ranges`: the narrowest holes are closed, or the smallest ranges left out.
  std::vector<DeltaPatch::BaseRange> Choose(std::string_view target, uint32_t entry,
                                            const std::vector<DeltaPatch::BaseRange>& expected,
                                            uint32_t most, size_t most_ranges = SIZE_MAX) const;

 private:
  const uint64_t file_size_;
  const uint32_t threshold_;
  struct Sample {
    uint64_t hash = 0;  // of the string
    uint64_t end = 0;   // where it ends
    friend auto operator<=>(const Sample&, const Sample&) = default;
  };

  // Of the places of a string the nearest to where it would lie; nullptr if it has none.
  const uint64_t* Nearest(uint64_t hash, uint64_t expected) const;

  std::vector<Sample> samples_;  // sorted, once sealed
};

}  // namespace aetherfs

#endif  // AETHERFS_CLIENT_SAMPLE_INDEX_H_
