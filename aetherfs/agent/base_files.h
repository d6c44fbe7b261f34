#ifndef AETHERFS_AGENT_BASE_FILES_H_
#define AETHERFS_AGENT_BASE_FILES_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "aetherfs/agent/tree.h"
#include "aetherfs/client/delta_fetcher.h"
#include "aetherfs/format/delta.h"
#include "aetherfs/os/file.h"

namespace aetherfs {

// Reads what patches are made against from the directory of a snapshot. Keeps one file open, and what it
// read last: patches of one file often have the same base. Not thread-safe; several may share a tree, which
// must outlive them.
class BaseFiles : public PatchBases {
 public:
  explicit BaseFiles(Tree& tree) : tree_(tree) {}

  absl::StatusOr<std::string_view> Read(const DeltaPatch& patch) override;

 private:
  Tree& tree_;
  UniqueFd fd_;
  uint32_t entry_ = UINT32_MAX;              // that fd_ is
  std::vector<DeltaPatch::BaseRange> read_;  // what `bytes_` has
  std::unique_ptr<char[]> bytes_;
  size_t capacity_ = 0;
};

}  // namespace aetherfs

#endif  // AETHERFS_AGENT_BASE_FILES_H_
