#include "aetherfs/client/fetcher.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "aetherfs/base/status.h"
#include "aetherfs/client/fetch_plan.h"
#include "aetherfs/client/frame_receiver.h"
#include "fmt/format.h"

namespace aetherfs {
namespace {

// Bad bytes are asked for again this often around the caches.
constexpr int kBypassingAttempts = 2;
// A manifest as stored is never larger than its canonical bytes and an envelope.
constexpr size_t kMaxManifestObjectSize = kMaxManifestSize + 1024;
constexpr int kMaxParallelism = 64;

// Whether a server says that the bytes of an object are not all there, or not what they must be. What a
// manifest names lies within its block, and no manifest is empty: OUT_OF_RANGE means that the object in the
// store, or what the server remembers of it, is shorter than what was stored.
bool SaysObjectIsHarmed(const absl::Status& status) {
  return absl::IsDataLoss(status) || absl::IsOutOfRange(status);
}

// One call of FetchChunks: workers take requests from the plan until none is left or one of them failed.
class FetchRun {
 public:
  FetchRun(ServerClient* client, const DatasetName& dataset, const Manifest& manifest,
           std::span<const uint32_t> wanted, const Fetcher::ChunkSink& sink, TransferStats* stats,
           const std::atomic<bool>* cancelled)
      : client_(client),
        dataset_(dataset),
        manifest_(manifest),
        wanted_(wanted),
        sink_(sink),
        stats_(stats),
        cancelled_(cancelled),
        plan_(PlanFetch(manifest, wanted)) {}

  absl::Status Run(int parallelism) {
    const size_t workers = std::min<size_t>(
        static_cast<size_t>(std::clamp(parallelism, 1, kMaxParallelism)), plan_.requests.size());
    stretches_ = std::vector<Stretch>(workers);
    for (size_t i = 0; i < workers; ++i) {
      stretches_[i].next = plan_.requests.size() * i / workers;
      stretches_[i].end = plan_.requests.size() * (i + 1) / workers;
    }
    std::vector<std::thread> threads;
    for (size_t i = 1; i < workers; ++i) threads.emplace_back([this, i] { Work(i); });
    Work(0);
    for (std::thread& thread : threads) thread.join();
    absl::MutexLock lock(&mutex_);
    return first_error_;
  }

 private:
  // A run of requests. Each worker has its own, so that workers write to different files, and helps with
  // the others' when it is done.
  struct Stretch {
    std::atomic<size_t> next{0};
    size_t end = 0;
  };

  std::optional<size_t> NextRequest(size_t worker) {
    for (size_t i = 0; i < stretches_.size(); ++i) {
      Stretch& stretch = stretches_[(worker + i) % stretches_.size()];
      if (stretch.next.load() >= stretch.end) continue;
      const size_t request = stretch.next.fetch_add(1);
      if (request < stretch.end) return request;
    }
    return std::nullopt;
  }

  void Work(size_t worker) {
    const auto receiver = std::make_unique<FrameReceiver>();
    while (!failed_.load(std::memory_order_relaxed)) {
      const std::optional<size_t> index = NextRequest(worker);
      if (!index.has_value()) return;
      absl::Status status = FetchRequest(plan_.requests[*index], *receiver);
      if (status.ok()) continue;
      failed_ = true;
      absl::MutexLock lock(&mutex_);
      if (first_error_.ok()) first_error_ = std::move(status);
    }
  }

  absl::Status FetchRequest(const FetchPlan::Request& request, FrameReceiver& receiver) {
    std::span<const uint32_t> frames =
        std::span(plan_.frames).subspan(request.first_frame, request.frame_count);
    const auto in_frame_order = [this](uint32_t chunk, uint32_t frame) {
      return manifest_.chunks[chunk].frame < frame;
    };
    const auto first = std::lower_bound(wanted_.begin(), wanted_.end(), frames.front(), in_frame_order);
    const auto last = std::lower_bound(first, wanted_.end(), frames.back() + 1, in_frame_order);
    std::span<const uint32_t> wanted(first, last);

    std::vector<uint32_t> missing;
    std::vector<uint32_t> missing_frames;
    absl::Status harm;
    for (int attempt = 0; attempt <= kBypassingAttempts; ++attempt) {
      RETURN_IF_ERROR(Transfer(request.block, frames, wanted, attempt > 0, receiver, &harm));
      missing = receiver.TakeMissing();  // it is done with what `wanted` and `frames` showed
      if (missing.empty()) return absl::OkStatus();
      stats_->integrity_failures += std::max<uint64_t>(receiver.bad(), 1);
      std::sort(missing.begin(), missing.end());
      missing_frames.clear();
      for (const uint32_t chunk : missing) {
        const uint32_t frame = manifest_.chunks[chunk].frame;
        if (missing_frames.empty() || missing_frames.back() != frame) missing_frames.push_back(frame);
      }
      wanted = missing;
      frames = missing_frames;
    }
    return absl::DataLossError(fmt::format(
        "block {} of dataset {} is corrupt: chunk {}, in the frame at offset {} of the block, {}, "
        "also around the caches; restore that object in the store from a copy of it",
        manifest_.blocks[request.block].digest.ToString(), dataset_.str(),
        manifest_.chunks[missing.front()].digest.ToString(),
        manifest_.frames[missing_frames.front()].offset,
        harm.ok() ? std::string("does not have its SHA-256")
                  : fmt::format("did not come ({})", Message(harm))));
  }

  // One download. OK also if bytes were bad, or a server says of itself that they are, which is then in
  // `*harm`: the receiver knows which chunks are missing. An error of the sink's, whatever its code, is
  // returned.
  absl::Status Transfer(uint32_t block, std::span<const uint32_t> frames, std::span<const uint32_t> wanted,
                        bool bypass_cache, FrameReceiver& receiver, absl::Status* harm) {
    block::v1::DownloadRequest request;
    request.set_dataset(dataset_.str());
    request.set_kind(block::v1::OBJECT_KIND_BLOCK);
    request.set_digest(manifest_.blocks[block].digest.ToString());
    request.set_bypass_cache(bypass_cache);
    for (const ByteRange& range : RangesOfFrames(manifest_, frames)) {
      auto* out = request.add_ranges();
      out->set_offset(range.offset);
      out->set_size(range.size);
    }
    absl::Status sink_error;
    const auto deliver = [this, &sink_error](uint32_t chunk, std::string_view bytes) {
      // Also here: all of a request may have come before its first chunk is handed on.
      sink_error = Check();
      if (!sink_error.ok()) return sink_error;
      stats_->verified_bytes += bytes.size();
      sink_error = sink_(chunk, bytes);
      return sink_error;
    };
    ++stats_->requests;
    receiver.Begin(manifest_, frames, wanted);
    absl::Status ended;
    absl::Status status = client_->Download(request, [&](std::string_view piece) {
      ended = Check();
      if (ended.ok()) {
        stats_->downloaded_bytes += piece.size();
        ended = receiver.Receive(piece, deliver);
      }
      return ended;
    });
    if (!sink_error.ok()) return sink_error;
    if (!ended.ok() && !absl::IsDataLoss(ended)) return ended;
    *harm = status;
    if (!status.ok() && !SaysObjectIsHarmed(status)) {
      return Annotate(status, fmt::format("could not download block {} of dataset {}",
                                          manifest_.blocks[block].digest.ToString(), dataset_.str()));
    }
    receiver.End(deliver).IgnoreError();
    return sink_error;
  }

  absl::Status Check() const {
    if (cancelled_ != nullptr && cancelled_->load(std::memory_order_relaxed)) {
      return absl::CancelledError("the download was cancelled");
    }
    if (failed_.load(std::memory_order_relaxed)) return absl::CancelledError("another download failed");
    return absl::OkStatus();
  }

  ServerClient* const client_;
  const DatasetName& dataset_;
  const Manifest& manifest_;
  const std::span<const uint32_t> wanted_;
  const Fetcher::ChunkSink& sink_;
  TransferStats* const stats_;
  const std::atomic<bool>* const cancelled_;
  const FetchPlan plan_;
  std::vector<Stretch> stretches_;  // one a worker
  std::atomic<bool> failed_{false};
  absl::Mutex mutex_;
  absl::Status first_error_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace

absl::StatusOr<std::string> Fetcher::FetchManifest(const DatasetName& dataset, const Digest& digest,
                                                   TransferStats* stats) {
  TransferStats unused;
  if (stats == nullptr) stats = &unused;
  block::v1::DownloadRequest request;
  request.set_dataset(dataset.str());
  request.set_kind(block::v1::OBJECT_KIND_MANIFEST);
  request.set_digest(digest.ToString());
  absl::Status status;
  for (int attempt = 0; attempt <= kBypassingAttempts; ++attempt) {
    request.set_bypass_cache(attempt > 0);
    std::string object;
    ++stats->requests;
    status = client_->Download(request, [&](std::string_view piece) {
      stats->downloaded_bytes += piece.size();
      if (object.size() + piece.size() > kMaxManifestObjectSize) {
        return absl::DataLossError(fmt::format("it has more than {} bytes", kMaxManifestObjectSize));
      }
      object.append(piece);
      return absl::OkStatus();
    });
    if (status.ok()) {
      absl::StatusOr<std::string> canonical = DecodeManifestObject(object, digest);
      if (canonical.ok()) return canonical;
      status = canonical.status();
    }
    if (!SaysObjectIsHarmed(status)) break;
    ++stats->integrity_failures;
    status = absl::DataLossError(status.message());
  }
  return Annotate(
      status, fmt::format("could not fetch manifest {} of dataset {}", digest.ToString(), dataset.str()));
}

absl::Status Fetcher::FetchChunks(const DatasetName& dataset, const Manifest& manifest,
                                  std::span<const uint32_t> wanted_chunks, const ChunkSink& sink,
                                  TransferStats* stats, const std::atomic<bool>* cancelled) {
  if (wanted_chunks.empty()) return absl::OkStatus();
  TransferStats unused;
  return FetchRun(client_, dataset, manifest, wanted_chunks, sink, stats == nullptr ? &unused : stats,
                  cancelled)
      .Run(options_.parallelism);
}

}  // namespace aetherfs
