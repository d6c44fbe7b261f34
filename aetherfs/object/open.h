#ifndef AETHERFS_OBJECT_OPEN_H_
#define AETHERFS_OBJECT_OPEN_H_

#include <memory>
#include <string_view>

#include "absl/status/statusor.h"
#include "aetherfs/base/clock.h"
#include "aetherfs/object/environment.h"
#include "aetherfs/object/object_store.h"

namespace aetherfs {

struct OpenObjectStoreOptions {
  Clock* clock = Clock::System();  // must outlive the store
  Environment environment = ProcessEnvironment();
};

// The store that `url` names, bare: retries and metrics are decorators that the caller puts around it.
//   file:///dir                 FileObjectStore; the directory is made if missing
//   s3://bucket[/prefix][?endpoint=URL&region=R&path-style=BOOL&ca-file=PATH]     S3ObjectStore
//   memory:                     a new, empty MemoryObjectStore
// Where the URL is silent, S3 takes AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL, AWS_REGION and
// AWS_DEFAULT_REGION (docs/s3.md). INVALID_ARGUMENT names what is wrong with the URL, an unknown query key
// included. May do file I/O, but asks no server: an S3 store that is away is noticed at its first use.
absl::StatusOr<std::unique_ptr<ObjectStore>> OpenObjectStore(std::string_view url,
                                                             const OpenObjectStoreOptions& options = {});

}  // namespace aetherfs

#endif  // AETHERFS_OBJECT_OPEN_H_
