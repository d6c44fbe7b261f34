#ifndef AETHERFS_CLI_VERIFY_SNAPSHOT_H_
#define AETHERFS_CLI_VERIFY_SNAPSHOT_H_

#include <atomic>
#include <vector>

#include "absl/status/statusor.h"
#include "aetherfs/agent/materializer.h"
#include "aetherfs/client/fetcher.h"

namespace aetherfs {

// Fetches every chunk of a snapshot and checks it, block by block, keeping nothing. Differences are the
// files that cannot be had whole, in the order of paths; empty: all is well. Where a block is damaged its
// frames are asked for one by one, so that only the files that need what is lost are named.
//
// Blocks. Errors are those that say nothing about the bytes: UNAVAILABLE, CANCELLED and the like.
absl::StatusOr<std::vector<Difference>> VerifySnapshot(Fetcher& fetcher, const DatasetName& dataset,
                                                       const Manifest& manifest, TransferStats* stats,
                                                       const std::atomic<bool>* cancelled = nullptr);

}  // namespace aetherfs

#endif  // AETHERFS_CLI_VERIFY_SNAPSHOT_H_
