#include "aetherfs/server/snapshot_catalog.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "aetherfs/base/sha256.h"
#include "aetherfs/base/status.h"
#include "aetherfs/journal/journal.h"

namespace aetherfs {
namespace {

constexpr size_t kSummaryOverhead = 256;  // of a list node, a map entry, a shared pointer

// The first few of them.
std::string Named(const std::vector<Digest>& digests) {
  std::string named;
  for (size_t i = 0; i < std::min(digests.size(), SnapshotCatalog::kMaxNamed); ++i)
    named += (i == 0 ? "" : ", ") + digests[i].ToString();
  return named + (digests.size() > SnapshotCatalog::kMaxNamed ? ", …" : "");
}

}  // namespace

SnapshotCatalog::Key SnapshotCatalog::KeyOf(const DatasetName& dataset, const Digest& digest) {
  return {digest, Sha256::Of(dataset.str())};
}

SnapshotCatalog::Key SnapshotCatalog::DeltaKeyOf(const DatasetName& dataset, const Digest& digest) {
  return {digest, Sha256::Of("deltas of " + dataset.str())};  // no dataset has a space in its name
}

absl::StatusOr<ManifestSummaryPtr> SnapshotCatalog::Decode(std::string_view object, const Digest& digest) {
  const bool big = object.size() > kBigManifest;
  if (big) {
    absl::MutexLock lock(&big_mutex_);
    const auto free = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(big_mutex_) { return !decoding_big_; };
    big_mutex_.Await(absl::Condition(&free));
    decoding_big_ = true;
  }
  const auto decode = [&]() -> absl::StatusOr<ManifestSummaryPtr> {
    ASSIGN_OR_RETURN(const std::string canonical, DecodeManifestObject(object, digest));
    ASSIGN_OR_RETURN(Manifest manifest, DecodeManifest(canonical));
    auto summary = std::make_shared<ManifestSummary>();
    summary->snapshot.digest = digest;
    summary->snapshot.files = manifest.FileCount();
    summary->snapshot.bytes = manifest.TotalBytes();
    summary->snapshot.chunks = manifest.chunks.size();
    summary->snapshot.blocks = manifest.blocks.size();
    summary->blocks = std::move(manifest.blocks);
    summary->blocks.shrink_to_fit();
    return summary;
  };
  absl::StatusOr<ManifestSummaryPtr> decoded = decode();
  if (big) {
    absl::MutexLock lock(&big_mutex_);
    decoding_big_ = false;
  }
  return decoded;
}

absl::StatusOr<ManifestSummaryPtr> SnapshotCatalog::Read(const DatasetName& dataset, const Digest& digest,
                                                         absl::Time deadline) {
  const Key key = KeyOf(dataset, digest);
  {
    absl::MutexLock lock(&mutex_);
    if (const auto it = summary_of_.find(key); it != summary_of_.end()) {
      summaries_.splice(summaries_.begin(), summaries_, it->second);
      return it->second->summary;
    }
  }
  const absl::StatusOr<std::string> object =
      ReadObject(store_, ManifestKey(dataset, digest), kMaxManifestObjectSize, deadline);
  if (absl::IsNotFound(object.status())) {
    return absl::NotFoundError(fmt::format("{} has no snapshot {}", dataset.str(), digest.ToString()));
  }
  RETURN_IF_ERROR(Annotate(object.status(),
                           fmt::format("reading the manifest {} of {}", digest.ToString(), dataset.str())));
  absl::StatusOr<ManifestSummaryPtr> summary = Decode(*object, digest);
  if (!summary.ok()) {
    return Annotate(summary.status(),
                    fmt::format("the manifest {} of {}", digest.ToString(), dataset.str()));
  }
  NoteManifest(dataset, *summary);
  return summary;
}

void SnapshotCatalog::NoteManifest(const DatasetName& dataset, ManifestSummaryPtr summary) {
  const Key key = KeyOf(dataset, summary->snapshot.digest);
  const size_t cost = kSummaryOverhead + summary->blocks.size() * sizeof(Manifest::Block);
  std::list<Summary> dropped;  // destroyed when the lock is no longer held
  absl::MutexLock lock(&mutex_);
  if (cost > kMaxSummaryBytes / 2 || summary_of_.contains(key)) return;
  summaries_.push_front({key, std::move(summary), cost});
  summary_of_[key] = summaries_.begin();
  summary_bytes_ += cost;
  while (summary_bytes_ > kMaxSummaryBytes) {
    summary_bytes_ -= summaries_.back().cost_bytes;
    summary_of_.erase(summaries_.back().key);
    dropped.splice(dropped.end(), summaries_, std::prev(summaries_.end()));
  }
}

void SnapshotCatalog::NoteBlock(const DatasetName& dataset, const Digest& digest, uint64_t size) {
  NoteKnown(KeyOf(dataset, digest), size);
}

void SnapshotCatalog::NoteDelta(const DatasetName& dataset, const Digest& digest, uint64_t size) {
  NoteKnown(DeltaKeyOf(dataset, digest), size);
}

void SnapshotCatalog::NoteKnown(const Key& key, uint64_t size) {
  absl::MutexLock lock(&mutex_);
  if (young_blocks_.size() >= kMaxKnownBlocks / 2) {
    old_blocks_ = std::move(young_blocks_);
    young_blocks_.clear();
  }
  young_blocks_.insert_or_assign(key, size);
}

bool SnapshotCatalog::IsKnown(const Key& key, uint64_t size) {
  absl::MutexLock lock(&mutex_);
  if (const auto it = young_blocks_.find(key); it != young_blocks_.end()) return it->second == size;
  const auto it = old_blocks_.find(key);
  return it != old_blocks_.end() && it->second == size;
}

absl::StatusOr<std::vector<Digest>> SnapshotCatalog::Missing(const std::vector<Needed>& needed,
                                                             absl::Time deadline) {
  std::vector<absl::Status> found(needed.size());
  pool_.ParallelFor(needed.size(), kLookupParallelism, [&](size_t i) {
    const absl::StatusOr<ObjectInfo> info = store_.Head(needed[i].store_key, deadline);
    if (!info.ok()) {
      found[i] = info.status();
    } else if (info->size != needed[i].size) {
      found[i] = absl::NotFoundError(fmt::format("it has {} bytes, not {}", info->size, needed[i].size));
    } else {
      NoteKnown(needed[i].key, needed[i].size);
    }
  });
  std::vector<Digest> missing;
  for (size_t i = 0; i < found.size(); ++i) {
    if (found[i].ok()) continue;
    const Digest& digest = needed[i].key.first;
    if (!absl::IsNotFound(found[i])) {
      return Annotate(found[i], fmt::format("looking for {}", digest.ToString()));
    }
    missing.push_back(digest);
  }
  return missing;
}

absl::Status SnapshotCatalog::CheckBlocks(const DatasetName& dataset, const ManifestSummary& summary,
                                          absl::Time deadline) {
  std::vector<Needed> unknown;
  const Digest space = KeyOf(dataset, Digest()).second;
  for (const Manifest::Block& block : summary.blocks) {
    const Key key = {block.digest, space};
    if (!IsKnown(key, block.size)) unknown.push_back({key, BlockKey(dataset, block.digest), block.size});
  }
  ASSIGN_OR_RETURN(const std::vector<Digest> missing, Missing(unknown, deadline));
  if (missing.empty()) return absl::OkStatus();
  return absl::FailedPreconditionError(fmt::format(
      "{} of the {} blocks of snapshot {} are missing in {}: upload them again ({})", missing.size(),
      summary.blocks.size(), summary.snapshot.digest.ToString(), dataset.str(), Named(missing)));
}

absl::Status SnapshotCatalog::CheckDeltas(const DatasetName& dataset, const KeptDeltas& deltas,
                                          absl::Time deadline) {
  std::vector<Needed> unknown;
  for (const KeptDelta& delta : deltas) {
    const Key key = DeltaKeyOf(dataset, delta.digest);
    if (!IsKnown(key, delta.size)) unknown.push_back({key, DeltaKey(dataset, delta.digest), delta.size});
  }
  ASSIGN_OR_RETURN(const std::vector<Digest> missing, Missing(unknown, deadline));
  if (missing.empty()) return absl::OkStatus();
  return absl::FailedPreconditionError(fmt::format(
      "{} of the {} deltas are missing in {}, or have another size: upload them again, or publish without "
      "({})",
      missing.size(), deltas.size(), dataset.str(), Named(missing)));
}

}  // namespace aetherfs
