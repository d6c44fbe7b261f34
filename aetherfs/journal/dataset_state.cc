#include "aetherfs/journal/dataset_state.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <utility>

#include "aetherfs/base/reference.h"
#include "aetherfs/base/status.h"

namespace aetherfs {
namespace {

constexpr size_t kNonceSize = 16;

absl::Status Malformed(uint64_t seq, std::string_view what) {
  return absl::DataLossError(fmt::format("journal entry {}: {}", seq, what));
}

absl::Status CheckTag(uint64_t seq, const std::string& tag) {
  if (const absl::Status status = ValidateTag(tag); !status.ok()) return Malformed(seq, Message(status));
  return absl::OkStatus();
}

template <typename Field>
absl::StatusOr<std::vector<Digest>> DigestsFrom(const Field& field) {
  std::vector<Digest> digests;
  digests.reserve(static_cast<size_t>(field.size()));
  for (const std::string& bytes : field) {
    ASSIGN_OR_RETURN(const Digest digest, Digest::FromBytes(bytes));
    digests.push_back(digest);
  }
  return digests;
}

// Sorted, so that a state has one encoding.
void DigestsTo(const absl::flat_hash_set<Digest>& digests,
               google::protobuf::RepeatedPtrField<std::string>* field) {
  std::vector<Digest> sorted(digests.begin(), digests.end());
  std::sort(sorted.begin(), sorted.end());
  for (const Digest& digest : sorted) *field->Add() = std::string(digest.bytes());
}

// Everything about an entry that may be wrong is found here, before anything changes.
struct CheckedEntry {
  std::vector<std::pair<std::string, DatasetState::Snapshot>> moves;
  KeptDeltas deltas;  // with their tags
  std::vector<Digest> blocks;
  std::vector<Digest> manifests;
};

absl::StatusOr<DatasetState::Snapshot> CheckedSnapshot(uint64_t seq, const record::v1::Snapshot& record) {
  absl::StatusOr<DatasetState::Snapshot> snapshot = SnapshotFromRecord(record);
  if (!snapshot.ok()) return Malformed(seq, Message(snapshot.status()));
  return snapshot;
}

absl::Status CheckPublish(uint64_t seq, const record::v1::Publish& publish, CheckedEntry& checked) {
  ASSIGN_OR_RETURN(const DatasetState::Snapshot snapshot, CheckedSnapshot(seq, publish.snapshot()));
  for (const std::string& tag : publish.tags()) {
    RETURN_IF_ERROR(CheckTag(seq, tag));
    checked.moves.emplace_back(tag, snapshot);
  }
  std::vector<std::string> tags(publish.tags().begin(), publish.tags().end());
  std::sort(tags.begin(), tags.end());
  tags.erase(std::unique(tags.begin(), tags.end()), tags.end());
  for (const record::v1::Delta& record : publish.deltas()) {
    absl::StatusOr<KeptDelta> delta = DeltaFromRecord(record, snapshot.digest);
    if (!delta.ok()) return Malformed(seq, Message(delta.status()));
    delta->seq = seq;
    delta->tags = tags;
    checked.deltas.push_back(*std::move(delta));
  }
  return absl::OkStatus();
}

absl::StatusOr<CheckedEntry> Check(const record::v1::JournalEntry& entry) {
  const uint64_t seq = entry.seq();
  if (entry.nonce().size() != kNonceSize) return Malformed(seq, "its nonce has not 16 bytes");
  CheckedEntry checked;
  switch (entry.kind_case()) {
    case record::v1::JournalEntry::kPublish:
      RETURN_IF_ERROR(CheckPublish(seq, entry.publish(), checked));
      return checked;
    case record::v1::JournalEntry::kTag:
      for (const auto& move : entry.tag().moves()) {
        RETURN_IF_ERROR(CheckTag(seq, move.tag()));
        ASSIGN_OR_RETURN(const DatasetState::Snapshot snapshot, CheckedSnapshot(seq, move.snapshot()));
        checked.moves.emplace_back(move.tag(), snapshot);
      }
      for (const std::string& tag : entry.tag().deletes()) RETURN_IF_ERROR(CheckTag(seq, tag));
      return checked;
    case record::v1::JournalEntry::kCondemn: {
      auto blocks = DigestsFrom(entry.condemn().blocks());
      if (!blocks.ok()) return Malformed(seq, Message(blocks.status()));
      checked.blocks = *std::move(blocks);
      auto manifests = DigestsFrom(entry.condemn().manifests());
      if (!manifests.ok()) return Malformed(seq, Message(manifests.status()));
      checked.manifests = *std::move(manifests);
      return checked;
    }
    case record::v1::JournalEntry::kSettings:
      return checked;
    case record::v1::JournalEntry::KIND_NOT_SET:
      break;
  }
  return Malformed(seq, "it is of no kind that this version knows; a newer version may have written it");
}

// Those of a checkpoint whose tags are in `state` already.
absl::StatusOr<KeptDeltas> DeltasFrom(const record::v1::Checkpoint& checkpoint, const DatasetState& state) {
  if (static_cast<size_t>(checkpoint.deltas_size()) > kMaxKeptDeltas) {
    return absl::InvalidArgumentError("it names too many deltas");
  }
  KeptDeltas deltas;
  deltas.reserve(static_cast<size_t>(checkpoint.deltas_size()));
  uint64_t before = 1;
  for (const auto& record : checkpoint.deltas()) {
    ASSIGN_OR_RETURN(const Digest to, Digest::FromBytes(record.to()));
    ASSIGN_OR_RETURN(KeptDelta delta, DeltaFromRecord(record.delta(), to));
    if (record.seq() < before || record.seq() > state.seq) {
      return absl::InvalidArgumentError("a delta was brought by no entry before it");
    }
    before = delta.seq = record.seq();
    if (record.tags().empty()) return absl::InvalidArgumentError("a delta is kept by no tag");
    for (const std::string& tag : record.tags()) {
      const bool ordered = delta.tags.empty() || delta.tags.back() < tag;
      if (!ordered || !state.tags.contains(tag)) {
        return absl::InvalidArgumentError("the tags that keep a delta are malformed");
      }
      delta.tags.push_back(tag);
    }
    deltas.push_back(std::move(delta));
  }
  return deltas;
}

}  // namespace

absl::StatusOr<DatasetState::Snapshot> SnapshotFromRecord(const record::v1::Snapshot& record) {
  ASSIGN_OR_RETURN(const Digest digest, Digest::FromBytes(record.digest()));
  DatasetState::Snapshot snapshot;
  snapshot.digest = digest;
  snapshot.files = record.files();
  snapshot.bytes = record.bytes();
  snapshot.chunks = record.chunks();
  snapshot.blocks = record.blocks();
  return snapshot;
}

void SnapshotToRecord(const DatasetState::Snapshot& snapshot, record::v1::Snapshot* record) {
  record->set_digest(std::string(snapshot.digest.bytes()));
  record->set_files(snapshot.files);
  record->set_bytes(snapshot.bytes);
  record->set_chunks(snapshot.chunks);
  record->set_blocks(snapshot.blocks);
}

std::optional<uint64_t> DatasetState::SeqOfWriter(std::string_view nonce) const {
  for (auto writer = recent_writers.rbegin(); writer != recent_writers.rend(); ++writer) {
    if (writer->nonce == nonce) return writer->seq;
  }
  return std::nullopt;
}

absl::Status DatasetState::Apply(const record::v1::JournalEntry& entry) {
  if (entry.seq() != seq + 1) {
    return absl::DataLossError(
        fmt::format("journal entry {} calls itself {}: the journal is corrupt", seq + 1, entry.seq()));
  }
  ASSIGN_OR_RETURN(CheckedEntry checked, Check(entry));

  seq = entry.seq();
  const absl::Time updated = absl::FromUnixMicros(entry.time_unix_micros());
  for (auto& [tag, snapshot] : checked.moves)
    tags.insert_or_assign(std::move(tag), Tag{snapshot, seq, updated});
  if (entry.has_tag()) {
    for (const std::string& tag : entry.tag().deletes()) {
      tags.erase(tag);
      DropClaims(deltas, tag);
    }
  }
  if (entry.has_condemn()) {
    epoch = std::max(epoch, entry.condemn().epoch());
    condemned_blocks.insert(checked.blocks.begin(), checked.blocks.end());
    condemned_manifests.insert(checked.manifests.begin(), checked.manifests.end());
  }
  if (entry.has_settings()) {
    // An empty value takes a setting away.
    for (const auto& [key, value] : entry.settings().settings()) {
      if (value.empty()) {
        settings.erase(key);
      } else {
        settings.insert_or_assign(key, value);
      }
    }
  }
  deltas.insert(deltas.end(), std::make_move_iterator(checked.deltas.begin()),
                std::make_move_iterator(checked.deltas.end()));
  if (!checked.deltas.empty() || entry.has_settings()) Prune(deltas, DeltasToKeep(settings));
  if (recent_writers.size() >= kRecentWriters) {
    recent_writers.erase(recent_writers.begin(),
                         recent_writers.end() - static_cast<ptrdiff_t>(kRecentWriters - 1));
  }
  recent_writers.push_back({entry.nonce(), seq});
  return absl::OkStatus();
}

record::v1::Checkpoint DatasetState::ToCheckpoint() const {
  record::v1::Checkpoint checkpoint;
  checkpoint.set_seq(seq);
  for (const auto& [name, tag] : tags) {
    auto* record = checkpoint.add_tags();
    record->set_name(name);
    SnapshotToRecord(tag.snapshot, record->mutable_snapshot());
    record->set_seq(tag.seq);
    record->set_time_unix_micros(absl::ToUnixMicros(tag.updated));
  }
  checkpoint.set_epoch(epoch);
  DigestsTo(condemned_blocks, checkpoint.mutable_condemned_blocks());
  DigestsTo(condemned_manifests, checkpoint.mutable_condemned_manifests());
  for (const auto& [key, value] : settings) (*checkpoint.mutable_settings())[key] = value;
  for (const Writer& writer : recent_writers) {
    auto* record = checkpoint.add_recent_writers();
    record->set_nonce(writer.nonce);
    record->set_seq(writer.seq);
  }
  for (const KeptDelta& delta : deltas) {
    auto* record = checkpoint.add_deltas();
    DeltaToRecord(delta, record->mutable_delta());
    record->set_to(std::string(delta.to.bytes()));
    record->set_seq(delta.seq);
    for (const std::string& tag : delta.tags) record->add_tags(tag);
  }
  return checkpoint;
}

absl::StatusOr<DatasetState> DatasetState::FromCheckpoint(const record::v1::Checkpoint& checkpoint) {
  const auto malformed = [&checkpoint](std::string_view what) {
    return absl::DataLossError(fmt::format("checkpoint {}: {}", checkpoint.seq(), what));
  };
  DatasetState state;
  state.seq = checkpoint.seq();
  if (state.seq == 0) return malformed("it follows no entry");
  for (const auto& record : checkpoint.tags()) {
    if (const absl::Status status = ValidateTag(record.name()); !status.ok())
      return malformed(Message(status));
    const auto snapshot = SnapshotFromRecord(record.snapshot());
    if (!snapshot.ok()) return malformed(Message(snapshot.status()));
    if (record.seq() == 0 || record.seq() > state.seq)
      return malformed("a tag was set by no entry before it");
    const Tag tag{*snapshot, record.seq(), absl::FromUnixMicros(record.time_unix_micros())};
    if (!state.tags.emplace(record.name(), tag).second) return malformed("a tag occurs twice");
  }
  state.epoch = checkpoint.epoch();
  const auto blocks = DigestsFrom(checkpoint.condemned_blocks());
  if (!blocks.ok()) return malformed(Message(blocks.status()));
  state.condemned_blocks.insert(blocks->begin(), blocks->end());
  const auto manifests = DigestsFrom(checkpoint.condemned_manifests());
  if (!manifests.ok()) return malformed(Message(manifests.status()));
  state.condemned_manifests.insert(manifests->begin(), manifests->end());
  for (const auto& [key, value] : checkpoint.settings()) state.settings.emplace(key, value);
  const auto& writers = checkpoint.recent_writers();
  if (static_cast<size_t>(writers.size()) > kRecentWriters) return malformed("it names too many writers");
  uint64_t before = 0;
  for (const auto& record : writers) {
    if (record.nonce().size() != kNonceSize || record.seq() <= before || record.seq() > state.seq) {
      return malformed("a writer in it is malformed");
    }
    before = record.seq();
    state.recent_writers.push_back({record.nonce(), record.seq()});
  }
  auto deltas = DeltasFrom(checkpoint, state);
  if (!deltas.ok()) return malformed(Message(deltas.status()));
  state.deltas = *std::move(deltas);
  return state;
}

}  // namespace aetherfs
