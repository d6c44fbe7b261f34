#include "aetherfs/client/delta_maker.h"

#include <algorithm>
#include <memory>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/synchronization/mutex.h"
#include "aetherfs/base/sha256.h"
#include "aetherfs/base/status.h"
#include "aetherfs/client/delta_fetcher.h"
#include "aetherfs/client/delta_plan.h"
#include "aetherfs/client/delta_sources.h"
#include "aetherfs/client/patch_effort.h"
#include "aetherfs/client/sample_index.h"
#include "fmt/format.h"

namespace aetherfs {
namespace {

constexpr uint64_t kMiB = 1024 * 1024;
// A part is closed once it has this size.
constexpr size_t kPartTarget = 4 * kMiB;
// What is compressed and waits for a patch before it.
constexpr size_t kMaxWaiting = 16 * kMiB;
// An update that costs less without a delta is not worth the requests that one takes.
constexpr uint64_t kWorthIt = 4 * 1024;
// A patch, and a delta, must save this share of what it stands for.
constexpr uint64_t kLeastGain = 32;
// So little is put into the delta also if it can't be made smaller: to ask for it would cost more.
constexpr uint64_t kCheaperThanRequest = 4 * 1024;
constexpr size_t kFrameOverhead = 32;
// After so many patches of one file that gained nothing the rest of it is not tried.
constexpr int kMaxPoorPatches = 2;

size_t DeltaWorkers(const DeltaPlan& plan) { return std::min<size_t>(kDeltaThreads, plan.patches.size()); }

// What a compressor will have to look at. Of a file that is searched, samples mostly tell as much as is
// made.
uint64_t SizeOf(const PlannedPatch& patch) {
  const uint64_t base = patch.searched == PlannedPatch::kNothing
                            ? patch.base_size
                            : std::min(patch.base_size, patch.target_size);
  return patch.target_size + base;
}

// Compresses the patches of a plan, several at once, and uploads them in their order.
class Maker {
 public:
  Maker(ServerClient* client, const DatasetName& dataset, DeltaSources& sources, const Manifest& base,
        const Manifest& target, uint32_t max_base, const DeltaPlan& plan, PatchEffort& effort,
        const std::atomic<bool>* cancelled)
      : client_(client),
        dataset_(dataset),
        sources_(sources),
        base_(base),
        target_(target),
        max_base_(max_base),
        plan_(plan),
        effort_(effort),
        cancelled_(cancelled) {}

  absl::Status Run() {
    const size_t workers = DeltaWorkers(plan_);
    std::vector<std::thread> threads;
    for (size_t i = 1; i < workers; ++i) threads.emplace_back([this] { Work(); });
    Work();
    for (std::thread& thread : threads) thread.join();
    absl::MutexLock lock(&mutex_);
    return error_;
  }

  absl::Status Upload(std::string_view object, const Digest& digest) {
    block::v1::UploadHeader header;
    header.set_dataset(dataset_.str());
    header.set_kind(block::v1::OBJECT_KIND_DELTA);
    header.set_digest(digest.ToString());
    header.set_size(object.size());
    const auto response = client_->Upload(header, object);
    if (!response.ok()) return Annotate(response.status(), "could not upload a delta");
    if (!response->already_present()) uploaded_ += object.size();
    return absl::OkStatus();
  }

  // After Run(): fills the table, and returns the bytes of the part that was not full, which go behind the
  // head.
  std::string Finish(Delta* delta) {
    absl::MutexLock lock(&mutex_);
    delta->parts = std::move(parts_);
    delta->patches = std::move(patches_);
    const auto last = static_cast<uint32_t>(delta->parts.size() + 1);
    const auto first_of_last = std::find_if(delta->patches.begin(), delta->patches.end(),
                                            [last](const DeltaPatch& patch) { return patch.part == last; });
    for (auto patch = first_of_last; patch != delta->patches.end(); ++patch) patch->part = 0;
    std::rotate(delta->patches.begin(), first_of_last, delta->patches.end());
    return std::move(open_);
  }
  uint64_t uploaded() const { return uploaded_.load(); }

 private:
  struct Encoded {
    size_t index = 0;
    std::vector<DeltaPatch::BaseRange> base;
    std::string stored;  // empty: it gains nothing
  };
  struct FullPart {
    size_t number = 0;  // from 1 on
    std::string bytes;
  };

  void Work() {
    PatchEncoder encoder;
    std::string prefix;
    std::string raw;
    for (;;) {
      size_t index;
      {
        absl::MutexLock lock(&mutex_);
        const auto may_go_on = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
          return !error_.ok() || waiting_bytes_ <= kMaxWaiting;
        };
        mutex_.Await(absl::Condition(&may_go_on));
        if (!error_.ok() || next_ == plan_.patches.size()) return;
        index = next_++;
      }
      absl::StatusOr<Encoded> encoded = Encode(index, encoder, prefix, raw);
      absl::Status status = encoded.ok() ? Take(*std::move(encoded)) : encoded.status();
      if (status.ok()) continue;
      absl::MutexLock lock(&mutex_);
      error_.Update(status);
    }
  }

  absl::StatusOr<Encoded> Encode(size_t index, PatchEncoder& encoder, std::string& prefix,
                                 std::string& raw) {
    const PlannedPatch& patch = plan_.patches[index];
    Encoded encoded{index, patch.base, {}};
    if (cancelled_ != nullptr && cancelled_->load())
      return absl::CancelledError("the publish was cancelled");
    const absl::Time begun = effort_.Begin(SizeOf(patch));
    const uint32_t file = patch.runs.front().entry;
    {
      absl::MutexLock lock(&mutex_);
      if (const auto poor = poor_.find(file); poor != poor_.end() && poor->second >= kMaxPoorPatches) {
        return encoded;
      }
    }
    RETURN_IF_ERROR(sources_.ReadTarget(patch, &raw));
    // What blocks can't compress, high levels can't either; only long matches with the base help, which the
    // lowest finds as well. If they lay somewhere else, they would be shared chunks.
    const bool incompressible = patch.block_bytes + raw.size() / kLeastGain > raw.size();
    if (patch.searched != PlannedPatch::kNothing && !incompressible) {
      ASSIGN_OR_RETURN(const std::shared_ptr<const SampleIndex> samples, IndexOf(patch.searched));
      encoded.base = samples->Choose(raw, patch.searched, patch.base, max_base_, patch.ChunkCount());
    }
    RETURN_IF_ERROR(sources_.ReadBase(encoded.base, &prefix));
    const size_t most = patch.block_bytes <= kCheaperThanRequest
                            ? patch.block_bytes + kFrameOverhead
                            : patch.block_bytes - patch.block_bytes / kLeastGain;
    encoded.stored = effort_.Encode(encoder, prefix, raw, most, incompressible, begun);
    if (!encoded.stored.empty()) return encoded;
    absl::MutexLock lock(&mutex_);
    ++poor_[file];
    return encoded;
  }

  // Of a file of the base. The first who needs it makes it; one is kept, for patches come file by file.
  absl::StatusOr<std::shared_ptr<const SampleIndex>> IndexOf(uint32_t entry) {
    {
      absl::MutexLock lock(&mutex_);
      const auto settled = [this]()
                               ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return !indexing_ || !error_.ok(); };
      mutex_.Await(absl::Condition(&settled));
      if (!error_.ok()) return error_;
      if (indexed_ == entry && index_ != nullptr) return index_;
      indexing_ = true;
      indexed_ = entry;
      index_.reset();
    }
    const uint64_t size = base_.entries[entry].size;
    auto index = std::make_shared<SampleIndex>(size);
    std::string bytes;
    absl::Status status;
    for (uint64_t offset = 0; offset < size && status.ok(); offset += kMiB) {
      status = sources_.ReadBase({{entry, offset, static_cast<uint32_t>(std::min(kMiB, size - offset))}},
                                 &bytes);
      if (status.ok()) index->Add(bytes, offset);
    }
    index->Seal();
    absl::MutexLock lock(&mutex_);
    indexing_ = false;
    RETURN_IF_ERROR(status);
    index_ = std::move(index);
    return index_;
  }

  // Appends what is there in the plan's order; whoever fills a part uploads it.
  absl::Status Take(Encoded encoded) {
    std::vector<FullPart> full;
    {
      absl::MutexLock lock(&mutex_);
      waiting_bytes_ += encoded.stored.size();
      waiting_.push_back(std::move(encoded));
      for (;;) {
        const auto it = std::find_if(waiting_.begin(), waiting_.end(),
                                     [next = written_](const Encoded& e) { return e.index == next; });
        if (it == waiting_.end()) break;
        Append(std::move(*it), &full);
        waiting_.erase(it);
        ++written_;
      }
    }
    for (const FullPart& part : full) {
      const Digest digest = Sha256::Of(part.bytes);
      RETURN_IF_ERROR(Upload(part.bytes, digest));
      absl::MutexLock lock(&mutex_);
      parts_[part.number - 1].digest = digest;
    }
    return absl::OkStatus();
  }

  void Append(const Encoded& encoded, std::vector<FullPart>* full) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    waiting_bytes_ -= encoded.stored.size();
    if (encoded.stored.empty()) return;
    if (!open_.empty() && open_.size() + encoded.stored.size() > kPartTarget) {
      parts_.push_back({Digest(), open_.size()});
      full->push_back({parts_.size(), std::exchange(open_, {})});
    }
    const PlannedPatch& plan = plan_.patches[encoded.index];
    DeltaPatch patch;
    patch.base = encoded.base;
    for (const PlannedPatch::Run& run : plan.runs) {
      const auto refs = std::span(target_.chunk_refs).subspan(run.first_ref, run.count);
      patch.chunks.insert(patch.chunks.end(), refs.begin(), refs.end());
    }
    patch.part = static_cast<uint32_t>(parts_.size()) + 1;
    patch.offset = open_.size();
    patch.stored_size = static_cast<uint32_t>(encoded.stored.size());
    patches_.push_back(std::move(patch));
    open_ += encoded.stored;
  }

  ServerClient* const client_;
  const DatasetName& dataset_;
  DeltaSources& sources_;
  const Manifest& base_;
  const Manifest& target_;
  const uint32_t max_base_;
  const DeltaPlan& plan_;
  PatchEffort& effort_;
  const std::atomic<bool>* const cancelled_;
  std::atomic<uint64_t> uploaded_{0};

  absl::Mutex mutex_;
  size_t next_ ABSL_GUARDED_BY(mutex_) = 0;     // to be compressed
  size_t written_ ABSL_GUARDED_BY(mutex_) = 0;  // to be appended
  std::vector<Encoded> waiting_ ABSL_GUARDED_BY(mutex_);
  size_t waiting_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  std::vector<DeltaPatch> patches_ ABSL_GUARDED_BY(mutex_);
  std::vector<Delta::Part> parts_ ABSL_GUARDED_BY(mutex_);
  std::string open_ ABSL_GUARDED_BY(mutex_);  // the part that is being filled
  bool indexing_ ABSL_GUARDED_BY(mutex_) = false;
  uint32_t indexed_ ABSL_GUARDED_BY(mutex_) = 0;
  std::shared_ptr<const SampleIndex> index_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_map<uint32_t, int> poor_ ABSL_GUARDED_BY(mutex_);  // patches that gained nothing, by file
  absl::Status error_ ABSL_GUARDED_BY(mutex_);
};

// Whether a delta of that many bytes, which replaces the patches' chunks and the manifest, is worth it.
bool Gains(uint64_t delta_bytes, uint64_t replaced_bytes) {
  return delta_bytes + replaced_bytes / kLeastGain < replaced_bytes;
}

uint64_t BlockBytes(const Manifest& target, const std::vector<DeltaPatch>& patches) {
  uint64_t bytes = 0;
  for (const DeltaPatch& patch : patches) {
    for (const uint32_t index : patch.chunks) {
      const Manifest::Chunk& chunk = target.chunks[index];
      const Manifest::Frame& frame = target.frames[chunk.frame];
      bytes += uint64_t{frame.stored_size} * chunk.size / frame.raw_size;
    }
  }
  return bytes;
}

}  // namespace

absl::StatusOr<std::optional<MadeDelta>> MakeDelta(ServerClient* client, const DatasetName& dataset,
                                                   const Scan& scan, const KnownSnapshot& base,
                                                   const KnownSnapshot& target, size_t manifest_object_size,
                                                   absl::Duration rest, Clock* clock,
                                                   const std::atomic<bool>* cancelled) {
  if (scan.entries.size() != target.manifest.entries.size()) {
    return absl::InternalError("a scan and the snapshot made of it have different entries");
  }
  const DeltaPlanOptions options;
  const DeltaPlan plan = PlanDelta(base.manifest, target.manifest, options);
  uint64_t block_bytes = 0;
  for (const PlannedPatch& patch : plan.patches) block_bytes += patch.block_bytes;
  if (manifest_object_size + block_bytes < kWorthIt) return std::nullopt;
  uint64_t bytes = 0;
  for (const PlannedPatch& patch : plan.patches) bytes += SizeOf(patch);
  PatchEffort effort(clock, PatienceFor(plan.fresh_bytes, rest), DeltaWorkers(plan), bytes);
  DeltaSources sources(client, dataset, scan, base.manifest, target.manifest, plan, cancelled);
  Maker maker(client, dataset, sources, base.manifest, target.manifest, options.max_base, plan, effort,
              cancelled);
  RETURN_IF_ERROR(maker.Run());

  Delta delta;
  delta.from = base.digest;
  delta.to = target.digest;
  const std::string patches = maker.Finish(&delta);
  std::string object;
  const bool small = delta.parts.empty() && patches.size() <= DeltaFetcher::kWhole;
  if (small) object = EncodeDeltaHead(delta, base.canonical, target.canonical, true);
  if (!small || object.size() + patches.size() > DeltaFetcher::kWhole) {
    object = EncodeDeltaHead(delta, base.canonical, target.canonical, false);
  }
  MadeDelta made;
  made.announcement.set_head_size(object.size());
  object += patches;
  const uint64_t replaced = manifest_object_size + BlockBytes(target.manifest, delta.patches);
  if (!Gains(object.size() + delta.PartsSize(), replaced)) return std::nullopt;
  const Digest digest = Sha256::Of(object);
  RETURN_IF_ERROR(maker.Upload(object, digest));
  made.announcement.set_digest(digest.ToString());
  made.announcement.set_from(base.digest.ToString());
  made.announcement.set_to(target.digest.ToString());
  made.announcement.set_size(object.size());
  made.announcement.set_parts_size(delta.PartsSize());
  made.uploaded_bytes = maker.uploaded();
  return made;
}

}  // namespace aetherfs
