// What changes a FakeServerClient's datasets, and moves bytes.

#include <algorithm>
#include <utility>

#include "aetherfs/base/sha256.h"
#include "aetherfs/base/status.h"
#include "aetherfs/client/testing/fake_server_client.h"
#include "aetherfs/format/block.h"
#include "aetherfs/format/manifest.h"
#include "fmt/format.h"

namespace aetherfs {
namespace {

using block::v1::OBJECT_KIND_DELTA;
using block::v1::OBJECT_KIND_MANIFEST;

constexpr size_t kPieceSize = 64 * 1024;  // what a download hands on at once

template <typename Tags>
absl::Status CheckExpectation(const dataset::v1::Expectation& expectation, const Tags& touched,
                              const std::map<std::string, dataset::v1::Tag>& tags) {
  for (const auto& tag : touched) {
    const auto found = tags.find(tag);
    if (expectation.absent() && found != tags.end()) {
      return absl::AbortedError(fmt::format("tag {} exists", tag));
    }
    if (expectation.kind_case() == dataset::v1::Expectation::kDigest &&
        (found == tags.end() || found->second.snapshot().digest() != expectation.digest())) {
      return absl::AbortedError(fmt::format("tag {} does not point at {}", tag, expectation.digest()));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<dataset::v1::PublishResponse> FakeServerClient::Publish(
    const dataset::v1::PublishRequest& request) {
  absl::MutexLock lock(&mutex_);
  RETURN_IF_ERROR(BeginLocked(Method::kPublish));
  if (request.nonce().size() != 16) return absl::InvalidArgumentError("the nonce must have 16 bytes");
  if (request.tags().empty()) return absl::InvalidArgumentError("a publish needs a tag");
  Dataset& d = datasets_[request.dataset()];
  dataset::v1::PublishResponse response;
  if (const auto known = d.nonces.find(request.nonce()); known != d.nonces.end()) {
    response.set_seq(known->second);
    return response;
  }
  ASSIGN_OR_RETURN(const Digest digest, Digest::Parse(request.digest()));
  ASSIGN_OR_RETURN(const dataset::v1::Snapshot snapshot, SnapshotOf(d, digest));
  RETURN_IF_ERROR(CheckBlocks(d, digest));
  RETURN_IF_ERROR(CheckDeltas(d, request));
  RETURN_IF_ERROR(CheckExpectation(request.expectation(), request.tags(), d.tags));
  last_publish_ = request;
  response.set_unchanged(std::all_of(request.tags().begin(), request.tags().end(), [&](const auto& tag) {
    const auto found = d.tags.find(tag);
    return found != d.tags.end() && found->second.snapshot().digest() == request.digest();
  }));
  if (response.unchanged()) {
    response.set_seq(d.seq());
    return response;
  }
  dataset::v1::Change& change = Append(request.dataset(), d);
  change.set_author(request.author());
  auto* publication = change.mutable_publication();
  *publication->mutable_snapshot() = snapshot;
  *publication->mutable_tags() = request.tags();
  std::sort(publication->mutable_tags()->begin(), publication->mutable_tags()->end());
  publication->set_message(request.message());
  *publication->mutable_labels() = request.labels();
  *publication->mutable_stats() = request.stats();
  *publication->mutable_deltas() = request.deltas();
  for (const auto& tag : request.tags()) {
    auto& stored = d.tags[tag];
    stored.set_name(tag);
    *stored.mutable_snapshot() = snapshot;
    stored.set_seq(change.seq());
    stored.set_updated_unix_micros(change.time_unix_micros());
  }
  d.nonces[request.nonce()] = change.seq();
  response.set_seq(change.seq());
  Announce(request.dataset(), d);
  return response;
}

absl::StatusOr<dataset::v1::UpdateTagsResponse> FakeServerClient::UpdateTags(
    const dataset::v1::UpdateTagsRequest& request) {
  absl::MutexLock lock(&mutex_);
  RETURN_IF_ERROR(BeginLocked(Method::kUpdateTags));
  const auto found_dataset = datasets_.find(request.dataset());
  if (found_dataset == datasets_.end() || found_dataset->second.seq() == 0) {
    return absl::NotFoundError(fmt::format("there is no dataset {}", request.dataset()));
  }
  Dataset& d = found_dataset->second;
  dataset::v1::UpdateTagsResponse response;
  if (const auto known = d.nonces.find(request.nonce()); known != d.nonces.end()) {
    response.set_seq(known->second);
    return response;
  }
  dataset::v1::TagChange wanted;
  std::vector<std::string> touched;
  for (const auto& move : request.moves()) {
    ASSIGN_OR_RETURN(const Digest digest, Digest::Parse(move.digest()));
    auto* out = wanted.add_moves();
    out->set_tag(move.tag());
    ASSIGN_OR_RETURN(*out->mutable_snapshot(), SnapshotOf(d, digest));
    touched.push_back(move.tag());
  }
  for (const auto& tag : request.deletes()) {
    if (!d.tags.contains(tag)) return absl::NotFoundError(fmt::format("there is no tag {}", tag));
    wanted.add_deleted(tag);
    touched.push_back(tag);
  }
  RETURN_IF_ERROR(CheckExpectation(request.expectation(), touched, d.tags));
  const bool moves_any = std::any_of(wanted.moves().begin(), wanted.moves().end(), [&](const auto& move) {
    const auto found = d.tags.find(move.tag());
    return found == d.tags.end() || found->second.snapshot().digest() != move.snapshot().digest();
  });
  if (!moves_any && wanted.deleted().empty()) {
    response.set_unchanged(true);
    response.set_seq(d.seq());
    return response;
  }
  dataset::v1::Change& change = Append(request.dataset(), d);
  change.set_author(request.author());
  *change.mutable_tag_change() = wanted;
  for (const auto& move : wanted.moves()) {
    auto& stored = d.tags[move.tag()];
    stored.set_name(move.tag());
    *stored.mutable_snapshot() = move.snapshot();
    stored.set_seq(change.seq());
    stored.set_updated_unix_micros(change.time_unix_micros());
  }
  for (const auto& tag : wanted.deleted()) d.tags.erase(tag);
  d.nonces[request.nonce()] = change.seq();
  response.set_seq(change.seq());
  Announce(request.dataset(), d);
  return response;
}

absl::StatusOr<dataset::v1::GetSettingsResponse> FakeServerClient::GetSettings(
    const dataset::v1::GetSettingsRequest& request) {
  absl::MutexLock lock(&mutex_);
  RETURN_IF_ERROR(BeginLocked(Method::kGetSettings));
  const Dataset* d = Find(request.dataset());
  if (d == nullptr || d->seq() == 0) {
    return absl::NotFoundError(fmt::format("there is no dataset {}", request.dataset()));
  }
  dataset::v1::GetSettingsResponse response;
  std::map<std::string, std::string> settings = d->settings;
  settings.emplace("deltas.keep", "8");
  response.mutable_settings()->insert(settings.begin(), settings.end());
  response.set_seq(d->seq());
  FillFreshness(response.mutable_freshness());
  return response;
}

// Takes any value; a server looks at it.
absl::StatusOr<dataset::v1::UpdateSettingsResponse> FakeServerClient::UpdateSettings(
    const dataset::v1::UpdateSettingsRequest& request) {
  absl::MutexLock lock(&mutex_);
  RETURN_IF_ERROR(BeginLocked(Method::kUpdateSettings));
  const auto found_dataset = datasets_.find(request.dataset());
  if (found_dataset == datasets_.end() || found_dataset->second.seq() == 0) {
    return absl::NotFoundError(fmt::format("there is no dataset {}", request.dataset()));
  }
  Dataset& d = found_dataset->second;
  dataset::v1::UpdateSettingsResponse response;
  if (const auto known = d.nonces.find(request.nonce()); known != d.nonces.end()) {
    response.set_seq(known->second);
    return response;
  }
  dataset::v1::SettingsChange wanted;
  for (const auto& [key, value] : request.settings()) {
    if (key != "deltas.keep")
      return absl::InvalidArgumentError(fmt::format("there is no setting '{}'", key));
    const auto found = d.settings.find(key);
    if ((found == d.settings.end() ? "" : found->second) == value) continue;
    (*wanted.mutable_settings())[key] = value;
    if (value.empty()) {
      d.settings.erase(key);
    } else {
      d.settings[key] = value;
    }
  }
  if (wanted.settings().empty()) {
    response.set_unchanged(true);
    response.set_seq(d.seq());
    return response;
  }
  dataset::v1::Change& change = Append(request.dataset(), d);
  change.set_author(request.author());
  *change.mutable_settings_change() = wanted;
  d.nonces[request.nonce()] = change.seq();
  response.set_seq(change.seq());
  Announce(request.dataset(), d);
  return response;
}

absl::StatusOr<block::v1::LookupResponse> FakeServerClient::LookupObjects(
    const block::v1::LookupRequest& request) {
  absl::MutexLock lock(&mutex_);
  RETURN_IF_ERROR(BeginLocked(Method::kLookupObjects));
  const Dataset* d = Find(request.dataset());
  block::v1::LookupResponse response;
  for (const auto& text : request.digests()) {
    ASSIGN_OR_RETURN(const Digest digest, Digest::Parse(text));
    auto* object = response.add_objects();
    if (d == nullptr) continue;
    const auto& objects = d->*ObjectsOf(request.kind());
    const auto found = objects.find(digest);
    object->set_exists(found != objects.end());
    if (found != objects.end()) object->set_size(found->second->size());
  }
  return response;
}

std::map<Digest, std::shared_ptr<const std::string>> FakeServerClient::Dataset::*
FakeServerClient::ObjectsOf(block::v1::ObjectKind kind) {
  switch (kind) {
    case OBJECT_KIND_MANIFEST:
      return &Dataset::manifests;
    case OBJECT_KIND_DELTA:
      return &Dataset::deltas;
    default:
      return &Dataset::blocks;
  }
}

absl::StatusOr<block::v1::UploadResponse> FakeServerClient::Upload(const block::v1::UploadHeader& header,
                                                                   std::string_view object) {
  RETURN_IF_ERROR(Begin(Method::kUpload));
  ASSIGN_OR_RETURN(const Digest digest, Digest::Parse(header.digest()));
  std::function<void(Method, const Digest&)> hook;
  {
    absl::MutexLock lock(&mutex_);
    hook = hook_;
  }
  if (hook) hook(Method::kUpload, digest);
  if (header.size() != object.size()) return absl::DataLossError("the header's size is not the object's");
  if (header.kind() == OBJECT_KIND_MANIFEST) {
    RETURN_IF_ERROR(DecodeManifestObject(object, digest).status());
  } else if (Sha256::Of(object) != digest) {
    return absl::DataLossError(fmt::format("what was sent is not object {}", digest.ToString()));
  }
  absl::MutexLock lock(&mutex_);
  Dataset& d = datasets_[header.dataset()];
  auto& objects = d.*ObjectsOf(header.kind());
  block::v1::UploadResponse response;
  if (objects.contains(digest)) {
    response.set_already_present(true);
    return response;
  }
  objects[digest] = std::make_shared<const std::string>(object);
  uploaded_bytes_ += object.size();
  return response;
}

absl::Status FakeServerClient::Download(const block::v1::DownloadRequest& request,
                                        absl::FunctionRef<absl::Status(std::string_view)> sink) {
  RETURN_IF_ERROR(Begin(Method::kDownload));
  ASSIGN_OR_RETURN(const Digest digest, Digest::Parse(request.digest()));
  if (request.bypass_cache()) ++bypassing_downloads_;
  std::shared_ptr<const std::string> object;
  bool corrupt = false;
  std::function<void(Method, const Digest&)> hook;
  {
    absl::MutexLock lock(&mutex_);
    hook = hook_;
    if (const Dataset* d = Find(request.dataset())) {
      const auto& objects = d->*ObjectsOf(request.kind());
      if (const auto found = objects.find(digest); found != objects.end()) object = found->second;
    }
    if (const auto found = corruptions_.find(digest);
        found != corruptions_.end() && found->second.times > 0 &&
        (!request.bypass_cache() || found->second.also_around_caches)) {
      --found->second.times;
      corrupt = true;
    }
  }
  if (hook) hook(Method::kDownload, digest);
  if (object == nullptr)
    return absl::NotFoundError(fmt::format("there is no object {}", digest.ToString()));
  std::vector<std::string_view> ranges;
  for (const auto& range : request.ranges()) {
    if (range.offset() > object->size() || range.size() > object->size() - range.offset()) {
      return absl::OutOfRangeError(fmt::format("a range ends behind object {}", digest.ToString()));
    }
    ranges.push_back(std::string_view(*object).substr(range.offset(), range.size()));
  }
  if (request.ranges().empty()) ranges.push_back(*object);
  for (size_t i = 0; i < ranges.size(); ++i) {
    std::string_view rest = ranges[i];
    while (!rest.empty()) {
      const std::string_view piece = rest.substr(0, kPieceSize);
      rest.remove_prefix(piece.size());
      downloaded_bytes_ += piece.size();
      if (corrupt && rest.empty() && i + 1 == ranges.size()) {
        std::string flipped(piece);
        flipped.back() = static_cast<char>(flipped.back() ^ 1);
        RETURN_IF_ERROR(sink(flipped));
      } else {
        RETURN_IF_ERROR(sink(piece));
      }
    }
  }
  return absl::OkStatus();
}

}  // namespace aetherfs
