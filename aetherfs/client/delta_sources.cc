#include "aetherfs/client/delta_sources.h"

#include <algorithm>
#include <cstring>

#include "aetherfs/base/status.h"
#include "aetherfs/client/hash_chunks.h"
#include "fmt/format.h"

namespace aetherfs {

DeltaSources::DeltaSources(ServerClient* client, const DatasetName& dataset, const Scan& scan,
                           const Manifest& base, const Manifest& target, const DeltaPlan& plan,
                           const std::atomic<bool>* cancelled)
    : fetcher_(client),
      dataset_(dataset),
      scan_(scan),
      base_(base),
      target_(target),
      cancelled_(cancelled) {
  absl::flat_hash_map<Digest, uint32_t> needed;
  uint32_t searched = PlannedPatch::kNothing;
  for (const PlannedPatch& patch : plan.patches) {
    for (const Needed& chunk : ChunksOf(patch.base)) {
      needed.emplace(base_.chunks[chunk.chunk].digest, chunk.chunk);
    }
    if (patch.searched == PlannedPatch::kNothing || patch.searched == searched) continue;
    searched = patch.searched;
    for (const uint32_t chunk : base_.RefsOf(base_.entries[searched])) {
      needed.emplace(base_.chunks[chunk].digest, chunk);
    }
  }
  if (needed.empty()) return;
  for (uint32_t e = 0; e < target_.entries.size(); ++e) {
    uint64_t offset = 0;
    for (const uint32_t ref : target_.RefsOf(target_.entries[e])) {
      const auto found = needed.find(target_.chunks[ref].digest);
      if (found != needed.end()) on_disk_.emplace(found->second, Place{e, offset});
      offset += target_.chunks[ref].size;
    }
  }
}

std::vector<DeltaSources::Needed> DeltaSources::ChunksOf(
    const std::vector<DeltaPatch::BaseRange>& ranges) const {
  std::vector<Needed> chunks;
  size_t position = 0;
  for (const DeltaPatch::BaseRange& range : ranges) {
    uint64_t offset = 0;
    for (const uint32_t chunk : base_.RefsOf(base_.entries[range.entry])) {
      const uint64_t end = offset + base_.chunks[chunk].size;
      const uint64_t from = std::max(offset, range.offset);
      const uint64_t to = std::min(end, range.offset + range.size);
      if (from < to) {
        chunks.push_back(
            {chunk, static_cast<uint32_t>(from - offset), static_cast<uint32_t>(to - from), position});
        position += to - from;
      }
      offset = end;
      if (offset >= range.offset + range.size) break;
    }
  }
  return chunks;
}

absl::StatusOr<UniqueFd> DeltaSources::Open(uint32_t entry) const {
  return OpenScanned(scan_, scan_.entries[entry]);
}

absl::Status DeltaSources::ReadTarget(const PlannedPatch& patch, std::string* raw) {
  raw->resize(patch.target_size);
  std::vector<std::string_view> chunks;
  std::vector<uint32_t> indices;
  size_t position = 0;
  for (const PlannedPatch::Run& run : patch.runs) {
    ASSIGN_OR_RETURN(const UniqueFd fd, Open(run.entry));
    ASSIGN_OR_RETURN(const size_t read, ReadAt(fd.get(), run.offset, raw->data() + position, run.size));
    if (read != run.size) return absl::AbortedError("a file became shorter");
    for (uint32_t i = 0; i < run.count; ++i) {
      const uint32_t chunk = target_.chunk_refs[run.first_ref + i];
      chunks.emplace_back(raw->data() + position, target_.chunks[chunk].size);
      indices.push_back(chunk);
      position += target_.chunks[chunk].size;
    }
  }
  std::vector<Digest> digests(chunks.size());
  HashChunks(chunks, digests);
  for (size_t i = 0; i < chunks.size(); ++i) {
    if (digests[i] != target_.chunks[indices[i]].digest) {
      return absl::AbortedError("a file is no longer what was published");
    }
  }
  return absl::OkStatus();
}

absl::Status DeltaSources::ReadBase(const std::vector<DeltaPatch::BaseRange>& ranges, std::string* prefix) {
  const std::vector<Needed> needed = ChunksOf(ranges);
  prefix->resize(needed.empty() ? 0 : needed.back().position + needed.back().size);
  absl::flat_hash_map<uint32_t, Bytes> have;
  {
    absl::MutexLock lock(&mutex_);
    for (const Needed& part : needed) {
      const auto kept = fetched_.find(part.chunk);
      if (kept != fetched_.end()) have.emplace(part.chunk, kept->second);
    }
  }
  std::vector<std::string_view> read;
  std::vector<uint32_t> read_chunks;
  std::vector<uint32_t> missing;
  UniqueFd fd;
  uint32_t open_entry = UINT32_MAX;
  for (const Needed& part : needed) {
    if (have.contains(part.chunk)) continue;
    const auto place = on_disk_.find(part.chunk);
    auto bytes = std::make_shared<std::string>();
    if (place != on_disk_.end()) {
      if (place->second.entry != open_entry) {
        ASSIGN_OR_RETURN(fd, Open(place->second.entry));
        open_entry = place->second.entry;
      }
      bytes->resize(base_.chunks[part.chunk].size);
      ASSIGN_OR_RETURN(const size_t got,
                       ReadAt(fd.get(), place->second.offset, bytes->data(), bytes->size()));
      if (got != bytes->size()) return absl::AbortedError("a file became shorter");
      read.emplace_back(*bytes);
      read_chunks.push_back(part.chunk);
    } else {
      missing.push_back(part.chunk);
    }
    have.emplace(part.chunk, std::move(bytes));
  }
  std::vector<Digest> digests(read.size());
  HashChunks(read, digests);
  for (size_t i = 0; i < read.size(); ++i) {
    if (digests[i] != base_.chunks[read_chunks[i]].digest) {
      return absl::AbortedError("a file is no longer what was published");
    }
  }
  std::sort(missing.begin(), missing.end());
  if (!missing.empty()) {
    absl::Mutex mutex;
    RETURN_IF_ERROR(fetcher_.FetchChunks(
        dataset_, base_, missing,
        [&](uint32_t chunk, std::string_view bytes) {
          auto copy = std::make_shared<const std::string>(bytes);
          absl::MutexLock lock(&mutex);
          have[chunk] = std::move(copy);
          return absl::OkStatus();
        },
        &stats_, cancelled_));
  }
  for (const Needed& part : needed) {
    std::memcpy(prefix->data() + part.position, have[part.chunk]->data() + part.skip, part.size);
  }
  absl::MutexLock lock(&mutex_);
  for (const uint32_t chunk : missing) {
    if (!fetched_.emplace(chunk, have[chunk]).second) continue;
    fetched_order_.push_back(chunk);
    fetched_bytes_ += have[chunk]->size();
  }
  while (fetched_bytes_ > kMaxKept) {
    const auto oldest = fetched_.find(fetched_order_.front());
    fetched_bytes_ -= oldest->second->size();
    fetched_.erase(oldest);
    fetched_order_.pop_front();
  }
  return absl::OkStatus();
}

}  // namespace aetherfs
