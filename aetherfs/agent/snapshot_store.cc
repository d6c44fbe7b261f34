#include "aetherfs/agent/snapshot_store.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "aetherfs/base/random.h"
#include "aetherfs/base/sha256.h"
#include "aetherfs/base/status.h"
#include "aetherfs/format/manifest.h"
#include "fmt/format.h"

namespace aetherfs {
namespace {

constexpr size_t kMaxDirectoryName = 200;  // file systems allow 255 bytes
constexpr size_t kKeptOfLongName = 160;
constexpr uint64_t kMaxManifestFile = kMaxManifestSize + 4096;

std::vector<std::string> ListOrNothing(const std::string& path) {
  absl::StatusOr<std::vector<std::string>> names = ListDirectory(path);
  return names.ok() ? *std::move(names) : std::vector<std::string>();
}

absl::Status RemoveUnfinishedManifests(const std::string& manifests) {
  for (const std::string& dataset : ListOrNothing(manifests)) {
    for (const std::string& name : ListOrNothing(JoinPath(manifests, dataset))) {
      if (!Digest::ParseHex(name).ok())
        RETURN_IF_ERROR(RemoveFile(JoinPath(JoinPath(manifests, dataset), name)));
    }
  }
  return absl::OkStatus();
}

std::string RandomName() { return fmt::format("{:016x}", Random::System()->Next()); }

}  // namespace

std::optional<Digest> SnapshotKey::DigestOf(std::string_view name) {
  constexpr size_t kHexSize = 2 * Digest::kSize;
  if (name.size() < kHexSize || (name.size() > kHexSize && name[kHexSize] != '-')) return std::nullopt;
  const absl::StatusOr<Digest> digest = Digest::ParseHex(name.substr(0, kHexSize));
  return digest.ok() ? std::optional(*digest) : std::nullopt;
}

absl::StatusOr<std::unique_ptr<SnapshotStore>> SnapshotStore::Open(const std::string& root) {
  const std::string own = JoinPath(root, ".aetherfs");
  RETURN_IF_ERROR(Annotate(MakeDirectories(own), fmt::format("take {} as an agent's root", root)));
  absl::StatusOr<FileLock> lock = FileLock::Acquire(JoinPath(own, "lock"));
  if (!lock.ok()) {
    return Annotate(lock.status(), fmt::format("take {} as an agent's root (one agent at a time)", root));
  }
  for (const char* name : {"snapshots", "staging", "manifests", "publications", "cache"}) {
    RETURN_IF_ERROR(MakeDirectories(JoinPath(own, name)));
  }
  RETURN_IF_ERROR(RemoveTree(JoinPath(own, "trash")));
  RETURN_IF_ERROR(MakeDirectories(JoinPath(own, "trash")));
  RETURN_IF_ERROR(RemoveUnfinishedManifests(JoinPath(own, "manifests")));
  return std::unique_ptr<SnapshotStore>(new SnapshotStore(root, *std::move(lock)));
}

SnapshotStore::SnapshotStore(std::string root, FileLock lock)
    : root_(std::move(root)), own_(JoinPath(root_, ".aetherfs")), lock_(std::move(lock)) {}

std::string SnapshotStore::DirectoryName(const DatasetName& dataset) {
  std::string escaped = dataset.Escaped();
  if (escaped.size() <= kMaxDirectoryName) return escaped;
  return escaped.substr(0, kKeptOfLongName) + "-" + Sha256::Of(escaped).Hex().substr(0, 32);
}

std::string SnapshotStore::SnapshotPath(const SnapshotKey& key) const {
  return JoinPath(JoinPath(OwnPath("snapshots"), DirectoryName(key.dataset)), key.Name());
}

std::string SnapshotStore::StagingPath(const SnapshotKey& key) const {
  return JoinPath(JoinPath(OwnPath("staging"), DirectoryName(key.dataset)), key.Name());
}

std::vector<std::string> SnapshotStore::Names(const DatasetName& dataset) const {
  return ListOrNothing(JoinPath(OwnPath("snapshots"), DirectoryName(dataset)));
}

std::vector<std::string> SnapshotStore::DatasetDirectories() const {
  std::set<std::string> all;
  for (const char* kind : {"snapshots", "staging", "manifests"}) {
    for (std::string& name : ListOrNothing(OwnPath(kind))) all.insert(std::move(name));
  }
  return {all.begin(), all.end()};
}

absl::StatusOr<std::string> SnapshotStore::ReadManifest(const DatasetName& dataset,
                                                        const Digest& digest) const {
  const std::string path = JoinPath(JoinPath(OwnPath("manifests"), DirectoryName(dataset)), digest.Hex());
  ASSIGN_OR_RETURN(const std::string object, ReadWholeFile(path, kMaxManifestFile));
  return DecodeManifestObject(object, digest);
}

absl::Status SnapshotStore::WriteManifest(const DatasetName& dataset, const Digest& digest,
                                          std::string_view canonical) const {
  const std::string directory = JoinPath(OwnPath("manifests"), DirectoryName(dataset));
  RETURN_IF_ERROR(MakeDirectories(directory));
  const std::string path = JoinPath(directory, digest.Hex());
  const std::string temporary = path + ".tmp-" + RandomName();
  {
    ASSIGN_OR_RETURN(const UniqueFd fd, OpenFile(temporary, O_WRONLY | O_CREAT | O_EXCL, 0644));
    const absl::Status written = WriteAt(fd.get(), 0, EncodeManifestObject(canonical));
    if (!written.ok()) {
      RemoveFile(temporary).IgnoreError();
      return written;
    }
  }
  return Rename(temporary, path);
}

absl::Status SnapshotStore::Promote(const SnapshotKey& key) const {
  const std::string to = SnapshotPath(key);
  const std::string parent = ParentPath(to);
  RETURN_IF_ERROR(MakeDirectories(parent));
  RETURN_IF_ERROR(Rename(StagingPath(key), to));
  return SyncDirectory(parent);
}

absl::Status SnapshotStore::DiscardStaging(const SnapshotKey& key) { return RemoveTree(StagingPath(key)); }

absl::Status SnapshotStore::MakeLinkParents(const std::string& path) const {
  // Component by component, through no symlink: nothing outside the root is ever touched.
  ASSIGN_OR_RETURN(UniqueFd directory, OpenFile(JoinPath(root_, "."), O_RDONLY | O_DIRECTORY));
  for (size_t slash = path.find('/'), begin = 0; slash != std::string::npos;
       begin = slash + 1, slash = path.find('/', begin)) {
    const std::string component = path.substr(begin, slash - begin);
    const bool made = ::mkdirat(directory.get(), component.c_str(), 0755) == 0;
    if (!made && errno != EEXIST) {
      return ErrnoStatus(errno, fmt::format("create directory {}", LinkPath(path.substr(0, slash))));
    }
    if (made) RETURN_IF_ERROR(Sync(directory.get(), LinkPath(path.substr(0, slash))));
    UniqueFd next(
        ::openat(directory.get(), component.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!next.valid()) {
      return absl::FailedPreconditionError(fmt::format(
          "{} is not a directory, so the symlink {} can't be made below it: move it away or give the "
          "subscription another path",
          LinkPath(path.substr(0, slash)), LinkPath(path)));
    }
    directory = std::move(next);
  }
  return absl::OkStatus();
}

absl::Status SnapshotStore::CheckLinkPlace(const std::string& path) const {
  struct stat status;
  if (::lstat(LinkPath(path).c_str(), &status) != 0 || S_ISLNK(status.st_mode)) return absl::OkStatus();
  return absl::FailedPreconditionError(
      fmt::format("{} is there and is not a symlink: move it away or give the subscription another path",
                  LinkPath(path)));
}

absl::Status SnapshotStore::Activate(const std::string& path, const SnapshotKey& key) const {
  RETURN_IF_ERROR(MakeLinkParents(path));
  RETURN_IF_ERROR(CheckLinkPlace(path));
  std::string target;
  for (const char c : path) {
    if (c == '/') target += "../";
  }
  target += fmt::format(".aetherfs/snapshots/{}/{}", DirectoryName(key.dataset), key.Name());
  return ReplaceSymlink(target, LinkPath(path));
}

absl::Status SnapshotStore::SyncLink(const std::string& path) const {
  return SyncDirectory(ParentPath(LinkPath(path)));
}

std::optional<std::string> SnapshotStore::ActiveName(const std::string& path,
                                                     const DatasetName& dataset) const {
  const absl::StatusOr<std::string> target = ReadSymlink(LinkPath(path));
  if (!target.ok()) return std::nullopt;
  const std::string ours = fmt::format(".aetherfs/snapshots/{}/", DirectoryName(dataset));
  const size_t at = target->find(ours);
  if (at == std::string::npos) return std::nullopt;
  const std::string name = target->substr(at + ours.size());
  return SnapshotKey::DigestOf(name).has_value() ? std::optional(name) : std::nullopt;
}

absl::Status SnapshotStore::RemoveLink(const std::string& path, const DatasetName& dataset) const {
  if (!ActiveName(path, dataset).has_value()) return absl::OkStatus();
  RETURN_IF_ERROR(RemoveFile(LinkPath(path)));
  for (std::string up = ParentPath(path); !up.empty(); up = ParentPath(up)) {
    if (::rmdir(LinkPath(up).c_str()) != 0) break;  // others live there
  }
  return absl::OkStatus();
}

SnapshotStore::Lease::Lease(Lease&& other) noexcept : store_(other.store_), id_(std::move(other.id_)) {
  other.store_ = nullptr;
}

SnapshotStore::Lease& SnapshotStore::Lease::operator=(Lease&& other) noexcept {
  std::swap(store_, other.store_);
  std::swap(id_, other.id_);
  return *this;
}

SnapshotStore::Lease::~Lease() {
  if (store_ != nullptr) store_->Release(id_);
}

SnapshotStore::Lease SnapshotStore::Take(const DatasetName& dataset, const std::string& name) {
  std::string id = DirectoryName(dataset) + "/" + name;
  absl::MutexLock lock(&mutex_);
  const auto stays = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return !removing_.contains(id); };
  mutex_.Await(absl::Condition(&stays));
  ++leases_[id];
  return Lease(this, std::move(id));
}

SnapshotStore::Lease SnapshotStore::TakeForStaging(const SnapshotKey& key) {
  std::string id = "staging/" + DirectoryName(key.dataset) + "/" + key.Name();
  absl::MutexLock lock(&mutex_);
  const auto free = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return !leases_.contains(id); };
  mutex_.Await(absl::Condition(&free));
  ++leases_[id];
  return Lease(this, std::move(id));
}

void SnapshotStore::Release(const std::string& id) {
  absl::MutexLock lock(&mutex_);
  const auto found = leases_.find(id);
  if (--found->second == 0) leases_.erase(found);
}

absl::StatusOr<bool> SnapshotStore::MoveToTrash(const char* kind, const std::string& directory,
                                                const std::string& name,
                                                const std::function<bool(const std::string& name)>& stays) {
  const std::string id = directory + "/" + name;
  {
    absl::MutexLock lock(&mutex_);
    if (leases_.contains(id) || !removing_.insert(id).second) return false;
  }
  const bool needed = stays(name);
  const absl::Status moved = needed ? absl::OkStatus()
                                    : Rename(JoinPath(JoinPath(OwnPath(kind), directory), name),
                                             JoinPath(OwnPath("trash"), RandomName()));
  {
    absl::MutexLock lock(&mutex_);
    removing_.erase(id);
  }
  RETURN_IF_ERROR(moved);
  return !needed;
}

absl::Status SnapshotStore::RemoveExcept(const std::string& dataset_directory,
                                         const std::function<bool(const std::string& name)>& stays) {
  bool trashed = false;
  std::set<Digest> digests;
  for (const char* kind : {"snapshots", "staging"}) {
    for (const std::string& name : ListOrNothing(JoinPath(OwnPath(kind), dataset_directory))) {
      ASSIGN_OR_RETURN(const bool moved, MoveToTrash(kind, dataset_directory, name, stays));
      trashed = trashed || moved;
      if (const auto digest = SnapshotKey::DigestOf(name); !moved && digest.has_value())
        digests.insert(*digest);
    }
  }
  const std::string manifests = JoinPath(OwnPath("manifests"), dataset_directory);
  for (const std::string& name : ListOrNothing(manifests)) {
    const absl::StatusOr<Digest> digest = Digest::ParseHex(name);
    // Any other name is one that is being written.
    if (digest.ok() && !digests.contains(*digest)) RETURN_IF_ERROR(RemoveFile(JoinPath(manifests, name)));
  }
  if (!trashed) return absl::OkStatus();
  for (const std::string& name : ListOrNothing(OwnPath("trash"))) {
    RETURN_IF_ERROR(RemoveTree(JoinPath(OwnPath("trash"), name)));
  }
  return absl::OkStatus();
}

}  // namespace aetherfs
