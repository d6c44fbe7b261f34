#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string>

#include "absl/container/flat_hash_set.h"
#include "absl/synchronization/mutex.h"
#include "aetherfs/agent/check_batch.h"
#include "aetherfs/agent/materializer.h"
#include "aetherfs/agent/tree.h"
#include "aetherfs/base/status.h"
#include "aetherfs/base/thread_pool.h"
#include "fmt/format.h"

namespace aetherfs {
namespace {

constexpr int kThreads = 4;
constexpr size_t kEntriesPerTask = 1024;
constexpr uint64_t kBytesPerTask = 64 * 1024 * 1024;
constexpr unsigned kWriteBits = 0222;

class Verifier {
 public:
  Verifier(Tree& tree, const Manifest& manifest, bool allow_read_only, const std::atomic<bool>* cancelled)
      : tree_(tree), manifest_(manifest), allow_read_only_(allow_read_only), cancelled_(cancelled) {}

  absl::StatusOr<std::vector<Difference>> Run() {
    // Tasks of many small files or of few large ones.
    std::vector<size_t> tasks;
    uint64_t bytes = 0;
    for (size_t e = 0; e < manifest_.entries.size(); ++e) {
      if (tasks.empty() || e - tasks.back() == kEntriesPerTask || bytes > kBytesPerTask) {
        tasks.push_back(e);
        bytes = 0;
      }
      bytes += manifest_.entries[e].size;
    }
    ThreadPool pool("verify", tasks.size() > 1 ? kThreads - 1 : 0);
    pool.ParallelFor(tasks.size(), kThreads, [&](size_t task) {
      const size_t end = task + 1 < tasks.size() ? tasks[task + 1] : manifest_.entries.size();
      CompareEntries(tasks[task], end);
    });
    FindExtras();
    if (Cancelled()) return absl::CancelledError("verifying was cancelled");
    absl::MutexLock lock(&mutex_);
    RETURN_IF_ERROR(failure_);
    std::sort(differences_.begin(), differences_.end(),
              [](const Difference& a, const Difference& b) { return ComparePaths(a.path, b.path) < 0; });
    return std::move(differences_);
  }

 private:
  bool Cancelled() const { return cancelled_ != nullptr && cancelled_->load(); }

  void Report(std::string path, std::string what) {
    absl::MutexLock lock(&mutex_);
    differences_.push_back({std::move(path), std::move(what)});
  }
  void Fail(const absl::Status& status) {
    absl::MutexLock lock(&mutex_);
    failure_.Update(status);
  }

  void CompareEntries(size_t begin, size_t end) {
    CheckBatch batch(manifest_);
    uint64_t reported = UINT64_MAX;  // entry that was found to differ: once is enough
    for (size_t e = begin; e < end && !Cancelled(); ++e) {
      CompareEntry(static_cast<uint32_t>(e), batch, reported);
    }
    Check(batch, reported);
  }

  void CompareEntry(uint32_t e, CheckBatch& batch, uint64_t& reported) {
    const Manifest::Entry& entry = manifest_.entries[e];
    const absl::StatusOr<FdCache::Handle> parent = tree_.OpenParent(e);
    struct stat status;
    if (!parent.ok() && !absl::IsNotFound(parent.status()) && !absl::IsInvalidArgument(parent.status())) {
      return Fail(parent.status());
    }
    if (!parent.ok() || ::fstatat((*parent)->get(), tree_.NameOf(e), &status, AT_SYMLINK_NOFOLLOW) != 0) {
      return Report(entry.path, "missing");
    }
    if (entry.type == EntryType::kSymlink) return CompareSymlink(e, (*parent)->get(), status);
    const bool is_directory = entry.type == EntryType::kDirectory;
    if (is_directory != S_ISDIR(status.st_mode) || is_directory == S_ISREG(status.st_mode)) {
      return Report(entry.path, is_directory ? "not a directory" : "not a regular file");
    }
    const unsigned mask = allow_read_only_ ? 07777U & ~kWriteBits : 07777U;
    if ((status.st_mode & mask) != (entry.mode & mask)) {
      Report(entry.path, fmt::format("mode {:04o}, not {:04o}", status.st_mode & 07777U, entry.mode));
    }
    if (is_directory) return;
    if (static_cast<uint64_t>(status.st_size) != entry.size) {
      return Report(entry.path, fmt::format("{} bytes, not {}", status.st_size, entry.size));
    }
    CompareContents(e, batch, reported);
  }

  void CompareSymlink(uint32_t e, int parent_fd, const struct stat& status) {
    const Manifest::Entry& entry = manifest_.entries[e];
    if (!S_ISLNK(status.st_mode)) return Report(entry.path, "not a symlink");
    std::string target(entry.target.size() + 1, '\0');
    const ssize_t size = ::readlinkat(parent_fd, tree_.NameOf(e), target.data(), target.size());
    if (size < 0 || std::string_view(target.data(), static_cast<size_t>(size)) != entry.target) {
      Report(entry.path, fmt::format("does not point at {}", Printable(entry.target)));
    }
  }

  void CompareContents(uint32_t e, CheckBatch& batch, uint64_t& reported) {
    const Manifest::Entry& entry = manifest_.entries[e];
    if (entry.ref_count == 0) return;
    const absl::StatusOr<UniqueFd> fd = tree_.OpenForReading(e);
    if (!fd.ok()) return Fail(fd.status());
    uint64_t offset = 0;
    for (uint32_t ref = 0; ref < entry.ref_count && !Cancelled(); ++ref) {
      const uint32_t chunk = manifest_.RefsOf(entry)[ref];
      const size_t size = manifest_.chunks[chunk].size;
      const uint64_t tag = (uint64_t{e} << 32) | ref;
      char* room = batch.Add(chunk, tag);
      if (room == nullptr) {
        Check(batch, reported);
        room = batch.Add(chunk, tag);
      }
      const absl::StatusOr<size_t> read = ReadAt(fd->get(), offset, room, size);
      if (!read.ok()) {
        batch.DropLast();
        return Report(entry.path, fmt::format("cannot be read: {}", Message(read.status())));
      }
      std::fill(room + *read, room + size, '\0');  // it shrank meanwhile: differs, unless it ends in zeros
      offset += size;
    }
  }

  void Check(CheckBatch& batch, uint64_t& reported) {
    const absl::Status status = batch.Check([&](const CheckBatch::Checked& checked) {
      const uint64_t e = checked.tag >> 32;
      if (checked.right || reported == e) return absl::OkStatus();
      reported = e;
      const Manifest::Entry& entry = manifest_.entries[e];
      uint64_t offset = 0;
      for (uint32_t ref = 0; ref < static_cast<uint32_t>(checked.tag); ++ref) {
        offset += manifest_.chunks[manifest_.RefsOf(entry)[ref]].size;
      }
      Report(entry.path,
             fmt::format("contents differ in the {} bytes from {} on", checked.bytes.size(), offset));
      return absl::OkStatus();
    });
    if (!status.ok()) Fail(status);
  }

  // Names that no entry has.
  void FindExtras() {
    absl::flat_hash_set<std::string_view> known;
    known.reserve(manifest_.entries.size());
    for (const Manifest::Entry& entry : manifest_.entries) known.insert(entry.path);
    FindExtrasIn(kRootEntry, known);
    for (uint32_t e = 0; e < manifest_.entries.size() && !Cancelled(); ++e) {
      if (manifest_.entries[e].type == EntryType::kDirectory) FindExtrasIn(e, known);
    }
  }

  void FindExtrasIn(uint32_t directory, const absl::flat_hash_set<std::string_view>& known) {
    const absl::StatusOr<FdCache::Handle> fd = tree_.OpenDirectory(directory);
    if (!fd.ok()) return;  // told already, as missing or not a directory
    const auto names = ListOpenDirectory((*fd)->get(), tree_.PathOf(directory));
    if (!names.ok()) return Fail(names.status());
    for (const std::string& name : *names) {
      std::string path = directory == kRootEntry ? name : JoinPath(manifest_.entries[directory].path, name);
      if (!known.contains(path)) Report(std::move(path), "not in the snapshot");
    }
  }

  Tree& tree_;
  const Manifest& manifest_;
  const bool allow_read_only_;
  const std::atomic<bool>* const cancelled_;
  absl::Mutex mutex_;
  std::vector<Difference> differences_ ABSL_GUARDED_BY(mutex_);
  absl::Status failure_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace

absl::StatusOr<std::vector<Difference>> VerifyDirectory(const std::string& directory,
                                                        const Manifest& manifest, bool allow_read_only,
                                                        const std::atomic<bool>* cancelled) {
  ASSIGN_OR_RETURN(const std::unique_ptr<Tree> tree, Tree::Open(directory, manifest));
  return Verifier(*tree, manifest, allow_read_only, cancelled).Run();
}

}  // namespace aetherfs
