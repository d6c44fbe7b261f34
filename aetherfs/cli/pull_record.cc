#include "aetherfs/cli/pull_record.h"

#include <sys/stat.h>

#include <algorithm>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "aetherfs/agent/tree.h"
#include "aetherfs/base/sha256.h"
#include "aetherfs/base/status.h"
#include "aetherfs/cli/json.h"
#include "aetherfs/os/file.h"

namespace aetherfs {
namespace {

constexpr int kRecordVersion = 1;
constexpr uint64_t kMaxRecordFile = 64 * 1024;

int64_t Nanoseconds(const timespec& time) { return int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec; }

}  // namespace

std::string PullRecords::PathFor(const std::string& directory, std::string_view suffix) const {
  return JoinPath(JoinPath(cache_, "pulls"), Sha256::Of(directory).Hex() + std::string(suffix));
}

std::optional<PullRecord> PullRecords::Load(const std::string& directory) const {
  if (cache_.empty()) return std::nullopt;
  const absl::StatusOr<std::string> text = ReadWholeFile(PathFor(directory, ".json"), kMaxRecordFile);
  if (!text.ok()) return std::nullopt;
  const Json json = Json::parse(*text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object() || json.value("version", Json()) != kRecordVersion ||
      json.value("directory", Json()) != directory) {
    return std::nullopt;
  }
  for (const char* key : {"dataset", "reference", "digest"}) {
    if (!json.value(key, Json()).is_string()) return std::nullopt;
  }
  if (!json.value("newest_change_ns", Json()).is_number_integer()) return std::nullopt;
  PullRecord record;
  record.reference = json["reference"].get<std::string>();
  record.newest_change_ns = json["newest_change_ns"].get<int64_t>();
  absl::StatusOr<DatasetName> dataset = DatasetName::Parse(json["dataset"].get<std::string>());
  absl::StatusOr<Digest> digest = Digest::Parse(json["digest"].get<std::string>());
  if (!dataset.ok() || !digest.ok()) return std::nullopt;
  record.dataset = *std::move(dataset);
  record.digest = *digest;
  const absl::StatusOr<std::string> object =
      ReadWholeFile(PathFor(directory, ".manifest"), kMaxManifestSize);
  if (!object.ok()) return std::nullopt;
  // It may be another pull's, of which the process died before it wrote the record; the digest tells.
  const absl::StatusOr<std::string> canonical = DecodeManifestObject(*object, record.digest);
  if (!canonical.ok()) return std::nullopt;
  absl::StatusOr<Manifest> manifest = DecodeManifest(*canonical);
  if (!manifest.ok()) return std::nullopt;
  record.manifest = *std::move(manifest);
  return record;
}

absl::Status PullRecords::Save(const std::string& directory, const PullRecord& record,
                               const std::string& canonical) const {
  if (cache_.empty()) return absl::OkStatus();
  RETURN_IF_ERROR(MakeDirectories(JoinPath(cache_, "pulls"), 0700));
  const Json json = {{"version", kRecordVersion},          {"directory", directory},
                     {"reference", record.reference},      {"dataset", record.dataset.str()},
                     {"digest", record.digest.ToString()}, {"newest_change_ns", record.newest_change_ns}};
  RETURN_IF_ERROR(
      WriteFileAtomically(PathFor(directory, ".manifest"), EncodeManifestObject(canonical), 0600));
  return WriteFileAtomically(PathFor(directory, ".json"), JsonText(json) + "\n", 0600);
}

bool LooksUntouched(const std::string& directory, const PullRecord& record) {
  absl::flat_hash_map<std::string_view, size_t> children;
  children[""] = 0;
  for (const Manifest::Entry& entry : record.manifest.entries) {
    const size_t slash = entry.path.rfind('/');
    ++children[std::string_view(entry.path).substr(0, slash == std::string::npos ? 0 : slash)];
    if (entry.type == EntryType::kDirectory) children.try_emplace(entry.path, 0);
    const std::string path = JoinPath(directory, entry.path);
    struct stat status;
    if (lstat(path.c_str(), &status) != 0) return false;
    switch (entry.type) {
      case EntryType::kFile:
        if (!LooksLike(status, entry, entry.mode)) return false;
        if (Nanoseconds(status.st_ctim) > record.newest_change_ns) return false;
        break;
      case EntryType::kDirectory:
        if (!S_ISDIR(status.st_mode) || (status.st_mode & 07777U) != entry.mode) return false;
        break;
      case EntryType::kSymlink: {
        const absl::StatusOr<std::string> target = ReadSymlink(path);
        if (!target.ok() || *target != entry.target) return false;
        break;
      }
    }
  }
  // Everything is there; nothing else is if the numbers agree.
  return std::all_of(children.begin(), children.end(), [&](const auto& child) {
    const absl::StatusOr<std::vector<std::string>> names = ListDirectory(JoinPath(directory, child.first));
    return names.ok() && names->size() == child.second;
  });
}

int64_t NewestChange(const std::string& directory, const Manifest& manifest) {
  int64_t newest = 0;
  for (const Manifest::Entry& entry : manifest.entries) {
    struct stat status;
    if (entry.type == EntryType::kDirectory) continue;
    if (lstat(JoinPath(directory, entry.path).c_str(), &status) == 0) {
      newest = std::max(newest, Nanoseconds(status.st_ctim));
    }
  }
  return newest;
}

}  // namespace aetherfs
