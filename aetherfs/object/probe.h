#ifndef AETHERFS_OBJECT_PROBE_H_
#define AETHERFS_OBJECT_PROBE_H_

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "aetherfs/base/random.h"
#include "aetherfs/object/object_store.h"

namespace aetherfs {

// Proves that the store honours create-if-absent, on which the journal stands: of two writes of one new key
// below "probe/" the second must fail with ALREADY_EXISTS and must not change the object. Removes the key.
// FAILED_PRECONDITION, with advice, if the store is not fit; any other error means that it could not be
// found out (the store is away, no permission) and asking again may help.
absl::Status ProbeCreateIfAbsent(ObjectStore& store, Random& random,
                                 absl::Time deadline = absl::InfiniteFuture());

}  // namespace aetherfs

#endif  // AETHERFS_OBJECT_PROBE_H_
