#ifndef AETHERFS_JOURNAL_KEPT_DELTAS_H_
#define AETHERFS_JOURNAL_KEPT_DELTAS_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "aetherfs/base/digest.h"
#include "aetherfs/record/v1/record.pb.h"

namespace aetherfs {

// Which deltas of a dataset are kept. Values and pure functions: every server that reads the same entries
// keeps the same ones. Nothing depends on a delta, so dropping one costs bytes and never data.

// More are never kept, whatever the tags claim: it bounds what a state weighs. The oldest go first.
inline constexpr size_t kMaxKeptDeltas = 1024;

// A delta that a publication brought, and the tags that keep it: those that the publication moved and that
// few publications have moved since.
struct KeptDelta {
  Digest digest;  // of the object
  Digest from;    // the snapshot that it is made against
  Digest to;      // the snapshot that it helps to make
  uint64_t size = 0;
  uint64_t head_size = 0;
  uint64_t parts_size = 0;        // of further objects that it names; what its publisher says, for planning
  uint64_t seq = 0;               // of the entry that brought it
  std::vector<std::string> tags;  // sorted, each once
  friend bool operator==(const KeptDelta&, const KeptDelta&) = default;
};

// Without seq and tags. INVALID_ARGUMENT, saying what is wrong, if it is malformed.
absl::StatusOr<KeptDelta> DeltaFromRecord(const record::v1::Delta& record, const Digest& to);
void DeltaToRecord(const KeptDelta& delta, record::v1::Delta* record);

// Oldest first; those of one entry in its order.
using KeptDeltas = std::vector<KeptDelta>;

// `tag` is deleted: it keeps nothing any more.
void DropClaims(KeptDeltas& deltas, std::string_view tag);
// Each tag goes on keeping the newest `keep` of those that it keeps. What no tag keeps goes.
void Prune(KeptDeltas& deltas, size_t keep);

// The deltas on ways to `to`, at most `most`: those that yield it, then those that yield what they are made
// against, and so on; of several that yield the same snapshot, the newest first. None begins at `to`, none
// occurs twice. They lie in `deltas`.
std::vector<const KeptDelta*> DeltasTowards(const KeptDeltas& deltas, const Digest& to, size_t most);

}  // namespace aetherfs

#endif  // AETHERFS_JOURNAL_KEPT_DELTAS_H_
