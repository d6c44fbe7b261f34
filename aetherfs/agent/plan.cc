#include "aetherfs/agent/plan.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "absl/container/flat_hash_map.h"
#include "aetherfs/agent/glob.h"

namespace aetherfs {
namespace {

constexpr uint32_t kNone = UINT32_MAX;
constexpr uint64_t kDiskUnit = 4096;  // what a file system hands out space in

uint64_t OnDisk(uint64_t size) { return (size + kDiskUnit - 1) / kDiskUnit * kDiskUnit; }

// Same bytes, by digest.
bool SameContent(const Manifest& a, const Manifest::Entry& x, const Manifest& b, const Manifest::Entry& y) {
  if (x.size != y.size || x.ref_count != y.ref_count) return false;
  const auto refs_a = a.RefsOf(x);
  const auto refs_b = b.RefsOf(y);
  for (size_t i = 0; i < refs_a.size(); ++i) {
    if (a.chunks[refs_a[i]].digest != b.chunks[refs_b[i]].digest) return false;
  }
  return true;
}

bool Linkable(const Manifest& a, const Manifest::Entry& x, const Manifest& b, const Manifest::Entry& y) {
  return y.type == EntryType::kFile && x.mode == y.mode && x.mtime_ns == y.mtime_ns &&
         SameContent(a, x, b, y);
}

// A hint for finding a linkable file under another name; what it finds is compared in full.
uint64_t LinkKey(const Manifest& manifest, const Manifest::Entry& entry) {
  uint64_t key;
  std::memcpy(&key, manifest.chunks[manifest.RefsOf(entry)[0]].digest.data(), sizeof(key));
  key ^= std::rotl(entry.size * 0x9e3779b97f4a7c15ULL, 20) ^
         std::rotl(static_cast<uint64_t>(entry.mtime_ns), 40) ^ (uint64_t{entry.mode} << 50);
  return key;
}

// Makes one plan; the steps are in the order of Make().
class Planner {
 public:
  Planner(const Manifest& manifest, const std::vector<LocalSource>& sources,
          const MaterializeOptions& options, const std::vector<bool>& complete)
      : manifest_(manifest), sources_(sources), options_(options), complete_(complete) {}

  MaterializePlan Make() {
    plan_.entries = SelectEntries(manifest_, options_.include, options_.exclude);
    for (const uint32_t e : plan_.entries) {
      const Manifest::Entry& entry = manifest_.entries[e];
      if (IsComplete(e)) continue;
      if (entry.type == EntryType::kFile && entry.ref_count > 0) {
        todo_.push_back(e);
      } else {
        plan_.new_disk_bytes += entry.type == EntryType::kDirectory ? kDiskUnit : 0;
      }
    }
    for (uint32_t s = 0; s < sources_.size(); ++s) {
      if (sources_[s].may_link && sources_[s].manifest != nullptr) LinkByPath(s);
    }
    LinkByContent();
    std::sort(plan_.links.begin(), plan_.links.end(),
              [](const auto& a, const auto& b) { return a.entry < b.entry; });
    FindChunks();
    return std::move(plan_);
  }

 private:
  bool IsComplete(uint32_t entry) const { return !complete_.empty() && complete_[entry]; }

  void AddLink(uint32_t entry, uint32_t source, uint32_t source_entry) {
    plan_.links.push_back({entry, source, source_entry});
    plan_.link_bytes += manifest_.entries[entry].size;
  }

  // Both lists of entries are in the same order: one pass finds equal paths.
  void LinkByPath(uint32_t s) {
    const Manifest& source = *sources_[s].manifest;
    std::vector<uint32_t> rest;
    size_t at = 0;
    for (const uint32_t e : todo_) {
      const Manifest::Entry& entry = manifest_.entries[e];
      int order = 1;
      while (at < source.entries.size() &&
             (order = ComparePaths(source.entries[at].path, entry.path)) < 0) {
        ++at;
      }
      if (at < source.entries.size() && order == 0 &&
          Linkable(manifest_, entry, source, source.entries[at])) {
        AddLink(e, s, static_cast<uint32_t>(at));
      } else {
        rest.push_back(e);
      }
    }
    todo_.swap(rest);
  }

  // Files that were renamed.
  void LinkByContent() {
    if (todo_.empty()) return;
    absl::flat_hash_map<uint64_t, std::pair<uint32_t, uint32_t>> wanted;  // to where it was found
    for (const uint32_t e : todo_)
      wanted.try_emplace(LinkKey(manifest_, manifest_.entries[e]), kNone, kNone);
    for (uint32_t s = 0; s < sources_.size(); ++s) {
      if (!sources_[s].may_link || sources_[s].manifest == nullptr) continue;
      const Manifest& source = *sources_[s].manifest;
      for (uint32_t e = 0; e < source.entries.size(); ++e) {
        const Manifest::Entry& entry = source.entries[e];
        if (entry.type != EntryType::kFile || entry.ref_count == 0) continue;
        const auto found = wanted.find(LinkKey(source, entry));
        if (found != wanted.end() && found->second.first == kNone) found->second = {s, e};
      }
    }
    std::vector<uint32_t> rest;
    for (const uint32_t e : todo_) {
      const auto [s, from] = wanted.find(LinkKey(manifest_, manifest_.entries[e]))->second;
      if (s != kNone && Linkable(manifest_, manifest_.entries[e], *sources_[s].manifest,
                                 sources_[s].manifest->entries[from])) {
        AddLink(e, s, from);
      } else {
        rest.push_back(e);
      }
    }
    todo_.swap(rest);
  }

  void FindChunks() {
    std::vector<bool> needed(manifest_.chunks.size(), false);
    size_t needed_count = 0;
    for (const uint32_t e : todo_) {
      const Manifest::Entry& entry = manifest_.entries[e];
      plan_.new_disk_bytes += OnDisk(entry.size);
      for (const uint32_t chunk : manifest_.RefsOf(entry)) {
        if (!needed[chunk]) ++needed_count;
        needed[chunk] = true;
      }
    }
    if (needed_count > 0 && !complete_.empty()) CopyFromStaged(needed);
    if (needed_count > 0 && !sources_.empty()) CopyFromSources(needed, needed_count);
    for (uint32_t chunk = 0; chunk < needed.size(); ++chunk) {
      if (needed[chunk]) plan_.fetches.push_back(chunk);
    }
    if (!plan_.fetches.empty()) plan_.fetch_bytes = PlanFetch(manifest_, plan_.fetches).bytes;
  }

  void AddCopy(std::vector<bool>& needed, uint32_t chunk, uint32_t source, uint32_t entry,
               uint64_t offset) {
    needed[chunk] = false;
    plan_.copies.push_back({chunk, source, entry, offset});
    plan_.copy_bytes += manifest_.chunks[chunk].size;
  }

  void CopyFromStaged(std::vector<bool>& needed) {
    for (const uint32_t e : plan_.entries) {
      if (!complete_[e]) continue;
      uint64_t offset = 0;
      for (const uint32_t chunk : manifest_.RefsOf(manifest_.entries[e])) {
        if (needed[chunk]) AddCopy(needed, chunk, static_cast<uint32_t>(sources_.size()), e, offset);
        offset += manifest_.chunks[chunk].size;
      }
    }
  }

  void CopyFromSources(std::vector<bool>& needed, size_t needed_count) {
    absl::flat_hash_map<Digest, uint32_t> by_digest;
    by_digest.reserve(needed_count);
    for (uint32_t chunk = 0; chunk < needed.size(); ++chunk) {
      if (needed[chunk]) by_digest[manifest_.chunks[chunk].digest] = chunk;
    }
    for (uint32_t s = 0; s < sources_.size(); ++s) {
      if (sources_[s].manifest == nullptr) continue;
      const Manifest& source = *sources_[s].manifest;
      std::vector<uint32_t> here(source.chunks.size(), kNone);  // the source's chunk as ours
      for (size_t chunk = 0; chunk < here.size(); ++chunk) {
        const auto found = by_digest.find(source.chunks[chunk].digest);
        if (found != by_digest.end() && needed[found->second] &&
            manifest_.chunks[found->second].size == source.chunks[chunk].size) {
          here[chunk] = found->second;
        }
      }
      for (uint32_t e = 0; e < source.entries.size(); ++e) {
        uint64_t offset = 0;
        for (const uint32_t chunk : source.RefsOf(source.entries[e])) {
          if (here[chunk] != kNone && needed[here[chunk]]) AddCopy(needed, here[chunk], s, e, offset);
          offset += source.chunks[chunk].size;
        }
      }
    }
  }

  const Manifest& manifest_;
  const std::vector<LocalSource>& sources_;
  const MaterializeOptions& options_;
  const std::vector<bool>& complete_;
  MaterializePlan plan_;
  std::vector<uint32_t> todo_;  // files with bytes in them that nothing was found for yet
};

}  // namespace

MaterializePlan PlanRemaining(const Manifest& manifest, const std::vector<LocalSource>& sources,
                              const MaterializeOptions& options, const std::vector<bool>& complete) {
  return Planner(manifest, sources, options, complete).Make();
}

MaterializePlan PlanMaterialize(const Manifest& manifest, const std::vector<LocalSource>& sources,
                                const MaterializeOptions& options) {
  return PlanRemaining(manifest, sources, options, {});
}

}  // namespace aetherfs
