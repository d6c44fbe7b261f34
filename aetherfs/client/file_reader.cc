#include "aetherfs/client/file_reader.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "aetherfs/base/status.h"
#include "fmt/format.h"

namespace aetherfs {
namespace {

// Read at once; what is cut lies in the processor's cache then.
constexpr size_t kReadSize = 256 * 1024;

absl::Status StatOpenFile(int fd, const std::string& path, ScannedEntry* entry) {
  struct stat stat;
  if (fstat(fd, &stat) != 0) {
    return ErrnoStatus(errno, fmt::format("could not examine '{}'", Printable(path)));
  }
  return FillFromStat(path, stat, entry);
}

void AddChunk(uint32_t file, size_t offset, size_t size, ChunkBatch& batch) {
  batch.chunks.push_back({.file = file,
                          .offset = static_cast<uint32_t>(offset),
                          .size = static_cast<uint32_t>(size),
                          .digest = {}});
}

}  // namespace

absl::StatusOr<ReadOutcome> FileReader::Open(ScannedEntry* entry) {
  auto fd = OpenScanned(*scan_, *entry);
  if (!fd.ok()) {
    // Gone, or a symlink now.
    if (absl::IsNotFound(fd.status()) || absl::IsInvalidArgument(fd.status())) return ReadOutcome::kChanged;
    return fd.status();
  }
  fd_ = *std::move(fd);
  entry_ = entry;
  offset_ = 0;
  const absl::Status status = StatOpenFile(fd_.get(), entry->path, entry);
  if (absl::IsInvalidArgument(status)) return ReadOutcome::kChanged;
  RETURN_IF_ERROR(status);
  if (entry->size > kSmallFileSize) posix_fadvise(fd_.get(), 0, 0, POSIX_FADV_SEQUENTIAL);
  return ReadOutcome::kRead;
}

absl::StatusOr<size_t> FileReader::Read(char* buffer, size_t size) {
  auto got = ReadAt(fd_.get(), offset_, buffer, size);
  if (!got.ok()) {
    return Annotate(got.status(), fmt::format("could not read '{}'", Printable(entry_->path)));
  }
  offset_ += *got;
  return *got;
}

absl::StatusOr<ReadOutcome> FileReader::Close() {
  if (*hook_) (*hook_)(entry_->path);
  ScannedEntry now = *entry_;
  const absl::Status status = StatOpenFile(fd_.get(), entry_->path, &now);
  fd_.reset();
  RETURN_IF_ERROR(status);
  return offset_ == entry_->size && now.SameStat(*entry_) && now.mode == entry_->mode
             ? ReadOutcome::kRead
             : ReadOutcome::kChanged;
}

absl::StatusOr<ReadOutcome> ReadSmallFile(FileReader& reader, uint32_t index, ScannedEntry* entry,
                                          size_t room, ChunkBatch& batch) {
  ASSIGN_OR_RETURN(const ReadOutcome opened, reader.Open(entry));
  if (opened == ReadOutcome::kChanged || entry->size > room) return ReadOutcome::kChanged;
  ASSIGN_OR_RETURN(const size_t size, reader.Read(batch.buffer.get() + batch.used, entry->size));
  ASSIGN_OR_RETURN(const ReadOutcome outcome, reader.Close());
  if (outcome == ReadOutcome::kChanged) return outcome;
  Chunker chunker;
  std::string_view rest(batch.buffer.get() + batch.used, size);
  while (!rest.empty()) {
    const size_t cut = chunker.NextCut(rest, true);
    AddChunk(index, batch.used, cut, batch);
    batch.used += cut;
    rest.remove_prefix(cut);
  }
  return ReadOutcome::kRead;
}

absl::StatusOr<ReadOutcome> ReadLargeFile(FileReader& reader, uint32_t index, ScannedEntry* entry,
                                          ChunkBatch** batch,
                                          absl::FunctionRef<ChunkBatch*(ChunkBatch*)> next) {
  ASSIGN_OR_RETURN(const ReadOutcome opened, reader.Open(entry));
  if (opened == ReadOutcome::kChanged) return opened;
  Chunker chunker;
  size_t filled = (*batch)->used;  // what was read; `used` is what is cut
  bool end = false;
  while (true) {
    // What was read is cut as far as the cuts are certain.
    ChunkBatch& here = **batch;
    while (filled - here.used >= kMaxChunkSize || (end && filled > here.used)) {
      const size_t cut = chunker.NextCut({here.buffer.get() + here.used, filled - here.used}, end);
      AddChunk(index, here.used, cut, here);
      here.used += cut;
    }
    if (end) break;
    if (kBatchSize - here.used < kMaxChunkSize) {
      // The next chunk may not fit: it begins the next batch.
      const std::string tail(here.buffer.get() + here.used, filled - here.used);
      here.planned = here.used;
      *batch = next(*batch);
      if (*batch == nullptr) return ReadOutcome::kChanged;
      std::memcpy((*batch)->buffer.get(), tail.data(), tail.size());
      filled = tail.size();
      continue;
    }
    const size_t wanted = std::min(kReadSize, kBatchSize - filled);
    ASSIGN_OR_RETURN(const size_t got, reader.Read(here.buffer.get() + filled, wanted));
    filled += got;
    end = got < wanted;
    if (reader.offset() > entry->size) return ReadOutcome::kChanged;  // it may go on growing for ever
  }
  (*batch)->planned = (*batch)->used;
  return reader.Close();
}

}  // namespace aetherfs
