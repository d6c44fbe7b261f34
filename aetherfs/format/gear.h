#ifndef AETHERFS_FORMAT_GEAR_H_
#define AETHERFS_FORMAT_GEAR_H_

#include <array>
#include <cstddef>
#include <cstdint>

namespace aetherfs {

// Gear fingerprints of 32 bits (docs/formats/chunking.md). The fingerprint at `end` is
//   sum over i in [0, 32) of gear[data[end - 1 - i]] << i   (mod 2^32),
// so it depends on the 32 bytes before `end` and on nothing else, and can be computed anywhere.
inline constexpr size_t kGearWindow = 32;

// gear[byte] = low[byte % 16] + high[byte / 16]: two tables of 16 words, so that a vector register holds
// each. The words are the upper halves of SplitMix64's first 32 outputs from the seed "AetherFS".
struct GearTables {
  std::array<uint32_t, 16> low;
  std::array<uint32_t, 16> high;
};

constexpr GearTables MakeGearTables() {
  uint64_t state = 0x4165746865724653;
  const auto next = [&state] {
    state += 0x9e3779b97f4a7c15;
    uint64_t z = state;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return static_cast<uint32_t>((z ^ (z >> 31)) >> 32);
  };
  GearTables tables{};
  for (uint32_t& word : tables.low) word = next();
  for (uint32_t& word : tables.high) word = next();
  return tables;
}

inline constexpr GearTables kGearTables = MakeGearTables();

// The least fingerprint at an end in [strip, strip + size) for each of 16 strips that lie one after the
// other from `first` on. `size` is a multiple of 4; the 32 bytes before `first` are there too.
using GearMinimaKernel = void (*)(const uint8_t* first, size_t size, const uint32_t* low,
                                  const uint32_t* high, uint32_t* minima);
inline constexpr size_t kGearStrips = 16;

void GearMinimaAvx512(const uint8_t* first, size_t size, const uint32_t* low, const uint32_t* high,
                      uint32_t* minima);

// The kernel for this processor; nullptr if one byte after the other is best.
GearMinimaKernel ChooseGearMinimaKernel();

// The first end in [from, to) whose fingerprint is below `threshold`, or `to`. `from` is at least
// kGearWindow. `kernel` may be nullptr: the answer is the same.
size_t FindGearBelow(GearMinimaKernel kernel, const uint8_t* data, size_t from, size_t to,
                     uint32_t threshold);

}  // namespace aetherfs

#endif  // AETHERFS_FORMAT_GEAR_H_
