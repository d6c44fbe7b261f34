#include "aetherfs/cli/verify_snapshot.h"

#include <memory>
#include <span>
#include <string>
#include <utility>

#include "aetherfs/base/status.h"
#include "fmt/format.h"

namespace aetherfs {
namespace {

// Of bytes that are lost or wrong; asking again would not help.
bool IsDamage(const absl::Status& status) {
  return absl::IsDataLoss(status) || absl::IsNotFound(status) || absl::IsOutOfRange(status);
}

class SnapshotVerifier {
 public:
  SnapshotVerifier(Fetcher& fetcher, const DatasetName& dataset, const Manifest& manifest,
                   TransferStats* stats, const std::atomic<bool>* cancelled)
      : fetcher_(fetcher),
        dataset_(dataset),
        manifest_(manifest),
        stats_(stats),
        cancelled_(cancelled),
        good_(std::make_unique<std::atomic<bool>[]>(manifest.chunks.size())) {}

  absl::StatusOr<std::vector<Difference>> Run() {
    // Chunks are sorted by frame, and frames by block.
    const auto block_of = [&](size_t chunk) {
      return manifest_.frames[manifest_.chunks[chunk].frame].block;
    };
    const size_t count = manifest_.chunks.size();
    for (size_t begin = 0; begin < count;) {
      size_t end = begin;
      std::vector<uint32_t> chunks;
      while (end < count && block_of(end) == block_of(begin))
        chunks.push_back(static_cast<uint32_t>(end++));
      RETURN_IF_ERROR(CheckBlock(chunks));
      begin = end;
    }
    return Differences();
  }

 private:
  absl::Status Fetch(std::span<const uint32_t> chunks) {
    return fetcher_.FetchChunks(
        dataset_, manifest_, chunks,
        [this](uint32_t chunk, std::string_view) {
          good_[chunk].store(true, std::memory_order_relaxed);
          return absl::OkStatus();
        },
        stats_, cancelled_);
  }

  absl::Status CheckBlock(const std::vector<uint32_t>& chunks) {
    const absl::Status status = Fetch(chunks);
    if (status.ok()) return status;
    if (!IsDamage(status)) return status;
    const Manifest::Block& block =
        manifest_.blocks[manifest_.frames[manifest_.chunks[chunks[0]].frame].block];
    if (absl::IsNotFound(status)) {
      Blame(chunks, fmt::format("block {} is missing", block.digest.ToString()));
      return absl::OkStatus();
    }
    for (size_t begin = 0; begin < chunks.size();) {
      size_t end = begin;
      const uint32_t frame = manifest_.chunks[chunks[begin]].frame;
      while (end < chunks.size() && manifest_.chunks[chunks[end]].frame == frame) ++end;
      const std::span<const uint32_t> of_frame = std::span(chunks).subspan(begin, end - begin);
      begin = end;
      if (good_[of_frame.back()]) continue;
      const absl::Status again = Fetch(of_frame);
      if (!again.ok() && !IsDamage(again)) return again;
      if (!again.ok()) Blame(of_frame, fmt::format("bytes in block {} are wrong", block.digest.ToString()));
    }
    return absl::OkStatus();
  }

  void Blame(std::span<const uint32_t> chunks, const std::string& what) {
    reasons_.push_back(what);
    if (blame_.empty()) blame_.resize(manifest_.chunks.size(), 0);
    for (const uint32_t chunk : chunks) {
      if (!good_[chunk]) blame_[chunk] = static_cast<uint32_t>(reasons_.size());
    }
  }

  std::vector<Difference> Differences() const {
    std::vector<Difference> differences;
    if (blame_.empty()) return differences;
    for (const Manifest::Entry& entry : manifest_.entries) {
      for (const uint32_t chunk : manifest_.RefsOf(entry)) {
        if (blame_[chunk] == 0) continue;
        differences.push_back({entry.path, reasons_[blame_[chunk] - 1]});
        break;
      }
    }
    return differences;
  }

  Fetcher& fetcher_;
  const DatasetName& dataset_;
  const Manifest& manifest_;
  TransferStats* const stats_;
  const std::atomic<bool>* const cancelled_;
  const std::unique_ptr<std::atomic<bool>[]> good_;  // by chunk
  std::vector<uint32_t> blame_;                      // by chunk: 0, or the number of a reason, from 1
  std::vector<std::string> reasons_;
};

}  // namespace

absl::StatusOr<std::vector<Difference>> VerifySnapshot(Fetcher& fetcher, const DatasetName& dataset,
                                                       const Manifest& manifest, TransferStats* stats,
                                                       const std::atomic<bool>* cancelled) {
  return SnapshotVerifier(fetcher, dataset, manifest, stats, cancelled).Run();
}

}  // namespace aetherfs
