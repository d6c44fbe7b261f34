#include "aetherfs/server/commit.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <utility>

#include "aetherfs/base/status.h"

namespace aetherfs {
namespace {

absl::StatusOr<CommitExpectation> CheckExpectation(const dataset::v1::Expectation& expectation) {
  CommitExpectation checked;
  switch (expectation.kind_case()) {
    case dataset::v1::Expectation::kAbsent:
      checked.absent = expectation.absent();
      break;
    case dataset::v1::Expectation::kDigest: {
      ASSIGN_OR_RETURN(checked.digest, Digest::Parse(expectation.digest()));
      break;
    }
    case dataset::v1::Expectation::KIND_NOT_SET:
      break;
  }
  return checked;
}

absl::Status CheckSize(std::string_view what, size_t size, size_t most) {
  if (size <= most) return absl::OkStatus();
  return absl::InvalidArgumentError(
      fmt::format("{} has {} bytes, at most {} are allowed", what, size, most));
}

absl::Status CheckNonce(const std::string& nonce) {
  if (nonce.size() == kNonceBytes) return absl::OkStatus();
  return absl::InvalidArgumentError(
      fmt::format("the nonce has {} bytes, not {}", nonce.size(), kNonceBytes));
}

absl::StatusOr<std::vector<std::string>> CheckTags(
    const google::protobuf::RepeatedPtrField<std::string>& tags) {
  std::vector<std::string> checked(tags.begin(), tags.end());
  for (const std::string& tag : checked) RETURN_IF_ERROR(ValidateTag(tag));
  std::sort(checked.begin(), checked.end());
  checked.erase(std::unique(checked.begin(), checked.end()), checked.end());
  if (checked.size() > kMaxTagsPerCommit) {
    return absl::InvalidArgumentError(
        fmt::format("{} tags at once, at most {} are allowed", checked.size(), kMaxTagsPerCommit));
  }
  return checked;
}

// What a publication of `to` says about deltas, checked.
absl::StatusOr<KeptDeltas> CheckDeltas(const google::protobuf::RepeatedPtrField<dataset::v1::Delta>& deltas,
                                       const Digest& to) {
  if (static_cast<size_t>(deltas.size()) > kMaxDeltasPerCommit) {
    return absl::InvalidArgumentError(
        fmt::format("{} deltas at once, at most {} are allowed", deltas.size(), kMaxDeltasPerCommit));
  }
  KeptDeltas checked;
  for (const dataset::v1::Delta& proto : deltas) {
    KeptDelta delta;
    ASSIGN_OR_RETURN(delta.digest, Digest::Parse(proto.digest()));
    const auto wrong = [&delta](std::string_view what) {
      return absl::InvalidArgumentError(fmt::format("the delta {} {}", delta.digest.ToString(), what));
    };
    ASSIGN_OR_RETURN(delta.from, Digest::Parse(proto.from()));
    delta.to = to;
    if (!proto.to().empty()) {
      ASSIGN_OR_RETURN(delta.to, Digest::Parse(proto.to()));
    }
    if (delta.to != to) return wrong("makes another snapshot than the one that is published");
    if (delta.from == to) return wrong("is made against the snapshot that is published");
    for (const KeptDelta& before : checked) {
      if (before.from == delta.from) return wrong("is made against the same snapshot as another one");
    }
    delta.size = proto.size();
    delta.head_size = proto.head_size();
    delta.parts_size = proto.parts_size();
    if (delta.head_size == 0 || delta.head_size > delta.size || delta.size > kMaxDeltaSize) {
      return wrong(
          fmt::format("has {} bytes with a head of {}: at least 1, at most the whole, and that at "
                      "most {} are allowed",
                      delta.size, delta.head_size, kMaxDeltaSize));
    }
    checked.push_back(delta);
  }
  return checked;
}

absl::Status Expect(const CommitExpectation& expectation, const std::vector<std::string>& tags,
                    const DatasetState& state) {
  for (const std::string& tag : tags) {
    const auto it = state.tags.find(tag);
    if (expectation.absent && it != state.tags.end()) {
      return absl::AbortedError(fmt::format("tag {} was expected to be absent, but it points at {}", tag,
                                            it->second.snapshot.digest.ToString()));
    }
    if (!expectation.digest.has_value()) continue;
    if (it == state.tags.end()) {
      return absl::AbortedError(fmt::format("tag {} was expected to point at {}, but it does not exist",
                                            tag, expectation.digest->ToString()));
    }
    if (it->second.snapshot.digest != *expectation.digest) {
      return absl::AbortedError(fmt::format("tag {} was expected to point at {}, but it points at {}", tag,
                                            expectation.digest->ToString(),
                                            it->second.snapshot.digest.ToString()));
    }
  }
  return absl::OkStatus();
}

absl::Status NotCondemned(const ManifestSummary& summary, const DatasetState& state) {
  const auto condemned = [](std::string_view kind, const Digest& digest) {
    return absl::FailedPreconditionError(
        fmt::format("the {} {} is about to be collected as garbage: upload again in the current epoch",
                    kind, digest.ToString()));
  };
  if (state.condemned_manifests.contains(summary.snapshot.digest)) {
    return condemned("manifest", summary.snapshot.digest);
  }
  if (state.condemned_blocks.empty()) return absl::OkStatus();
  for (const Manifest::Block& block : summary.blocks) {
    if (state.condemned_blocks.contains(block.digest)) return condemned("block", block.digest);
  }
  return absl::OkStatus();
}

bool PointsAt(const DatasetState& state, const std::string& tag, const Digest& digest) {
  const auto it = state.tags.find(tag);
  return it != state.tags.end() && it->second.snapshot.digest == digest;
}

}  // namespace

absl::StatusOr<PublishCommit> CheckPublish(const dataset::v1::PublishRequest& request) {
  PublishCommit commit;
  ASSIGN_OR_RETURN(commit.dataset, DatasetName::Parse(request.dataset()));
  ASSIGN_OR_RETURN(commit.tags, CheckTags(request.tags()));
  if (commit.tags.empty()) commit.tags.emplace_back(kDefaultTag);
  ASSIGN_OR_RETURN(commit.digest, Digest::Parse(request.digest()));
  ASSIGN_OR_RETURN(commit.expectation, CheckExpectation(request.expectation()));
  RETURN_IF_ERROR(CheckNonce(request.nonce()));
  commit.nonce = request.nonce();
  RETURN_IF_ERROR(CheckSize("the message", request.message().size(), kMaxMessageBytes));
  RETURN_IF_ERROR(CheckSize("the author", request.author().size(), kMaxAuthorBytes));
  size_t label_bytes = 0;
  for (const auto& [key, value] : request.labels()) label_bytes += key.size() + value.size();
  RETURN_IF_ERROR(CheckSize("the labels", label_bytes, kMaxLabelBytes));
  if (static_cast<size_t>(request.labels().size()) > kMaxLabels) {
    return absl::InvalidArgumentError(
        fmt::format("{} labels, at most {} are allowed", request.labels().size(), kMaxLabels));
  }
  commit.entry.set_author(request.author());
  record::v1::Publish& publish = *commit.entry.mutable_publish();
  for (const std::string& tag : commit.tags) publish.add_tags(tag);
  publish.set_message(request.message());
  *publish.mutable_labels() = request.labels();
  publish.set_new_chunks(request.stats().new_chunks());
  publish.set_new_bytes(request.stats().new_bytes());
  publish.set_uploaded_bytes(request.stats().uploaded_bytes());
  publish.set_delta_bytes(request.stats().delta_bytes());
  ASSIGN_OR_RETURN(commit.deltas, CheckDeltas(request.deltas(), commit.digest));
  for (const KeptDelta& delta : commit.deltas) DeltaToRecord(delta, publish.add_deltas());
  return commit;
}

absl::StatusOr<TagCommit> CheckUpdateTags(const dataset::v1::UpdateTagsRequest& request) {
  TagCommit commit;
  ASSIGN_OR_RETURN(commit.dataset, DatasetName::Parse(request.dataset()));
  ASSIGN_OR_RETURN(commit.deletes, CheckTags(request.deletes()));
  std::set<std::string> seen(commit.deletes.begin(), commit.deletes.end());
  for (const auto& move : request.moves()) {
    RETURN_IF_ERROR(ValidateTag(move.tag()));
    ASSIGN_OR_RETURN(const Digest digest, Digest::Parse(move.digest()));
    if (!seen.insert(move.tag()).second) {
      return absl::InvalidArgumentError(fmt::format("tag {} occurs twice in one update", move.tag()));
    }
    commit.moves.push_back({move.tag(), digest});
  }
  if (seen.empty()) return absl::InvalidArgumentError("an update of no tags: name at least one");
  if (seen.size() > kMaxTagsPerCommit) {
    return absl::InvalidArgumentError(
        fmt::format("{} tags at once, at most {} are allowed", seen.size(), kMaxTagsPerCommit));
  }
  ASSIGN_OR_RETURN(commit.expectation, CheckExpectation(request.expectation()));
  RETURN_IF_ERROR(CheckNonce(request.nonce()));
  commit.nonce = request.nonce();
  RETURN_IF_ERROR(CheckSize("the author", request.author().size(), kMaxAuthorBytes));
  commit.author = request.author();
  return commit;
}

absl::StatusOr<SettingsCommit> CheckUpdateSettings(const dataset::v1::UpdateSettingsRequest& request) {
  SettingsCommit commit;
  ASSIGN_OR_RETURN(commit.dataset, DatasetName::Parse(request.dataset()));
  if (request.settings().empty()) {
    return absl::InvalidArgumentError("an update of no settings: name at least one");
  }
  for (const auto& [key, value] : request.settings()) {
    ASSIGN_OR_RETURN(std::string checked, CheckSetting(key, value));
    commit.settings.emplace(key, std::move(checked));
  }
  RETURN_IF_ERROR(CheckNonce(request.nonce()));
  commit.nonce = request.nonce();
  RETURN_IF_ERROR(CheckSize("the author", request.author().size(), kMaxAuthorBytes));
  commit.author = request.author();
  return commit;
}

absl::StatusOr<std::optional<record::v1::JournalEntry>> ProposePublish(const PublishCommit& commit,
                                                                       const ManifestSummary& summary,
                                                                       const DatasetState& state) {
  RETURN_IF_ERROR(Expect(commit.expectation, commit.tags, state));
  const bool unchanged = std::all_of(commit.tags.begin(), commit.tags.end(), [&](const std::string& tag) {
    return PointsAt(state, tag, summary.snapshot.digest);
  });
  if (unchanged) return std::nullopt;
  RETURN_IF_ERROR(NotCondemned(summary, state));
  record::v1::JournalEntry entry = commit.entry;
  SnapshotToRecord(summary.snapshot, entry.mutable_publish()->mutable_snapshot());
  return entry;
}

absl::StatusOr<std::optional<record::v1::JournalEntry>> ProposeTags(
    const TagCommit& commit, const std::vector<ManifestSummaryPtr>& summaries, const DatasetState& state) {
  if (!state.exists())
    return absl::NotFoundError(fmt::format("there is no dataset {}", commit.dataset.str()));
  std::vector<std::string> tags = commit.deletes;
  for (const TagCommit::Move& move : commit.moves) tags.push_back(move.tag);
  RETURN_IF_ERROR(Expect(commit.expectation, tags, state));
  record::v1::JournalEntry entry;
  entry.set_author(commit.author);
  for (const std::string& tag : commit.deletes) {
    if (state.tags.find(tag) == state.tags.end()) {
      return absl::NotFoundError(fmt::format("{} has no tag {}", commit.dataset.str(), tag));
    }
    entry.mutable_tag()->add_deletes(tag);
  }
  for (size_t i = 0; i < commit.moves.size(); ++i) {
    if (PointsAt(state, commit.moves[i].tag, commit.moves[i].digest)) continue;
    RETURN_IF_ERROR(NotCondemned(*summaries[i], state));
    auto* move = entry.mutable_tag()->add_moves();
    move->set_tag(commit.moves[i].tag);
    SnapshotToRecord(summaries[i]->snapshot, move->mutable_snapshot());
  }
  if (!entry.has_tag()) return std::nullopt;
  return entry;
}

absl::StatusOr<std::optional<record::v1::JournalEntry>> ProposeSettings(const SettingsCommit& commit,
                                                                        const DatasetState& state) {
  if (!state.exists())
    return absl::NotFoundError(fmt::format("there is no dataset {}", commit.dataset.str()));
  record::v1::JournalEntry entry;
  entry.set_author(commit.author);
  for (const auto& [key, value] : commit.settings) {
    const auto it = state.settings.find(key);
    if ((it == state.settings.end() ? std::string() : it->second) == value) continue;
    (*entry.mutable_settings()->mutable_settings())[key] = value;
  }
  if (!entry.has_settings()) return std::nullopt;
  return entry;
}

}  // namespace aetherfs
