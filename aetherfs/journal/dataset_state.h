#ifndef AETHERFS_JOURNAL_DATASET_STATE_H_
#define AETHERFS_JOURNAL_DATASET_STATE_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "aetherfs/base/digest.h"
#include "aetherfs/journal/kept_deltas.h"
#include "aetherfs/journal/settings.h"
#include "aetherfs/record/v1/record.pb.h"

namespace aetherfs {

// What the tags of a dataset point at, and all else that its journal says, after the entry `seq`. A value;
// pure: no I/O.
struct DatasetState {
  struct Snapshot {
    Digest digest;
    uint64_t files = 0;
    uint64_t bytes = 0;
    uint64_t chunks = 0;
    uint64_t blocks = 0;
    friend bool operator==(const Snapshot&, const Snapshot&) = default;
  };
  struct Tag {
    Snapshot snapshot;
    uint64_t seq = 0;  // of the entry that set it
    absl::Time updated;
    friend bool operator==(const Tag&, const Tag&) = default;
  };
  struct Writer {
    std::string nonce;
    uint64_t seq = 0;
    friend bool operator==(const Writer&, const Writer&) = default;
  };
  static constexpr size_t kRecentWriters = 256;

  uint64_t seq = 0;  // 0: the dataset has no entry yet
  std::map<std::string, Tag, std::less<>> tags;
  uint64_t epoch = 0;
  absl::flat_hash_set<Digest> condemned_blocks;
  absl::flat_hash_set<Digest> condemned_manifests;
  Settings settings;
  std::vector<Writer> recent_writers;  // of the last kRecentWriters entries, oldest first
  // For each tag the last DeltasToKeep(settings) that publications of the tag brought; at most
  // kMaxKeptDeltas. That a tag is moved by hand changes nothing.
  KeptDeltas deltas;

  bool exists() const { return seq > 0; }
  // The entry that a writer with this nonce made, if it is a recent one.
  std::optional<uint64_t> SeqOfWriter(std::string_view nonce) const;

  // Moves on by `entry`, whose seq must be this one's plus 1; otherwise, or if it is malformed (digests
  // that are not 32 bytes, invalid tags, impossible deltas, no kind), DATA_LOSS and nothing changes.
  absl::Status Apply(const record::v1::JournalEntry& entry);

  record::v1::Checkpoint ToCheckpoint() const;
  static absl::StatusOr<DatasetState> FromCheckpoint(const record::v1::Checkpoint& checkpoint);

  friend bool operator==(const DatasetState&, const DatasetState&) = default;
};

absl::StatusOr<DatasetState::Snapshot> SnapshotFromRecord(const record::v1::Snapshot& record);
void SnapshotToRecord(const DatasetState::Snapshot& snapshot, record::v1::Snapshot* record);

}  // namespace aetherfs

#endif  // AETHERFS_JOURNAL_DATASET_STATE_H_
