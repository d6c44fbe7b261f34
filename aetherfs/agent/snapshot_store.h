#ifndef AETHERFS_AGENT_SNAPSHOT_STORE_H_
#define AETHERFS_AGENT_SNAPSHOT_STORE_H_

#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "aetherfs/base/digest.h"
#include "aetherfs/base/reference.h"
#include "aetherfs/os/file.h"

namespace aetherfs {

// One directory of files: a snapshot, or the part of it that a filter lets through.
struct SnapshotKey {
  DatasetName dataset;
  Digest digest;
  std::string filter;  // SubscriptionSpec::FilterHash()

  // "<hex>" or "<hex>-<filter>", its directory's name.
  std::string Name() const { return filter.empty() ? digest.Hex() : digest.Hex() + "-" + filter; }
  // The digest that a name begins with; nullopt for what is none.
  static std::optional<Digest> DigestOf(std::string_view name);

  friend bool operator==(const SnapshotKey&, const SnapshotKey&) = default;
};

// The tree below an agent's root:
//
//   ROOT/<path>                                   symlinks to the active snapshots, relative
//   ROOT/.aetherfs/snapshots/<dataset>/<name>/    whole, synced, never written to again
//   ROOT/.aetherfs/staging/<dataset>/<name>/      being filled (materializer.h)
//   ROOT/.aetherfs/manifests/<dataset>/<digest>   manifest objects: a cache, checked when read
//   ROOT/.aetherfs/{state,publications/,cache/}   others' (agent.h)
//   ROOT/.aetherfs/{trash/,lock}                  what is being removed; keeps a second agent off
//
// Invariant: what lies in snapshots/ is whole whenever the machine stops, because it gets there by one
// rename after it was synced, and leaves by one rename into the trash.
//
// Thread-safe. All calls block on the disk, none while holding the lock.
class SnapshotStore {
 public:
  // Creates what is missing, takes the lock and empties the trash. FAILED_PRECONDITION if another agent has
  // it.
  static absl::StatusOr<std::unique_ptr<SnapshotStore>> Open(const std::string& root);

  const std::string& root() const { return root_; }
  std::string OwnPath(std::string_view name) const { return JoinPath(own_, name); }
  std::string LinkPath(std::string_view path) const { return JoinPath(root_, path); }
  std::string SnapshotPath(const SnapshotKey& key) const;
  std::string StagingPath(const SnapshotKey& key) const;

  bool Has(const SnapshotKey& key) const { return Exists(SnapshotPath(key)); }
  // Names of the dataset's snapshots, sorted.
  std::vector<std::string> Names(const DatasetName& dataset) const;
  // Directories of datasets that there are, as DirectoryName() names them.
  std::vector<std::string> DatasetDirectories() const;
  // The dataset as one file name: escaped, and shortened by a hash where that would be too long for one.
  static std::string DirectoryName(const DatasetName& dataset);

  // The canonical manifest. NOT_FOUND; DATA_LOSS if the file rotted.
  absl::StatusOr<std::string> ReadManifest(const DatasetName& dataset, const Digest& digest) const;
  // Atomic, but not synced: it can always be had again.
  absl::Status WriteManifest(const DatasetName& dataset, const Digest& digest,
                             std::string_view canonical) const;

  // Staged and synced becomes a snapshot, durably.
  absl::Status Promote(const SnapshotKey& key) const;
  absl::Status DiscardStaging(const SnapshotKey& key);

  // Points ROOT/<path> at the snapshot by one rename; visible at once, durable after SyncLink.
  // FAILED_PRECONDITION if something is there that is not ours to replace, or a directory above is none.
  absl::Status Activate(const std::string& path, const SnapshotKey& key) const;
  // FAILED_PRECONDITION if ROOT/<path> is there and is not a symlink.
  absl::Status CheckLinkPlace(const std::string& path) const;
  absl::Status SyncLink(const std::string& path) const;
  // The name of the dataset's snapshot that the symlink points at, also if that is gone; nullopt if there
  // is no symlink or it points elsewhere.
  std::optional<std::string> ActiveName(const std::string& path, const DatasetName& dataset) const;
  // Removes the symlink if it points at a snapshot of the dataset, and directories above that got empty.
  absl::Status RemoveLink(const std::string& path, const DatasetName& dataset) const;

  // While it lives, the snapshot (or what is staged of it) is not removed.
  class Lease {
   public:
    Lease() = default;
    Lease(Lease&& other) noexcept;
    Lease& operator=(Lease&& other) noexcept;
    ~Lease();

   private:
    friend class SnapshotStore;
    Lease(SnapshotStore* store, std::string id) : store_(store), id_(std::move(id)) {}
    SnapshotStore* store_ = nullptr;
    std::string id_;
  };
  // Waits while it is just being moved away.
  Lease Take(const DatasetName& dataset, const std::string& name);
  // While it lives, nobody else has one for this key: it may be staged. Waits for whoever stages it now.
  Lease TakeForStaging(const SnapshotKey& key);

  // Removes all of a dataset directory, staged things and manifests too, but what is leased and what
  // `stays` says must stay. It is asked once nobody can take a lease on that snapshot any more, so its
  // answer can't be outdated by an activation that holds one.
  absl::Status RemoveExcept(const std::string& dataset_directory,
                            const std::function<bool(const std::string& name)>& stays);

 private:
  SnapshotStore(std::string root, FileLock lock);

  void Release(const std::string& id);
  // Moves ROOT/.aetherfs/<kind>/<directory>/<name> into the trash, unless it is leased or stays. True if it
  // did.
  absl::StatusOr<bool> MoveToTrash(const char* kind, const std::string& directory, const std::string& name,
                                   const std::function<bool(const std::string& name)>& stays);
  absl::Status MakeLinkParents(const std::string& path) const;

  const std::string root_;
  const std::string own_;  // ROOT/.aetherfs
  const FileLock lock_;

  absl::Mutex mutex_;
  absl::flat_hash_map<std::string, int> leases_ ABSL_GUARDED_BY(mutex_);  // by "<dataset>/<name>"
  absl::flat_hash_set<std::string> removing_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace aetherfs

#endif  // AETHERFS_AGENT_SNAPSHOT_STORE_H_
