#include "aetherfs/agent/file_filler.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/numbers.h"
#include "aetherfs/agent/check_batch.h"
#include "aetherfs/agent/plan.h"
#include "aetherfs/base/status.h"
#include "fmt/format.h"

namespace aetherfs {

FileFiller::FileFiller(const Manifest& manifest, Tree& tree, int work_fd, const MaterializeOptions& options,
                       const std::vector<uint32_t>& files)
    : manifest_(manifest),
      tree_(tree),
      work_fd_(work_fd),
      options_(options),
      file_count_(files.size()),
      files_(std::make_unique<File[]>(files.size())),
      incomplete_(files.size()) {
  first_place_.assign(manifest.chunks.size() + 1, 0);
  size_t place_count = 0;
  for (const uint32_t entry : files) {
    for (const uint32_t chunk : manifest.RefsOf(manifest.entries[entry])) ++first_place_[chunk + 1];
    place_count += manifest.entries[entry].ref_count;
  }
  for (size_t chunk = 0; chunk < manifest.chunks.size(); ++chunk)
    first_place_[chunk + 1] += first_place_[chunk];
  places_.resize(place_count);
  filled_ = std::make_unique<std::atomic<bool>[]>(manifest.chunk_refs.size());
  std::vector<uint32_t> next(first_place_.begin(), first_place_.end() - 1);
  for (uint32_t f = 0; f < file_count_; ++f) {
    const Manifest::Entry& entry = manifest.entries[files[f]];
    files_[f].entry = files[f];
    files_[f].missing = entry.ref_count;
    uint64_t offset = 0;
    for (uint32_t ref = entry.first_ref; ref < entry.first_ref + entry.ref_count; ++ref) {
      const uint32_t chunk = manifest.chunk_refs[ref];
      places_[next[chunk]++] = {f, ref, offset};
      offset += manifest.chunks[chunk].size;
    }
  }
}

absl::Status FileFiller::Place(uint32_t chunk, std::string_view bytes) {
  for (uint32_t p = first_place_[chunk]; p < first_place_[chunk + 1]; ++p) {
    if (filled_[places_[p].ref].exchange(true)) continue;
    RETURN_IF_ERROR(Fill(places_[p], bytes));
  }
  return absl::OkStatus();
}

std::vector<uint32_t> FileFiller::MissingChunks() const {
  std::vector<uint32_t> missing;
  for (uint32_t chunk = 0; chunk < manifest_.chunks.size(); ++chunk) {
    for (uint32_t p = first_place_[chunk]; p < first_place_[chunk + 1]; ++p) {
      if (filled_[places_[p].ref].load(std::memory_order_relaxed)) continue;
      missing.push_back(chunk);
      break;
    }
  }
  return missing;
}

absl::Status FileFiller::Fill(const Spot& place, std::string_view bytes) {
  const uint32_t entry = files_[place.file].entry;
  if (manifest_.entries[entry].ref_count == 1) {
    RETURN_IF_ERROR(WriteWhole(entry, bytes));
    incomplete_.fetch_sub(1);
    return absl::OkStatus();
  }
  {
    ASSIGN_OR_RETURN(const FdCache::Handle part, OpenPart(place.file));
    const absl::Status written = WriteAt(part->get(), place.offset, bytes);
    if (!written.ok()) return Annotate(written, fmt::format("write {}", tree_.PathOf(entry)));
  }
  return CountPlace(place.file);
}

absl::Status FileFiller::WriteWhole(uint32_t entry, std::string_view bytes) {
  ASSIGN_OR_RETURN(const FdCache::Handle parent, tree_.OpenParent(entry));
  const UniqueFd fd(::openat(parent->get(), tree_.NameOf(entry),
                             O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!fd.valid()) return ErrnoStatus(errno, fmt::format("create {}", tree_.PathOf(entry)));
  const absl::Status written = WriteAt(fd.get(), 0, bytes);
  if (!written.ok()) return Annotate(written, fmt::format("write {}", tree_.PathOf(entry)));
  return SetAttributes(fd.get(), entry);
}

absl::Status FileFiller::SetAttributes(int fd, uint32_t entry) const {
  const Manifest::Entry& wanted = manifest_.entries[entry];
  if (::fchmod(fd, ModeOnDisk(wanted, options_)) != 0) {
    return ErrnoStatus(errno, fmt::format("set the mode of {}", tree_.PathOf(entry)));
  }
  const timespec times[2] = {{.tv_sec = 0, .tv_nsec = UTIME_OMIT}, ToTimespec(wanted.mtime_ns)};
  if (::futimens(fd, times) != 0) {
    return ErrnoStatus(errno, fmt::format("set the mtime of {}", tree_.PathOf(entry)));
  }
  return absl::OkStatus();
}

absl::StatusOr<FdCache::Handle> FileFiller::OpenPart(uint32_t file) {
  if (FdCache::Handle part = parts_.Find(file)) return part;
  File& f = files_[file];
  UniqueFd fd(::openat(work_fd_, fmt::format("{}", f.entry).c_str(),
                       O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!fd.valid()) return ErrnoStatus(errno, fmt::format("create a part of {}", tree_.PathOf(f.entry)));
  if (!f.sized.exchange(true)) {
    // Room is taken at once, so that a full disk shows early and the file lies in one piece; where the file
    // system cannot do that, the size alone is set.
    const auto size = static_cast<off_t>(manifest_.entries[f.entry].size);
    if (::ftruncate(fd.get(), size) != 0 ||
        (::fallocate(fd.get(), 0, 0, size) != 0 && errno != EOPNOTSUPP && errno != ENOSYS)) {
      return ErrnoStatus(errno, fmt::format("allocate {} bytes for {}", size, tree_.PathOf(f.entry)));
    }
  }
  return parts_.Insert(file, std::move(fd));
}

absl::Status FileFiller::CountPlace(uint32_t file) {
  return files_[file].missing.fetch_sub(1) == 1 ? Complete(file) : absl::OkStatus();
}

absl::Status FileFiller::Complete(uint32_t file) {
  const uint32_t entry = files_[file].entry;
  ASSIGN_OR_RETURN(const FdCache::Handle part, OpenPart(file));
  RETURN_IF_ERROR(SetAttributes(part->get(), entry));
  ASSIGN_OR_RETURN(const FdCache::Handle parent, tree_.OpenParent(entry));
  if (::renameat(work_fd_, fmt::format("{}", entry).c_str(), parent->get(), tree_.NameOf(entry)) != 0) {
    return ErrnoStatus(errno, fmt::format("rename the whole file to {}", tree_.PathOf(entry)));
  }
  parts_.Erase(file);
  incomplete_.fetch_sub(1);
  return absl::OkStatus();
}

absl::Status FileFiller::AdoptParts(const std::atomic<bool>* cancelled) {
  absl::flat_hash_map<uint32_t, uint32_t> by_entry;
  for (uint32_t f = 0; f < file_count_; ++f) {
    if (manifest_.entries[files_[f].entry].ref_count > 1) by_entry[files_[f].entry] = f;
  }
  ASSIGN_OR_RETURN(const std::vector<std::string> names, ListOpenDirectory(work_fd_, tree_.directory()));
  CheckBatch batch(manifest_);
  for (const std::string& name : names) {
    if (cancelled != nullptr && cancelled->load()) return absl::CancelledError("staging was cancelled");
    uint32_t entry = 0;
    if (!absl::SimpleAtoi(name, &entry) || name != fmt::format("{}", entry)) continue;
    const auto found = by_entry.find(entry);
    if (found != by_entry.end()) {
      if (files_[found->second].missing.load() == 0) continue;  // made whole by what other parts have
      RETURN_IF_ERROR(AdoptPart(found->second, batch));
    } else if (::unlinkat(work_fd_, name.c_str(), 0) != 0 && errno != ENOENT) {
      return ErrnoStatus(errno, fmt::format("remove a stale part below {}", tree_.directory()));
    }
  }
  return absl::OkStatus();
}

absl::Status FileFiller::AdoptPart(uint32_t file, CheckBatch& batch) {
  // A second handle, for what Place() makes of the rest.
  ASSIGN_OR_RETURN(const FdCache::Handle part, OpenPart(file));
  const auto check = [&] {
    return batch.Check([&](const CheckBatch::Checked& checked) {
      if (!checked.right) return absl::OkStatus();
      if (!filled_[checked.tag].exchange(true)) RETURN_IF_ERROR(CountPlace(file));
      return Place(checked.chunk, checked.bytes);
    });
  };
  const Manifest::Entry& entry = manifest_.entries[files_[file].entry];
  uint64_t offset = 0;
  for (uint32_t ref = entry.first_ref; ref < entry.first_ref + entry.ref_count; ++ref) {
    const uint32_t chunk = manifest_.chunk_refs[ref];
    const size_t size = manifest_.chunks[chunk].size;
    if (!filled_[ref].load()) {
      char* room = batch.Add(chunk, ref);
      if (room == nullptr) {
        RETURN_IF_ERROR(check());
        room = batch.Add(chunk, ref);
      }
      const absl::StatusOr<size_t> read = ReadAt(part->get(), offset, room, size);
      if (!read.ok() || *read != size) batch.DropLast();  // as good as not there
    }
    offset += size;
  }
  return check();
}

}  // namespace aetherfs
