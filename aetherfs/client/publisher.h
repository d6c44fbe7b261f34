#ifndef AETHERFS_CLIENT_PUBLISHER_H_
#define AETHERFS_CLIENT_PUBLISHER_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "aetherfs/base/reference.h"
#include "aetherfs/client/server_client.h"

namespace aetherfs {

struct PublishOptions {
  DatasetName dataset;
  std::vector<std::string> tags;  // at least one
  std::string path;               // a directory, or a single file (a snapshot of that one file)
  std::string message;
  std::map<std::string, std::string> labels;
  bool expect_absent = false;
  std::optional<Digest> expect;
  std::string author;     // who publishes, for the log: user@host
  std::string cache_dir;  // where the stat cache and manifests are kept; empty: nowhere
  bool make_deltas = true;
  std::string nonce;  // 16 bytes, or empty: made anew. The same one makes a repeated publish one entry
};

struct PublishResult {
  DatasetName dataset;
  std::vector<std::string> tags;
  Digest digest;
  uint64_t files = 0;
  uint64_t bytes = 0;
  uint64_t chunks = 0;
  uint64_t new_chunks = 0;
  uint64_t new_bytes = 0;       // of new chunks, before compression
  uint64_t uploaded_bytes = 0;  // blocks and manifest, as sent
  uint64_t delta_bytes = 0;     // deltas, as sent
  uint64_t seq = 0;
  bool unchanged = false;
  absl::Duration elapsed;
  std::string warning;  // what was not as it should be, but harmed nothing: no delta could be made
};

// How far a publish is; may be read by other threads while it runs.
struct PublishProgress {
  std::atomic<uint64_t> scanned_files{0};
  std::atomic<uint64_t> total_bytes{0};      // known after the scan
  std::atomic<uint64_t> processed_bytes{0};  // read, or known not to have changed
  std::atomic<uint64_t> uploaded_bytes{0};
};

// Publishes a directory: scan, chunk, drop what the dataset's current snapshots have, pack, upload while
// still reading, commit. The order of what becomes durable: blocks, manifest, journal entry.
//
// Memory is bounded by kMaxBlocksInFlight blocks of kTargetBlockSize whatever the dataset's size. Blocks.
// Several publishes may run at once, also of one dataset. `progress` and `cancelled` may be null.
//
// Errors: INVALID_ARGUMENT (a path that can't be published: not UTF-8, a socket, a device, by name),
// NOT_FOUND (no such directory), ABORTED (the expectation does not hold, or a file kept changing while it
// was read), UNAVAILABLE (no server), DATA_LOSS, CANCELLED.
absl::StatusOr<PublishResult> PublishDirectory(ServerClient& client, const PublishOptions& options,
                                               PublishProgress* progress = nullptr,
                                               const std::atomic<bool>* cancelled = nullptr);

}  // namespace aetherfs

#endif  // AETHERFS_CLIENT_PUBLISHER_H_
