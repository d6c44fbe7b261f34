#include "aetherfs/client/fetch_plan.h"

#include "aetherfs/client/fetcher.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace aetherfs {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

// Blocks of frames of `stored` bytes, each holding two chunks, side by side.
Manifest MakeManifest(uint32_t blocks, uint32_t frames_per_block, uint32_t stored) {
  Manifest manifest;
  for (uint32_t b = 0; b < blocks; ++b) {
    manifest.blocks.push_back({.digest = {}, .size = uint64_t{frames_per_block} * stored + 100});
    for (uint32_t f = 0; f < frames_per_block; ++f) {
      const auto frame = static_cast<uint32_t>(manifest.frames.size());
      manifest.frames.push_back({.block = b,
                                 .offset = 50 + uint64_t{f} * stored,
                                 .stored_size = stored,
                                 .raw_size = stored,
                                 .codec = FrameCodec::kRaw});
      manifest.chunks.push_back({.digest = {}, .size = stored / 2, .frame = frame, .offset = 0});
      manifest.chunks.push_back(
          {.digest = {}, .size = stored - stored / 2, .frame = frame, .offset = stored / 2});
    }
  }
  return manifest;
}

TEST(FetchPlanTest, NothingWantedNeedsNothing) {
  const FetchPlan plan = PlanFetch(MakeManifest(1, 4, 1000), {});
  EXPECT_THAT(plan.requests, IsEmpty());
  EXPECT_EQ(plan.bytes, 0u);
}

TEST(FetchPlanTest, NeighboursAreOneRequestAndOneRange) {
  const Manifest manifest = MakeManifest(1, 4, 1000);
  const std::vector<uint32_t> wanted = {0, 1, 2, 3, 4, 5};
  const FetchPlan plan = PlanFetch(manifest, wanted);
  EXPECT_THAT(plan.frames, ElementsAre(0, 1, 2));
  ASSERT_THAT(plan.requests, SizeIs(1));
  EXPECT_EQ(plan.requests[0].frame_count, 3u);
  EXPECT_EQ(plan.bytes, 3000u);
  EXPECT_THAT(RangesOfFrames(manifest, plan.frames), ElementsAre(ByteRange{50, 3000}));
}

TEST(FetchPlanTest, SmallGapsAreReadOverAndCounted) {
  const Manifest manifest = MakeManifest(1, 4, 1000);
  const std::vector<uint32_t> wanted = {0, 6};
  const FetchPlan plan = PlanFetch(manifest, wanted);
  ASSERT_THAT(plan.requests, SizeIs(1));
  EXPECT_THAT(plan.frames, ElementsAre(0, 3));
  EXPECT_EQ(plan.bytes, 4000u);
  EXPECT_THAT(RangesOfFrames(manifest, plan.frames), ElementsAre(ByteRange{50, 4000}));
}

TEST(FetchPlanTest, LargeGapsAreNotRead) {
  const Manifest manifest = MakeManifest(1, 8, 100'000);
  const std::vector<uint32_t> wanted = {0, 10};
  const FetchPlan plan = PlanFetch(manifest, wanted);
  ASSERT_THAT(plan.requests, SizeIs(1)) << "one request with two ranges";
  EXPECT_EQ(plan.bytes, 200'000u);
  EXPECT_THAT(RangesOfFrames(manifest, plan.frames),
              ElementsAre(ByteRange{50, 100'000}, ByteRange{500'050, 100'000}));
}

TEST(FetchPlanTest, RequestsStayNearTheirSizeAndWithinABlock) {
  const Manifest manifest = MakeManifest(3, 40, 200'000);
  std::vector<uint32_t> wanted(manifest.chunks.size());
  for (uint32_t i = 0; i < wanted.size(); ++i) wanted[i] = i;
  const FetchPlan plan = PlanFetch(manifest, wanted);
  EXPECT_EQ(plan.bytes, 3u * 40 * 200'000);
  uint32_t frames = 0;
  for (const FetchPlan::Request& request : plan.requests) {
    EXPECT_LE(request.bytes, kRequestSize);
    EXPECT_EQ(request.first_frame, frames);
    frames += request.frame_count;
    for (uint32_t i = 0; i < request.frame_count; ++i) {
      EXPECT_EQ(manifest.frames[plan.frames[request.first_frame + i]].block, request.block);
    }
  }
  EXPECT_EQ(frames, plan.frames.size());
  EXPECT_THAT(plan.requests, SizeIs(6));
}

TEST(FetchPlanTest, RangesOfARequestAreBounded) {
  const Manifest manifest = MakeManifest(1, 1200, 66'000);  // gaps are too large to be read over
  std::vector<uint32_t> wanted;
  for (uint32_t i = 0; i < manifest.chunks.size(); i += 4) wanted.push_back(i);
  const FetchPlan plan = PlanFetch(manifest, wanted);
  for (const FetchPlan::Request& request : plan.requests) {
    const auto frames = std::span(plan.frames).subspan(request.first_frame, request.frame_count);
    EXPECT_LE(RangesOfFrames(manifest, frames).size(), kMaxRangesPerRequest);
  }
}

}  // namespace
}  // namespace aetherfs
