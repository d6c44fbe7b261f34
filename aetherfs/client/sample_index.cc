#include "aetherfs/client/sample_index.h"

#include <algorithm>
#include <cstring>
#include <iterator>
#include <numeric>

#include "aetherfs/format/gear.h"

namespace aetherfs {
namespace {

// A target of which fewer than one sample in so many is found has come from elsewhere.
constexpr size_t kLeastFound = 64;

// Segments that are taken on both sides of a stretch.
constexpr size_t kMargin = 4;
// Of a segment's samples one in so many must be found for it to count: fewer may be common strings.
constexpr uint64_t kLeastShare = 8;
// So many segments between two that count are taken with them: what is alike there may be common strings,
// whose nearest place is not always found.
constexpr uint64_t kMaxHole = 8;

uint64_t HashOfWindow(const char* end) {
  uint64_t hash = 0;
  for (size_t at = 0; at < kGearWindow; at += sizeof(uint64_t)) {
    uint64_t word;
    std::memcpy(&word, end - kGearWindow + at, sizeof(word));
    hash = (hash ^ word) * 0x9e3779b97f4a7c15ULL;
    hash ^= hash >> 32;
  }
  return hash;
}

// Calls `sample` with the end of every string that is one. Samples are so dense that searching for the next
// one with the chunker's kernel would go over most bytes twice.
template <typename Sample>
void ForEachSample(std::string_view bytes, uint32_t threshold, Sample sample) {
  uint32_t fingerprint = 0;
  for (size_t at = 0; at < bytes.size(); ++at) {
    const auto byte = static_cast<uint8_t>(bytes[at]);
    fingerprint = (fingerprint << 1) + kGearTables.low[byte % 16] + kGearTables.high[byte / 16];
    if (fingerprint < threshold && at >= kGearWindow) sample(at + 1);
  }
}

// If most of what was found lies where it was expected, in the same order: the one stretch that has it,
// with what lies between. Else nothing.
DeltaPatch::BaseRange StretchOf(const std::vector<uint32_t>& hits, size_t found, uint32_t entry,
                                const std::vector<DeltaPatch::BaseRange>& expected, uint32_t most) {
  if (expected.size() != 1 || expected[0].entry != entry) return {};
  const size_t first = expected[0].offset / SampleIndex::kSegment;
  const size_t last =
      std::min<size_t>((expected[0].offset + expected[0].size) / SampleIndex::kSegment + 1, hits.size());
  const uint64_t inside = std::accumulate(hits.begin() + static_cast<ptrdiff_t>(first),
                                          hits.begin() + static_cast<ptrdiff_t>(last), uint64_t{0});
  if (inside * 20 < found * 19) return {};
  const uint64_t strays = inside / 50;  // at either end: common strings that lie elsewhere, too
  size_t begin = first;
  size_t end = last;
  for (uint64_t seen = 0; begin < end && (seen += hits[begin]) <= strays;) ++begin;
  for (uint64_t seen = 0; end > begin && (seen += hits[end - 1]) <= strays;) --end;
  begin -= std::min<size_t>(begin, kMargin);
  end += kMargin;
  if ((end - begin) * SampleIndex::kSegment > most) return {};
  return {entry, begin * uint64_t{SampleIndex::kSegment},
          static_cast<uint32_t>((end - begin) * SampleIndex::kSegment)};
}

void Simplify(uint64_t most, size_t most_ranges, std::vector<DeltaPatch::BaseRange>* ranges) {
  uint64_t total = 0;
  for (const DeltaPatch::BaseRange& range : *ranges) total += range.size;
  while (ranges->size() > most_ranges) {
    size_t narrowest = 1;
    uint64_t hole = UINT64_MAX;
    size_t smallest = 0;
    for (size_t i = 0; i < ranges->size(); ++i) {
      if ((*ranges)[i].size < (*ranges)[smallest].size) smallest = i;
      if (i == 0) continue;
      const uint64_t between = (*ranges)[i].offset - (*ranges)[i - 1].offset - (*ranges)[i - 1].size;
      if (between < hole) {
        hole = between;
        narrowest = i;
      }
    }
    if (ranges->size() > 1 && total + hole <= most) {
      (*ranges)[narrowest - 1].size += static_cast<uint32_t>(hole) + (*ranges)[narrowest].size;
      ranges->erase(ranges->begin() + static_cast<ptrdiff_t>(narrowest));
      total += hole;
    } else {
      total -= (*ranges)[smallest].size;
      ranges->erase(ranges->begin() + static_cast<ptrdiff_t>(smallest));
    }
  }
}

uint32_t ThresholdFor(uint64_t file_size) {
  const uint64_t spacing =
      std::max<uint64_t>(SampleIndex::kLeastSpacing, 2 * file_size / SampleIndex::kMaxSamples);
  return static_cast<uint32_t>((uint64_t{1} << 32) / spacing);
}

}  // namespace

SampleIndex::SampleIndex(uint64_t file_size) : file_size_(file_size), threshold_(ThresholdFor(file_size)) {}

void SampleIndex::Add(std::string_view bytes, uint64_t offset) {
  ForEachSample(bytes, threshold_, [&](size_t at) {
    if (samples_.size() == kMaxSamples) return;
    samples_.push_back({HashOfWindow(bytes.data() + at), offset + at});
  });
}

void SampleIndex::Seal() { std::sort(samples_.begin(), samples_.end()); }

const uint64_t* SampleIndex::Nearest(uint64_t hash, uint64_t expected) const {
  const auto behind = std::lower_bound(samples_.begin(), samples_.end(), Sample{hash, expected});
  const bool has_behind = behind != samples_.end() && behind->hash == hash;
  const bool has_before = behind != samples_.begin() && std::prev(behind)->hash == hash;
  if (!has_behind) return has_before ? &std::prev(behind)->end : nullptr;
  if (!has_before) return &behind->end;
  const auto before = std::prev(behind);
  return behind->end - expected < expected - before->end ? &behind->end : &before->end;
}

std::vector<DeltaPatch::BaseRange> SampleIndex::Choose(std::string_view target, uint32_t entry,
                                                       const std::vector<DeltaPatch::BaseRange>& expected,
                                                       uint32_t most, size_t most_ranges) const {
  std::vector<uint32_t> hits(file_size_ / kSegment + 1, 0);
  size_t samples = 0;
  size_t found = 0;
  // Where the target begins in the base if what was found last lies where it did.
  uint64_t here = expected.empty() ? 0 : expected.front().offset;
  if (!expected.empty() && expected.front().size > target.size()) {
    here += (expected.front().size - target.size()) / 2;
  }
  ForEachSample(target, threshold_, [&](size_t at) {
    ++samples;
    const uint64_t* const end = Nearest(HashOfWindow(target.data() + at), here + at);
    if (end == nullptr) return;
    ++found;
    ++hits[(*end - 1) / kSegment];
    here = *end - std::min<uint64_t>(*end, at);
  });
  if (found * kLeastFound < samples || found == 0) return expected;
  if (const auto stretch = StretchOf(hits, found, entry, expected, most); stretch.size > 0) {
    return {DeltaPatch::BaseRange{
        entry, stretch.offset,
        static_cast<uint32_t>(std::min<uint64_t>(stretch.size, file_size_ - stretch.offset))}};
  }

  std::vector<uint32_t> order(hits.size());
  std::iota(order.begin(), order.end(), 0u);
  std::sort(order.begin(), order.end(),
            [&](uint32_t a, uint32_t b) { return hits[a] != hits[b] ? hits[a] > hits[b] : a < b; });
  std::vector<bool> taken(hits.size(), false);
  uint32_t room = most / kSegment;
  const auto take = [&](uint64_t segment) {
    if (room == 0 || segment >= taken.size() || taken[segment]) return;
    taken[segment] = true;
    --room;
  };
  const uint64_t least_hits = std::max<uint64_t>(2, kSegment * uint64_t{threshold_} / kLeastShare >> 32);
  for (const uint32_t segment : order) {
    if (hits[segment] < least_hits) break;
    take(segment);
  }
  uint64_t previous = taken.size();
  for (uint64_t segment = 0; segment < taken.size(); ++segment) {
    if (!taken[segment]) continue;
    for (uint64_t hole = previous + 1; hole < segment && segment - previous <= kMaxHole; ++hole) take(hole);
    previous = segment;
  }
  // Where less was found than the target has, what lies in its own place may be alike, too.
  const uint64_t found_segments = most / kSegment - room;
  const uint64_t target_segments = target.size() / kSegment + 1;
  room = static_cast<uint32_t>(
      std::min<uint64_t>(room, target_segments - std::min(target_segments, found_segments)));
  for (const DeltaPatch::BaseRange& range : expected) {
    if (range.entry != entry) continue;
    for (uint64_t segment = range.offset / kSegment; segment * kSegment < range.offset + range.size;
         ++segment) {
      take(segment);
    }
  }
  std::vector<DeltaPatch::BaseRange> ranges;
  for (uint64_t segment = 0; segment < taken.size(); ++segment) {
    const uint64_t begin = segment * kSegment;
    if (!taken[segment] || begin >= file_size_) continue;
    const auto size = static_cast<uint32_t>(std::min<uint64_t>(kSegment, file_size_ - begin));
    if (!ranges.empty() && ranges.back().offset + ranges.back().size == begin) {
      ranges.back().size += size;
    } else {
      ranges.push_back({entry, begin, size});
    }
  }
  Simplify(most, most_ranges, &ranges);
  return ranges;
}

}  // namespace aetherfs
