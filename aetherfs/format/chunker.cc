#include "aetherfs/format/chunker.h"

#include <algorithm>
#include <bit>
#include <cassert>

#include "aetherfs/format/gear.h"

namespace aetherfs {
namespace {

// Normalised chunking: a cut is 2^2 times rarer than 1 in average_size before that size, and 2^2 times more
// frequent behind it, so that sizes gather around it.
constexpr int kNormalization = 2;

// Fingerprints below this occur once in 2^bits.
uint32_t Threshold(int bits) { return uint32_t{1} << (32 - bits); }

}  // namespace

Chunker::Chunker(const ChunkerParameters& parameters) : parameters_(parameters) {
  assert(parameters.min_size >= kGearWindow && parameters.min_size <= parameters.average_size);
  assert(std::has_single_bit(parameters.average_size) && parameters.average_size <= parameters.max_size);
  const int bits = std::countr_zero(parameters.average_size);
  rare_ = Threshold(bits + kNormalization);
  frequent_ = Threshold(bits - kNormalization);
}

size_t Chunker::NextCut(std::string_view data, bool end_of_file) {
  const auto* bytes = reinterpret_cast<const uint8_t*>(data.data());
  const size_t limit = std::min<size_t>(data.size(), parameters_.max_size);
  // An end at `limit` itself is not looked at: it is either forced or known only with more data.
  size_t end = std::max<size_t>(searched_, parameters_.min_size);
  bool found = false;
  const GearMinimaKernel kernel = ChooseGearMinimaKernel();
  if (const size_t stop = std::min<size_t>(limit, parameters_.average_size); !found && end < stop) {
    end = FindGearBelow(kernel, bytes, end, stop, rare_);
    found = end < stop;
  }
  if (!found && end < limit) {
    end = FindGearBelow(kernel, bytes, end, limit, frequent_);
    found = end < limit;
  }
  if (!found && limit < parameters_.max_size && !end_of_file) {
    searched_ = end;
    return 0;
  }
  searched_ = 0;
  return found ? end : limit;
}

}  // namespace aetherfs
