#ifndef AETHERFS_CLI_PULL_DIRECTORY_H_
#define AETHERFS_CLI_PULL_DIRECTORY_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>

#include "absl/status/statusor.h"
#include "aetherfs/base/reference.h"
#include "aetherfs/client/fetcher.h"
#include "aetherfs/client/server_client.h"

namespace aetherfs {

struct PullOptions {
  Reference reference;
  std::string directory;          // absolute and clean
  std::string cache_dir;          // where pulls are recorded; empty: nowhere
  std::string home;               // never replaced; may be empty
  std::string working_directory;  // neither
};

struct PullResult {
  Digest digest;
  uint64_t files = 0;
  uint64_t bytes = 0;
  uint64_t reused_bytes = 0;
  uint64_t delta_bytes = 0;  // of deltas, of what was received
  bool unchanged = false;    // it was that version already; nothing was touched
  std::string warning;       // what was not as it should be, but harmed nothing
};

// How far a pull is; may be read by other threads while it runs.
struct PullProgress {
  TransferStats transfer;
  std::atomic<uint64_t> total_bytes{0};  // to be fetched, after decompression; known once planned
};

// Makes `directory` the version that the reference names, at one stroke, whether it exists or not: fills a
// directory beside it, with what can be had from the old one, then swaps the two names and removes the old
// one. Until the swap the directory is as it was; after a failure what was staged is gone on with by the
// next pull of that version (PullTarget). `server` is called when a server is needed, which it is not if a
// digest is asked for that stands already. `cancelled` may be null.
//
// Blocks. Errors: INVALID_ARGUMENT (a directory that nobody means to replace), FAILED_PRECONDITION (another
// pull runs; or the file system cannot swap), those of Materialize, and the server's.
absl::StatusOr<PullResult> PullDirectory(const std::function<absl::StatusOr<ServerClient*>()>& server,
                                         const PullOptions& options, PullProgress* progress,
                                         const std::atomic<bool>* cancelled);

}  // namespace aetherfs

#endif  // AETHERFS_CLI_PULL_DIRECTORY_H_
