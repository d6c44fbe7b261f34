#include "aetherfs/agent/base_files.h"

#include "aetherfs/base/status.h"
#include "fmt/format.h"

namespace aetherfs {

absl::Status BaseFiles::Read(const DeltaPatch& patch, std::string* prefix) {
  prefix->resize(PatchBaseSize(patch));
  size_t position = 0;
  for (const DeltaPatch::BaseRange& range : patch.base) {
    if (range.entry != entry_ || !fd_.valid()) {
      entry_ = range.entry;
      ASSIGN_OR_RETURN(fd_, tree_.OpenForReading(range.entry));
    }
    ASSIGN_OR_RETURN(const size_t read,
                     ReadAt(fd_.get(), range.offset, prefix->data() + position, range.size));
    if (read != range.size) {
      return absl::DataLossError(fmt::format("{} is shorter than it was", tree_.PathOf(range.entry)));
    }
    position += range.size;
  }
  return absl::OkStatus();
}

}  // namespace aetherfs
