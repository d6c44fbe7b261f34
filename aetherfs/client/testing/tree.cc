#include "aetherfs/client/testing/tree.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <numeric>
#include <random>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "aetherfs/base/sha256.h"
#include "aetherfs/base/status.h"
#include "aetherfs/format/manifest.h"
#include "aetherfs/os/file.h"
#include "fmt/format.h"

namespace aetherfs {
namespace {

void SetTimes(const std::string& path, int64_t mtime_ns) {
  const timespec time = {.tv_sec = mtime_ns / 1'000'000'000, .tv_nsec = mtime_ns % 1'000'000'000};
  const timespec times[2] = {time, time};
  utimensat(AT_FDCWD, path.c_str(), times, AT_SYMLINK_NOFOLLOW);
}

void Describe(const std::string& root, const std::string& below, std::map<std::string, std::string>* out) {
  const auto names = ListDirectory(below.empty() ? root : JoinPath(root, below));
  if (!names.ok()) return;
  for (const std::string& name : *names) {
    const std::string path = below.empty() ? name : JoinPath(below, name);
    const std::string full = JoinPath(root, path);
    struct stat stat;
    if (lstat(full.c_str(), &stat) != 0) continue;
    if (S_ISDIR(stat.st_mode)) {
      (*out)[path] = "directory";
      Describe(root, path, out);
    } else if (S_ISLNK(stat.st_mode)) {
      (*out)[path] = "symlink " + ReadSymlink(full).value_or("?");
    } else {
      const auto contents = ReadWholeFile(full, UINT64_MAX);
      (*out)[path] = fmt::format("file {:o} {}.{:09} {} {}", stat.st_mode & 0777, stat.st_mtim.tv_sec,
                                 stat.st_mtim.tv_nsec, stat.st_size,
                                 contents.ok() ? Sha256::Of(*contents).Hex() : "unreadable");
    }
  }
}

}  // namespace

std::string RandomBytes(size_t size, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::string bytes((size + 7) / 8 * 8, '\0');
  for (size_t i = 0; i < bytes.size(); i += 8) {
    const uint64_t word = random();
    std::copy_n(reinterpret_cast<const char*>(&word), 8, bytes.begin() + static_cast<std::ptrdiff_t>(i));
  }
  bytes.resize(size);
  return bytes;
}

std::string RandomText(size_t size, uint64_t seed) {
  static constexpr const char* kWords[] = {"chunk ", "frame ", "block ",  "manifest ", "journal ", "tag ",
                                           "of ",    "the ",   "digest ", "server\n",  "agent, ",  "path "};
  std::mt19937_64 random(seed);
  std::string text;
  text.reserve(size + 16);
  while (text.size() < size) {
    text += kWords[random() % std::size(kWords)];
    if (random() % 8 == 0) text += std::to_string(random() % 100000);
  }
  text.resize(size);
  return text;
}

void WriteTestFile(const std::string& path, std::string_view contents, unsigned mode) {
  std::filesystem::create_directories(ParentPath(path));  // without the syncs of MakeDirectories
  RemoveFile(path).IgnoreError();
  {
    const auto fd = OpenFile(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (!fd.ok() || !WriteAt(fd->get(), 0, contents).ok()) abort();
  }
  chmod(path.c_str(), mode);
}

void MakeRandomTree(const std::string& root, uint64_t seed, int entries) {
  std::mt19937_64 random(seed);
  static constexpr const char* kNames[] = {"a",   "a.b", "b",    "data",    "Zürich", "数据",
                                           "x y", "-n",  "q'\"", ".hidden", "a-b",    "percent%2F"};
  std::vector<std::string> directories = {root};
  std::vector<std::string> contents = {""};
  std::filesystem::create_directories(root);
  for (int i = 0; i < entries; ++i) {
    const std::string& parent = directories[random() % directories.size()];
    const std::string path =
        JoinPath(parent, fmt::format("{}{}", kNames[random() % std::size(kNames)], random() % 40));
    if (Exists(path)) continue;
    switch (random() % 8) {
      case 0:
      case 1:
        std::filesystem::create_directories(path);
        directories.push_back(path);
        break;
      case 2:
        if (symlink(kNames[random() % std::size(kNames)], path.c_str()) != 0) abort();
        break;
      default: {
        static constexpr size_t kSizes[] = {0, 1, 100, 5000, 16384, 70000, 300000, 600000, 2500000};
        const size_t size = kSizes[random() % std::size(kSizes)];
        const uint64_t kind = random() % 4;
        std::string bytes = kind == 0   ? contents[random() % contents.size()]
                            : kind == 1 ? RandomBytes(size, random())
                                        : RandomText(size, random());
        static constexpr unsigned kModes[] = {0644, 0755, 0444, 0600};
        WriteTestFile(path, bytes, kModes[random() % std::size(kModes)]);
        SetTimes(path,
                 static_cast<int64_t>(1'600'000'000'000'000'000 + random() % 100'000'000'000'000'000));
        contents.push_back(std::move(bytes));
      }
    }
  }
}

std::map<std::string, std::string> DescribeTree(const std::string& root) {
  std::map<std::string, std::string> description;
  Describe(root, "", &description);
  return description;
}

absl::Status PullTree(ServerClient& client, const DatasetName& dataset, const Digest& digest,
                      const std::string& root, TransferStats* stats) {
  TransferStats unused;
  if (stats == nullptr) stats = &unused;
  Fetcher fetcher(&client);
  ASSIGN_OR_RETURN(const std::string canonical, fetcher.FetchManifest(dataset, digest, stats));
  ASSIGN_OR_RETURN(const Manifest manifest, DecodeManifest(canonical));
  std::vector<uint32_t> wanted(manifest.chunks.size());
  std::iota(wanted.begin(), wanted.end(), 0u);
  std::vector<std::string> bytes(manifest.chunks.size());
  RETURN_IF_ERROR(fetcher.FetchChunks(
      dataset, manifest, wanted,
      [&](uint32_t chunk, std::string_view got) {
        bytes[chunk] = got;
        return absl::OkStatus();
      },
      stats));
  std::filesystem::create_directories(root);
  for (const Manifest::Entry& entry : manifest.entries) {
    const std::string path = JoinPath(root, entry.path);
    if (entry.type == EntryType::kDirectory) {
      std::filesystem::create_directories(path);
    } else if (entry.type == EntryType::kSymlink) {
      if (symlink(entry.target.c_str(), path.c_str()) != 0) return ErrnoStatus(errno, path);
    } else {
      std::string contents;
      for (const uint32_t ref : manifest.RefsOf(entry)) contents += bytes[ref];
      if (contents.size() != entry.size) return absl::InternalError(path + " has another size");
      WriteTestFile(path, contents, entry.mode);
      SetTimes(path, entry.mtime_ns);
    }
  }
  return absl::OkStatus();
}

}  // namespace aetherfs
