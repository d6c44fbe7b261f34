#include "aetherfs/server/change_codec.h"

#include <algorithm>

namespace aetherfs {
namespace {

std::string DigestText(const std::string& bytes) {
  const absl::StatusOr<Digest> digest = Digest::FromBytes(bytes);
  return digest.ok() ? digest->ToString() : std::string();  // entries were checked when they were applied
}

void SnapshotFromEntry(const record::v1::Snapshot& record, dataset::v1::Snapshot* proto) {
  proto->set_digest(DigestText(record.digest()));
  proto->set_files(record.files());
  proto->set_bytes(record.bytes());
  proto->set_chunks(record.chunks());
  proto->set_blocks(record.blocks());
}

void PublicationFromEntry(const record::v1::Publish& record, dataset::v1::Publication* proto) {
  SnapshotFromEntry(record.snapshot(), proto->mutable_snapshot());
  *proto->mutable_tags() = record.tags();
  proto->set_message(record.message());
  *proto->mutable_labels() = record.labels();
  proto->mutable_stats()->set_new_chunks(record.new_chunks());
  proto->mutable_stats()->set_new_bytes(record.new_bytes());
  proto->mutable_stats()->set_uploaded_bytes(record.uploaded_bytes());
  proto->mutable_stats()->set_delta_bytes(record.delta_bytes());
  for (const record::v1::Delta& delta : record.deltas()) {
    dataset::v1::Delta* const out = proto->add_deltas();
    out->set_digest(DigestText(delta.digest()));
    out->set_from(DigestText(delta.from()));
    out->set_to(proto->snapshot().digest());
    out->set_size(delta.size());
    out->set_head_size(delta.head_size());
    out->set_parts_size(delta.parts_size());
  }
}

template <typename Tags>
bool AnyOf(const Tags& tags, const std::vector<std::string>& wanted) {
  return std::any_of(tags.begin(), tags.end(), [&wanted](const std::string& tag) {
    return std::find(wanted.begin(), wanted.end(), tag) != wanted.end();
  });
}

}  // namespace

void SnapshotToProto(const DatasetState::Snapshot& snapshot, dataset::v1::Snapshot* proto) {
  proto->set_digest(snapshot.digest.ToString());
  proto->set_files(snapshot.files);
  proto->set_bytes(snapshot.bytes);
  proto->set_chunks(snapshot.chunks);
  proto->set_blocks(snapshot.blocks);
}

void TagToProto(const std::string& name, const DatasetState::Tag& tag, dataset::v1::Tag* proto) {
  proto->set_name(name);
  SnapshotToProto(tag.snapshot, proto->mutable_snapshot());
  proto->set_seq(tag.seq);
  proto->set_updated_unix_micros(absl::ToUnixMicros(tag.updated));
}

void DeltaToProto(const KeptDelta& delta, dataset::v1::Delta* proto) {
  proto->set_digest(delta.digest.ToString());
  proto->set_from(delta.from.ToString());
  proto->set_to(delta.to.ToString());
  proto->set_size(delta.size);
  proto->set_head_size(delta.head_size);
  proto->set_parts_size(delta.parts_size);
}

dataset::v1::Change ChangeFromEntry(const record::v1::JournalEntry& entry) {
  dataset::v1::Change change;
  change.set_seq(entry.seq());
  change.set_time_unix_micros(entry.time_unix_micros());
  change.set_author(entry.author());
  switch (entry.kind_case()) {
    case record::v1::JournalEntry::kPublish:
      PublicationFromEntry(entry.publish(), change.mutable_publication());
      break;
    case record::v1::JournalEntry::kTag:
      for (const auto& move : entry.tag().moves()) {
        auto* proto = change.mutable_tag_change()->add_moves();
        proto->set_tag(move.tag());
        SnapshotFromEntry(move.snapshot(), proto->mutable_snapshot());
      }
      *change.mutable_tag_change()->mutable_deleted() = entry.tag().deletes();
      break;
    case record::v1::JournalEntry::kCondemn:
      for (const auto& block : entry.condemn().blocks()) {
        change.mutable_condemnation()->add_blocks(DigestText(block));
      }
      for (const auto& manifest : entry.condemn().manifests()) {
        change.mutable_condemnation()->add_manifests(DigestText(manifest));
      }
      change.mutable_condemnation()->set_epoch(entry.condemn().epoch());
      break;
    case record::v1::JournalEntry::kSettings:
      *change.mutable_settings_change()->mutable_settings() = entry.settings().settings();
      break;
    case record::v1::JournalEntry::KIND_NOT_SET:
      break;
  }
  return change;
}

bool Concerns(const record::v1::JournalEntry& entry, const std::vector<std::string>& tags) {
  if (tags.empty()) return true;
  if (entry.has_publish()) return AnyOf(entry.publish().tags(), tags);
  if (!entry.has_tag()) return false;
  const auto& moves = entry.tag().moves();
  return AnyOf(entry.tag().deletes(), tags) ||
         std::any_of(moves.begin(), moves.end(), [&tags](const auto& move) {
           return std::find(tags.begin(), tags.end(), move.tag()) != tags.end();
         });
}

void FreshnessToProto(const SeenDataset& seen, dataset::v1::Freshness* proto) {
  proto->set_stale(seen.stale);
  proto->set_age_millis(std::max<int64_t>(0, absl::ToInt64Milliseconds(seen.age)));
}

dataset::v1::DatasetState StateToProto(const SeenDataset& seen, const std::vector<std::string>& tags) {
  const DatasetState& state = *seen.view->state;
  dataset::v1::DatasetState proto;
  proto.set_seq(state.seq);
  for (const auto& [name, tag] : state.tags) {
    if (tags.empty() || std::find(tags.begin(), tags.end(), name) != tags.end()) {
      TagToProto(name, tag, proto.add_tags());
    }
  }
  FreshnessToProto(seen, proto.mutable_freshness());
  proto.set_absent(!state.exists());
  return proto;
}

const record::v1::JournalEntry* PublicationOf(const JournalView& view, const Digest& digest) {
  for (auto entry = view.recent.rbegin(); entry != view.recent.rend(); ++entry) {
    if ((*entry)->has_publish() && (*entry)->publish().snapshot().digest() == digest.bytes())
      return entry->get();
  }
  return nullptr;
}

}  // namespace aetherfs
