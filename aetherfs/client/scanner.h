#ifndef AETHERFS_CLIENT_SCANNER_H_
#define AETHERFS_CLIENT_SCANNER_H_

#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "aetherfs/format/manifest.h"
#include "aetherfs/os/file.h"

struct stat;

namespace aetherfs {

// What the file system says of one file, directory or symlink.
struct ScannedEntry {
  std::string path;  // relative to the root, valid (ValidatePath)
  EntryType type = EntryType::kFile;
  uint16_t mode = 0;   // as Manifest::Entry has it
  std::string target;  // of a symlink
  // Of a file; what tells that it has not changed. All zero for the others.
  uint64_t size = 0;
  int64_t mtime_ns = 0;
  int64_t ctime_ns = 0;
  uint64_t inode = 0;
  uint64_t device = 0;

  bool SameStat(const ScannedEntry& other) const {
    return size == other.size && mtime_ns == other.mtime_ns && ctime_ns == other.ctime_ns &&
           inode == other.inode && device == other.device;
  }
};

// A directory tree, or a single file, as it was found.
struct Scan {
  std::string path;                   // absolute, symlinks resolved
  UniqueFd root;                      // the directory that the entries' paths are relative to
  std::string only_file;              // its name in `root`, if the scan is of a single file; else empty
  absl::Time started;                 // on the system's clock, as the time stamps of files are
  std::vector<ScannedEntry> entries;  // in ComparePaths order
  uint64_t files = 0;
  uint64_t bytes = 0;  // of files
};

// Walks `path` (a symlink is followed there, and nowhere below it), with two threads where that pays.
// Blocks. `scanned_files` counts files as they are found; it and `cancelled` may be null.
//
// Errors: INVALID_ARGUMENT (a name that is no clean UTF-8, a socket, FIFO or device, named; more than
// kMaxEntries), NOT_FOUND, PERMISSION_DENIED, CANCELLED. A file that vanishes during the walk is left out.
absl::StatusOr<Scan> ScanPath(const std::string& path, std::atomic<uint64_t>* scanned_files,
                              const std::atomic<bool>* cancelled);

// Takes over size, times, mode, inode and device. INVALID_ARGUMENT, naming `path`, unless it is a regular
// file.
absl::Status FillFromStat(const std::string& path, const struct stat& stat, ScannedEntry* entry);

// Looks at one scanned file anew. NOT_FOUND if it is gone.
absl::Status ScanAgain(const Scan& scan, ScannedEntry* entry);

// Opens a scanned file for reading; does not follow symlinks.
absl::StatusOr<UniqueFd> OpenScanned(const Scan& scan, const ScannedEntry& entry);

}  // namespace aetherfs

#endif  // AETHERFS_CLIENT_SCANNER_H_
