#include "aetherfs/client/delta_plan.h"

#include <algorithm>
#include <map>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "aetherfs/base/sha256.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace aetherfs {
namespace {

using ::testing::IsEmpty;
using ::testing::SizeIs;

// Plans depend on manifests alone, so files are sequences of chunks that stand for their bytes. A number
// tells a chunk's digest, and its size: up to kMaxChunkSize.
using File = std::vector<uint64_t>;
using Files = std::map<std::string, File>;

uint32_t SizeOf(uint64_t chunk) {
  if (chunk % 7 == 0) return static_cast<uint32_t>(1 + chunk % 50);
  if (chunk % 11 == 0) return kMaxChunkSize;
  return static_cast<uint32_t>(20000 + chunk * 7919 % 100000);
}

Manifest ManifestOf(const Files& files) {
  constexpr size_t kChunksPerBlock = 100;
  Manifest manifest;
  std::map<uint64_t, uint32_t> indices;
  uint64_t offset = 0;
  for (const auto& [path, chunks] : files) {
    Manifest::Entry entry;
    entry.path = path;
    entry.mode = 0644;
    entry.first_ref = static_cast<uint32_t>(manifest.chunk_refs.size());
    entry.ref_count = static_cast<uint32_t>(chunks.size());
    for (const uint64_t chunk : chunks) {
      const auto [known, added] = indices.try_emplace(chunk, static_cast<uint32_t>(manifest.chunks.size()));
      manifest.chunk_refs.push_back(known->second);
      const uint32_t size = SizeOf(chunk);
      entry.size += size;
      if (!added) continue;
      if (known->second % kChunksPerBlock == 0) {
        manifest.blocks.push_back({Sha256::Of("block of " + std::to_string(chunk)), kMaxBlockSize});
        offset = 16;
      }
      manifest.frames.push_back({static_cast<uint32_t>(manifest.blocks.size() - 1), offset, size, size});
      offset += size;
      manifest.chunks.push_back(
          {Sha256::Of(std::to_string(chunk)), size, static_cast<uint32_t>(manifest.frames.size() - 1), 0});
    }
    manifest.entries.push_back(std::move(entry));
  }
  absl::StatusOr<Manifest> canonical = Canonicalize(std::move(manifest));
  EXPECT_TRUE(canonical.ok()) << canonical.status();
  return *std::move(canonical);
}

class EditScript {
 public:
  explicit EditScript(uint64_t seed) : random_(seed) {}

  Files Begin() {
    Files files;
    for (size_t n = 1 + Below(8); n > 0; --n) {
      File& file = files[AnyPath()];
      for (size_t c = Below(Below(3) == 0 ? 600 : 20); c > 0; --c) file.push_back(NewChunk());
    }
    if (Below(3) == 0) files["copy"] = files.begin()->second;
    return files;
  }

  Files Edited(const Files& files) {
    Files edited;
    for (const auto& [path, file] : files) {
      const uint64_t kind = Below(12);
      if (kind == 0) continue;  // gone
      File& to = edited[kind == 1 ? AnyPath() : path];
      to = file;
      for (size_t edits = kind < 6 ? 0 : 1 + Below(4); edits > 0; --edits) EditOnce(to);
    }
    if (Below(3) == 0) edited[AnyPath()] = {NewChunk(), NewChunk()};
    return edited;
  }

 private:
  uint64_t Below(uint64_t bound) { return random_() % bound; }
  uint64_t NewChunk() { return Below(10) == 0 ? Below(50) : random_() >> 1; }  // some occur everywhere
  std::string AnyPath() {
    static constexpr const char* kNames[] = {"data.bin", "data-2.bin", "names.csv", "x", "empty"};
    return std::string(kNames[Below(std::size(kNames))]) + (Below(2) == 0 ? "" : std::to_string(Below(10)));
  }

  void EditOnce(File& file) {
    const size_t at = Below(file.size() + 1);
    const size_t end = at + Below(file.size() - at + 1);
    const auto begin = file.begin();
    switch (Below(9)) {
      case 0:  // insert
        for (size_t n = 1 + Below(30); n > 0; --n) {
          file.insert(file.begin() + static_cast<ptrdiff_t>(at), NewChunk());
        }
        break;
      case 1:  // delete
        file.erase(begin + static_cast<ptrdiff_t>(at), begin + static_cast<ptrdiff_t>(end));
        break;
      case 2:  // move
        std::rotate(begin + static_cast<ptrdiff_t>(at), begin + static_cast<ptrdiff_t>(end), file.end());
        break;
      case 3:  // overwrite, in one piece or here and there
        for (size_t i = at; i < end; i += 1 + Below(3)) file[i] = NewChunk();
        break;
      case 4:  // permute records: no chunk stays what it was
        for (uint64_t& chunk : file) chunk = NewChunk();
        break;
      case 5:  // permute chunks
        std::shuffle(file.begin(), file.end(), random_);
        break;
      case 6:  // truncate
        file.resize(at);
        break;
      case 7:  // grow
        for (size_t n = 1 + Below(100); n > 0; --n) file.push_back(NewChunk());
        break;
      default:
        file.clear();
    }
  }

  std::mt19937_64 random_;
};

Delta DeltaOf(const DeltaPlan& plan, const Manifest& target) {
  Delta delta;
  uint64_t offset = 0;
  for (const PlannedPatch& planned : plan.patches) {
    DeltaPatch patch;
    patch.base = planned.base;
    for (const PlannedPatch::Run& run : planned.runs) {
      const auto refs = std::span(target.chunk_refs).subspan(run.first_ref, run.count);
      patch.chunks.insert(patch.chunks.end(), refs.begin(), refs.end());
    }
    patch.offset = offset;
    patch.stored_size = 100;
    offset += 100;
    delta.patches.push_back(std::move(patch));
  }
  return delta;
}

void ExpectRunsAreRight(const PlannedPatch& patch, const Manifest& target) {
  uint64_t size = 0;
  uint64_t block_bytes = 0;
  for (const PlannedPatch::Run& run : patch.runs) {
    const Manifest::Entry& entry = target.entries.at(run.entry);
    ASSERT_GE(run.first_ref, entry.first_ref);
    ASSERT_LE(run.first_ref + run.count, entry.first_ref + entry.ref_count);
    uint64_t offset = 0;
    for (uint32_t ref = entry.first_ref; ref < run.first_ref; ++ref) {
      offset += target.chunks[target.chunk_refs[ref]].size;
    }
    EXPECT_EQ(run.offset, offset);
    uint64_t run_size = 0;
    for (uint32_t i = 0; i < run.count; ++i) {
      const Manifest::Chunk& chunk = target.chunks[target.chunk_refs[run.first_ref + i]];
      run_size += chunk.size;
      block_bytes += target.frames[chunk.frame].stored_size;  // of one chunk each
    }
    EXPECT_EQ(run.size, run_size);
    size += run_size;
  }
  EXPECT_EQ(patch.target_size, size);
  EXPECT_EQ(patch.block_bytes, block_bytes);
}

// All that a plan promises, for any two manifests.
void ExpectSound(const Manifest& base, const Manifest& target, const DeltaPlanOptions& options) {
  const DeltaPlan plan = PlanDelta(base, target, options);
  absl::flat_hash_set<Digest> in_base;
  for (const Manifest::Chunk& chunk : base.chunks) in_base.insert(chunk.digest);
  uint64_t fresh_bytes = 0;
  for (const Manifest::Chunk& chunk : target.chunks) {
    if (!in_base.contains(chunk.digest)) fresh_bytes += chunk.size;
  }
  EXPECT_EQ(plan.fresh_bytes, fresh_bytes);
  EXPECT_EQ(FreshBytes(base, target), fresh_bytes);

  const Delta delta = DeltaOf(plan, target);
  const absl::Status fits = CheckDelta(delta, base, target);
  ASSERT_TRUE(fits.ok()) << fits;
  std::vector<bool> covered(target.chunks.size(), false);
  uint64_t covered_bytes = 0;
  for (size_t i = 0; i < plan.patches.size(); ++i) {
    const PlannedPatch& patch = plan.patches[i];
    ASSERT_FALSE(patch.runs.empty());
    ASSERT_NO_FATAL_FAILURE(ExpectRunsAreRight(patch, target));
    EXPECT_LE(patch.target_size, options.max_target);
    EXPECT_EQ(PatchBaseSize(delta.patches[i]), patch.base_size);
    EXPECT_LE(patch.base_size, options.max_base);
    EXPECT_LE(patch.base.size(), std::min(kMaxPatchRanges, delta.patches[i].chunks.size()));
    for (const DeltaPatch::BaseRange& range : patch.base) EXPECT_GT(range.size, 0u);
    for (const uint32_t chunk : delta.patches[i].chunks) {
      EXPECT_FALSE(in_base.contains(target.chunks[chunk].digest));
      EXPECT_FALSE(covered[chunk]) << "chunk " << chunk << " is in two patches";
      covered[chunk] = true;
      covered_bytes += target.chunks[chunk].size;
    }
  }
  EXPECT_EQ(covered_bytes, fresh_bytes);  // all that is fresh is tried
}

TEST(DeltaPlanTest, AnyEditScriptGivesASoundPlan) {
  const std::vector<DeltaPlanOptions> all_options = {
      {},
      {.slack = 1 << 20, .max_base = 6 << 20},
      {.slack = 0, .max_base = 300000, .max_target = kMaxChunkSize},
      {.slack = 100000, .max_base = 1, .max_target = 1 << 20},
  };
  for (uint64_t seed = 0; seed < 150; ++seed) {
    SCOPED_TRACE(seed);
    EditScript script(seed);
    const Files before = script.Begin();
    const Manifest base = ManifestOf(before);
    const Manifest target = ManifestOf(script.Edited(before));
    for (const DeltaPlanOptions& options : all_options) {
      ASSERT_NO_FATAL_FAILURE(ExpectSound(base, target, options));
    }
    ASSERT_NO_FATAL_FAILURE(ExpectSound(target, base, {}));
  }
}

// What readers bound (docs/formats/delta.md), writers must never reach.
TEST(DeltaPlanTest, EveryPlanFitsIntoAHead) {
  for (uint64_t seed = 0; seed < 60; ++seed) {
    SCOPED_TRACE(seed);
    EditScript script(seed);
    const Files before = script.Begin();
    const Manifest base = ManifestOf(before);
    const Manifest target = ManifestOf(script.Edited(before));
    const std::string base_bytes = EncodeManifest(base);
    const std::string target_bytes = EncodeManifest(target);
    Delta delta = DeltaOf(PlanDelta(base, target, {}), target);
    delta.from = Sha256::Of(base_bytes);
    delta.to = Sha256::Of(target_bytes);
    const std::string head = EncodeDeltaHead(delta, base_bytes, target_bytes, false);
    const auto decoded = DecodeDeltaHead(head);
    ASSERT_TRUE(decoded.ok()) << decoded.status();
    EXPECT_EQ(decoded->delta, delta);
    const auto manifest = ApplyManifestPatch(*decoded, base_bytes);
    ASSERT_TRUE(manifest.ok()) << manifest.status();
    EXPECT_EQ(*manifest, target_bytes);
  }
}

TEST(DeltaPlanTest, ThousandsOfTinyFilesFitIntoAHead) {
  Files before;
  Files after;
  for (uint64_t i = 0; i < 20000; ++i) {
    before["dir" + std::to_string(i % 100) + "-" + std::to_string(i)] = {7 * (i + 1000)};
    after["dir" + std::to_string(i % 100) + "-" + std::to_string(i)] = {7 * (i + 1000000)};
  }
  const Manifest base = ManifestOf(before);
  const Manifest target = ManifestOf(after);
  ASSERT_NO_FATAL_FAILURE(ExpectSound(base, target, {}));
  const DeltaPlan plan = PlanDelta(base, target, {});
  EXPECT_EQ(plan.patches.size(), (20000 + kMaxPatchRanges - 1) / kMaxPatchRanges);
  const std::string head =
      EncodeDeltaHead(DeltaOf(plan, target), EncodeManifest(base), EncodeManifest(target), false);
  const auto decoded = DecodeDeltaHead(head);
  ASSERT_TRUE(decoded.ok()) << decoded.status();
}

TEST(DeltaPlanTest, EqualOrEmptySnapshotsNeedNothing) {
  const Files files = {{"a", {1, 2, 3}}, {"b", {}}, {"c", {2, 2, 2}}};
  for (const Files& before : {files, Files{}, Files{{"z", {3, 2, 1}}}}) {
    for (const Files& after : {Files{}, Files{{"empty", {}}}}) {
      EXPECT_THAT(PlanDelta(ManifestOf(before), ManifestOf(after), {}).patches, IsEmpty());
    }
  }
  EXPECT_THAT(PlanDelta(ManifestOf(files), ManifestOf(files), {}).patches, IsEmpty());
  const Files moved = {{"renamed", {3, 1}}, {"d", {2}}};
  EXPECT_THAT(PlanDelta(ManifestOf(files), ManifestOf(moved), {}).patches, IsEmpty());
}

// --- Against what a changed run is made.

File Chunks(uint64_t first, size_t count) {
  File file;
  for (uint64_t i = 0; i < count; ++i) file.push_back((first + i) * 1000 + 1);
  return file;
}

// The only patch's only base range.
DeltaPatch::BaseRange OnlyRange(const Files& before, const Files& after, std::string* path) {
  const Manifest base = ManifestOf(before);
  const DeltaPlan plan = PlanDelta(base, ManifestOf(after), {});
  EXPECT_THAT(plan.patches, SizeIs(1));
  EXPECT_THAT(plan.patches.at(0).base, SizeIs(1));
  const DeltaPatch::BaseRange range = plan.patches.at(0).base.at(0);
  *path = base.entries.at(range.entry).path;
  return range;
}

TEST(DeltaPlanTest, ChangedRunIsMadeAgainstWhatLayBetweenItsNeighbours) {
  Files after = {{"a", Chunks(1, 500)}};
  Files before = after;
  before["a"][300] = 12345;
  std::string path;
  uint64_t offset = 0;
  for (size_t i = 0; i < 300; ++i) offset += SizeOf(before["a"][i]);
  const DeltaPatch::BaseRange range = OnlyRange(before, after, &path);
  EXPECT_EQ(path, "a");
  EXPECT_LE(range.offset, offset);
  EXPECT_GE(range.offset + range.size, offset + SizeOf(12345));
  EXPECT_LT(range.size, 1u << 20);
}

TEST(DeltaPlanTest, RunBehindAnInsertionIsStillMadeAgainstItsNeighbours) {
  Files before = {{"a", Chunks(1, 500)}};
  Files after = before;
  after["a"][400] = 12345;
  const File inserted = Chunks(5000, 50);
  after["a"].insert(after["a"].begin(), inserted.begin(), inserted.end());
  const Manifest base = ManifestOf(before);
  const Manifest target = ManifestOf(after);
  const DeltaPlan plan = PlanDelta(base, target, {});
  uint64_t offset = 0;
  for (size_t i = 0; i < 400; ++i) offset += SizeOf(before["a"][i]);
  const uint64_t end = offset + SizeOf(before["a"][400]);
  const PlannedPatch& last = plan.patches.back();
  EXPECT_TRUE(std::any_of(last.base.begin(), last.base.end(), [&](const DeltaPatch::BaseRange& range) {
    return range.offset <= offset && range.offset + range.size >= end;
  }));
}

TEST(DeltaPlanTest, RenamedFileIsMadeAgainstTheOneThatSharesMost) {
  Files before = {{"a", Chunks(1, 100)}, {"b", Chunks(200, 100)}, {"c", Chunks(400, 100)}};
  Files after = {{"new", Chunks(200, 100)}, {"a", Chunks(1, 100)}};
  after["new"][50] = 12345;
  after["new"].push_back(before["a"][3]);
  std::string path;
  OnlyRange(before, after, &path);
  EXPECT_EQ(path, "b");
}

TEST(DeltaPlanTest, FileWithoutSharedChunksIsMadeAgainstTheOneWithALikeName) {
  Files before = {{"city-2024.csv", Chunks(1, 20)}, {"readme", Chunks(200, 20)}, {"kept", Chunks(300, 3)}};
  Files after = {{"city-2025.csv", Chunks(400, 20)}, {"kept", Chunks(300, 3)}};
  std::string path;
  const DeltaPatch::BaseRange range = OnlyRange(before, after, &path);
  EXPECT_EQ(path, "city-2024.csv");
  uint64_t size = 0;
  for (const uint64_t chunk : before["city-2024.csv"]) size += SizeOf(chunk);
  EXPECT_EQ(range.size, size);
}

TEST(DeltaPlanTest, WholeLargeFileThatChangedIsCutByPosition) {
  const Files before = {{"a", Chunks(1, 1000)}};
  const Files after = {{"a", Chunks(2000, 1000)}};
  const Manifest base = ManifestOf(before);
  const Manifest target = ManifestOf(after);
  const DeltaPlan plan = PlanDelta(base, target, {});
  EXPECT_GT(plan.patches.size(), 10u);
  const double scale =
      static_cast<double>(base.entries[0].size) / static_cast<double>(target.entries[0].size);
  for (const PlannedPatch& patch : plan.patches) {
    ASSERT_THAT(patch.base, SizeIs(1));
    const auto from = static_cast<uint64_t>(static_cast<double>(patch.runs.front().offset) * scale);
    EXPECT_LE(patch.base[0].offset, from);
    EXPECT_GE(patch.base[0].offset + patch.base[0].size,
              std::min(from + patch.target_size, base.entries[0].size));
  }
}

}  // namespace
}  // namespace aetherfs
