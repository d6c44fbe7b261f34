#include "aetherfs/client/publish_job.h"

#include <malloc.h>

#include <algorithm>
#include <utility>

#include "aetherfs/base/random.h"
#include "aetherfs/base/sha256.h"
#include "aetherfs/base/status.h"
#include "aetherfs/client/block_uploader.h"
#include "aetherfs/client/delta_offer.h"
#include "aetherfs/client/fetcher.h"
#include "aetherfs/client/publish_pipeline.h"
#include "fmt/format.h"

namespace aetherfs {
namespace {

constexpr size_t kNonceSize = 16;

}  // namespace

PublishJob::PublishJob(ServerClient* client, const PublishOptions& options, PublishProgress* progress,
                       const std::atomic<bool>* cancelled, ReadHook read_hook, Clock* clock)
    : client_(client),
      options_(options),
      progress_(progress == nullptr ? &own_progress_ : progress),
      cancelled_(cancelled),
      read_hook_(std::move(read_hook)),
      clock_(clock),
      cache_(options.cache_dir),
      began_(absl::Now()),
      nonce_(options.nonce.empty() ? Random::System()->Bytes(kNonceSize) : options.nonce) {}

absl::Status PublishJob::Validate() const {
  if (options_.dataset.str().empty()) return absl::InvalidArgumentError("a publish needs a dataset");
  if (options_.tags.empty()) return absl::InvalidArgumentError("a publish needs at least one tag");
  for (const std::string& tag : options_.tags) RETURN_IF_ERROR(ValidateTag(tag));
  if (options_.expect_absent && options_.expect.has_value()) {
    return absl::InvalidArgumentError("a tag can't be expected to be absent and to point at a snapshot");
  }
  if (nonce_.size() != kNonceSize) {
    return absl::InvalidArgumentError(fmt::format("the nonce must have {} bytes", kNonceSize));
  }
  return absl::OkStatus();
}

absl::Status PublishJob::CheckCancelled() const {
  if (cancelled_ != nullptr && cancelled_->load()) return absl::CancelledError("the publish was cancelled");
  return absl::OkStatus();
}

absl::StatusOr<PublishResult> PublishJob::Run() {
  RETURN_IF_ERROR(Validate());
  const absl::Time started = clock_->Now();
  ASSIGN_OR_RETURN(scan_, ScanPath(options_.path, &progress_->scanned_files, cancelled_));
  scan_.started = started;
  progress_->total_bytes = scan_.bytes;
  stats_ = cache_.LoadStats(options_.dataset, scan_.path);
  if (stats_.has_value()) {
    comparison_ = stats_->Compare(scan_.entries);
  } else {
    comparison_.unchanged.assign(scan_.entries.size(), StatCache::Comparison::kChanged);
  }
  RETURN_IF_ERROR(ReadTags());
  if (comparison_.identical) {
    ASSIGN_OR_RETURN(std::optional<PublishResult> result, PublishUnchangedTree());
    if (result.has_value()) return *std::move(result);
  }
  for (int attempt = 1;; ++attempt) {
    absl::StatusOr<PublishResult> result = Attempt();
    if (result.ok() || !absl::IsFailedPrecondition(result.status()) || attempt == kMaxAttempts)
      return result;
    RETURN_IF_ERROR(ReadTags());
    RETURN_IF_ERROR(ExcludeWhatIsGone());
  }
}

absl::Status PublishJob::ReadTags() {
  RETURN_IF_ERROR(CheckCancelled());
  dataset::v1::ListTagsRequest request;
  request.set_dataset(options_.dataset.str());
  auto response = client_->ListTags(request);
  if (absl::IsNotFound(response.status())) {  // there is no such dataset yet
    tags_.Clear();
    return absl::OkStatus();
  }
  RETURN_IF_ERROR(Annotate(response.status(),
                           fmt::format("could not read the tags of dataset {}", options_.dataset.str())));
  tags_ = *std::move(response);
  return absl::OkStatus();
}

bool PublishJob::EveryTagPointsAt(const Digest& digest) const {
  if (tags_.freshness().stale()) return false;  // nobody knows
  const std::string text = digest.ToString();
  return std::all_of(options_.tags.begin(), options_.tags.end(), [&](const std::string& wanted) {
    return std::any_of(tags_.tags().begin(), tags_.tags().end(), [&](const dataset::v1::Tag& tag) {
      return tag.name() == wanted && tag.snapshot().digest() == text;
    });
  });
}

PublishResult PublishJob::ResultOf(const Digest& digest, const StatCache::Totals& totals, uint64_t seq,
                                   bool unchanged) const {
  PublishResult result;
  result.dataset = options_.dataset;
  result.tags = options_.tags;
  result.digest = digest;
  result.files = totals.files;
  result.bytes = totals.bytes;
  result.chunks = totals.chunks;
  result.new_chunks = new_chunks_;
  result.new_bytes = new_bytes_;
  result.uploaded_bytes = uploaded_bytes_;
  result.delta_bytes = delta_bytes_;
  result.warning = warning_;
  result.seq = seq;
  result.unchanged = unchanged;
  result.elapsed = absl::Now() - began_;
  return result;
}

absl::StatusOr<std::optional<PublishResult>> PublishJob::PublishUnchangedTree() {
  const bool expects = options_.expect_absent || options_.expect.has_value();
  if (!expects && EveryTagPointsAt(stats_->manifest)) {
    progress_->processed_bytes = scan_.bytes;
    return ResultOf(stats_->manifest, stats_->totals, tags_.seq(), true);
  }
  if (options_.make_deltas) RETURN_IF_ERROR(MakeMissingDeltas(stats_->manifest));
  const auto response = Commit(stats_->manifest);
  if (absl::IsNotFound(response.status()) || absl::IsFailedPrecondition(response.status())) {
    return std::nullopt;  // it, or what it needs, was collected
  }
  RETURN_IF_ERROR(response.status());
  progress_->processed_bytes = scan_.bytes;
  return ResultOf(stats_->manifest, stats_->totals, response->seq(), response->unchanged());
}

absl::StatusOr<PublishResult> PublishJob::Attempt() {
  progress_->processed_bytes = 0;
  new_chunks_ = new_bytes_ = 0;
  needed_blocks_.clear();
  deltas_.clear();
  delta_bytes_ = 0;
  warning_.clear();
  ChunkTable table;
  std::optional<Manifest> last;
  if (!reuse_nothing_) RETURN_IF_ERROR(LoadBases(&table, &last));
  const std::vector<uint32_t> files = ReuseUnchangedFiles(std::move(last), table);

  ASSIGN_OR_RETURN(const Manifest manifest, PackFiles(files, table));
  needed_blocks_ = manifest.blocks;
  const StatCache::Totals totals = {
      .files = manifest.FileCount(), .bytes = manifest.TotalBytes(), .chunks = manifest.chunks.size()};
  const std::string canonical = EncodeManifest(manifest);
  const Digest digest = Sha256::Of(canonical);
  RETURN_IF_ERROR(CheckCancelled());

  PublishResult result;
  if (!options_.expect_absent && !options_.expect.has_value() && EveryTagPointsAt(digest)) {
    result = ResultOf(digest, totals, tags_.seq(), true);
  } else {
    ASSIGN_OR_RETURN(const size_t object_size, UploadManifest(digest, canonical));
    if (options_.make_deltas) {
      RETURN_IF_ERROR(MakeDeltas({.digest = digest, .manifest = manifest, .canonical = canonical},
                                 object_size, DeltaBases(digest)));
    }
    ASSIGN_OR_RETURN(const dataset::v1::PublishResponse response, Commit(digest));
    result = ResultOf(digest, totals, response.seq(), response.unchanged());
  }
  // The snapshot is there, whether or not its traces can be kept.
  if (cache_.SaveManifest(digest, canonical).ok()) {
    cache_.SaveStats(options_.dataset, scan_.path, StatCache::Of(scan_, digest, totals)).IgnoreError();
  }
  result.elapsed = absl::Now() - began_;
  return result;
}

absl::Status PublishJob::LoadBases(ChunkTable* table, std::optional<Manifest>* last) {
  std::vector<const dataset::v1::Tag*> tags;
  for (const dataset::v1::Tag& tag : tags_.tags()) tags.push_back(&tag);
  const auto rank = [this](const dataset::v1::Tag* tag) {
    return std::find(options_.tags.begin(), options_.tags.end(), tag->name()) - options_.tags.begin();
  };
  std::sort(tags.begin(), tags.end(), [&](const dataset::v1::Tag* a, const dataset::v1::Tag* b) {
    if (rank(a) != rank(b)) return rank(a) < rank(b);
    return a->seq() != b->seq() ? a->seq() > b->seq() : a->name() < b->name();
  });
  std::vector<Digest> bases;
  for (const dataset::v1::Tag* tag : tags) {
    if (bases.size() == kMaxBases) break;
    RETURN_IF_ERROR(CheckCancelled());
    const auto digest = Digest::Parse(tag->snapshot().digest());
    if (!digest.ok() || std::find(bases.begin(), bases.end(), *digest) != bases.end()) continue;
    auto manifest = LoadManifest(*digest);
    if (absl::IsCancelled(manifest.status())) return manifest.status();
    if (!manifest.ok()) continue;  // without it more is uploaded, that is all
    bases.push_back(*digest);
    table->AddSnapshot(*manifest, excluded_blocks_);
    if (stats_.has_value() && stats_->manifest == *digest) *last = *std::move(manifest);
  }
  return absl::OkStatus();
}

absl::StatusOr<Manifest> PublishJob::LoadManifest(const Digest& digest) {
  if (const auto canonical = cache_.LoadManifest(digest)) {
    auto manifest = DecodeManifest(*canonical);
    if (manifest.ok()) return manifest;
  }
  ASSIGN_OR_RETURN(const std::string canonical,
                   Fetcher(client_).FetchManifest(options_.dataset, digest, nullptr));
  cache_.SaveManifest(digest, canonical).IgnoreError();
  return DecodeManifest(canonical);
}

std::vector<uint32_t> PublishJob::ReuseUnchangedFiles(std::optional<Manifest> last,
                                                      const ChunkTable& table) {
  reused_.assign(scan_.entries.size(), {});
  reused_refs_.clear();
  // The snapshot of the stat cache tells the digests of the files' chunks; the table, where they lie.
  if (stats_.has_value() && !last.has_value() && !table.chunks().empty()) {
    if (const auto canonical = cache_.LoadManifest(stats_->manifest)) {
      auto manifest = DecodeManifest(*canonical);
      if (manifest.ok()) last = *std::move(manifest);
    }
  }
  if (last.has_value() && last->entries.size() != stats_->sizes.size()) last.reset();
  std::vector<uint32_t> files;
  for (uint32_t i = 0; i < scan_.entries.size(); ++i) {
    const ScannedEntry& entry = scan_.entries[i];
    if (entry.type != EntryType::kFile || entry.size == 0) continue;
    Reused& reused = reused_[i];
    reused.first = reused_refs_.size();
    const uint32_t index = comparison_.unchanged[i];
    if (last.has_value() && index != StatCache::Comparison::kChanged &&
        last->entries[index].path == entry.path && last->entries[index].size == entry.size) {
      reused.valid = true;
      for (const uint32_t ref : last->RefsOf(last->entries[index])) {
        const auto known = table.Find(last->chunks[ref].digest);
        if (!known.has_value()) {
          reused.valid = false;
          break;
        }
        reused_refs_.push_back(*known);
        ++reused.count;
      }
    }
    if (reused.valid) {
      progress_->processed_bytes += entry.size;
    } else {
      reused_refs_.resize(reused.first);
      files.push_back(i);
    }
  }
  return files;
}

absl::StatusOr<Manifest> PublishJob::PackFiles(const std::vector<uint32_t>& files, ChunkTable& table) {
  BlockUploader uploader(client_, options_.dataset, &progress_->uploaded_bytes);
  PublishPipeline pipeline(
      &scan_, &table, &uploader,
      {.epoch = tags_.epoch(),
       .compression_level = scan_.bytes >= kLargeTree ? kLevelOfLargeTrees : kLevelOfSmallTrees,
       .hook = read_hook_,
       .processed_bytes = &progress_->processed_bytes,
       .cancelled = cancelled_});
  RETURN_IF_ERROR(ReadUntilStable(pipeline, files));
  RETURN_IF_ERROR(pipeline.Finish());
  ASSIGN_OR_RETURN(const std::vector<BlockUploader::Uploaded> blocks, uploader.Finish());
  for (const BlockUploader::Uploaded& block : blocks) {
    table.NameBlock(block.index, block.digest, block.size);
    if (block.sent) uploaded_bytes_ += block.size;
  }
  new_chunks_ = pipeline.new_chunks();
  new_bytes_ = pipeline.new_bytes();
  return MakeManifest(pipeline, table);
}

absl::Status PublishJob::ReadUntilStable(PublishPipeline& pipeline, std::vector<uint32_t> files) {
  for (int read = 1; !files.empty(); ++read) {
    ASSIGN_OR_RETURN(files, pipeline.Run(files));
    for (const uint32_t file : files) {
      ScannedEntry& entry = scan_.entries[file];
      const std::string shown = Printable(entry.path);
      if (read == kMaxReads) {
        return absl::AbortedError(
            fmt::format("'{}' kept changing while it was read ({} times); publish when "
                        "nothing writes to it",
                        shown, kMaxReads));
      }
      const absl::Status status = ScanAgain(scan_, &entry);
      if (absl::IsNotFound(status)) {
        return absl::AbortedError(
            fmt::format("'{}' vanished while the directory was being published; publish again", shown));
      }
      RETURN_IF_ERROR(status);
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<Manifest> PublishJob::MakeManifest(const PublishPipeline& pipeline, ChunkTable& table) {
  Manifest manifest;
  manifest.entries.reserve(scan_.entries.size());
  for (uint32_t i = 0; i < scan_.entries.size(); ++i) {
    const ScannedEntry& scanned = scan_.entries[i];
    const std::span<const uint32_t> refs =
        reused_[i].valid
            ? std::span<const uint32_t>(reused_refs_).subspan(reused_[i].first, reused_[i].count)
            : pipeline.ChunksOf(i);
    manifest.entries.push_back({.path = scanned.path,
                                .type = scanned.type,
                                .mode = scanned.mode,
                                .mtime_ns = scanned.mtime_ns,
                                .size = scanned.size,
                                .target = scanned.target,
                                .first_ref = static_cast<uint32_t>(manifest.chunk_refs.size()),
                                .ref_count = static_cast<uint32_t>(refs.size())});
    manifest.chunk_refs.insert(manifest.chunk_refs.end(), refs.begin(), refs.end());
  }
  table.MoveInto(&manifest);
  return Canonicalize(std::move(manifest));
}

absl::StatusOr<size_t> PublishJob::UploadManifest(const Digest& digest, const std::string& canonical) {
  const std::string object = EncodeManifestObject(canonical);
  block::v1::UploadHeader header;
  header.set_dataset(options_.dataset.str());
  header.set_kind(block::v1::OBJECT_KIND_MANIFEST);
  header.set_digest(digest.ToString());
  header.set_size(object.size());
  const auto response = client_->Upload(header, object);
  RETURN_IF_ERROR(Annotate(response.status(), fmt::format("could not upload manifest {} of dataset {}",
                                                          digest.ToString(), options_.dataset.str())));
  if (!response->already_present()) {
    uploaded_bytes_ += object.size();
    progress_->uploaded_bytes += object.size();
  }
  return object.size();
}

std::vector<Digest> PublishJob::DeltaBases(const Digest& target) const {
  std::vector<Digest> bases;
  for (const dataset::v1::Tag& tag : tags_.tags()) {
    if (std::find(options_.tags.begin(), options_.tags.end(), tag.name()) == options_.tags.end()) continue;
    const auto digest = Digest::Parse(tag.snapshot().digest());
    if (!digest.ok() || *digest == target || bases.size() == kMaxDeltaBases) continue;
    if (std::find(bases.begin(), bases.end(), *digest) == bases.end()) bases.push_back(*digest);
  }
  return bases;
}

absl::Status PublishJob::MakeMissingDeltas(const Digest& target) {
  std::vector<Digest> bases = DeltaBases(target);
  if (bases.empty()) return absl::OkStatus();
  dataset::v1::LookupRequest request;
  request.set_dataset(options_.dataset.str());
  request.set_digest(target.ToString());
  const auto found = client_->Lookup(request);
  if (!found.ok()) return absl::OkStatus();  // to commit says what is wrong
  const std::vector<DeltaOffer> offers = OffersFrom(found->deltas());
  std::erase_if(bases, [&](const Digest& base) {
    return !CheapestChain({&base, 1}, target, offers, UINT64_MAX).empty();
  });
  if (bases.empty()) return absl::OkStatus();
  const absl::StatusOr<Manifest> manifest = LoadManifest(target);
  if (!manifest.ok()) return CheckCancelled();
  const std::string canonical = EncodeManifest(*manifest);
  return MakeDeltas({.digest = target, .manifest = *manifest, .canonical = canonical},
                    EncodeManifestObject(canonical).size(), bases);
}

absl::Status PublishJob::MakeDeltas(const KnownSnapshot& target, size_t manifest_object_size,
                                    const std::vector<Digest>& bases) {
  if (bases.empty()) return absl::OkStatus();
  ::malloc_trim(0);  // what the blocks took is not needed any more
  // All of them together may take as long as the rest.
  const absl::Duration rest = (absl::Now() - began_) / static_cast<double>(bases.size());
  for (const Digest& digest : bases) {
    RETURN_IF_ERROR(CheckCancelled());
    const auto delta = [&]() -> absl::StatusOr<std::optional<MadeDelta>> {
      ASSIGN_OR_RETURN(const Manifest base, LoadManifest(digest));
      const std::string canonical = EncodeManifest(base);
      return MakeDelta(client_, options_.dataset, scan_,
                       {.digest = digest, .manifest = base, .canonical = canonical}, target,
                       manifest_object_size, rest, Clock::System(), cancelled_);
    }();
    if (absl::IsCancelled(delta.status())) return delta.status();
    if (!delta.ok()) {
      // Consumers do without: it only saves bytes.
      warning_ +=
          fmt::format("{}no delta from version {} could be made, so its consumers will fetch more: {}",
                      warning_.empty() ? "" : "; ", digest.Short(), Message(delta.status()));
    } else if (delta->has_value()) {
      deltas_.push_back((*delta)->announcement);
      delta_bytes_ += (*delta)->uploaded_bytes;
      progress_->uploaded_bytes += (*delta)->uploaded_bytes;
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<dataset::v1::PublishResponse> PublishJob::Commit(const Digest& digest) {
  RETURN_IF_ERROR(CheckCancelled());
  dataset::v1::PublishRequest request;
  request.set_dataset(options_.dataset.str());
  for (const std::string& tag : options_.tags) request.add_tags(tag);
  request.set_digest(digest.ToString());
  request.set_message(options_.message);
  request.mutable_labels()->insert(options_.labels.begin(), options_.labels.end());
  if (options_.expect_absent) {
    request.mutable_expectation()->set_absent(true);
  } else if (options_.expect.has_value()) {
    request.mutable_expectation()->set_digest(options_.expect->ToString());
  }
  request.mutable_stats()->set_new_chunks(new_chunks_);
  request.mutable_stats()->set_new_bytes(new_bytes_);
  request.mutable_stats()->set_uploaded_bytes(uploaded_bytes_);
  request.mutable_stats()->set_delta_bytes(delta_bytes_);
  *request.mutable_deltas() = {deltas_.begin(), deltas_.end()};
  request.set_author(options_.author);
  request.set_nonce(nonce_);
  auto response = client_->Publish(request);
  if (response.ok()) return response;
  return Annotate(response.status(), fmt::format("could not publish {}", options_.dataset.str()));
}

absl::Status PublishJob::ExcludeWhatIsGone() {
  bool any = false;
  for (size_t at = 0; at < needed_blocks_.size(); at += kMaxDigestsPerLookup) {
    const size_t end = std::min(at + kMaxDigestsPerLookup, needed_blocks_.size());
    block::v1::LookupRequest request;
    request.set_dataset(options_.dataset.str());
    request.set_kind(block::v1::OBJECT_KIND_BLOCK);
    for (size_t i = at; i < end; ++i) request.add_digests(needed_blocks_[i].digest.ToString());
    ASSIGN_OR_RETURN(const block::v1::LookupResponse response, client_->LookupObjects(request));
    for (int i = 0; i < response.objects_size() && at + static_cast<size_t>(i) < end; ++i) {
      if (response.objects(i).exists()) continue;
      any |= excluded_blocks_.insert(needed_blocks_[at + static_cast<size_t>(i)].digest).second;
    }
  }
  // What is there and yet not to be used is condemned: which blocks are, only the server knows.
  if (!any) reuse_nothing_ = true;
  return absl::OkStatus();
}

}  // namespace aetherfs
