#include "aetherfs/cli/snapshot_diff.h"

#include <algorithm>

#include "absl/container/flat_hash_set.h"
#include "aetherfs/cli/text.h"
#include "aetherfs/client/fetcher.h"
#include "fmt/format.h"

namespace aetherfs {
namespace {

using Entry = Manifest::Entry;

bool SameContents(const Manifest& before, const Entry& a, const Manifest& after, const Entry& b) {
  const auto old_refs = before.RefsOf(a);
  const auto new_refs = after.RefsOf(b);
  return a.size == b.size && std::equal(old_refs.begin(), old_refs.end(), new_refs.begin(), new_refs.end(),
                                        [&](uint32_t x, uint32_t y) {
                                          return before.chunks[x].digest == after.chunks[y].digest;
                                        });
}

// An entry right behind a directory is in it, if anything is.
bool IsEmptyDirectory(const Manifest& manifest, size_t index) {
  const Entry& entry = manifest.entries[index];
  if (entry.type != EntryType::kDirectory) return false;
  return index + 1 == manifest.entries.size() ||
         !manifest.entries[index + 1].path.starts_with(entry.path + "/");
}

bool IsTold(const Manifest& manifest, size_t index) {
  return manifest.entries[index].type != EntryType::kDirectory || IsEmptyDirectory(manifest, index);
}

std::string_view TypeName(EntryType type) {
  switch (type) {
    case EntryType::kFile:
      return "file";
    case EntryType::kDirectory:
      return "directory";
    case EntryType::kSymlink:
      return "symlink";
  }
  return "unknown";
}

class Differ {
 public:
  Differ(const Manifest& before, const Manifest& after) : before_(before), after_(after) {}

  SnapshotDiff Run() {
    size_t i = 0;
    size_t j = 0;
    while (i < before_.entries.size() || j < after_.entries.size()) {
      int order = 0;
      if (i == before_.entries.size()) {
        order = 1;
      } else if (j == after_.entries.size()) {
        order = -1;
      } else {
        order = ComparePaths(before_.entries[i].path, after_.entries[j].path);
      }
      if (order < 0) {
        Remove(i++);
      } else if (order > 0) {
        Add(j++);
      } else {
        Compare(i++, j++);
      }
    }
    CountBytes();
    return std::move(diff_);
  }

 private:
  static std::string PathOf(const Entry& entry) {
    return entry.type == EntryType::kDirectory ? entry.path + "/" : entry.path;
  }

  void Remove(size_t i) {
    if (!IsTold(before_, i)) return;
    const Entry& entry = before_.entries[i];
    ++diff_.removed;
    diff_.items.push_back({SnapshotDiff::Kind::kRemoved, PathOf(entry), entry.size, 0, ""});
  }

  void Add(size_t j) {
    if (!IsTold(after_, j)) return;
    const Entry& entry = after_.entries[j];
    ++diff_.added;
    diff_.changed_bytes += entry.size;
    diff_.items.push_back({SnapshotDiff::Kind::kAdded, PathOf(entry), 0, entry.size, ""});
  }

  void Compare(size_t i, size_t j) {
    const Entry& a = before_.entries[i];
    const Entry& b = after_.entries[j];
    std::vector<std::string> what;
    if (a.type != b.type) {
      what.push_back(fmt::format("{} -> {}", TypeName(a.type), TypeName(b.type)));
      diff_.changed_bytes += b.size;
    } else if (a.type == EntryType::kDirectory) {
      if (IsEmptyDirectory(before_, i) && IsEmptyDirectory(after_, j)) ++diff_.unchanged;
      return;
    } else if (a.target != b.target) {
      what.push_back(fmt::format("target {} -> {}", a.target, b.target));
    } else if (!SameContents(before_, a, after_, b)) {
      what.push_back("contents");
      diff_.changed_bytes += b.size;
    }
    if (a.type == b.type && a.mode != b.mode)
      what.push_back(fmt::format("mode {:04o} -> {:04o}", a.mode, b.mode));
    if (what.empty()) {
      ++diff_.unchanged;
      if (a.mtime_ns != b.mtime_ns) ++diff_.times_only;
      return;
    }
    ++diff_.changed;
    diff_.items.push_back({SnapshotDiff::Kind::kChanged, PathOf(b), a.size, b.size, JoinWords(what, ", ")});
  }

  void CountBytes() {
    absl::flat_hash_set<Digest> known;
    known.reserve(before_.chunks.size());
    for (const Manifest::Chunk& chunk : before_.chunks) known.insert(chunk.digest);
    std::vector<uint32_t> wanted;
    for (uint32_t c = 0; c < after_.chunks.size(); ++c) {
      if (known.contains(after_.chunks[c].digest)) continue;
      wanted.push_back(c);
      diff_.new_chunk_bytes += after_.chunks[c].size;
    }
    diff_.download_bytes = PlanFetch(after_, wanted).bytes;
  }

  const Manifest& before_;
  const Manifest& after_;
  SnapshotDiff diff_;
};

}  // namespace

SnapshotDiff DiffSnapshots(const Manifest& before, const Manifest& after) {
  return Differ(before, after).Run();
}

}  // namespace aetherfs
