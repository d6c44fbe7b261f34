#ifndef AETHERFS_SERVER_CHANGE_CODEC_H_
#define AETHERFS_SERVER_CHANGE_CODEC_H_

#include <string>
#include <vector>

#include "absl/time/time.h"
#include "aetherfs/dataset/v1/dataset.pb.h"
#include "aetherfs/journal/dataset_state.h"
#include "aetherfs/journal/journal.h"

namespace aetherfs {

// What the journal holds, as DatasetAPI says it. Pure functions.

void SnapshotToProto(const DatasetState::Snapshot& snapshot, dataset::v1::Snapshot* proto);
void TagToProto(const std::string& name, const DatasetState::Tag& tag, dataset::v1::Tag* proto);
void DeltaToProto(const KeptDelta& delta, dataset::v1::Delta* proto);
dataset::v1::Change ChangeFromEntry(const record::v1::JournalEntry& entry);

// Whether the entry moves or deletes one of `tags`. Every entry concerns who names no tags.
bool Concerns(const record::v1::JournalEntry& entry, const std::vector<std::string>& tags);

// A view, and how far it can be trusted.
struct SeenDataset {
  std::shared_ptr<const JournalView> view;
  bool stale = false;  // the store could not be asked
  absl::Duration age;  // since it was last asked with success
};
void FreshnessToProto(const SeenDataset& seen, dataset::v1::Freshness* proto);

// The first message of a subscription. `tags`: only these; empty: all.
dataset::v1::DatasetState StateToProto(const SeenDataset& seen, const std::vector<std::string>& tags);

// The newest of the recent entries that published `digest`; null if none did.
const record::v1::JournalEntry* PublicationOf(const JournalView& view, const Digest& digest);

}  // namespace aetherfs

#endif  // AETHERFS_SERVER_CHANGE_CODEC_H_
