#include "aetherfs/format/gear.h"

#include <algorithm>

namespace aetherfs {
namespace {

constexpr std::array<uint32_t, 256> kGear = [] {
  std::array<uint32_t, 256> gear{};
  for (size_t byte = 0; byte < gear.size(); ++byte) {
    gear[byte] = kGearTables.low[byte % 16] + kGearTables.high[byte / 16];
  }
  return gear;
}();

size_t FindOneByOne(const uint8_t* data, size_t from, size_t to, uint32_t threshold) {
  uint32_t fingerprint = 0;
  const auto roll = [&](size_t i) { fingerprint = (fingerprint << 1) + kGear[data[i]]; };
  for (size_t i = from - kGearWindow; i < from; ++i) roll(i);
  size_t end = from;
  // Four bytes a turn: the loop's own jump costs a quarter of the time.
  for (; end + 4 <= to; end += 4) {
    if (fingerprint < threshold) return end;
    roll(end);
    if (fingerprint < threshold) return end + 1;
    roll(end + 1);
    if (fingerprint < threshold) return end + 2;
    roll(end + 2);
    if (fingerprint < threshold) return end + 3;
    roll(end + 3);
  }
  for (; end < to; ++end) {
    if (fingerprint < threshold) return end;
    roll(end);
  }
  return to;
}

// What a kernel looks at in one go. A find in an early strip makes the work on later ones vain, so as few
// bytes as go well, but the window's 32 bytes before each strip are extra work.
constexpr size_t kMaxStrip = 3072;
constexpr size_t kMinStrip = 256;

// A strip is a 16th of what is left, but not much longer than the way to the next find by all odds.
size_t StripSize(size_t left, uint32_t threshold) {
  const uint64_t expected = (uint64_t{1} << 32) / threshold;  // bytes to the next find
  const size_t wanted = std::clamp<uint64_t>(expected / (2 * kGearStrips), kMinStrip, kMaxStrip);
  return std::min(wanted, left / kGearStrips) / 4 * 4;
}

}  // namespace

GearMinimaKernel ChooseGearMinimaKernel() {
  static const GearMinimaKernel kernel = __builtin_cpu_supports("avx512f") ? &GearMinimaAvx512 : nullptr;
  return kernel;
}

size_t FindGearBelow(GearMinimaKernel kernel, const uint8_t* data, size_t from, size_t to,
                     uint32_t threshold) {
  while (kernel != nullptr && from < to && threshold > 0) {
    const size_t size = StripSize(to - from, threshold);
    if (size < kMinStrip) break;
    uint32_t minima[kGearStrips];
    kernel(data + from, size, kGearTables.low.data(), kGearTables.high.data(), minima);
    for (size_t strip = 0; strip < kGearStrips; ++strip) {
      const size_t begin = from + strip * size;
      if (minima[strip] < threshold) return FindOneByOne(data, begin, begin + size, threshold);
    }
    from += kGearStrips * size;
  }
  return from < to ? FindOneByOne(data, from, to, threshold) : to;
}

}  // namespace aetherfs
