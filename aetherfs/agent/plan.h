#ifndef AETHERFS_AGENT_PLAN_H_
#define AETHERFS_AGENT_PLAN_H_

#include <vector>

#include "aetherfs/agent/materializer.h"

namespace aetherfs {

// PlanMaterialize for a directory in which some entries are complete already (`complete`, by entry; empty:
// none). Those are left out of links, copies, fetches and byte counts, but stay in `entries`. Where the
// same chunks are needed elsewhere they are copied from them: as from a source numbered sources.size().
// Pure.
MaterializePlan PlanRemaining(const Manifest& manifest, const std::vector<LocalSource>& sources,
                              const MaterializeOptions& options, const std::vector<bool>& complete);

// The permission bits that a file gets on disk.
inline unsigned ModeOnDisk(const Manifest::Entry& entry, const MaterializeOptions& options) {
  return options.read_only ? entry.mode & 0555U : entry.mode;
}

}  // namespace aetherfs

#endif  // AETHERFS_AGENT_PLAN_H_
