#ifndef AETHERFS_AGENT_MATERIALIZER_H_
#define AETHERFS_AGENT_MATERIALIZER_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "aetherfs/base/reference.h"
#include "aetherfs/client/delta_fetcher.h"
#include "aetherfs/client/fetcher.h"
#include "aetherfs/format/manifest.h"

namespace aetherfs {

// A directory that holds (perhaps a part of) a snapshot: where bytes can be had without a server.
struct LocalSource {
  std::string directory;
  const Manifest* manifest = nullptr;  // what the directory should hold
  bool may_link = false;               // its files are never written to: hard links are allowed
  // From this source's snapshot to the one that is made; chunks that no source has are made of it where
  // that costs less than blocks. Null: none.
  std::shared_ptr<const LoadedDelta> delta = nullptr;
  bool durable = true;  // false: its files may not be synced yet
};

// How a directory is filled.
struct MaterializeOptions {
  bool read_only = false;  // files get no write bits (an agent's snapshots)
  // Empty `include`: everything. Globs over paths: '*' and '?' within a component, '**' across; a pattern
  // that matches a directory takes all below it.
  std::vector<std::string> include = {};
  std::vector<std::string> exclude = {};
  int parallelism = 4;
  bool durable = true;  // false: nothing is synced, for what need not survive a power failure
};

// What is to be done for each file, decided before a byte moves. Pure: computed from values alone.
struct MaterializePlan {
  struct Link {  // the file as it is, hard linked (or copied) from a source
    uint32_t entry = 0;
    uint32_t source = 0;
    uint32_t source_entry = 0;
  };
  struct Copy {  // one chunk, from a source's file
    uint32_t chunk = 0;
    uint32_t source = 0;
    uint32_t source_entry = 0;
    uint64_t offset = 0;
  };
  std::vector<uint32_t> entries;  // of the manifest, that are wanted; ascending
  std::vector<Link> links;
  std::vector<Copy> copies;
  std::vector<uint32_t> fetches;  // chunks, ascending
  uint64_t link_bytes = 0;
  uint64_t copy_bytes = 0;
  uint64_t fetch_bytes = 0;     // as stored, from PlanFetch
  uint64_t new_disk_bytes = 0;  // that the directory will take
};
MaterializePlan PlanMaterialize(const Manifest& manifest, const std::vector<LocalSource>& sources,
                                const MaterializeOptions& options);

struct MaterializeResult {
  uint64_t files = 0;
  uint64_t bytes = 0;
  uint64_t reused_bytes = 0;  // of files, that neither blocks nor deltas were needed for
};

// Makes `directory` hold the manifest's files, exactly: on success every file is there with its mode and
// mtime, every byte was checked against its chunk's SHA-256 on its way (links from sources are trusted
// after a look at size, mtime and mode), everything is synced. The caller activates it by renaming.
//
// The directory may hold what an earlier attempt left: bytes that are there and right are not fetched again
// (a file under its final name is complete; a partly written one is re-checked chunk by chunk). Names that
// the manifest does not have are removed. Nothing outside the directory is ever written, whatever the
// manifest says. A source whose bytes turn out wrong, or a delta that does not yield what it should, is not
// an error: the bytes are fetched instead.
//
// Blocks. Errors: RESOURCE_EXHAUSTED before the first byte, saying how much is needed and how much there
// is, if the plan does not fit the disk, or later if it filled up; DATA_LOSS; UNAVAILABLE; CANCELLED.
absl::StatusOr<MaterializeResult> Materialize(Fetcher& fetcher, const DatasetName& dataset,
                                              const Manifest& manifest, const std::string& directory,
                                              const std::vector<LocalSource>& sources,
                                              const MaterializeOptions& options, TransferStats* stats,
                                              const std::atomic<bool>* cancelled = nullptr);

// A difference between a directory and a manifest.
struct Difference {
  std::string path;
  std::string
      what;  // "missing", "contents differ at byte 65536", "mode 0644, not 0755", "not in the snapshot"
};
// Reads every byte. `allow_read_only`: write bits are not compared. Empty: the same.
absl::StatusOr<std::vector<Difference>> VerifyDirectory(const std::string& directory,
                                                        const Manifest& manifest, bool allow_read_only,
                                                        const std::atomic<bool>* cancelled = nullptr);

}  // namespace aetherfs

#endif  // AETHERFS_AGENT_MATERIALIZER_H_
