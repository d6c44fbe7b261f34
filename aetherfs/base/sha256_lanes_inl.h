// The rounds of FIPS 180-4, section 6.2.2, over vectors that hold one word of each lane. Included by one
// file per instruction set, which defines AETHERFS_SHA256_LANES and is compiled for that set. It includes
// no library header with inline functions, so nothing built for one processor is linked into code for
// another.

#include <stddef.h>
#include <stdint.h>

namespace aetherfs {
namespace {

constexpr int kLanes = AETHERFS_SHA256_LANES;

typedef uint32_t Words __attribute__((vector_size(4 * kLanes)));
typedef uint8_t Bytes __attribute__((vector_size(4 * kLanes)));

alignas(64) constexpr uint32_t kRound[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

template <int kBits>
inline __attribute__((always_inline)) Words Rotate(Words x) {
  return (x >> kBits) | (x << (32 - kBits));
}

inline __attribute__((always_inline)) void Round(Words s[8], Words word_and_constant) {
  const Words a = s[0], b = s[1], c = s[2], e = s[4], f = s[5], g = s[6];
  const Words sum1 = Rotate<6>(e) ^ Rotate<11>(e) ^ Rotate<25>(e);
  const Words choice = (e & f) ^ (~e & g);
  const Words t1 = s[7] + sum1 + choice + word_and_constant;
  const Words sum0 = Rotate<2>(a) ^ Rotate<13>(a) ^ Rotate<22>(a);
  const Words majority = (a & b) ^ (a & c) ^ (b & c);
  s[7] = g;
  s[6] = f;
  s[5] = e;
  s[4] = s[3] + t1;
  s[3] = c;
  s[2] = b;
  s[1] = a;
  s[0] = t1 + sum0 + majority;
}

inline __attribute__((always_inline)) Words Schedule(const Words w[16], int t) {
  const Words x = w[(t + 1) & 15], y = w[(t + 14) & 15];
  const Words sigma0 = Rotate<7>(x) ^ Rotate<18>(x) ^ (x >> 3);
  const Words sigma1 = Rotate<17>(y) ^ Rotate<19>(y) ^ (y >> 10);
  return w[t & 15] + sigma0 + w[(t + 9) & 15] + sigma1;
}

template <int...>
struct Indices {};
#define AETHERFS_EIGHT(n) n, n + 1, n + 2, n + 3, n + 4, n + 5, n + 6, n + 7
#define AETHERFS_THIRTY_TWO(n) \
  AETHERFS_EIGHT(n), AETHERFS_EIGHT(n + 8), AETHERFS_EIGHT(n + 16), AETHERFS_EIGHT(n + 24)
#if AETHERFS_SHA256_LANES == 16
using LaneIndices = Indices<AETHERFS_EIGHT(0), AETHERFS_EIGHT(8)>;
using ByteIndices = Indices<AETHERFS_THIRTY_TWO(0), AETHERFS_THIRTY_TWO(32)>;
#else
using LaneIndices = Indices<AETHERFS_EIGHT(0)>;
using ByteIndices = Indices<AETHERFS_THIRTY_TWO(0)>;
#endif

// The 2 × 2 blocks of edge kStep that two rows, kStep apart, form: the transposed ones are made of them.
template <int kStep, int... kIndex>
inline __attribute__((always_inline)) Words UpperRow(Words a, Words b, Indices<kIndex...>) {
  return __builtin_shufflevector(a, b, ((kIndex & kStep) != 0 ? kLanes + kIndex - kStep : kIndex)...);
}
template <int kStep, int... kIndex>
inline __attribute__((always_inline)) Words LowerRow(Words a, Words b, Indices<kIndex...>) {
  return __builtin_shufflevector(a, b, ((kIndex & kStep) != 0 ? kLanes + kIndex : kIndex + kStep)...);
}

template <int kStep>
inline __attribute__((always_inline)) void TransposeBlocks(Words rows[kLanes]) {
#pragma GCC unroll 16
  for (int i = 0; i < kLanes; ++i) {
    if ((i & kStep) != 0) continue;
    const Words a = rows[i], b = rows[i + kStep];
    rows[i] = UpperRow<kStep>(a, b, LaneIndices());
    rows[i + kStep] = LowerRow<kStep>(a, b, LaneIndices());
  }
}

template <int... kIndex>
inline __attribute__((always_inline)) Words FromBigEndian(Words words, Indices<kIndex...>) {
  const Bytes bytes = (Bytes)words;
  return (Words)__builtin_shufflevector(bytes, bytes, (kIndex ^ 3)...);
}

// w[first + i] = word first + i of every lane's block.
inline __attribute__((always_inline)) void LoadWords(const uint8_t* const* data, size_t offset, int first,
                                                     Words w[16]) {
  Words rows[kLanes];
#pragma GCC unroll 16
  for (int lane = 0; lane < kLanes; ++lane) {
    Words row;
    __builtin_memcpy(&row, data[lane] + offset + 4 * first, sizeof(row));
    rows[lane] = FromBigEndian(row, ByteIndices());
  }
  TransposeBlocks<1>(rows);
  TransposeBlocks<2>(rows);
  TransposeBlocks<4>(rows);
  if constexpr (kLanes == 16) TransposeBlocks<8 % kLanes>(rows);
#pragma GCC unroll 16
  for (int i = 0; i < kLanes; ++i) w[first + i] = rows[i];
}

inline __attribute__((always_inline)) void CompressLanes(uint32_t* const* states,
                                                         const uint8_t* const* data, size_t blocks) {
  union Matrix {
    uint32_t word[8][kLanes];
    Words row[8];
  };
  Words state[8];
  Matrix lanes;
  for (int i = 0; i < 8; ++i) {
    for (int lane = 0; lane < kLanes; ++lane) lanes.word[i][lane] = states[lane][i];
    state[i] = lanes.row[i];
  }
  for (size_t block = 0; block < blocks; ++block) {
    Words w[16], s[8];
    for (int first = 0; first < 16; first += kLanes) LoadWords(data, 64 * block, first, w);
    for (int i = 0; i < 8; ++i) s[i] = state[i];
#pragma GCC unroll 16
    for (int t = 0; t < 16; ++t) Round(s, w[t] + kRound[t]);
    for (int turn = 16; turn < 64; turn += 16) {
#pragma GCC unroll 16
      for (int t = 0; t < 16; ++t) {
        w[t] = Schedule(w, t);
        Round(s, w[t] + kRound[turn + t]);
      }
    }
    for (int i = 0; i < 8; ++i) state[i] += s[i];
  }
  for (int i = 0; i < 8; ++i) {
    lanes.row[i] = state[i];
    for (int lane = 0; lane < kLanes; ++lane) states[lane][i] = lanes.word[i][lane];
  }
}

}  // namespace
}  // namespace aetherfs

#undef AETHERFS_THIRTY_TWO
#undef AETHERFS_EIGHT
