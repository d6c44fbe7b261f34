#include "aetherfs/client/delta_plan.h"

#include <algorithm>
#include <optional>
#include <span>
#include <string_view>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"

namespace aetherfs {
namespace {

constexpr uint32_t kNone = UINT32_MAX;
// Small runs are gathered up to this much of the target, or of the base.
constexpr uint32_t kGroupTarget = 1024 * 1024;
constexpr uint32_t kGroupBase = 4 * 1024 * 1024;
// What is taken on both sides of where a run's base should lie: content-defined boundaries move a little,
// and what comes before tells the compressor how such data looks.
constexpr uint64_t kWidening = 64 * 1024;
// Up to this size a base file is taken whole if a part of it changed.
constexpr uint64_t kSmallBase = 256 * 1024;
// From so many fresh bytes on a file's base is searched for what has moved, if it is not taken whole.
constexpr uint64_t kWorthSearching = 1024 * 1024;
// Removed files in one directory that are compared with a new name.
constexpr size_t kMaxCandidates = 256;
// Chunks of a new file that are looked up to find the file that it came from.
constexpr size_t kMaxSampled = 4096;

std::string_view DirectoryOf(std::string_view path) {
  const size_t slash = path.rfind('/');
  return slash == std::string_view::npos ? std::string_view() : path.substr(0, slash);
}

std::string_view NameOf(std::string_view path) { return path.substr(path.rfind('/') + 1); }

// How alike two names are: what they share at both ends.
size_t Likeness(std::string_view a, std::string_view b) {
  const size_t most = std::min(a.size(), b.size());
  size_t front = 0;
  while (front < most && a[front] == b[front]) ++front;
  size_t back = 0;
  while (back < most - front && a[a.size() - 1 - back] == b[b.size() - 1 - back]) ++back;
  return front + back;
}

struct Place {
  uint32_t entry = 0;
  uint64_t offset = 0;
};

class Planner {
 public:
  Planner(const Manifest& base, const Manifest& target, const DeltaPlanOptions& options)
      : base_(base), target_(target), options_(options) {}

  DeltaPlan Plan() {
    FindFresh();
    if (plan_.fresh_bytes == 0) return std::move(plan_);
    FindFilesToDo();
    MatchPaths();
    MatchNewPaths();
    for (const auto& [entry, base_entry] : todo_) PlanFile(entry, base_entry);
    Flush();
    return std::move(plan_);
  }

  uint64_t FreshOnly() {
    FindFresh();
    return plan_.fresh_bytes;
  }

 private:
  struct FileToDo {
    uint32_t entry = 0;
    uint32_t base_entry = kNone;
  };
  // A stretch of the target file between two places that are known in the base file.
  struct Stretch {
    uint64_t base_begin = 0;
    uint64_t base_end = 0;
  };

  void FindFresh();
  void FindFilesToDo();
  void MatchPaths();
  void MatchNewPaths();
  uint32_t FindByChunks(const Manifest::Entry& entry) const;
  void PlanFile(uint32_t entry, uint32_t base_entry);
  void PlanStretch(uint32_t base_entry, std::vector<PlannedPatch::Run> runs, const Stretch& stretch,
                   bool whole_base);
  void PlanPiece(uint32_t base_entry, std::span<const PlannedPatch::Run> runs, uint64_t base_begin,
                 uint64_t base_end);
  void Flush();

  const Manifest& base_;
  const Manifest& target_;
  const DeltaPlanOptions& options_;
  DeltaPlan plan_;
  std::vector<bool> fresh_;  // by chunk of the target; false again once it is in a patch
  // Where chunks of the base that the target has too lie first.
  absl::flat_hash_map<Digest, Place> shared_;
  std::vector<FileToDo> todo_;
  PlannedPatch open_;                           // gathers small runs
  uint32_t searched_ = PlannedPatch::kNothing;  // for the file that is being planned
};

void Planner::FindFresh() {
  absl::flat_hash_map<Digest, uint32_t> in_target;
  in_target.reserve(target_.chunks.size());
  for (uint32_t i = 0; i < target_.chunks.size(); ++i) in_target.emplace(target_.chunks[i].digest, i);
  fresh_.assign(target_.chunks.size(), true);
  std::vector<bool> wanted(base_.chunks.size(), false);
  for (uint32_t i = 0; i < base_.chunks.size(); ++i) {
    const auto found = in_target.find(base_.chunks[i].digest);
    if (found == in_target.end()) continue;
    fresh_[found->second] = false;
    wanted[i] = true;
  }
  for (uint32_t i = 0; i < fresh_.size(); ++i) {
    if (fresh_[i]) plan_.fresh_bytes += target_.chunks[i].size;
  }
  if (plan_.fresh_bytes == 0) return;
  for (uint32_t e = 0; e < base_.entries.size(); ++e) {
    uint64_t offset = 0;
    for (const uint32_t ref : base_.RefsOf(base_.entries[e])) {
      if (wanted[ref]) {
        shared_.emplace(base_.chunks[ref].digest, Place{e, offset});
        wanted[ref] = false;
      }
      offset += base_.chunks[ref].size;
    }
  }
}

void Planner::FindFilesToDo() {
  for (uint32_t e = 0; e < target_.entries.size(); ++e) {
    const auto refs = target_.RefsOf(target_.entries[e]);
    if (std::any_of(refs.begin(), refs.end(), [this](uint32_t ref) { return fresh_[ref]; })) {
      todo_.push_back({e, kNone});
    }
  }
}

void Planner::MatchPaths() {
  size_t at = 0;
  for (FileToDo& file : todo_) {
    const std::string& path = target_.entries[file.entry].path;
    int order = 1;
    while (at < base_.entries.size() && (order = ComparePaths(base_.entries[at].path, path)) < 0) ++at;
    if (at == base_.entries.size()) return;
    if (order == 0 && base_.entries[at].type == EntryType::kFile && base_.entries[at].size > 0) {
      file.base_entry = static_cast<uint32_t>(at);
    }
  }
}

uint32_t Planner::FindByChunks(const Manifest::Entry& entry) const {
  absl::flat_hash_map<uint32_t, uint64_t> votes;
  size_t sampled = 0;
  for (const uint32_t ref : target_.RefsOf(entry)) {
    const auto found = shared_.find(target_.chunks[ref].digest);
    if (found != shared_.end()) votes[found->second.entry] += target_.chunks[ref].size;
    if (++sampled == kMaxSampled) break;
  }
  uint32_t best = kNone;
  uint64_t most = 0;
  for (const auto& [candidate, bytes] : votes) {
    if (bytes > most || (bytes == most && candidate < best)) {
      best = candidate;
      most = bytes;
    }
  }
  return best;
}

void Planner::MatchNewPaths() {
  if (std::all_of(todo_.begin(), todo_.end(), [](const FileToDo& f) { return f.base_entry != kNone; })) {
    return;
  }
  absl::flat_hash_set<std::string_view> kept;
  for (const Manifest::Entry& entry : target_.entries) kept.insert(entry.path);
  absl::flat_hash_map<std::string_view, std::vector<uint32_t>> gone_from;  // by directory
  absl::flat_hash_map<std::string_view, uint32_t> gone_name;
  for (uint32_t e = 0; e < base_.entries.size(); ++e) {
    const Manifest::Entry& entry = base_.entries[e];
    if (entry.type != EntryType::kFile || entry.size == 0 || kept.contains(entry.path)) continue;
    std::vector<uint32_t>& here = gone_from[DirectoryOf(entry.path)];
    if (here.size() < kMaxCandidates) here.push_back(e);
    gone_name.emplace(NameOf(entry.path), e);
  }
  for (FileToDo& file : todo_) {
    if (file.base_entry != kNone) continue;
    const Manifest::Entry& entry = target_.entries[file.entry];
    file.base_entry = FindByChunks(entry);
    if (file.base_entry != kNone) continue;
    const std::string_view name = NameOf(entry.path);
    if (const auto same = gone_name.find(name); same != gone_name.end()) {
      file.base_entry = same->second;
      continue;
    }
    const auto here = gone_from.find(DirectoryOf(entry.path));
    if (here == gone_from.end()) continue;
    size_t most = 1;  // one shared character tells nothing
    for (const uint32_t candidate : here->second) {
      const size_t likeness = Likeness(NameOf(base_.entries[candidate].path), name);
      if (likeness <= most) continue;
      most = likeness;
      file.base_entry = candidate;
    }
  }
}

void Planner::PlanFile(uint32_t entry_index, uint32_t base_entry) {
  const Manifest::Entry& entry = target_.entries[entry_index];
  const std::span<const uint32_t> refs = target_.RefsOf(entry);
  uint64_t fresh = 0;
  for (const uint32_t ref : refs) fresh += fresh_[ref] ? target_.chunks[ref].size : 0;
  if (fresh == 0) return;  // what it needs is in the patches of files before it
  const uint64_t base_size = base_entry == kNone ? 0 : base_.entries[base_entry].size;
  const bool whole_base =
      base_size <= kSmallBase || (base_size <= options_.max_base && fresh >= base_size / 4);

  searched_ = !whole_base && fresh >= kWorthSearching ? base_entry : PlannedPatch::kNothing;

  std::vector<PlannedPatch::Run> runs;
  Stretch stretch;
  uint64_t offset = 0;
  bool broken = true;  // the next fresh chunk begins a run
  for (uint32_t i = 0; i < refs.size(); ++i) {
    const Manifest::Chunk& chunk = target_.chunks[refs[i]];
    if (fresh_[refs[i]]) {
      fresh_[refs[i]] = false;
      if (broken || runs.back().size + chunk.size > options_.max_target) {
        runs.push_back({entry_index, offset, entry.first_ref + i, 0, 0});
      }
      ++runs.back().count;
      runs.back().size += chunk.size;
      broken = false;
    } else {
      broken = true;
      const auto place = shared_.find(chunk.digest);
      const bool anchor = place != shared_.end() && place->second.entry == base_entry &&
                          place->second.offset >= stretch.base_begin;
      if (anchor) {
        // With the whole file as the base it matters to nobody between which neighbours a run lies.
        if (!whole_base && !runs.empty()) {
          stretch.base_end = place->second.offset;
          PlanStretch(base_entry, std::exchange(runs, {}), stretch, false);
        }
        stretch.base_begin = place->second.offset + chunk.size;
      }
    }
    offset += chunk.size;
  }
  if (runs.empty()) return;
  if (whole_base) stretch.base_begin = 0;
  stretch.base_end = base_size;
  PlanStretch(base_entry, std::move(runs), stretch, whole_base);
}

// Cuts what is too large for one patch; the pieces' bases are where they should lie if the change is spread
// evenly, and some slack.
void Planner::PlanStretch(uint32_t base_entry, std::vector<PlannedPatch::Run> runs, const Stretch& stretch,
                          bool whole_base) {
  const uint64_t file_size = base_entry == kNone ? 0 : base_.entries[base_entry].size;
  const uint64_t widening = whole_base ? 0 : kWidening;
  const uint64_t begin = stretch.base_begin - std::min(stretch.base_begin, widening);
  const uint64_t end = std::min(std::max(stretch.base_end, stretch.base_begin) + widening, file_size);
  const uint64_t first = runs.front().offset;
  const uint64_t span = runs.back().offset + runs.back().size - first;
  size_t piece = 0;
  uint64_t size = 0;
  for (size_t i = 0; i <= runs.size(); ++i) {
    const bool full = i < runs.size() && size + runs[i].size > options_.max_target;
    if (i < runs.size() && !full) {
      size += runs[i].size;
      continue;
    }
    const std::span<const PlannedPatch::Run> taken(runs.data() + piece, i - piece);
    uint64_t base_begin = begin;
    uint64_t base_end = end;
    if (end - begin > options_.max_base || (end - begin > 2 * options_.slack + options_.max_target)) {
      const auto scaled = [&](uint64_t at) {
        return begin + static_cast<uint64_t>(static_cast<double>(at - first) / static_cast<double>(span) *
                                             static_cast<double>(end - begin));
      };
      const uint64_t from = scaled(taken.front().offset);
      const uint64_t to = scaled(taken.back().offset + taken.back().size);
      base_begin = std::max(begin, from - std::min(from, options_.slack));
      base_end = std::min(end, to + options_.slack);
      if (base_end - base_begin > options_.max_base) {
        const uint64_t middle = from + (to - from) / 2;
        base_begin = std::max(begin, middle - std::min(middle, uint64_t{options_.max_base} / 2));
        base_end = std::min(end, base_begin + options_.max_base);
      }
    }
    PlanPiece(base_entry, taken, base_begin, base_end);
    piece = i;
    size = i < runs.size() ? runs[i].size : 0;
  }
}

void Planner::PlanPiece(uint32_t base_entry, std::span<const PlannedPatch::Run> runs, uint64_t base_begin,
                        uint64_t base_end) {
  uint64_t size = 0;
  for (const PlannedPatch::Run& run : runs) size += run.size;
  const uint64_t base_size = base_end - base_begin;
  // A range that the open patch reaches already is only made longer.
  const bool continues = base_size > 0 && !open_.base.empty() && open_.base.back().entry == base_entry &&
                         base_begin >= open_.base.back().offset &&
                         base_begin <= open_.base.back().offset + open_.base.back().size;
  if (open_.target_size + size > std::min(kGroupTarget, options_.max_target) ||
      open_.base_size + base_size > std::min(kGroupBase, options_.max_base) ||
      open_.base.size() == kMaxPatchRanges || open_.searched != searched_) {
    Flush();
  }
  open_.searched = searched_;
  if (base_size > 0) {
    if (continues && !open_.base.empty()) {
      DeltaPatch::BaseRange& last = open_.base.back();
      const uint64_t end = std::max(base_end, last.offset + last.size);
      open_.base_size += static_cast<uint32_t>(end - last.offset - last.size);
      last.size = static_cast<uint32_t>(end - last.offset);
    } else {
      open_.base.push_back({base_entry, base_begin, static_cast<uint32_t>(base_size)});
      open_.base_size += static_cast<uint32_t>(base_size);
    }
  }
  for (const PlannedPatch::Run& run : runs) {
    open_.runs.push_back(run);
    open_.target_size += run.size;
    for (uint32_t i = 0; i < run.count; ++i) {
      const Manifest::Chunk& chunk = target_.chunks[target_.chunk_refs[run.first_ref + i]];
      const Manifest::Frame& frame = target_.frames[chunk.frame];
      open_.block_bytes += uint64_t{frame.stored_size} * chunk.size / frame.raw_size;
    }
  }
}

void Planner::Flush() {
  if (!open_.runs.empty()) plan_.patches.push_back(std::move(open_));
  open_ = {};
}

}  // namespace

DeltaPlan PlanDelta(const Manifest& base, const Manifest& target, const DeltaPlanOptions& options) {
  return Planner(base, target, options).Plan();
}

uint64_t FreshBytes(const Manifest& base, const Manifest& target) {
  return Planner(base, target, {}).FreshOnly();
}

}  // namespace aetherfs
