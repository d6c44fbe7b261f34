#ifndef AETHERFS_CACHE_PART_FILES_H_
#define AETHERFS_CACHE_PART_FILES_H_

#include <compare>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "aetherfs/cache/part.h"
#include "aetherfs/os/file.h"

namespace aetherfs {

// Names the file of a part: 128 bits of a hash of its key. Small, so that an index of many is, too; the
// file itself tells the key.
struct PartFileId {
  uint64_t high = 0;
  uint64_t low = 0;

  static PartFileId Of(const PartKey& key);
  std::string Hex() const;  // 32 digits

  friend bool operator==(const PartFileId&, const PartFileId&) = default;
  friend auto operator<=>(const PartFileId&, const PartFileId&) = default;
  template <typename H>
  friend H AbslHashValue(H h, const PartFileId& id) {
    return H::combine(std::move(h), id.high, id.low);
  }
};

// Files of parts, as the disk cache needs them: what a test replaces to have a disk fail. Read() may be
// called by many threads at once; the others by one thread at a time. Calls block on the disk. Errors:
// RESOURCE_EXHAUSTED if the disk is full, NOT_FOUND, DATA_LOSS for an I/O error, others as in os/file.h.
class PartFiles {
 public:
  virtual ~PartFiles() = default;

  // The file is there whole or not at all, though perhaps not after a power cut: nothing is synced.
  virtual absl::Status Write(const PartFileId& id, std::string_view header, std::string_view bytes) = 0;
  // Reads the beginning of the file into `head`, and what follows into `body`, as far as there is anything;
  // returns how many bytes that were.
  virtual absl::StatusOr<size_t> Read(const PartFileId& id, std::span<char> head, std::span<char> body) = 0;
  virtual absl::Status Remove(const PartFileId& id) = 0;  // OK if there is none

  struct Found {
    PartFileId id;
    uint64_t size = 0;  // bytes of the file
    absl::Time written;
  };
  // Visits all there are, in any order, until `visit` returns false. What a writer that was killed left
  // behind is removed.
  virtual absl::Status Scan(absl::FunctionRef<bool(const Found&)> visit) = 0;
};

// <directory>/v1/<first two digits of the id>/<id>, and <directory>/v1/unfinished for what is being
// written. Nothing else in the directory is touched, but for <directory>/lock, which is held.
class DirectoryPartFiles : public PartFiles {
 public:
  // Makes the directory if it is missing. FAILED_PRECONDITION if another process uses it.
  static absl::StatusOr<std::unique_ptr<DirectoryPartFiles>> Open(const std::string& directory);

  absl::Status Write(const PartFileId& id, std::string_view header, std::string_view bytes) override;
  absl::StatusOr<size_t> Read(const PartFileId& id, std::span<char> head, std::span<char> body) override;
  absl::Status Remove(const PartFileId& id) override;
  absl::Status Scan(absl::FunctionRef<bool(const Found&)> visit) override;

 private:
  DirectoryPartFiles(std::string root, FileLock lock) : root_(std::move(root)), lock_(std::move(lock)) {}
  std::string FolderPath(uint64_t number) const;
  std::string PathOf(const PartFileId& id) const;
  std::string UnfinishedPath() const { return JoinPath(root_, "unfinished"); }

  const std::string root_;
  const FileLock lock_;
};

}  // namespace aetherfs

#endif  // AETHERFS_CACHE_PART_FILES_H_
