// What the formats cost on one core. Rates are of file bytes; `bytes_per_file` is beyond the path.

#include <benchmark/benchmark.h>

#include <cstring>
#include <string>
#include <vector>

#include "aetherfs/base/sha256.h"
#include "aetherfs/format/block.h"
#include "aetherfs/format/chunker.h"
#include "aetherfs/format/gear.h"
#include "aetherfs/format/manifest.h"
#include "fmt/format.h"

namespace aetherfs {
namespace {

constexpr size_t kMiB = 1024 * 1024;

uint64_t Mix(uint64_t z) {
  z += 0x9e3779b97f4a7c15;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

std::string RandomBytes(size_t size, uint64_t seed) {
  std::string bytes(size, '\0');
  for (size_t i = 0; i + 8 <= size; i += 8) {
    const uint64_t word = Mix(seed + i);
    std::memcpy(bytes.data() + i, &word, 8);
  }
  return bytes;
}

std::string Text(size_t size) {
  std::string text;
  for (uint64_t i = 0; text.size() < size; ++i) {
    text += fmt::format("{},{}.{}.{}.0/24,name-{}\n", i, i % 251, i % 13, Mix(i) % 256, Mix(i) % 10000);
  }
  text.resize(size);
  return text;
}

Digest DigestOf(uint64_t n) {
  Digest digest;
  for (size_t i = 0; i < 4; ++i) {
    const uint64_t word = Mix(n * 4 + i);
    std::memcpy(digest.data() + 8 * i, &word, 8);
  }
  return digest;
}

// Files of one chunk each in directories of 1000, as a scan finds them.
Manifest ManyFiles(size_t count, uint32_t size, uint32_t per_frame) {
  Manifest manifest;
  size_t in_frame = per_frame;
  for (size_t i = 0; i < count; ++i) {
    if (i % 1000 == 0) {
      manifest.entries.push_back({.path = fmt::format("directory-{:05}", i / 1000),
                                  .type = EntryType::kDirectory,
                                  .mode = 0755,
                                  .target = {},
                                  .first_ref = static_cast<uint32_t>(manifest.chunk_refs.size())});
    }
    if (in_frame == per_frame) {
      in_frame = 0;
      uint64_t offset = 16;
      if (!manifest.frames.empty()) {
        offset = manifest.frames.back().offset + manifest.frames.back().stored_size;
      }
      if (manifest.frames.empty() || offset + size * per_frame > 60 * kMiB) {
        manifest.blocks.push_back({DigestOf(UINT64_MAX - i), 64 * kMiB});
        offset = 16;
      }
      manifest.frames.push_back(
          {.block = static_cast<uint32_t>(manifest.blocks.size() - 1),
           .offset = offset,
           .stored_size = static_cast<uint32_t>(size * per_frame - 100 - Mix(i) % 100),
           .raw_size = size * per_frame,
           .codec = FrameCodec::kZstd});
    }
    const auto number = static_cast<uint32_t>(i);
    manifest.chunks.push_back({.digest = DigestOf(i),
                               .size = size,
                               .frame = static_cast<uint32_t>(manifest.frames.size() - 1),
                               .offset = static_cast<uint32_t>(in_frame++ * size)});
    manifest.entries.push_back(
        {.path = fmt::format("directory-{:05}/file-{:08}.json", i / 1000, i),
         .mode = 0644,
         .mtime_ns = static_cast<int64_t>(1700000000000000000 + Mix(i) % 1000000000000),
         .size = size,
         .target = {},
         .first_ref = number,
         .ref_count = 1});
    manifest.chunk_refs.push_back(number);
  }
  return manifest;
}

void BM_Memcpy(benchmark::State& state) {
  const std::string data = RandomBytes(64 * kMiB, 1);
  std::string to(data.size(), '\0');
  for (auto _ : state) {
    std::memcpy(to.data(), data.data(), data.size());
    benchmark::ClobberMemory();
  }
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations() * data.size()));
}
BENCHMARK(BM_Memcpy)->Unit(benchmark::kMillisecond);

void BM_Sha256(benchmark::State& state) {
  const std::string data = RandomBytes(16 * kMiB, 1);
  for (auto _ : state) benchmark::DoNotOptimize(Sha256::Of(data));
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations() * data.size()));
}
BENCHMARK(BM_Sha256)->Unit(benchmark::kMillisecond);

void Chunk(benchmark::State& state, const std::string& data) {
  size_t chunks = 0;
  for (auto _ : state) {
    Chunker chunker;
    std::string_view rest = data;
    while (!rest.empty()) {
      rest.remove_prefix(chunker.NextCut(rest, true));
      ++chunks;
    }
  }
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations() * data.size()));
  state.counters["average_chunk"] = static_cast<double>(state.iterations() * data.size() / chunks);
}
void BM_ChunkRandom(benchmark::State& state) { Chunk(state, RandomBytes(64 * kMiB, 2)); }
BENCHMARK(BM_ChunkRandom)->Unit(benchmark::kMillisecond);
void BM_ChunkText(benchmark::State& state) { Chunk(state, Text(64 * kMiB)); }
BENCHMARK(BM_ChunkText)->Unit(benchmark::kMillisecond);

// The loop alone, with no bytes skipped, by kernel.
void ScanGear(benchmark::State& state, GearMinimaKernel kernel) {
  const std::string data = RandomBytes(16 * kMiB, 3);
  const auto* bytes = reinterpret_cast<const uint8_t*>(data.data());
  constexpr size_t kPiece = 64 * 1024;
  for (auto _ : state) {
    for (size_t at = 0; at + kPiece <= data.size(); at += kPiece - kGearWindow) {
      benchmark::DoNotOptimize(FindGearBelow(kernel, bytes + at, kGearWindow, kPiece, 1));
    }
  }
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations() * data.size()));
}
void BM_GearOneByOne(benchmark::State& state) { ScanGear(state, nullptr); }
BENCHMARK(BM_GearOneByOne)->Unit(benchmark::kMillisecond);
void BM_GearBestKernel(benchmark::State& state) { ScanGear(state, ChooseGearMinimaKernel()); }
BENCHMARK(BM_GearBestKernel)->Unit(benchmark::kMillisecond);

void EncodeFrames(benchmark::State& state, const std::string& data) {
  FrameEncoder encoder(3);
  size_t stored = 0;
  for (auto _ : state) {
    stored = 0;
    for (size_t at = 0; at < data.size(); at += kMaxFrameSize) {
      const std::string_view raw = std::string_view(data).substr(at, kMaxFrameSize);
      const EncodedFrame frame = encoder.Encode(raw);
      stored += frame.codec == FrameCodec::kRaw ? raw.size() : frame.stored.size();
    }
  }
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations() * data.size()));
  state.counters["stored_share"] = static_cast<double>(stored) / static_cast<double>(data.size());
}
void BM_EncodeFramesRandom(benchmark::State& state) { EncodeFrames(state, RandomBytes(16 * kMiB, 4)); }
BENCHMARK(BM_EncodeFramesRandom)->Unit(benchmark::kMillisecond);
void BM_EncodeFramesText(benchmark::State& state) { EncodeFrames(state, Text(16 * kMiB)); }
BENCHMARK(BM_EncodeFramesText)->Unit(benchmark::kMillisecond);

void CountFiles(benchmark::State& state, const Manifest& manifest, const std::string& canonical) {
  size_t paths = 0;
  for (const Manifest::Entry& entry : manifest.entries) paths += entry.path.size();
  const auto files = static_cast<double>(manifest.FileCount());
  state.counters["bytes_per_file"] = static_cast<double>(canonical.size()) / files;
  state.counters["path_bytes_per_file"] = static_cast<double>(paths) / files;
}
void BM_EncodeManifest(benchmark::State& state) {
  const Manifest manifest =
      ManyFiles(1000000, static_cast<uint32_t>(state.range(0)), static_cast<uint32_t>(state.range(1)));
  std::string canonical;
  for (auto _ : state) canonical = EncodeManifest(manifest);
  CountFiles(state, manifest, canonical);
}
BENCHMARK(BM_EncodeManifest)->Args({1024, 256})->Args({200000, 1})->Unit(benchmark::kMillisecond);
void BM_DecodeManifest(benchmark::State& state) {
  const std::string canonical = EncodeManifest(
      ManyFiles(1000000, static_cast<uint32_t>(state.range(0)), static_cast<uint32_t>(state.range(1))));
  for (auto _ : state) {
    const auto manifest = DecodeManifest(canonical);
    if (!manifest.ok()) state.SkipWithError("the manifest cannot be decoded");
  }
}
BENCHMARK(BM_DecodeManifest)->Args({1024, 256})->Args({200000, 1})->Unit(benchmark::kMillisecond);
void BM_Canonicalize(benchmark::State& state) {
  const Manifest manifest = ManyFiles(1000000, 1024, 256);
  for (auto _ : state) {
    state.PauseTiming();
    Manifest copy = manifest;
    if (state.range(0) != 0) std::reverse(copy.entries.begin(), copy.entries.end());
    state.ResumeTiming();
    const auto canonical = Canonicalize(std::move(copy));
    if (!canonical.ok()) state.SkipWithError("the manifest cannot be made canonical");
  }
}
BENCHMARK(BM_Canonicalize)->ArgName("reversed")->Arg(0)->Arg(1)->Unit(benchmark::kMillisecond);
void BM_EncodeManifestObject(benchmark::State& state) {
  const std::string canonical = EncodeManifest(ManyFiles(1000000, 1024, 256));
  std::string object;
  for (auto _ : state) object = EncodeManifestObject(canonical);
  state.counters["stored_bytes_per_file"] = static_cast<double>(object.size()) / 1e6;
}
BENCHMARK(BM_EncodeManifestObject)->Unit(benchmark::kMillisecond);
void BM_DecodeManifestObject(benchmark::State& state) {
  const std::string canonical = EncodeManifest(ManyFiles(1000000, 1024, 256));
  const Digest digest = Sha256::Of(canonical);
  const std::string object = EncodeManifestObject(canonical);
  for (auto _ : state) {
    const auto decoded = DecodeManifestObject(object, digest);
    if (!decoded.ok()) state.SkipWithError("the object cannot be decoded");
  }
}
BENCHMARK(BM_DecodeManifestObject)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace aetherfs
