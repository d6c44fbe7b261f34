#ifndef AETHERFS_OBJECT_FILE_FILE_LISTING_H_
#define AETHERFS_OBJECT_FILE_FILE_LISTING_H_

#include "absl/status/statusor.h"
#include "aetherfs/base/clock.h"
#include "aetherfs/object/object_store.h"

namespace aetherfs {

// One page of the regular files below the directory `root_fd` whose paths are valid keys, as
// ObjectStore::List. Reads only directories that can hold wanted keys. Files that vanish meanwhile are
// left out. Thread-safe; blocks on the file system.
absl::StatusOr<ListResult> ListFiles(int root_fd, const ListOptions& options, Clock& clock);

}  // namespace aetherfs

#endif  // AETHERFS_OBJECT_FILE_FILE_LISTING_H_
