// Includes no library header with inline functions, so that nothing built for AVX-512 is linked into code
// for another processor.

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

namespace aetherfs {

void GearMinimaAvx512(const uint8_t* first, size_t size, const uint32_t* low, const uint32_t* high,
                      uint32_t* minima);

namespace {

constexpr size_t kWindow = 32;

struct Tables {
  __m512i low, high;
};

// Moves 16 fingerprints on by the byte at bit kShift of each lane's word. VPERMD looks at four bits of an
// index only, so nothing needs to be masked.
template <int kShift>
inline __attribute__((always_inline)) __m512i Roll(const Tables& tables, __m512i fingerprints,
                                                   __m512i words) {
  const __m512i low = _mm512_permutexvar_epi32(_mm512_srli_epi32(words, kShift), tables.low);
  const __m512i high = _mm512_permutexvar_epi32(_mm512_srli_epi32(words, kShift + 4), tables.high);
  return _mm512_add_epi32(_mm512_add_epi32(fingerprints, fingerprints), _mm512_add_epi32(low, high));
}

}  // namespace

void GearMinimaAvx512(const uint8_t* first, size_t size, const uint32_t* low, const uint32_t* high,
                      uint32_t* minima) {
  const Tables tables = {_mm512_loadu_si512(low), _mm512_loadu_si512(high)};
  const __m512i lane = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
  const __m512i offsets = _mm512_mullo_epi32(lane, _mm512_set1_epi32(static_cast<int>(size)));
  __m512i fingerprints = _mm512_setzero_si512();
  const uint8_t* next = first - kWindow;
  for (; next < first; next += 4) {
    const __m512i words = _mm512_i32gather_epi32(offsets, next, 1);
    fingerprints = Roll<0>(tables, fingerprints, words);
    fingerprints = Roll<8>(tables, fingerprints, words);
    fingerprints = Roll<16>(tables, fingerprints, words);
    fingerprints = Roll<24>(tables, fingerprints, words);
  }
  __m512i least = _mm512_set1_epi32(-1);
  for (const uint8_t* end = first + size; next < end; next += 4) {
    const __m512i words = _mm512_i32gather_epi32(offsets, next, 1);
    least = _mm512_min_epu32(least, fingerprints);
    fingerprints = Roll<0>(tables, fingerprints, words);
    least = _mm512_min_epu32(least, fingerprints);
    fingerprints = Roll<8>(tables, fingerprints, words);
    least = _mm512_min_epu32(least, fingerprints);
    fingerprints = Roll<16>(tables, fingerprints, words);
    least = _mm512_min_epu32(least, fingerprints);
    fingerprints = Roll<24>(tables, fingerprints, words);
  }
  _mm512_storeu_si512(minima, least);
}

}  // namespace aetherfs
