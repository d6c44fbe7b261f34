#ifndef AETHERFS_SERVER_COMMIT_H_
#define AETHERFS_SERVER_COMMIT_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "aetherfs/base/digest.h"
#include "aetherfs/base/reference.h"
#include "aetherfs/dataset/v1/dataset.pb.h"
#include "aetherfs/format/manifest.h"
#include "aetherfs/journal/dataset_state.h"
#include "aetherfs/journal/journal.h"
#include "aetherfs/server/snapshot_catalog.h"

namespace aetherfs {

// What decides about a commit, apart from what carries it out: requests checked into values, and the
// journal entry that a value wants to follow a state. Pure functions.

inline constexpr size_t kMaxTagsPerCommit = 64;
inline constexpr size_t kMaxMessageBytes = 4096;
inline constexpr size_t kMaxAuthorBytes = 256;
inline constexpr size_t kMaxLabels = 64;
inline constexpr size_t kMaxLabelBytes = 16 * 1024;  // keys and values together
inline constexpr size_t kNonceBytes = 16;
inline constexpr size_t kMaxDeltasPerCommit = 16;
inline constexpr uint64_t kMaxDeltaSize = kMaxBlockSize;

// What the caller says is so; the commit fails with ABORTED if it is not.
struct CommitExpectation {
  bool absent = false;
  std::optional<Digest> digest;
};

struct PublishCommit {
  DatasetName dataset;
  std::vector<std::string> tags;  // sorted, each once
  Digest digest;
  CommitExpectation expectation;
  KeptDeltas deltas;               // only what the request says of them
  record::v1::JournalEntry entry;  // what it becomes, but for the snapshot
  std::string nonce;
};
// INVALID_ARGUMENT, naming what is wrong.
absl::StatusOr<PublishCommit> CheckPublish(const dataset::v1::PublishRequest& request);

struct TagCommit {
  DatasetName dataset;
  struct Move {
    std::string tag;
    Digest digest;
  };
  std::vector<Move> moves;
  std::vector<std::string> deletes;
  CommitExpectation expectation;
  std::string author;
  std::string nonce;
};
absl::StatusOr<TagCommit> CheckUpdateTags(const dataset::v1::UpdateTagsRequest& request);

struct SettingsCommit {
  DatasetName dataset;
  Settings settings;  // an empty value: back to the default
  std::string author;
  std::string nonce;
};
absl::StatusOr<SettingsCommit> CheckUpdateSettings(const dataset::v1::UpdateSettingsRequest& request);

// For Journal::Append. ABORTED if the expectation does not hold, FAILED_PRECONDITION if anything that the
// snapshot needs is condemned; nothing if every tag points there already.
absl::StatusOr<std::optional<record::v1::JournalEntry>> ProposePublish(const PublishCommit& commit,
                                                                       const ManifestSummary& summary,
                                                                       const DatasetState& state);
// `summaries` are of the moves, in their order. NOT_FOUND for a dataset or a deleted tag that is not there.
absl::StatusOr<std::optional<record::v1::JournalEntry>> ProposeTags(
    const TagCommit& commit, const std::vector<ManifestSummaryPtr>& summaries, const DatasetState& state);
// NOT_FOUND for a dataset that is not there; nothing if everything is set so already.
absl::StatusOr<std::optional<record::v1::JournalEntry>> ProposeSettings(const SettingsCommit& commit,
                                                                        const DatasetState& state);

}  // namespace aetherfs

#endif  // AETHERFS_SERVER_COMMIT_H_
