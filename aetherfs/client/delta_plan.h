#ifndef AETHERFS_CLIENT_DELTA_PLAN_H_
#define AETHERFS_CLIENT_DELTA_PLAN_H_

#include <cstdint>
#include <vector>

#include "aetherfs/format/delta.h"
#include "aetherfs/format/manifest.h"

namespace aetherfs {

// What is to be compressed against what, for a delta between two snapshots; decided from their manifests
// alone.
//
// A chunk of the target that the base does not have anywhere is *fresh*; every fresh chunk is in at most
// one patch. A run of fresh chunks is made against the bytes of the base that lie between the same
// neighbours, widened: in the file of the same path; or, for a new path, in the file that shares most
// chunks with it; or in one that went away and has a like name. Without any, it is made against nothing:
// compressed in pieces larger than a frame, it may still be worth it. Small runs share a patch, large ones
// are cut.
struct PlannedPatch {
  // Fresh chunks that follow each other in one file of the target.
  struct Run {
    uint32_t entry = 0;      // of the target's manifest
    uint64_t offset = 0;     // in the file
    uint32_t first_ref = 0;  // index into the target's chunk_refs
    uint32_t count = 0;
    uint32_t size = 0;
  };
  // A file of the base that has more than `base` takes of it and is worth searching for better ranges.
  static constexpr uint32_t kNothing = UINT32_MAX;
  uint32_t searched = kNothing;
  std::vector<DeltaPatch::BaseRange> base;
  std::vector<Run> runs;
  uint32_t target_size = 0;
  uint32_t base_size = 0;
  uint64_t block_bytes = 0;  // what its chunks cost from blocks

  // Readers refuse a delta with many more base ranges than chunks.
  size_t ChunkCount() const {
    size_t count = 0;
    for (const Run& run : runs) count += run.count;
    return count;
  }
};

struct DeltaPlan {
  std::vector<PlannedPatch> patches;  // in the order of the target's paths
  uint64_t fresh_bytes = 0;           // of fresh chunks, before compression
};

struct DeltaPlanOptions {
  // How far the base of a piece of a large run reaches beyond where it should lie, on both sides.
  uint64_t slack = 2 * 1024 * 1024;
  // At most; up to kMaxPatchBase and kMaxPatchTarget. As they are, a compressor's tables see all of both.
  uint32_t max_base = 6 * 1024 * 1024;
  uint32_t max_target = 2 * 1024 * 1024;
};

// Pure. `base` and `target` are canonical.
DeltaPlan PlanDelta(const Manifest& base, const Manifest& target, const DeltaPlanOptions& options);

// Bytes of chunks of the target that the base does not have. Pure.
uint64_t FreshBytes(const Manifest& base, const Manifest& target);

}  // namespace aetherfs

#endif  // AETHERFS_CLIENT_DELTA_PLAN_H_
