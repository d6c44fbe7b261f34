#define AETHERFS_SHA256_LANES 8

#include "aetherfs/base/sha256_lanes_inl.h"

namespace aetherfs {

void Sha256CompressAvx2(uint32_t* const* states, const uint8_t* const* data, size_t blocks);

void Sha256CompressAvx2(uint32_t* const* states, const uint8_t* const* data, size_t blocks) {
  CompressLanes(states, data, blocks);
}

}  // namespace aetherfs
