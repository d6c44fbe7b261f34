#ifndef AETHERFS_AGENT_BASE_FILES_H_
#define AETHERFS_AGENT_BASE_FILES_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "aetherfs/agent/tree.h"
#include "aetherfs/format/delta.h"
#include "aetherfs/os/file.h"

namespace aetherfs {

// Reads what patches are made against from the directory of a snapshot. Keeps one file open. Not
// thread-safe; several may share a tree, which must outlive them.
class BaseFiles {
 public:
  explicit BaseFiles(Tree& tree) : tree_(tree) {}

  // Fills `prefix` with the patch's base. NOT_FOUND if a file is not there; DATA_LOSS if one is too short.
  absl::Status Read(const DeltaPatch& patch, std::string* prefix);

 private:
  Tree& tree_;
  UniqueFd fd_;
  uint32_t entry_ = UINT32_MAX;  // that fd_ is
};

}  // namespace aetherfs

#endif  // AETHERFS_AGENT_BASE_FILES_H_
