#include "aetherfs/format/testing/samples.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdexcept>

#include "fmt/format.h"

namespace aetherfs {
namespace {

std::string SamplePath(const std::string& path) {
  const char* root = std::getenv("AETHERFS_TESTS_DIR");
  return std::string(root != nullptr ? root : AETHERFS_TESTS_DIR) + "/" + path;
}

// Puts random chunks into random frames and blocks, with gaps.
void AddStorage(SeededSequence& random, Manifest& manifest) {
  const size_t blocks = 1 + random.Below(3);
  for (size_t b = 0; b < blocks; ++b) {
    uint64_t offset = random.Below(100);
    for (size_t f = 1 + random.Below(3); f > 0; --f) {
      uint32_t end = static_cast<uint32_t>(random.Below(2) * random.Below(50));
      for (size_t c = 1 + random.Below(4); c > 0; --c) {
        const auto size = static_cast<uint32_t>(1 + random.Below(60000));
        manifest.chunks.push_back({.digest = SampleDigest(random.Next()),
                                   .size = size,
                                   .frame = static_cast<uint32_t>(manifest.frames.size()),
                                   .offset = end});
        end += size + static_cast<uint32_t>(random.Below(2) * random.Below(50));
      }
      Manifest::Frame frame = {.block = static_cast<uint32_t>(b), .offset = offset, .raw_size = end};
      frame.codec = end > 1 && random.Below(2) == 0 ? FrameCodec::kZstd : FrameCodec::kRaw;
      frame.stored_size =
          frame.codec == FrameCodec::kRaw ? end : static_cast<uint32_t>(1 + random.Below(end - 1));
      manifest.frames.push_back(frame);
      offset += frame.stored_size + random.Below(2) * random.Below(1000);
    }
    manifest.blocks.push_back({SampleDigest(random.Next()), offset + 50});
  }
}

std::string RandomName(SeededSequence& random) {
  static constexpr std::string_view kLetters[] = {"a", "b", "aa", ".", "-", " ", "z", "é", "€", "0", "\n"};
  std::string name;
  for (size_t n = 1 + random.Below(4); n > 0; --n) name += kLetters[random.Below(std::size(kLetters))];
  return name == "." || name == ".." ? "dots" : name;
}

void AddEntries(SeededSequence& random, size_t files, Manifest& manifest) {
  std::vector<std::string> directories = {""};
  for (size_t i = 0; i < files; ++i) {
    Manifest::Entry entry;
    entry.path = directories[random.Below(directories.size())] + RandomName(random);
    entry.first_ref = static_cast<uint32_t>(manifest.chunk_refs.size());
    const uint64_t kind = random.Below(10);
    if (kind < 2) {
      entry.type = EntryType::kDirectory;
      entry.mode = 0755;
      if (entry.path.size() < 200) directories.push_back(entry.path + "/");
    } else if (kind == 2) {
      entry.type = EntryType::kSymlink;
      entry.mode = 0777;
      entry.target = "../" + RandomName(random);
    } else {
      entry.mode = static_cast<uint16_t>(random.Below(01000));
      entry.mtime_ns = static_cast<int64_t>(random.Next() >> random.Below(64));
      entry.ref_count = static_cast<uint32_t>(manifest.chunks.empty() ? 0 : random.Below(4));
      for (uint32_t r = 0; r < entry.ref_count; ++r) {
        manifest.chunk_refs.push_back(static_cast<uint32_t>(random.Below(manifest.chunks.size())));
        entry.size += manifest.chunks[manifest.chunk_refs.back()].size;
      }
    }
    const auto same = [&](const Manifest::Entry& other) { return other.path == entry.path; };
    if (std::none_of(manifest.entries.begin(), manifest.entries.end(), same)) {
      manifest.entries.push_back(entry);
    } else {
      manifest.chunk_refs.resize(entry.first_ref);
      if (entry.type == EntryType::kDirectory && directories.size() > 1) directories.pop_back();
    }
  }
}

}  // namespace

uint64_t SeededSequence::Next() {
  state_ += 0x9e3779b97f4a7c15;
  uint64_t z = state_;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

std::string SeededSequence::Bytes(size_t size) {
  std::string bytes(size, '\0');
  for (size_t i = 0; i < size; i += 8) {
    const uint64_t word = Next();
    std::memcpy(bytes.data() + i, &word, std::min<size_t>(8, size - i));
  }
  return bytes;
}

Digest SampleDigest(uint64_t n) {
  SeededSequence sequence(n);
  return *Digest::FromBytes(sequence.Bytes(Digest::kSize));
}

Manifest SampleManifest() {
  Manifest m;
  m.blocks = {{SampleDigest(1), 300000}, {SampleDigest(2), 5000}};
  m.frames = {
      {.block = 0, .offset = 16, .stored_size = 100000, .raw_size = 200000, .codec = FrameCodec::kZstd},
      {.block = 0, .offset = 150000, .stored_size = 70000, .raw_size = 70000, .codec = FrameCodec::kRaw},
      {.block = 1, .offset = 16, .stored_size = 10, .raw_size = 1100, .codec = FrameCodec::kZstd},
  };
  m.chunks = {
      {.digest = SampleDigest(10), .size = 100000, .frame = 0, .offset = 0},
      {.digest = SampleDigest(11), .size = 99999, .frame = 0, .offset = 100000},
      {.digest = SampleDigest(12), .size = 70000, .frame = 1, .offset = 0},
      {.digest = SampleDigest(13), .size = 1000, .frame = 2, .offset = 100},
  };
  const auto add = [&m](std::string path, EntryType type, uint16_t mode, int64_t mtime_ns,
                        std::string target, std::vector<uint32_t> refs) {
    Manifest::Entry entry;
    entry.path = std::move(path);
    entry.type = type;
    entry.mode = mode;
    entry.mtime_ns = mtime_ns;
    entry.target = std::move(target);
    entry.first_ref = static_cast<uint32_t>(m.chunk_refs.size());
    entry.ref_count = static_cast<uint32_t>(refs.size());
    for (const uint32_t ref : refs) {
      entry.size += m.chunks[ref].size;
      m.chunk_refs.push_back(ref);
    }
    m.entries.push_back(std::move(entry));
  };
  const int64_t time = 1700000000123456789;
  add("bin", EntryType::kDirectory, 0755, 0, "", {});
  add("bin/run", EntryType::kFile, 0755, time, "", {0, 1});
  add("bin-old", EntryType::kFile, 0644, time + 1, "", {2, 0});
  add("data", EntryType::kDirectory, 0755, 0, "", {});
  add("data/empty", EntryType::kDirectory, 0755, 0, "", {});
  add("data/naïve €.txt", EntryType::kFile, 0600, -1, "", {3});
  add("data/nothing", EntryType::kFile, 0644, 0, "", {});
  add("data/twice", EntryType::kFile, 0644, INT64_MIN, "", {3, 3});
  add("latest", EntryType::kSymlink, 0777, 0, "data/twice", {});
  return m;
}

Manifest RandomManifest(uint64_t seed, size_t files) {
  SeededSequence random(seed);
  Manifest manifest;
  if (random.Below(10) > 0) AddStorage(random, manifest);
  AddEntries(random, files, manifest);
  auto canonical = Canonicalize(std::move(manifest));
  if (!canonical.ok()) throw std::logic_error(canonical.status().ToString());
  return *std::move(canonical);
}

void WriteSample(const std::string& path, std::string_view bytes) {
  if (std::getenv("AETHERFS_WRITE_SAMPLES") == nullptr) return;
  const std::filesystem::path file = SamplePath(path);
  std::filesystem::create_directories(file.parent_path());
  std::ofstream(file, std::ios::binary) << bytes;
}

std::string ReadSample(const std::string& path) {
  std::ifstream file(SamplePath(path), std::ios::binary);
  if (!file) throw std::runtime_error(fmt::format("cannot read the sample {}", SamplePath(path)));
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

std::vector<std::pair<std::string, std::string>> ReadSamples(const std::string& folder) {
  std::vector<std::pair<std::string, std::string>> samples;
  for (const auto& file : std::filesystem::directory_iterator(SamplePath(folder))) {
    const std::string name = file.path().filename();
    samples.emplace_back(name, ReadSample(folder + "/" + name));
  }
  std::sort(samples.begin(), samples.end());
  return samples;
}

}  // namespace aetherfs
