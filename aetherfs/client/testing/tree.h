#ifndef AETHERFS_CLIENT_TESTING_TREE_H_
#define AETHERFS_CLIENT_TESTING_TREE_H_

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "aetherfs/base/reference.h"
#include "aetherfs/client/fetcher.h"
#include "aetherfs/client/server_client.h"

namespace aetherfs {

// Directory trees for tests.

// Reproducible bytes that nothing compresses.
std::string RandomBytes(size_t size, uint64_t seed);
// Reproducible words.
std::string RandomText(size_t size, uint64_t seed);

// Writes a file, making directories above it and replacing what was there.
void WriteTestFile(const std::string& path, std::string_view contents, unsigned mode = 0644);

// Fills `root` with directories, empty ones too, files of all sizes and kinds, duplicates, executable and
// read-only ones, symlinks and odd names.
void MakeRandomTree(const std::string& root, uint64_t seed, int entries = 40);

// Everything below `root`, by path: type, mode, mtime, target, contents. Two equal trees have equal
// results.
std::map<std::string, std::string> DescribeTree(const std::string& root);

// Makes `root` the snapshot, from nothing.
absl::Status PullTree(ServerClient& client, const DatasetName& dataset, const Digest& digest,
                      const std::string& root, TransferStats* stats = nullptr);

}  // namespace aetherfs

#endif  // AETHERFS_CLIENT_TESTING_TREE_H_
