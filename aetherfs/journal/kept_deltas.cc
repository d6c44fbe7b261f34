#include "aetherfs/journal/kept_deltas.h"

#include <algorithm>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "aetherfs/base/status.h"

namespace aetherfs {

absl::StatusOr<KeptDelta> DeltaFromRecord(const record::v1::Delta& record, const Digest& to) {
  KeptDelta delta;
  ASSIGN_OR_RETURN(delta.digest, Digest::FromBytes(record.digest()));
  ASSIGN_OR_RETURN(delta.from, Digest::FromBytes(record.from()));
  delta.to = to;
  delta.size = record.size();
  delta.head_size = record.head_size();
  delta.parts_size = record.parts_size();
  if (delta.from == delta.to)
    return absl::InvalidArgumentError("a delta is made against what it helps to make");
  if (delta.head_size == 0 || delta.head_size > delta.size) {
    return absl::InvalidArgumentError("a delta's head is empty, or larger than the whole");
  }
  return delta;
}

void DeltaToRecord(const KeptDelta& delta, record::v1::Delta* record) {
  record->set_digest(std::string(delta.digest.bytes()));
  record->set_from(std::string(delta.from.bytes()));
  record->set_size(delta.size);
  record->set_head_size(delta.head_size);
  record->set_parts_size(delta.parts_size);
}

void DropClaims(KeptDeltas& deltas, std::string_view tag) {
  for (KeptDelta& delta : deltas) std::erase(delta.tags, tag);
  std::erase_if(deltas, [](const KeptDelta& delta) { return delta.tags.empty(); });
}

void Prune(KeptDeltas& deltas, size_t keep) {
  absl::flat_hash_map<std::string, size_t> kept;
  for (auto delta = deltas.rbegin(); delta != deltas.rend(); ++delta) {
    std::erase_if(delta->tags, [&](const std::string& tag) { return ++kept[tag] > keep; });
  }
  std::erase_if(deltas, [](const KeptDelta& delta) { return delta.tags.empty(); });
  if (deltas.size() > kMaxKeptDeltas) {
    deltas.erase(deltas.begin(), deltas.end() - static_cast<ptrdiff_t>(kMaxKeptDeltas));
  }
}

std::vector<const KeptDelta*> DeltasTowards(const KeptDeltas& deltas, const Digest& to, size_t most) {
  std::vector<const KeptDelta*> found;
  std::vector<Digest> reached = {to};  // grows while it is gone through
  absl::flat_hash_set<Digest> seen = {to};
  for (size_t at = 0; at < reached.size(); ++at) {
    const Digest here = reached[at];
    // One delta may have been announced by several publications of one snapshot.
    absl::flat_hash_set<std::pair<Digest, Digest>> named;
    for (auto delta = deltas.rbegin(); delta != deltas.rend(); ++delta) {
      if (delta->to != here || delta->from == to) continue;
      if (!named.emplace(delta->digest, delta->from).second) continue;
      if (found.size() == most) return found;
      found.push_back(&*delta);
      if (seen.insert(delta->from).second) reached.push_back(delta->from);
    }
  }
  return found;
}

}  // namespace aetherfs
