#include "aetherfs/client/delta_fetcher.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <thread>
#include <utility>

#include "aetherfs/base/sha256.h"
#include "aetherfs/base/status.h"
#include "aetherfs/client/hash_chunks.h"
#include "fmt/format.h"

namespace aetherfs {
namespace {

// Below so many bytes of bases and results one thread is as fast.
constexpr uint64_t kWorthThreads = 1024 * 1024;

// Puts the digests of what the patches yield into a manifest that leaves them out, and keeps what they
// yield, as far as it may.
class DigestFiller {
 public:
  DigestFiller(const Delta& delta, const Manifest& base, uint64_t max_yielded, LoadedDelta& loaded)
      : delta_(delta), base_(base), max_yielded_(max_yielded), loaded_(loaded) {}

  // The errors of the bases'; DATA_LOSS.
  absl::Status Run(DeltaFetcher::MakeBases make_bases) {
    ASSIGN_OR_RETURN(column_, FindDigestColumn(loaded_.canonical));
    RETURN_IF_ERROR(Check());
    loaded_.yielded.resize(delta_.patches.size());
    const size_t threads =
        work_ < kWorthThreads ? 1 : std::min(DeltaFetcher::kThreads, delta_.patches.size());
    std::vector<std::unique_ptr<PatchBases>> bases;
    for (size_t i = 0; i < threads; ++i) bases.push_back(make_bases());
    std::vector<absl::Status> ends(threads);
    const auto work = [&](size_t i) {
      ends[i] = Work(*bases[i], i % 2 == 0);
      if (!ends[i].ok()) failed_ = true;
    };
    std::vector<std::thread> others;
    for (size_t i = 1; i < threads; ++i) others.emplace_back(work, i);
    if (threads > 0) work(0);
    for (std::thread& thread : others) thread.join();
    // NOT_FOUND would say that there are other ways; with a patch that is wrong there is none.
    absl::Status end;
    for (const absl::Status& status : ends) {
      if (end.ok() || absl::IsNotFound(end)) end = status.ok() ? end : status;
    }
    return end;
  }

 private:
  // That chunks are the target's, no patch yields too much, and no chunk is yielded twice: each digest is
  // computed once, from bytes that may be kept.
  absl::Status Check() {
    RETURN_IF_ERROR(CheckBaseRanges(delta_, base_));
    std::vector<bool> seen(column_.chunk_sizes.size(), false);
    for (const DeltaPatch& patch : delta_.patches) {
      for (const uint32_t chunk : patch.chunks) {
        if (chunk >= seen.size()) return absl::DataLossError("a patch yields an unknown chunk");
        if (seen[chunk]) return absl::DataLossError("two patches yield the same chunk");
        seen[chunk] = true;
      }
      if (SizeOf(patch) > kMaxPatchTarget) return absl::DataLossError("a patch yields too much");
      if (loaded_.BytesAtHand(patch).empty()) {
        return absl::DataLossError("digests are left out, and so are patches");
      }
      work_ += SizeOf(patch) + PatchBaseSize(patch);
    }
    return absl::OkStatus();
  }

  uint64_t SizeOf(const DeltaPatch& patch) const {
    uint64_t size = 0;
    for (const uint32_t chunk : patch.chunks) size += column_.chunk_sizes[chunk];
    return size;
  }

  // Patches that follow each other often have the same base, which is read once if one thread takes them:
  // so half of the threads begin at the end.
  absl::Status Work(PatchBases& bases, bool from_the_front) {
    PatchDecoder decoder;
    const size_t count = delta_.patches.size();
    while (taken_.fetch_add(1) < count && !failed_) {
      const size_t patch = from_the_front ? front_.fetch_add(1) : count - 1 - back_.fetch_add(1);
      RETURN_IF_ERROR(Fill(patch, bases, decoder));
    }
    return absl::OkStatus();
  }

  absl::Status Fill(size_t index, PatchBases& bases, PatchDecoder& decoder) {
    const DeltaPatch& patch = delta_.patches[index];
    const uint64_t size = SizeOf(patch);
    ASSIGN_OR_RETURN(const std::string_view prefix, bases.Read(patch));
    auto raw = std::make_unique_for_overwrite<char[]>(size);
    RETURN_IF_ERROR(decoder.Decode(prefix, loaded_.BytesAtHand(patch), raw.get(), size));
    std::vector<std::string_view> chunks;
    size_t position = 0;
    for (const uint32_t chunk : patch.chunks) {
      chunks.emplace_back(raw.get() + position, column_.chunk_sizes[chunk]);
      position += column_.chunk_sizes[chunk];
    }
    std::vector<Digest> digests(chunks.size());
    HashChunks(chunks, digests);
    // Other threads write other digests.
    for (size_t i = 0; i < chunks.size(); ++i) {
      char* const at = loaded_.canonical.data() + column_.offset + patch.chunks[i] * Digest::kSize;
      std::memcpy(at, digests[i].bytes().data(), Digest::kSize);
    }
    if (kept_.fetch_add(size) + size <= max_yielded_) loaded_.yielded[index] = std::move(raw);
    return absl::OkStatus();
  }

  const Delta& delta_;
  const Manifest& base_;
  const uint64_t max_yielded_;
  LoadedDelta& loaded_;
  DigestColumn column_;
  uint64_t work_ = 0;             // bytes
  std::atomic<size_t> taken_{0};  // front_ and back_ together
  std::atomic<size_t> front_{0};
  std::atomic<size_t> back_{0};
  std::atomic<uint64_t> kept_{0};
  std::atomic<bool> failed_{false};
};

}  // namespace

std::string_view LoadedDelta::BytesAtHand(const DeltaPatch& patch) const {
  if (patch.part != 0 || behind_head.empty()) return {};
  if (patch.offset + patch.stored_size > behind_head.size()) return {};
  return std::string_view(behind_head).substr(patch.offset, patch.stored_size);
}

absl::StatusOr<std::string> DeltaFetcher::Download(const DatasetName& dataset, const Digest& digest,
                                                   uint64_t offset, uint64_t size, bool bypass_cache,
                                                   TransferStats* stats) {
  block::v1::DownloadRequest request;
  request.set_dataset(dataset.str());
  request.set_kind(block::v1::OBJECT_KIND_DELTA);
  request.set_digest(digest.ToString());
  request.set_bypass_cache(bypass_cache);
  auto* range = request.add_ranges();
  range->set_offset(offset);
  range->set_size(size);
  std::string bytes;
  ++stats->requests;
  const absl::Status status = client_->Download(request, [&](std::string_view piece) {
    stats->downloaded_bytes += piece.size();
    stats->delta_bytes += piece.size();
    if (bytes.size() + piece.size() > size) {
      return absl::DataLossError("more bytes came than were asked for");
    }
    bytes.append(piece);
    return absl::OkStatus();
  });
  if (!status.ok()) {
    return Annotate(
        status, fmt::format("could not fetch delta {} of dataset {}", digest.ToString(), dataset.str()));
  }
  if (bytes.size() != size) return absl::DataLossError("fewer bytes came than were asked for");
  return bytes;
}

// All of a small delta, else its head: bytes that have their digest, if need be from around the caches.
absl::StatusOr<std::string> DeltaFetcher::DownloadBeginning(const DatasetName& dataset,
                                                            const DeltaOffer& offer, TransferStats* stats) {
  const bool whole = offer.size <= kWhole;
  for (const bool bypass_cache : {false, true}) {
    ASSIGN_OR_RETURN(
        std::string bytes,
        Download(dataset, offer.digest, 0, whole ? offer.size : offer.head_size, bypass_cache, stats));
    const bool right = whole ? Sha256::Of(bytes) == offer.digest : DecodeDeltaHead(bytes).ok();
    if (right) return bytes;
    ++stats->integrity_failures;
  }
  return absl::DataLossError(
      fmt::format("delta {} of dataset {} does not have its digest, also around the caches",
                  offer.digest.ToString(), dataset.str()));
}

absl::StatusOr<std::shared_ptr<const LoadedDelta>> DeltaFetcher::Load(const DatasetName& dataset,
                                                                      const DeltaOffer& offer,
                                                                      const Manifest& base, MakeBases bases,
                                                                      TransferStats* stats) {
  auto loaded = std::make_shared<LoadedDelta>();
  loaded->offer = offer;
  ASSIGN_OR_RETURN(std::string bytes, DownloadBeginning(dataset, offer, stats));
  loaded->behind_head = bytes.substr(offer.head_size);
  bytes.resize(offer.head_size);
  ASSIGN_OR_RETURN(DeltaHead head, DecodeDeltaHead(bytes));
  if (head.delta.from != offer.from || head.delta.to != offer.to) {
    return absl::DataLossError("the delta is between other snapshots than it was offered for");
  }
  ASSIGN_OR_RETURN(loaded->canonical, ApplyManifestPatch(head, EncodeManifest(base)));
  if (head.leaves_out_digests) {
    const absl::Status filled = DigestFiller(head.delta, base, max_yielded_, *loaded).Run(bases);
    if (absl::IsNotFound(filled)) {
      loaded->yielded.clear();  // nothing says that it is right
      // A consumer that keeps a part of the base can't compute all digests; it still can use patches.
      ASSIGN_OR_RETURN(loaded->canonical, Fetcher(client_).FetchManifest(dataset, offer.to, stats));
    } else {
      RETURN_IF_ERROR(filled);
    }
  }
  RETURN_IF_ERROR(CheckManifest(head, loaded->canonical));
  ASSIGN_OR_RETURN(Manifest target, DecodeManifest(loaded->canonical));
  loaded->delta = std::move(head.delta);
  RETURN_IF_ERROR(CheckDelta(loaded->delta, base, target));
  loaded->manifest = std::make_shared<const Manifest>(std::move(target));
  return loaded;
}

absl::StatusOr<std::string> DeltaFetcher::FetchPatches(const DatasetName& dataset,
                                                       const LoadedDelta& loaded, size_t first,
                                                       size_t count, bool bypass_cache,
                                                       TransferStats* stats) {
  const DeltaPatch& begin = loaded.delta.patches[first];
  const DeltaPatch& last = loaded.delta.patches[first + count - 1];
  const uint64_t size = last.offset + last.stored_size - begin.offset;
  if (begin.part == 0) {
    return Download(dataset, loaded.offer.digest, loaded.offer.head_size + begin.offset, size, bypass_cache,
                    stats);
  }
  return Download(dataset, loaded.delta.parts[begin.part - 1].digest, begin.offset, size, bypass_cache,
                  stats);
}

}  // namespace aetherfs
