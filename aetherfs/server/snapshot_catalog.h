#ifndef AETHERFS_SERVER_SNAPSHOT_CATALOG_H_
#define AETHERFS_SERVER_SNAPSHOT_CATALOG_H_

#include <list>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "aetherfs/base/reference.h"
#include "aetherfs/base/thread_pool.h"
#include "aetherfs/format/manifest.h"
#include "aetherfs/journal/dataset_state.h"
#include "aetherfs/object/object_store.h"

namespace aetherfs {

// What a commit needs to know of a manifest.
struct ManifestSummary {
  DatasetState::Snapshot snapshot;
  std::vector<Manifest::Block> blocks;
};
using ManifestSummaryPtr = std::shared_ptr<const ManifestSummary>;

// What this server knows of the manifests, blocks and deltas in the store: what it has read or stored
// itself. A cache of facts that stay true: manifests are immutable, and a block goes only after the journal
// has condemned it, which a commit looks at in addition. Only a delta may go unnoticed, and nothing depends
// on it. Thread-safe. `store` and `pool` must outlive it.
class SnapshotCatalog {
 public:
  static constexpr size_t kMaxSummaryBytes = 16 * 1024 * 1024;
  static constexpr size_t kMaxKnownBlocks = 128 * 1024;
  static constexpr size_t kLookupParallelism = 16;
  static constexpr size_t kMaxNamed = 5;  // in messages
  // Manifests above this, as stored, are decoded one at a time.
  static constexpr size_t kBigManifest = 8 * 1024 * 1024;
  static constexpr size_t kMaxManifestObjectSize = kMaxManifestSize;

  SnapshotCatalog(ObjectStore* store, ThreadPool* pool) : store_(*store), pool_(*pool) {}

  // Checks that `object` is a canonical manifest with this digest; DATA_LOSS otherwise. Blocks.
  absl::StatusOr<ManifestSummaryPtr> Decode(std::string_view object, const Digest& digest);

  // The manifest `digest` of `dataset`, from memory or from the store. NOT_FOUND, DATA_LOSS. Blocks.
  absl::StatusOr<ManifestSummaryPtr> Read(const DatasetName& dataset, const Digest& digest,
                                          absl::Time deadline);
  // It is in the store.
  void NoteManifest(const DatasetName& dataset, ManifestSummaryPtr summary);
  void NoteBlock(const DatasetName& dataset, const Digest& digest, uint64_t size);
  void NoteDelta(const DatasetName& dataset, const Digest& digest, uint64_t size);

  // OK if the store has every block, each of the size that the manifest says. FAILED_PRECONDITION names the
  // first that are missing. Blocks: Heads in parallel for what is not known.
  absl::Status CheckBlocks(const DatasetName& dataset, const ManifestSummary& summary, absl::Time deadline);
  // The same for deltas, of which only digest and size are looked at.
  absl::Status CheckDeltas(const DatasetName& dataset, const KeptDeltas& deltas, absl::Time deadline);

 private:
  // A digest, and the space that it is unique in: the dataset, or its deltas.
  using Key = std::pair<Digest, Digest>;
  struct Summary {
    Key key;
    ManifestSummaryPtr summary;
    size_t cost_bytes;
  };

  // An object that a commit needs.
  struct Needed {
    Key key;
    std::string store_key;
    uint64_t size;
  };

  static Key KeyOf(const DatasetName& dataset, const Digest& digest);
  static Key DeltaKeyOf(const DatasetName& dataset, const Digest& digest);
  bool IsKnown(const Key& key, uint64_t size);
  void NoteKnown(const Key& key, uint64_t size);
  // What of `needed` the store has not, or not of that size; asks for what is not known.
  absl::StatusOr<std::vector<Digest>> Missing(const std::vector<Needed>& needed, absl::Time deadline);

  ObjectStore& store_;
  ThreadPool& pool_;
  absl::Mutex mutex_;
  std::list<Summary> summaries_ ABSL_GUARDED_BY(mutex_);  // used last first
  absl::flat_hash_map<Key, std::list<Summary>::iterator> summary_of_ ABSL_GUARDED_BY(mutex_);
  size_t summary_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  // Sizes of blocks and deltas, in two generations: when the young one is full it becomes the old one.
  absl::flat_hash_map<Key, uint64_t> young_blocks_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_map<Key, uint64_t> old_blocks_ ABSL_GUARDED_BY(mutex_);

  absl::Mutex big_mutex_;
  bool decoding_big_ ABSL_GUARDED_BY(big_mutex_) = false;
};

}  // namespace aetherfs

#endif  // AETHERFS_SERVER_SNAPSHOT_CATALOG_H_
