#include "aetherfs/base/sha256.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <vector>

#include "aetherfs/base/sha256_lanes.h"

namespace aetherfs {
namespace {

constexpr size_t kBlockSize = 64;
constexpr size_t kMaxLanes = 16;

const uint8_t* AsBytes(std::string_view text) { return reinterpret_cast<const uint8_t*>(text.data()); }

// A message in a lane: its state and the whole blocks of it that are still to come.
struct Lane {
  SHA256_CTX* context;
  const uint8_t* data;
  size_t blocks;
};

// As SHA256_Update counts the bits of a message.
void CountBytes(SHA256_CTX& context, size_t bytes) {
  const uint64_t bits = (uint64_t{context.Nh} << 32 | context.Nl) + uint64_t{bytes} * 8;
  context.Nl = static_cast<SHA_LONG>(bits);
  context.Nh = static_cast<SHA_LONG>(bits >> 32);
}

// Moves all lanes on until fewer than `fewest` have blocks left; those stay at the front of the span.
// Returns how many are left.
size_t CompressWhileFull(const Sha256LaneKernel& kernel, std::span<Lane> lanes, size_t fewest) {
  size_t left = lanes.size();
  while (left >= fewest) {
    const size_t used = std::min(left, kernel.lanes);
    size_t blocks = lanes[0].blocks;
    for (size_t i = 1; i < used; ++i) blocks = std::min(blocks, lanes[i].blocks);
    uint32_t spare[8] = {};
    uint32_t* states[kMaxLanes];
    const uint8_t* data[kMaxLanes];
    for (size_t i = 0; i < kernel.lanes; ++i) {
      states[i] = i < used ? lanes[i].context->h : spare;
      data[i] = i < used ? lanes[i].data : lanes[0].data;
    }
    kernel.compress(states, data, blocks);
    for (size_t i = 0; i < used; ++i) {
      CountBytes(*lanes[i].context, blocks * kBlockSize);
      lanes[i].data += blocks * kBlockSize;
      lanes[i].blocks -= blocks;
    }
    for (size_t i = std::min(left, used); i-- > 0;) {
      if (lanes[i].blocks == 0) lanes[i] = lanes[--left];
    }
  }
  return left;
}

// How long `work` takes, at best: what else the machine does can only make it longer.
template <typename Work>
std::chrono::nanoseconds Shortest(Work work) {
  constexpr int kRounds = 5;
  auto shortest = std::chrono::nanoseconds::max();
  for (int round = 0; round < kRounds; ++round) {
    const auto begin = std::chrono::steady_clock::now();
    work();
    shortest = std::min<std::chrono::nanoseconds>(shortest, std::chrono::steady_clock::now() - begin);
  }
  return shortest;
}

// Sets `kernel.fewest`; no lanes if even all of them together are not worth it.
Sha256LaneKernel Measure(Sha256LaneKernel kernel) {
  constexpr size_t kBlocks = 64;
  const std::array<uint8_t, kBlocks * kBlockSize> message = {};
  std::array<std::array<uint32_t, 8>, kMaxLanes> lanes = {};
  uint32_t* states[kMaxLanes];
  const uint8_t* data[kMaxLanes];
  for (size_t i = 0; i < kernel.lanes; ++i) {
    states[i] = lanes[i].data();
    data[i] = message.data();
  }
  SHA256_CTX context;
  SHA256_Init(&context);
  const auto one = Shortest([&] { SHA256_Update(&context, message.data(), message.size()); });
  const auto all = Shortest([&] { kernel.compress(states, data, kBlocks); });
  kernel.fewest =
      std::max<size_t>(2, static_cast<size_t>(all / std::max(one, std::chrono::nanoseconds(1))) + 1);
  return kernel.fewest <= kernel.lanes ? kernel : Sha256LaneKernel();
}

}  // namespace

Sha256LaneKernel ChooseSha256LaneKernel() {
  static const Sha256LaneKernel chosen = [] {
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw"))
      return Measure({16, &Sha256CompressAvx512});
    if (__builtin_cpu_supports("avx2")) return Measure({8, &Sha256CompressAvx2});
    return Sha256LaneKernel();
  }();
  return chosen;
}

Sha256::Sha256() { SHA256_Init(&context_); }

void Sha256::Update(std::string_view data) { SHA256_Update(&context_, data.data(), data.size()); }

Digest Sha256::Finish() {
  Digest digest;
  SHA256_Final(digest.data(), &context_);
  return digest;
}

Digest Sha256::Of(std::string_view message) {
  Sha256 hash;
  hash.Update(message);
  return hash.Finish();
}

void Sha256UpdateMany(std::span<Sha256* const> hashes, std::span<const std::string_view> data) {
  const Sha256LaneKernel kernel = ChooseSha256LaneKernel();
  // A kernel takes as long for one lane as for all.
  if (kernel.lanes == 0 || hashes.size() < kernel.fewest) {
    for (size_t i = 0; i < hashes.size(); ++i) hashes[i]->Update(data[i]);
    return;
  }
  std::vector<Lane> lanes;
  std::vector<std::string_view> tails(hashes.size());
  lanes.reserve(hashes.size());
  for (size_t i = 0; i < hashes.size(); ++i) {
    std::string_view rest = data[i];
    if (const size_t buffered = hashes[i]->context_.num; buffered > 0) {
      const size_t missing = std::min(kBlockSize - buffered, rest.size());
      hashes[i]->Update(rest.substr(0, missing));
      rest.remove_prefix(missing);
    }
    const size_t blocks = rest.size() / kBlockSize;
    if (blocks > 0) lanes.push_back({&hashes[i]->context_, AsBytes(rest), blocks});
    tails[i] = rest.substr(blocks * kBlockSize);
  }
  lanes.resize(CompressWhileFull(kernel, lanes, kernel.fewest));
  for (const Lane& lane : lanes) SHA256_Update(lane.context, lane.data, lane.blocks * kBlockSize);
  for (size_t i = 0; i < hashes.size(); ++i) hashes[i]->Update(tails[i]);
}

void Sha256Many(std::span<const std::string_view> messages, std::span<Digest> digests) {
  std::vector<Sha256> hashes(messages.size());
  std::vector<Sha256*> pointers(messages.size());
  for (size_t i = 0; i < hashes.size(); ++i) pointers[i] = &hashes[i];
  Sha256UpdateMany(pointers, messages);
  for (size_t i = 0; i < hashes.size(); ++i) digests[i] = hashes[i].Finish();
}

}  // namespace aetherfs
