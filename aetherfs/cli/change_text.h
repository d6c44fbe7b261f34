#ifndef AETHERFS_CLI_CHANGE_TEXT_H_
#define AETHERFS_CLI_CHANGE_TEXT_H_

#include <string>

#include "aetherfs/cli/json.h"
#include "aetherfs/dataset/v1/dataset.pb.h"

namespace aetherfs {

// How entries of the journal look to people and to programs. Pure functions.

// {"digest": …, "files": …, "bytes": …, "chunks": …, "blocks": …}
Json SnapshotJson(const dataset::v1::Snapshot& snapshot);
Json ChangeJson(const dataset::v1::Change& change);

// "publish latest, v1: 12 files, 3.4 MiB (1.2 MiB new), delta from 0123456789ab 8.1 KiB", for a terminal.
std::string ChangeText(const dataset::v1::Change& change);
// "from 0123456789ab 8.1 KiB".
std::string DeltaText(const dataset::v1::Delta& delta);
// The first 12 digits of the snapshot that a change is about, if it is about one.
std::string ChangeDigest(const dataset::v1::Change& change);

// "sha256:0123456789ab…" as "0123456789ab".
std::string ShortDigest(const std::string& digest);

}  // namespace aetherfs

#endif  // AETHERFS_CLI_CHANGE_TEXT_H_
