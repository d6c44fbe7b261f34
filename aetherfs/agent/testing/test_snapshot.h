#ifndef AETHERFS_AGENT_TESTING_TEST_SNAPSHOT_H_
#define AETHERFS_AGENT_TESTING_TEST_SNAPSHOT_H_

#include <cstdint>
#include <map>
#include <ostream>
#include <random>
#include <string>
#include <vector>

#include "aetherfs/client/testing/fake_server_client.h"
#include "aetherfs/format/manifest.h"

namespace aetherfs {

// What is to be at one path.
struct TestFile {
  EntryType type = EntryType::kFile;
  std::string contents;  // of a file; a symlink's target
  uint16_t mode = 0644;
  int64_t mtime_ns = 1'700'000'000'123'456'789;
  friend bool operator==(const TestFile&, const TestFile&) = default;
};
void PrintTo(const TestFile& file, std::ostream* out);
using TestTree = std::map<std::string, TestFile>;  // directories above are added

// A snapshot of a tree, stored at a fake server: small chunks, several to a frame, several blocks.
struct TestSnapshot {
  Manifest manifest;
  Digest digest;
};
TestSnapshot StoreSnapshot(FakeServerClient& server, const std::string& dataset, const TestTree& tree,
                           uint32_t chunk_size = 1024);

// A tree of random files that share some of their contents, with directories, symlinks and empty files.
TestTree RandomTree(std::mt19937_64& random, size_t files);
// The same with some files changed, renamed, added and gone.
TestTree Mutated(const TestTree& tree, std::mt19937_64& random);

// What is really below a directory, read back; a file's mtime included. Fails the test if it can't be read.
TestTree ReadTree(const std::string& directory);
// As ReadTree gives it: with all directories, and their and the symlinks' modes and mtimes as it reports
// them.
TestTree Expected(const TestTree& tree, bool read_only);

}  // namespace aetherfs

#endif  // AETHERFS_AGENT_TESTING_TEST_SNAPSHOT_H_
