#ifndef AETHERFS_FORMAT_TESTING_SAMPLES_H_
#define AETHERFS_FORMAT_TESTING_SAMPLES_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "aetherfs/base/digest.h"
#include "aetherfs/format/manifest.h"

namespace aetherfs {

// A sequence that a seed reproduces on every machine (SplitMix64).
class SeededSequence {
 public:
  explicit SeededSequence(uint64_t seed) : state_(seed) {}
  uint64_t Next();
  uint64_t Below(uint64_t bound) { return Next() % bound; }
  std::string Bytes(size_t size);

 private:
  uint64_t state_;
};

// A digest that stands for the number `n`.
Digest SampleDigest(uint64_t n);

// A small canonical manifest with everything in it: directories, an empty one, an executable, an empty
// file, a symbolic link, UTF-8 names, shared chunks, gaps, two blocks, both codecs, times before 1970.
Manifest SampleManifest();

// Any canonical manifest, with up to about `files` files; for property tests.
Manifest RandomManifest(uint64_t seed, size_t files);

// Samples on disk, below tests/. With AETHERFS_WRITE_SAMPLES in the environment, WriteSample writes the
// file; without, it does nothing. Paths are relative to tests/.
void WriteSample(const std::string& path, std::string_view bytes);
std::string ReadSample(const std::string& path);
// All files of a folder, by name, in order.
std::vector<std::pair<std::string, std::string>> ReadSamples(const std::string& folder);

}  // namespace aetherfs

#endif  // AETHERFS_FORMAT_TESTING_SAMPLES_H_
