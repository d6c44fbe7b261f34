#ifndef AETHERFS_BASE_SHA256_LANES_H_
#define AETHERFS_BASE_SHA256_LANES_H_

#include <cstddef>
#include <cstdint>

namespace aetherfs {

// A kernel of Sha256UpdateMany: moves `lanes` independent states on by `blocks` 64-byte blocks each. The
// states and data of unused lanes must be valid too (any lane twice will do).
struct Sha256LaneKernel {
  size_t lanes = 0;
  void (*compress)(uint32_t* const* states, const uint8_t* const* data, size_t blocks) = nullptr;
  // With so many messages it is faster than OpenSSL is with one after the other: 2 to `lanes`.
  size_t fewest = 0;
};

void Sha256CompressAvx2(uint32_t* const* states, const uint8_t* const* data, size_t blocks);
void Sha256CompressAvx512(uint32_t* const* states, const uint8_t* const* data, size_t blocks);

// The fastest kernel of this processor; zero lanes if one message at a time is never slower. That depends
// on the processor more than its features tell (one with SHA instructions may be faster or slower with
// AVX-512), so it is measured, once in a process, in about a tenth of a millisecond. Thread-safe.
Sha256LaneKernel ChooseSha256LaneKernel();

}  // namespace aetherfs

#endif  // AETHERFS_BASE_SHA256_LANES_H_
