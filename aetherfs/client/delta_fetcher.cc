#include "aetherfs/client/delta_fetcher.h"

#include <utility>

#include "aetherfs/base/sha256.h"
#include "aetherfs/base/status.h"
#include "aetherfs/client/hash_chunks.h"
#include "fmt/format.h"

namespace aetherfs {
namespace {

// Puts the digests of what the patches yield into a manifest that leaves them out.
absl::Status FillDigests(const Delta& delta, const LoadedDelta& loaded, const Manifest& base,
                         DeltaFetcher::BaseReader read_base, std::string* canonical) {
  ASSIGN_OR_RETURN(const DigestColumn column, FindDigestColumn(*canonical));
  RETURN_IF_ERROR(CheckBaseRanges(delta, base));
  PatchDecoder decoder;
  std::string prefix;
  std::string raw;
  std::vector<std::string_view> chunks;
  std::vector<Digest> digests;
  for (const DeltaPatch& patch : delta.patches) {
    uint64_t size = 0;
    for (const uint32_t chunk : patch.chunks) {
      if (chunk >= column.chunk_sizes.size()) return absl::DataLossError("a patch yields an unknown chunk");
      size += column.chunk_sizes[chunk];
    }
    if (size > kMaxPatchTarget) return absl::DataLossError("a patch yields too much");
    const std::string_view stored = loaded.BytesAtHand(patch);
    if (stored.empty()) return absl::DataLossError("digests are left out, and so are patches");
    RETURN_IF_ERROR(read_base(patch, &prefix));
    raw.resize(size);
    RETURN_IF_ERROR(decoder.Decode(prefix, stored, raw.data(), size));
    chunks.clear();
    size_t position = 0;
    for (const uint32_t chunk : patch.chunks) {
      chunks.emplace_back(raw.data() + position, column.chunk_sizes[chunk]);
      position += column.chunk_sizes[chunk];
    }
    digests.resize(chunks.size());
    HashChunks(chunks, digests);
    for (size_t i = 0; i < chunks.size(); ++i) {
      const size_t at = column.offset + patch.chunks[i] * Digest::kSize;
      canonical->replace(at, Digest::kSize, digests[i].bytes());
    }
  }
  return absl::OkStatus();
}

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
                                                                      const Manifest& base,
                                                                      BaseReader read_base,
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
    const absl::Status filled = FillDigests(head.delta, *loaded, base, read_base, &loaded->canonical);
    if (absl::IsNotFound(filled)) {
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
                                                       size_t count, TransferStats* stats) {
  const DeltaPatch& begin = loaded.delta.patches[first];
  const DeltaPatch& last = loaded.delta.patches[first + count - 1];
  const uint64_t size = last.offset + last.stored_size - begin.offset;
  if (begin.part == 0) {
    return Download(dataset, loaded.offer.digest, loaded.offer.head_size + begin.offset, size, false,
                    stats);
  }
  return Download(dataset, loaded.delta.parts[begin.part - 1].digest, begin.offset, size, false, stats);
}

}  // namespace aetherfs
