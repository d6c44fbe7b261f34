#ifndef AETHERFS_OBJECT_FILE_FILE_OBJECT_STORE_H_
#define AETHERFS_OBJECT_FILE_FILE_OBJECT_STORE_H_

#include <atomic>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "aetherfs/base/clock.h"
#include "aetherfs/object/object_store.h"

namespace aetherfs {

// Objects as files below one directory: the object "a/b" is the file <root>/a/b.
//
// Any number of processes may use one directory at once; the file system arbitrates. A put writes
// <root>/#tmp/<unique> ('#' occurs in no key), syncs it, gives it its name by link(2), which fails if the
// name is taken, or by rename(2), which replaces, and syncs the directory before it is acknowledged. So an
// object is there whole or not at all, whenever a process or the machine stops. Directories made on the
// way are synced too; they stay when they become empty. A removal is not synced: after a power cut the
// object may be there again.
//
// Temporary files of processes that were killed are removed at Open() once they are a day old.
//
// A key cannot be an object and a directory of other keys at once ("a" and "a/b"): the second put fails
// with FAILED_PRECONDITION. Components have at most 255 bytes (INVALID_ARGUMENT). Symbolic links and
// everything else that is neither a directory nor a regular file are not seen as objects.
//
// Thread-safe. Calls block on the file system; deadlines are looked at between pieces of 256 KiB. The
// caller's PutOptions::sha256 is not checked. A full disk is RESOURCE_EXHAUSTED, an I/O error DATA_LOSS.
class FileObjectStore : public ObjectStore {
 public:
  // Makes `root` if it is missing. `clock` outlives the store.
  static absl::StatusOr<std::unique_ptr<FileObjectStore>> Open(std::string root,
                                                               Clock* clock = Clock::System());
  ~FileObjectStore() override;

  FileObjectStore(const FileObjectStore&) = delete;
  FileObjectStore& operator=(const FileObjectStore&) = delete;

  absl::StatusOr<ObjectInfo> Get(std::string_view key, const GetOptions& options, ByteSink sink) override;
  absl::Status Put(std::string_view key, const std::vector<std::string_view>& pieces,
                   const PutOptions& options) override;
  absl::StatusOr<ObjectInfo> Head(std::string_view key, absl::Time deadline) override;
  absl::StatusOr<ListResult> List(const ListOptions& options) override;
  absl::Status Remove(std::string_view key, absl::Time deadline) override;

 private:
  class TemporaryFile;

  FileObjectStore(std::string root, int root_fd, int temporary_fd, Clock* clock);

  // Removes the temporary files that are older than a day.
  void RemoveStaleTemporaries();
  // A new synced file in #tmp that holds `pieces`.
  absl::StatusOr<TemporaryFile> WriteTemporary(std::string_view key,
                                               const std::vector<std::string_view>& pieces,
                                               absl::Time deadline);
  // Makes the directories that `key` lies in and syncs the entry of each, once per process.
  absl::Status EnsureParents(std::string_view key);
  // ALREADY_EXISTS, once the object that another writer has put there is durable too: the loser may rely on
  // it before the winner's sync is done.
  absl::Status SyncExisting(std::string_view key);
  // Gives `file` the name `key`, durably.
  absl::Status Publish(TemporaryFile& file, std::string_view key, bool if_absent);

  const std::string root_;
  const int root_fd_;
  const int temporary_fd_;
  Clock& clock_;
  std::atomic<uint64_t> next_temporary_ = 0;
  absl::Mutex mutex_;
  // Directories whose own entry this process has seen on disk; emptied when it has kMaxKnownDirectories.
  absl::flat_hash_set<std::string> known_directories_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace aetherfs

#endif  // AETHERFS_OBJECT_FILE_FILE_OBJECT_STORE_H_
