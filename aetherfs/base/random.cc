#include "aetherfs/base/random.h"

#include <algorithm>
#include <cmath>

#include "absl/random/random.h"

namespace aetherfs {
namespace {

class SystemRandom : public Random {
 public:
  uint64_t Next() override {
    thread_local absl::BitGen generator;
    return absl::Uniform<uint64_t>(generator);
  }
};

}  // namespace

absl::Duration Random::Jitter(absl::Duration most) {
  return most * (static_cast<double>(Next() >> 11) * 0x1p-53);
}

std::string Random::Bytes(size_t size) {
  std::string out;
  while (out.size() < size) {
    const uint64_t word = Next();
    out.append(reinterpret_cast<const char*>(&word), std::min(sizeof(word), size - out.size()));
  }
  return out;
}

Random* Random::System() {
  static SystemRandom random;
  return &random;
}

absl::Duration BackoffDelay(int attempt, absl::Duration initial, absl::Duration most, Random& random) {
  return random.Jitter(std::min(most, initial * std::ldexp(1.0, std::clamp(attempt, 0, 30))));
}

}  // namespace aetherfs
