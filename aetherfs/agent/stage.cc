#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/synchronization/mutex.h"
#include "aetherfs/agent/check_batch.h"
#include "aetherfs/agent/file_filler.h"
#include "aetherfs/agent/glob.h"
#include "aetherfs/agent/materializer.h"
#include "aetherfs/agent/patch_applier.h"
#include "aetherfs/agent/plan.h"
#include "aetherfs/agent/tree.h"
#include "aetherfs/base/quantity.h"
#include "aetherfs/base/status.h"
#include "aetherfs/base/thread_pool.h"
#include "aetherfs/os/file.h"
#include "fmt/format.h"

// What makes staging restartable, in this order on disk:
//   1. the work directory, with a marker that names this boot of the machine;
//   2. directories, symlinks, links, files, in any order (a file is whole once it has its name, size, mode
//   and
//      mtime: file_filler.h), everything synced;
//   3. the work directory goes, and the top directory is synced.
// So without a work directory all that is there is durable; with one of this boot, what is there is whole,
// because a killed process loses nothing that it wrote; with one of an earlier boot the power may have
// failed before the sync, and everything is read and checked again.

namespace aetherfs {
namespace {

constexpr size_t kSyncOneByOne = 64;  // more files or directories than that: one sync of the file system
constexpr size_t kLinksPerTask = 512;
constexpr size_t kSmallWork = 2;  // tasks, below which no threads are started
constexpr char kBootMarker[] = "boot";

std::string CurrentBoot() {
  const auto id = ReadWholeFile("/proc/sys/kernel/random/boot_id", 256);
  return id.ok() ? *id : "unknown";
}

// A name at the top that the manifest does not have; the same one for the same manifest.
std::string WorkName(const Manifest& manifest) {
  absl::flat_hash_set<std::string_view> top;
  for (const Manifest::Entry& entry : manifest.entries) {
    if (entry.path.starts_with(".aetherfs-work")) top.insert(entry.path);
  }
  std::string name = ".aetherfs-work";
  for (int i = 1; top.contains(name); ++i) name = fmt::format(".aetherfs-work.{}", i);
  return name;
}

class Stager {
 public:
  Stager(Fetcher& fetcher, const DatasetName& dataset, const Manifest& manifest,
         const std::string& directory, const std::vector<LocalSource>& sources,
         const MaterializeOptions& options, TransferStats* stats, const std::atomic<bool>* cancelled)
      : fetcher_(fetcher),
        dataset_(dataset),
        manifest_(manifest),
        directory_(directory),
        sources_(sources),
        options_(options),
        stats_(stats != nullptr ? stats : &own_stats_),
        cancelled_(cancelled) {}

  absl::StatusOr<MaterializeResult> Run() {
    absl::Status status = RunSteps();
    if (absl::IsResourceExhausted(status) && fits_) status = ExplainFullDisk(status);
    if (!status.ok())
      return Annotate(status, fmt::format("stage a snapshot of {} in {}", dataset_.str(), directory_));
    return result_;
  }

 private:
  absl::Status RunSteps() {
    RETURN_IF_ERROR(ValidateGlobs(options_.include, options_.exclude));
    RETURN_IF_ERROR(Open());
    plan_ = PlanRemaining(manifest_, sources_, options_, complete_);
    for (const uint32_t e : plan_.entries) {
      const Manifest::Entry& entry = manifest_.entries[e];
      if (entry.type == EntryType::kFile) ++result_.files;
      result_.bytes += entry.size;
    }
    result_.reused_bytes = result_.bytes;
    RETURN_IF_ERROR(CheckSpace());
    RETURN_IF_ERROR(BeginWork());
    RETURN_IF_ERROR(MakeSkeleton());
    RETURN_IF_ERROR(MakeLinks());
    RETURN_IF_ERROR(FillFiles());
    return Finish();
  }

  absl::Status CheckCancelled() const {
    if (cancelled_ != nullptr && cancelled_->load()) return absl::CancelledError("staging was cancelled");
    return absl::OkStatus();
  }

  bool IsComplete(uint32_t entry) const { return !complete_.empty() && complete_[entry]; }

  // Runs the tasks, in several threads if that is worth it, up to the first error.
  absl::Status InParallel(size_t tasks, const std::function<absl::Status(size_t)>& body);

  absl::Status Open();
  absl::Status LookAtWhatIsThere();
  absl::Status LookAt(uint32_t directory_entry,
                      const absl::flat_hash_map<std::string_view, uint32_t>& wanted);
  absl::StatusOr<bool> IsWhole(int directory_fd, uint32_t entry);
  absl::Status RecheckComplete();
  absl::Status CheckSpace();
  absl::Status ExplainFullDisk(const absl::Status& status) const;
  absl::Status BeginWork();
  absl::Status MakeSkeleton();
  absl::Status MakeEmptyFile(int directory_fd, uint32_t entry);
  absl::Status MakeLinks();
  // False if the bytes must be copied or fetched instead.
  absl::StatusOr<bool> MakeLink(const MaterializePlan::Link& link);
  void CopyInsteadOfLink(const MaterializePlan::Link& link);
  absl::Status FillFiles();
  absl::Status CopyRun(FileFiller& filler, std::span<const MaterializePlan::Copy> copies);
  absl::Status Finish();
  absl::Status SyncAll();

  Fetcher& fetcher_;
  const DatasetName& dataset_;
  const Manifest& manifest_;
  const std::string& directory_;
  const std::vector<LocalSource>& sources_;
  const MaterializeOptions& options_;
  TransferStats own_stats_;
  TransferStats* const stats_;
  const std::atomic<bool>* const cancelled_;

  std::unique_ptr<Tree> tree_;
  std::vector<std::unique_ptr<Tree>> source_trees_;  // null: can't be opened
  std::string work_name_;
  UniqueFd work_;
  bool has_work_ = false;       // the work directory is there
  bool resumed_ = false;        // it was before this attempt
  bool fits_ = false;           // the plan, on the disk
  std::vector<bool> complete_;  // by entry; empty: none
  MaterializePlan plan_;
  std::vector<uint32_t> to_fill_;  // files, ascending
  size_t new_files_ = 0;
  std::unique_ptr<ThreadPool> pool_;
  MaterializeResult result_;
};

absl::Status Stager::InParallel(size_t tasks, const std::function<absl::Status(size_t)>& body) {
  const auto parallelism = static_cast<size_t>(std::clamp(options_.parallelism, 1, 64));
  if (tasks < kSmallWork || parallelism == 1) {
    for (size_t i = 0; i < tasks; ++i) RETURN_IF_ERROR(body(i));
    return absl::OkStatus();
  }
  if (pool_ == nullptr) pool_ = std::make_unique<ThreadPool>("stage", static_cast<int>(parallelism) - 1);
  struct Failure {
    std::atomic<bool> failed{false};
    absl::Mutex mutex;
    absl::Status first ABSL_GUARDED_BY(mutex);
  } failure;
  pool_->ParallelFor(tasks, parallelism, [&](size_t i) {
    if (failure.failed.load()) return;
    const absl::Status status = body(i);
    if (status.ok()) return;
    failure.failed = true;
    absl::MutexLock lock(&failure.mutex);
    failure.first.Update(status);
  });
  absl::MutexLock lock(&failure.mutex);
  return failure.first;
}

absl::Status Stager::Open() {
  const bool fresh = !Exists(directory_);
  if (fresh) RETURN_IF_ERROR(MakeDirectories(directory_));
  ASSIGN_OR_RETURN(tree_, Tree::Open(directory_, manifest_));
  work_name_ = WorkName(manifest_);
  for (const LocalSource& source : sources_) {
    absl::StatusOr<std::unique_ptr<Tree>> tree = absl::NotFoundError("no manifest");
    if (source.manifest != nullptr) tree = Tree::Open(source.directory, *source.manifest);
    source_trees_.push_back(tree.ok() ? *std::move(tree) : nullptr);
  }
  if (fresh) return absl::OkStatus();
  const int work =
      ::openat(tree_->root_fd(), work_name_.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  work_.reset(work);
  has_work_ = resumed_ = work_.valid();
  return LookAtWhatIsThere();
}

absl::Status Stager::LookAtWhatIsThere() {
  const std::vector<uint32_t> entries = SelectEntries(manifest_, options_.include, options_.exclude);
  absl::flat_hash_map<std::string_view, uint32_t> wanted;
  wanted.reserve(entries.size());
  for (const uint32_t e : entries) wanted.emplace(manifest_.entries[e].path, e);
  complete_.assign(manifest_.entries.size(), false);
  RETURN_IF_ERROR(LookAt(kRootEntry, wanted));
  for (const uint32_t e : entries) {
    if (manifest_.entries[e].type == EntryType::kDirectory && complete_[e])
      RETURN_IF_ERROR(LookAt(e, wanted));
  }
  if (!has_work_) return absl::OkStatus();
  const auto boot = ReadWholeFile(JoinPath(JoinPath(directory_, work_name_), kBootMarker), 256);
  return boot.ok() && *boot == CurrentBoot() ? absl::OkStatus() : RecheckComplete();
}

absl::Status Stager::LookAt(uint32_t directory_entry,
                            const absl::flat_hash_map<std::string_view, uint32_t>& wanted) {
  RETURN_IF_ERROR(CheckCancelled());
  ASSIGN_OR_RETURN(const FdCache::Handle fd, tree_->OpenDirectory(directory_entry));
  ASSIGN_OR_RETURN(const std::vector<std::string> names,
                   ListOpenDirectory(fd->get(), tree_->PathOf(directory_entry)));
  for (const std::string& name : names) {
    if (directory_entry == kRootEntry && has_work_ && name == work_name_) continue;
    const std::string path =
        directory_entry == kRootEntry ? name : JoinPath(manifest_.entries[directory_entry].path, name);
    const auto found = wanted.find(path);
    if (found != wanted.end()) {
      ASSIGN_OR_RETURN(const bool whole, IsWhole(fd->get(), found->second));
      complete_[found->second] = whole;
      if (whole) continue;
    }
    RETURN_IF_ERROR(RemoveTree(JoinPath(directory_, path)));
  }
  return absl::OkStatus();
}

absl::StatusOr<bool> Stager::IsWhole(int directory_fd, uint32_t entry) {
  const Manifest::Entry& wanted = manifest_.entries[entry];
  struct stat status;
  if (::fstatat(directory_fd, tree_->NameOf(entry), &status, AT_SYMLINK_NOFOLLOW) != 0) {
    if (errno == ENOENT) return false;
    return ErrnoStatus(errno, fmt::format("look at {}", tree_->PathOf(entry)));
  }
  switch (wanted.type) {
    case EntryType::kFile:
      return LooksLike(status, wanted, ModeOnDisk(wanted, options_));
    case EntryType::kDirectory:
      if (!S_ISDIR(status.st_mode)) return false;
      if ((status.st_mode & 07777) == wanted.mode) return true;
      return ::fchmodat(directory_fd, tree_->NameOf(entry), wanted.mode, 0) == 0;
    case EntryType::kSymlink: {
      if (!S_ISLNK(status.st_mode)) return false;
      std::string target(wanted.target.size() + 1, '\0');
      const ssize_t size = ::readlinkat(directory_fd, tree_->NameOf(entry), target.data(), target.size());
      return size >= 0 && std::string_view(target.data(), static_cast<size_t>(size)) == wanted.target;
    }
  }
  return false;
}

absl::Status Stager::RecheckComplete() {
  CheckBatch batch(manifest_);
  const auto check = [&] {
    return batch.Check([&](const CheckBatch::Checked& checked) {
      if (!checked.right) complete_[checked.tag] = false;
      return absl::OkStatus();
    });
  };
  std::vector<uint32_t> files;
  for (uint32_t e = 0; e < complete_.size(); ++e) {
    if (complete_[e] && manifest_.entries[e].type == EntryType::kFile) files.push_back(e);
  }
  for (const uint32_t e : files) {
    RETURN_IF_ERROR(CheckCancelled());
    const absl::StatusOr<UniqueFd> fd = tree_->OpenForReading(e);
    uint64_t offset = 0;
    for (const uint32_t chunk : manifest_.RefsOf(manifest_.entries[e])) {
      char* room = batch.Add(chunk, e);
      if (room == nullptr) {
        RETURN_IF_ERROR(check());
        room = batch.Add(chunk, e);
      }
      const size_t size = manifest_.chunks[chunk].size;
      const absl::StatusOr<size_t> read = fd.ok() ? ReadAt(fd->get(), offset, room, size) : fd.status();
      if (!read.ok() || *read != size) {
        batch.DropLast();
        complete_[e] = false;
      }
      offset += size;
    }
  }
  RETURN_IF_ERROR(check());
  for (const uint32_t e : files) {
    if (!complete_[e]) RETURN_IF_ERROR(RemoveFile(tree_->PathOf(e)));
  }
  return absl::OkStatus();
}

absl::Status Stager::CheckSpace() {
  uint64_t needed = plan_.new_disk_bytes;
  fits_ = true;
  if (needed == 0) return absl::OkStatus();
  if (has_work_) {  // parts have their room already
    ASSIGN_OR_RETURN(const std::vector<std::string> parts, ListOpenDirectory(work_.get(), directory_));
    for (const std::string& part : parts) {
      struct stat status;
      if (::fstatat(work_.get(), part.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) continue;
      needed -= std::min(needed, static_cast<uint64_t>(status.st_blocks) * 512);
    }
  }
  ASSIGN_OR_RETURN(const uint64_t free, FreeSpace(directory_));
  fits_ = needed <= free;
  if (fits_) return absl::OkStatus();
  return absl::ResourceExhaustedError(fmt::format("{} of disk space are needed and {} are free: make room",
                                                  FormatSize(needed), FormatSize(free)));
}

absl::Status Stager::ExplainFullDisk(const absl::Status& status) const {
  const absl::StatusOr<uint64_t> free = FreeSpace(directory_);
  return absl::ResourceExhaustedError(
      fmt::format("{}; of {} for what is new some is staged, and {} are free now: make room",
                  Message(status), FormatSize(plan_.new_disk_bytes), free.ok() ? FormatSize(*free) : "?"));
}

absl::Status Stager::BeginWork() {
  if (!has_work_) {
    if (::mkdirat(tree_->root_fd(), work_name_.c_str(), 0700) != 0) {
      return ErrnoStatus(errno, fmt::format("create {}", JoinPath(directory_, work_name_)));
    }
    work_.reset(
        ::openat(tree_->root_fd(), work_name_.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!work_.valid()) return ErrnoStatus(errno, fmt::format("open {}", JoinPath(directory_, work_name_)));
  }
  const UniqueFd marker(
      ::openat(work_.get(), kBootMarker, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!marker.valid())
    return ErrnoStatus(errno, fmt::format("write into {}", JoinPath(directory_, work_name_)));
  return WriteAt(marker.get(), 0, CurrentBoot());
}

absl::Status Stager::MakeSkeleton() {
  FdCache::Handle parent;
  uint32_t parent_entry = 0;
  for (const uint32_t e : plan_.entries) {
    const Manifest::Entry& entry = manifest_.entries[e];
    if (IsComplete(e) || (entry.type == EntryType::kFile && entry.size > 0)) continue;
    RETURN_IF_ERROR(CheckCancelled());
    if (parent == nullptr || parent_entry != tree_->ParentOf(e)) {
      ASSIGN_OR_RETURN(parent, tree_->OpenParent(e));
      parent_entry = tree_->ParentOf(e);
    }
    const char* const name = tree_->NameOf(e);
    if (entry.type == EntryType::kDirectory) {
      // The second call is for a umask that takes bits away.
      if (::mkdirat(parent->get(), name, entry.mode) != 0 ||
          ::fchmodat(parent->get(), name, entry.mode, 0) != 0) {
        return ErrnoStatus(errno, fmt::format("create directory {}", tree_->PathOf(e)));
      }
    } else if (entry.type == EntryType::kSymlink) {
      if (::symlinkat(entry.target.c_str(), parent->get(), name) != 0) {
        return ErrnoStatus(errno, fmt::format("create symlink {}", tree_->PathOf(e)));
      }
    } else {
      RETURN_IF_ERROR(MakeEmptyFile(parent->get(), e));
      ++new_files_;
    }
  }
  return absl::OkStatus();
}

absl::Status Stager::MakeEmptyFile(int directory_fd, uint32_t entry) {
  const UniqueFd fd(::openat(directory_fd, tree_->NameOf(entry),
                             O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  const timespec times[2] = {{.tv_sec = 0, .tv_nsec = UTIME_OMIT},
                             ToTimespec(manifest_.entries[entry].mtime_ns)};
  if (!fd.valid() || ::fchmod(fd.get(), ModeOnDisk(manifest_.entries[entry], options_)) != 0 ||
      ::futimens(fd.get(), times) != 0) {
    return ErrnoStatus(errno, fmt::format("create {}", tree_->PathOf(entry)));
  }
  return absl::OkStatus();  // the directory's sync is enough for a file without bytes
}

absl::Status Stager::MakeLinks() {
  const size_t count = plan_.links.size();
  std::vector<char> linked(count, 0);
  const auto link_some = [&](size_t task) -> absl::Status {
    RETURN_IF_ERROR(CheckCancelled());
    for (size_t i = task * kLinksPerTask; i < std::min(count, (task + 1) * kLinksPerTask); ++i) {
      ASSIGN_OR_RETURN(const bool made, MakeLink(plan_.links[i]));
      linked[i] = made;
    }
    return absl::OkStatus();
  };
  RETURN_IF_ERROR(InParallel((count + kLinksPerTask - 1) / kLinksPerTask, link_some));
  std::vector<bool> done = complete_;
  done.resize(manifest_.entries.size(), false);
  for (size_t i = 0; i < count; ++i) {
    if (linked[i]) {
      done[plan_.links[i].entry] = true;
    } else {
      CopyInsteadOfLink(plan_.links[i]);
    }
  }
  for (const uint32_t e : plan_.entries) {
    if (!done[e] && manifest_.entries[e].type == EntryType::kFile && manifest_.entries[e].size > 0) {
      to_fill_.push_back(e);
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<bool> Stager::MakeLink(const MaterializePlan::Link& link) {
  Tree* const source = source_trees_[link.source].get();
  if (source == nullptr) return false;
  const absl::StatusOr<FdCache::Handle> from = source->OpenParent(link.source_entry);
  if (!from.ok()) return false;
  const char* const from_name = source->NameOf(link.source_entry);
  const Manifest::Entry& wanted = manifest_.entries[link.entry];
  struct stat status;
  if (::fstatat((*from)->get(), from_name, &status, AT_SYMLINK_NOFOLLOW) != 0 ||
      !LooksLike(status, wanted, ModeOnDisk(wanted, options_))) {
    return false;
  }
  ASSIGN_OR_RETURN(const FdCache::Handle to, tree_->OpenParent(link.entry));
  if (::linkat((*from)->get(), from_name, to->get(), tree_->NameOf(link.entry), 0) == 0) return true;
  if (errno == ENOSPC || errno == EDQUOT || errno == EIO) {
    return ErrnoStatus(errno, fmt::format("link {}", tree_->PathOf(link.entry)));
  }
  return false;  // too many links, another file system, links not permitted, the source just went
}

void Stager::CopyInsteadOfLink(const MaterializePlan::Link& link) {
  uint64_t offset = 0;
  for (const uint32_t chunk : manifest_.RefsOf(manifest_.entries[link.entry])) {
    plan_.copies.push_back({chunk, link.source, link.source_entry, offset});
    offset += manifest_.chunks[chunk].size;
  }
}

absl::Status Stager::FillFiles() {
  if (to_fill_.empty()) return absl::OkStatus();
  new_files_ += to_fill_.size();
  FileFiller filler(manifest_, *tree_, work_.get(), options_, to_fill_);
  if (has_work_) RETURN_IF_ERROR(filler.AdoptParts(cancelled_));

  std::vector<size_t> runs;  // where each begins: what fits one batch
  uint64_t bytes = 0;
  for (size_t i = 0; i < plan_.copies.size(); ++i) {
    const uint64_t size = manifest_.chunks[plan_.copies[i].chunk].size;
    if (runs.empty() || i - runs.back() == CheckBatch::kMaxChunks || bytes + size > CheckBatch::kMaxBytes) {
      runs.push_back(i);
      bytes = 0;
    }
    bytes += size;
  }
  RETURN_IF_ERROR(InParallel(runs.size(), [&](size_t run) {
    const size_t end = run + 1 < runs.size() ? runs[run + 1] : plan_.copies.size();
    return CopyRun(filler, std::span(plan_.copies).subspan(runs[run], end - runs[run]));
  }));

  std::vector<uint32_t> missing = filler.MissingChunks();
  for (const uint32_t chunk : missing) {
    result_.reused_bytes -= std::min<uint64_t>(result_.reused_bytes, manifest_.chunks[chunk].size);
  }
  const Fetcher::ChunkSink place = [&](uint32_t chunk, std::string_view data) {
    return filler.Place(chunk, data);
  };
  for (size_t s = 0; s < sources_.size() && !missing.empty(); ++s) {
    if (sources_[s].delta == nullptr || source_trees_[s] == nullptr) continue;
    PatchApplier applier(fetcher_.client(), dataset_, *sources_[s].delta, *source_trees_[s]);
    RETURN_IF_ERROR(applier.Apply(missing, place, stats_, cancelled_));
    missing = filler.MissingChunks();
  }
  if (!missing.empty()) {
    RETURN_IF_ERROR(CheckCancelled());
    RETURN_IF_ERROR(fetcher_.FetchChunks(dataset_, manifest_, missing, place, stats_, cancelled_));
  }
  if (filler.incomplete_files() != 0) {
    return absl::InternalError(
        fmt::format("{} files are not whole though every chunk came", filler.incomplete_files()));
  }
  return absl::OkStatus();
}

absl::Status Stager::CopyRun(FileFiller& filler, std::span<const MaterializePlan::Copy> copies) {
  RETURN_IF_ERROR(CheckCancelled());
  CheckBatch batch(manifest_);
  UniqueFd fd;
  uint64_t open = UINT64_MAX;  // source and entry that `fd` is
  for (const MaterializePlan::Copy& copy : copies) {
    Tree* const tree = copy.source < source_trees_.size() ? source_trees_[copy.source].get() : tree_.get();
    if (tree == nullptr) continue;
    const uint64_t key = (uint64_t{copy.source} << 32) | copy.source_entry;
    if (key != open) {
      absl::StatusOr<UniqueFd> opened = tree->OpenForReading(copy.source_entry);
      fd = opened.ok() ? *std::move(opened) : UniqueFd();
      open = key;
    }
    char* const room = fd.valid() ? batch.Add(copy.chunk, copy.source) : nullptr;
    if (room == nullptr) continue;
    const size_t size = manifest_.chunks[copy.chunk].size;
    const absl::StatusOr<size_t> read = ReadAt(fd.get(), copy.offset, room, size);
    if (!read.ok() || *read != size) batch.DropLast();
  }
  return batch.Check([&](const CheckBatch::Checked& checked) {
    if (checked.right) return filler.Place(checked.chunk, checked.bytes);
    // Nobody may have written to a linkable source, so its bytes have rotted.
    if (checked.tag >= sources_.size() || sources_[checked.tag].may_link)
      stats_->integrity_failures.fetch_add(1);
    return absl::OkStatus();
  });
}

absl::Status Stager::Finish() {
  if (options_.durable) RETURN_IF_ERROR(SyncAll());
  RETURN_IF_ERROR(RemoveTree(JoinPath(directory_, work_name_)));
  return options_.durable ? Sync(tree_->root_fd(), directory_) : absl::OkStatus();
}

// All at the end: the first sync usually writes everything that is new at once, and the others find nothing
// to do.
absl::Status Stager::SyncAll() {
  std::vector<uint32_t> directories;
  for (const uint32_t e : plan_.entries) {
    if (manifest_.entries[e].type == EntryType::kDirectory) directories.push_back(e);
  }
  // Which files an attempt before this one finished, and what else was linked before it was synced, is not
  // worth knowing.
  const bool others =
      resumed_ || std::any_of(plan_.links.begin(), plan_.links.end(),
                              [this](const auto& link) { return !sources_[link.source].durable; });
  if (others || new_files_ > kSyncOneByOne || directories.size() > kSyncOneByOne) {
    return SyncFileSystem(directory_);
  }
  for (const uint32_t e : to_fill_) {
    const absl::StatusOr<UniqueFd> fd = tree_->OpenForReading(e);
    if (!fd.ok()) return SyncFileSystem(directory_);  // its mode keeps its own owner off
    RETURN_IF_ERROR(Sync(fd->get(), tree_->PathOf(e)));
  }
  for (const uint32_t e : directories) {
    ASSIGN_OR_RETURN(const FdCache::Handle fd, tree_->OpenDirectory(e));
    RETURN_IF_ERROR(Sync(fd->get(), tree_->PathOf(e)));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<MaterializeResult> Materialize(Fetcher& fetcher, const DatasetName& dataset,
                                              const Manifest& manifest, const std::string& directory,
                                              const std::vector<LocalSource>& sources,
                                              const MaterializeOptions& options, TransferStats* stats,
                                              const std::atomic<bool>* cancelled) {
  return Stager(fetcher, dataset, manifest, directory, sources, options, stats, cancelled).Run();
}

}  // namespace aetherfs
