#include <fmt/format.h>

#include "aetherfs/journal/journal.h"

namespace aetherfs {

std::string CatalogKey(const DatasetName& dataset) {
  return fmt::format("{}{}", kCatalogPrefix, dataset.Escaped());
}

std::string JournalKey(const DatasetName& dataset, uint64_t seq) {
  return fmt::format("datasets/{}/journal/{:020}", dataset.Escaped(), seq);
}

std::string CheckpointKey(const DatasetName& dataset, uint64_t seq) {
  return fmt::format("datasets/{}/checkpoints/{:020}", dataset.Escaped(), seq);
}

std::string ManifestKey(const DatasetName& dataset, const Digest& digest) {
  return fmt::format("datasets/{}/manifests/{}", dataset.Escaped(), digest.Hex());
}

std::string BlockKey(const DatasetName& dataset, const Digest& digest) {
  return fmt::format("datasets/{}/blocks/{}", dataset.Escaped(), digest.Hex());
}

std::string DeltaKey(const DatasetName& dataset, const Digest& digest) {
  return fmt::format("datasets/{}/deltas/{}", dataset.Escaped(), digest.Hex());
}

}  // namespace aetherfs
