#include "aetherfs/agent/patch_applier.h"

#include <algorithm>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "aetherfs/agent/base_files.h"
#include "aetherfs/base/status.h"
#include "aetherfs/client/fetch_plan.h"
#include "aetherfs/client/hash_chunks.h"

namespace aetherfs {

std::vector<PatchRequest> PlanPatches(const LoadedDelta& loaded, std::span<const uint32_t> missing) {
  const Manifest& target = *loaded.manifest;
  std::vector<bool> wanted(target.chunks.size(), false);
  for (const uint32_t chunk : missing) wanted[chunk] = true;
  std::vector<PatchRequest> requests;
  const std::vector<DeltaPatch>& patches = loaded.delta.patches;
  for (uint32_t i = 0; i < patches.size(); ++i) {
    uint64_t saved = 0;
    bool any = false;
    for (const uint32_t index : patches[i].chunks) {
      if (!wanted[index]) continue;
      any = true;
      const Manifest::Chunk& chunk = target.chunks[index];
      const Manifest::Frame& frame = target.frames[chunk.frame];
      saved += uint64_t{frame.stored_size} * chunk.size / frame.raw_size;
    }
    const bool at_hand = loaded.BytesAtHand(patches[i]).data() != nullptr;
    if (!any || (!at_hand && saved <= patches[i].stored_size)) continue;
    bool joined = false;
    if (!requests.empty() && !at_hand && !requests.back().at_hand) {
      const PatchRequest& last = requests.back();
      const DeltaPatch& begin = patches[last.first];
      const DeltaPatch& end = patches[last.first + last.count - 1];
      joined = begin.part == patches[i].part &&
               patches[i].offset - end.offset - end.stored_size <= kMaxGap &&
               patches[i].offset + patches[i].stored_size - begin.offset <= kRequestSize;
    }
    if (joined) {
      requests.back().count = i + 1 - requests.back().first;
    } else {
      requests.push_back({i, 1, {}, at_hand});
    }
    requests.back().chosen.push_back(i);
  }
  return requests;
}

uint64_t BytesToReceive(const LoadedDelta& loaded, std::span<const PatchRequest> requests) {
  uint64_t bytes = 0;
  for (const PatchRequest& request : requests) {
    if (request.at_hand) continue;
    const DeltaPatch& last = loaded.delta.patches[request.first + request.count - 1];
    bytes += last.offset + last.stored_size - loaded.delta.patches[request.first].offset;
  }
  return bytes;
}

// What one thread needs, kept for its memory.
class PatchApplier::Worker {
 public:
  Worker(PatchApplier& applier, const std::vector<bool>& wanted, const Fetcher::ChunkSink& sink,
         TransferStats* stats)
      : applier_(applier), wanted_(wanted), sink_(sink), stats_(*stats), base_(applier.tree_) {}

  // Fails with an error of the sink's only.
  absl::Status Do(const PatchRequest& request) {
    if (!request.at_hand) return FetchAndDo(request);
    const LoadedDelta& loaded = applier_.loaded_;
    for (const uint32_t index : request.chosen) {
      const DeltaPatch& patch = loaded.delta.patches[index];
      if (const char* const yielded = loaded.Yielded(index); yielded != nullptr) {
        RETURN_IF_ERROR(Deliver(patch, yielded));
      } else {
        RETURN_IF_ERROR(DoPatch(patch, loaded.BytesAtHand(patch), /*last=*/true).status());
      }
    }
    return absl::OkStatus();
  }

 private:
  // What proves wrong is asked for once more, around the caches, as blocks are.
  absl::Status FetchAndDo(const PatchRequest& request) {
    const LoadedDelta& loaded = applier_.loaded_;
    const uint64_t begin = loaded.delta.patches[request.first].offset;
    std::vector<uint32_t> left = request.chosen;
    std::string before;
    for (const bool bypass_cache : {false, true}) {
      absl::StatusOr<std::string> fetched = applier_.fetcher_.FetchPatches(
          applier_.dataset_, loaded, request.first, request.count, bypass_cache, &stats_);
      if (!fetched.ok() && bypass_cache) fetched = before;  // some of it may be right
      if (!fetched.ok()) {
        ++stats_.delta_failures;
        return absl::OkStatus();
      }
      if (bypass_cache && *fetched == before) {
        applier_.to_ask_again_helps_ = false;
      } else if (bypass_cache) {
        ++stats_.integrity_failures;
      }
      const bool last = bypass_cache || !applier_.to_ask_again_helps_;
      std::vector<uint32_t> wrong;
      for (const uint32_t index : left) {
        const DeltaPatch& patch = loaded.delta.patches[index];
        const auto stored = std::string_view(*fetched).substr(patch.offset - begin, patch.stored_size);
        ASSIGN_OR_RETURN(const bool right, DoPatch(patch, stored, last));
        if (!right) wrong.push_back(index);
      }
      if (wrong.empty() || last) return absl::OkStatus();
      left = std::move(wrong);
      before = *std::move(fetched);
    }
    return absl::OkStatus();
  }

  // What the patch yields is known and verified.
  absl::Status Deliver(const DeltaPatch& patch, const char* yielded) {
    for (const uint32_t index : patch.chunks) {
      const std::string_view bytes(yielded, applier_.loaded_.manifest->chunks[index].size);
      yielded += bytes.size();
      if (!wanted_[index]) continue;
      stats_.verified_bytes += bytes.size();
      RETURN_IF_ERROR(sink_(index, bytes));
    }
    return absl::OkStatus();
  }

  // Whether `stored` is right; if it is not, chunks that are right all the same are delivered only if this
  // is the `last` attempt.
  absl::StatusOr<bool> DoPatch(const DeltaPatch& patch, std::string_view stored, bool last) {
    const Manifest& target = *applier_.loaded_.manifest;
    const size_t size = PatchTargetSize(patch, target);
    if (raw_size_ < size) {
      raw_ = std::make_unique_for_overwrite<char[]>(size);
      raw_size_ = size;
    }
    const absl::StatusOr<std::string_view> base = base_.Read(patch);
    // A subscription's globs may leave files out; that is no failure of the delta's.
    if (absl::IsNotFound(base.status())) return true;
    if (!base.ok()) {
      ++stats_.delta_failures;
      return true;  // to fetch the patch again would not help
    }
    const bool decoded = decoder_.Decode(*base, stored, raw_.get(), size).ok();
    const bool right = decoded && Verify(patch);
    if (!right && !last) return false;
    if (!right) ++stats_.delta_failures;
    if (!decoded) return false;
    for (size_t i = 0; i < chunks_.size(); ++i) {
      if (digests_[i] != target.chunks[indices_[i]].digest) continue;
      stats_.verified_bytes += chunks_[i].size();
      RETURN_IF_ERROR(sink_(indices_[i], chunks_[i]));
    }
    return right;
  }

  // Computes the digests of the wanted chunks in raw_; whether all are right.
  bool Verify(const DeltaPatch& patch) {
    const Manifest& target = *applier_.loaded_.manifest;
    chunks_.clear();
    indices_.clear();
    size_t position = 0;
    for (const uint32_t index : patch.chunks) {
      if (wanted_[index]) {
        chunks_.emplace_back(raw_.get() + position, target.chunks[index].size);
        indices_.push_back(index);
      }
      position += target.chunks[index].size;
    }
    digests_.resize(chunks_.size());
    HashChunks(chunks_, digests_);
    bool right = true;
    for (size_t i = 0; i < chunks_.size(); ++i) right &= digests_[i] == target.chunks[indices_[i]].digest;
    return right;
  }

  PatchApplier& applier_;
  const std::vector<bool>& wanted_;
  const Fetcher::ChunkSink& sink_;
  TransferStats& stats_;
  PatchDecoder decoder_;
  BaseFiles base_;
  std::unique_ptr<char[]> raw_;
  size_t raw_size_ = 0;
  std::vector<std::string_view> chunks_;
  std::vector<uint32_t> indices_;
  std::vector<Digest> digests_;
};

absl::Status PatchApplier::Apply(std::span<const uint32_t> missing, const Fetcher::ChunkSink& sink,
                                 TransferStats* stats, const std::atomic<bool>* cancelled) {
  const std::vector<PatchRequest> requests = PlanPatches(loaded_, missing);
  if (requests.empty()) return absl::OkStatus();
  std::vector<bool> wanted(loaded_.manifest->chunks.size(), false);
  for (const uint32_t chunk : missing) wanted[chunk] = true;

  std::atomic<size_t> next{0};
  std::atomic<bool> failed{false};
  struct {
    absl::Mutex mutex;
    absl::Status error ABSL_GUARDED_BY(mutex);
  } first;
  const auto work = [&] {
    Worker worker(*this, wanted, sink, stats);
    while (!failed.load()) {
      const size_t index = next.fetch_add(1);
      if (index >= requests.size()) return;
      const absl::Status status = cancelled != nullptr && cancelled->load()
                                      ? absl::CancelledError("the update was cancelled")
                                      : worker.Do(requests[index]);
      if (status.ok()) continue;
      failed = true;
      absl::MutexLock lock(&first.mutex);
      first.error.Update(status);
    }
  };
  std::vector<std::thread> threads;
  for (size_t i = 1; i < std::min(kThreads, requests.size()); ++i) threads.emplace_back(work);
  work();
  for (std::thread& thread : threads) thread.join();
  absl::MutexLock lock(&first.mutex);
  return first.error;
}

}  // namespace aetherfs
