#include "aetherfs/agent/base_files.h"

#include "aetherfs/base/status.h"
#include "fmt/format.h"

namespace aetherfs {

absl::StatusOr<std::string_view> BaseFiles::Read(const DeltaPatch& patch) {
  const size_t size = PatchBaseSize(patch);
  if (patch.base == read_) return std::string_view(bytes_.get(), size);
  read_.clear();
  if (capacity_ < size) {
    bytes_ = std::make_unique_for_overwrite<char[]>(size);
    capacity_ = size;
  }
  size_t position = 0;
  for (const DeltaPatch::BaseRange& range : patch.base) {
    if (range.entry != entry_ || !fd_.valid()) {
      entry_ = range.entry;
      ASSIGN_OR_RETURN(fd_, tree_.OpenForReading(range.entry));
    }
    ASSIGN_OR_RETURN(const size_t read,
                     ReadAt(fd_.get(), range.offset, bytes_.get() + position, range.size));
    if (read != range.size) {
      return absl::DataLossError(fmt::format("{} is shorter than it was", tree_.PathOf(range.entry)));
    }
    position += range.size;
  }
  read_ = patch.base;
  return std::string_view(bytes_.get(), size);
}

}  // namespace aetherfs
