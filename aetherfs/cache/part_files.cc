#include "aetherfs/cache/part_files.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <xxhash.h>

#include <cerrno>
#include <charconv>
#include <optional>
#include <vector>

#include "aetherfs/base/status.h"

namespace aetherfs {
namespace {

constexpr uint64_t kFolders = 256;
// A disk with so much room is not full, whatever else was exhausted.
constexpr uint64_t kNotFullBytes = 4 * kPartSize;

std::optional<PartFileId> ParseId(std::string_view name) {
  PartFileId id;
  if (name.size() != 32) return std::nullopt;
  const auto parse = [](std::string_view digits, uint64_t* value) {
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), *value, 16);
    return error == std::errc() && end == digits.data() + digits.size();
  };
  if (!parse(name.substr(0, 16), &id.high) || !parse(name.substr(16), &id.low)) return std::nullopt;
  if (id.Hex() != name) return std::nullopt;  // capitals
  return id;
}

uint64_t FolderOf(const PartFileId& id) { return id.high >> 56; }

}  // namespace

PartFileId PartFileId::Of(const PartKey& key) {
  const XXH128_hash_t hash = XXH3_128bits_withSeed(key.object_key.data(), key.object_key.size(), key.index);
  return {hash.high64, hash.low64};
}

std::string PartFileId::Hex() const { return fmt::format("{:016x}{:016x}", high, low); }

absl::StatusOr<std::unique_ptr<DirectoryPartFiles>> DirectoryPartFiles::Open(const std::string& directory) {
  const std::string root = JoinPath(directory, "v1");
  RETURN_IF_ERROR(MakeDirectories(directory));
  ASSIGN_OR_RETURN(FileLock lock, FileLock::Acquire(JoinPath(directory, "lock")));
  RETURN_IF_ERROR(MakeDirectories(root, 0700));
  std::unique_ptr<DirectoryPartFiles> files(new DirectoryPartFiles(root, std::move(lock)));
  for (uint64_t folder = 0; folder < kFolders; ++folder) {
    const std::string path = files->FolderPath(folder);
    // Not MakeDirectories(), which would sync each of them.
    if (mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) return ErrnoStatus(errno, "making " + path);
  }
  return files;
}

std::string DirectoryPartFiles::FolderPath(uint64_t number) const {
  return fmt::format("{}/{:02x}", root_, number);
}

std::string DirectoryPartFiles::PathOf(const PartFileId& id) const {
  return JoinPath(FolderPath(FolderOf(id)), id.Hex());
}

absl::Status DirectoryPartFiles::Write(const PartFileId& id, std::string_view header,
                                       std::string_view bytes) {
  const std::string unfinished = UnfinishedPath();
  const absl::StatusOr<UniqueFd> file = OpenFile(unfinished, O_WRONLY | O_CREAT | O_TRUNC, 0600);
  if (absl::IsResourceExhausted(file.status()) && FreeSpace(root_).value_or(0) > kNotFullBytes) {
    return absl::UnavailableError(file.status().message());  // of descriptors, perhaps, not of disk
  }
  if (!file.ok()) return file.status();
  absl::Status status = WriteAt(file->get(), 0, header);
  if (status.ok()) status = WriteAt(file->get(), header.size(), bytes);
  if (status.ok()) status = Rename(unfinished, PathOf(id));
  if (!status.ok()) RemoveFile(unfinished).IgnoreError();  // else the next one is written over it
  return Annotate(status, "writing a part to " + PathOf(id));
}

absl::StatusOr<size_t> DirectoryPartFiles::Read(const PartFileId& id, std::span<char> head,
                                                std::span<char> body) {
  ASSIGN_OR_RETURN(const UniqueFd file, OpenFile(PathOf(id), O_RDONLY | O_NOFOLLOW));
  ASSIGN_OR_RETURN(size_t read, ReadAt(file.get(), 0, head.data(), head.size()));
  if (read == head.size() && !body.empty()) {
    ASSIGN_OR_RETURN(const size_t more, ReadAt(file.get(), read, body.data(), body.size()));
    read += more;
  }
  return read;
}

absl::Status DirectoryPartFiles::Remove(const PartFileId& id) { return RemoveFile(PathOf(id)); }

absl::Status DirectoryPartFiles::Scan(absl::FunctionRef<bool(const Found&)> visit) {
  RETURN_IF_ERROR(RemoveFile(UnfinishedPath()));
  for (uint64_t folder = 0; folder < kFolders; ++folder) {
    const std::string path = FolderPath(folder);
    ASSIGN_OR_RETURN(const std::vector<std::string> names, ListDirectory(path));
    for (const std::string& name : names) {
      const std::optional<PartFileId> id = ParseId(name);
      const std::string file = JoinPath(path, name);
      struct stat info;
      // What is not ours stays.
      if (!id.has_value() || FolderOf(*id) != folder || lstat(file.c_str(), &info) != 0 ||
          !S_ISREG(info.st_mode)) {
        continue;
      }
      const auto size = static_cast<uint64_t>(info.st_size);
      if (!visit({*id, size, absl::TimeFromTimespec(info.st_mtim)})) return absl::OkStatus();
    }
  }
  return absl::OkStatus();
}

}  // namespace aetherfs
