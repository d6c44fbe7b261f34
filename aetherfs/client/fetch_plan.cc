#include "aetherfs/client/fetch_plan.h"

#include "aetherfs/client/fetcher.h"

namespace aetherfs {

FetchPlan PlanFetch(const Manifest& manifest, std::span<const uint32_t> wanted_chunks) {
  FetchPlan plan;
  uint64_t end = 0;  // of what the current request covers so far
  size_t ranges = 0;
  for (const uint32_t chunk : wanted_chunks) {
    const uint32_t index = manifest.chunks[chunk].frame;
    if (!plan.frames.empty() && plan.frames.back() == index) continue;
    const Manifest::Frame& frame = manifest.frames[index];
    const bool same_block = !plan.requests.empty() && plan.requests.back().block == frame.block;
    const uint64_t gap = same_block ? frame.offset - end : 0;
    const bool joined = same_block && gap <= kMaxGap;
    const uint64_t added = frame.stored_size + (joined ? gap : 0);
    if (!same_block || plan.requests.back().bytes + added > kRequestSize ||
        (!joined && ranges == kMaxRangesPerRequest)) {
      plan.requests.push_back({.block = frame.block,
                               .first_frame = static_cast<uint32_t>(plan.frames.size()),
                               .frame_count = 0,
                               .bytes = 0});
      ranges = 1;
      plan.requests.back().bytes = frame.stored_size;
      plan.bytes += frame.stored_size;
    } else {
      if (!joined) ++ranges;
      plan.requests.back().bytes += added;
      plan.bytes += added;
    }
    ++plan.requests.back().frame_count;
    plan.frames.push_back(index);
    end = frame.offset + frame.stored_size;
  }
  return plan;
}

std::vector<ByteRange> RangesOfFrames(const Manifest& manifest, std::span<const uint32_t> frames) {
  std::vector<ByteRange> ranges;
  for (const uint32_t index : frames) {
    const Manifest::Frame& frame = manifest.frames[index];
    if (!ranges.empty() && frame.offset - ranges.back().end() <= kMaxGap) {
      ranges.back().size = frame.offset + frame.stored_size - ranges.back().offset;
    } else {
      ranges.push_back({frame.offset, frame.stored_size});
    }
  }
  return ranges;
}

}  // namespace aetherfs
