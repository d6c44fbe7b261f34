#include "aetherfs/client/stat_cache.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <type_traits>
#include <utility>

#include "aetherfs/base/sha256.h"
#include "aetherfs/base/status.h"

namespace aetherfs {
namespace {

// The layout is docs/formats/stat-cache.md.
constexpr std::string_view kMagic = "AFSC";
constexpr uint32_t kVersion = 1;
constexpr size_t kMaxNameSize = 4096;
// Pieces whose digests are made side by side.
constexpr size_t kChecksumPiece = 64 * 1024;

static_assert(std::endian::native == std::endian::little, "columns are written as they lie in memory");

class Writer {
 public:
  template <typename T>
  void Put(const T& value) {
    static_assert(std::is_trivially_copyable_v<T>);
    bytes_.append(reinterpret_cast<const char*>(&value), sizeof(value));
  }
  template <typename T>
  void PutColumn(const std::vector<T>& column) {
    bytes_.append(reinterpret_cast<const char*>(column.data()), column.size() * sizeof(T));
  }
  void PutText(std::string_view text) {
    Put(static_cast<uint32_t>(text.size()));
    bytes_.append(text);
  }
  void PutRaw(std::string_view bytes) { bytes_.append(bytes); }
  void Reserve(size_t size) { bytes_.reserve(size); }
  const std::string& bytes() const { return bytes_; }
  std::string Take() { return std::move(bytes_); }

 private:
  std::string bytes_;
};

// Reads what Writer wrote. After a read that found too few bytes ok() is false and all further reads fail.
class Reader {
 public:
  explicit Reader(std::string_view bytes) : rest_(bytes) {}

  template <typename T>
  T Get() {
    T value{};
    const std::string_view raw = GetRaw(sizeof(T));
    if (ok_) std::memcpy(static_cast<void*>(&value), raw.data(), sizeof(T));
    return value;
  }
  template <typename T>
  std::vector<T> GetColumn(size_t count) {
    const std::string_view raw = count > rest_.size() / sizeof(T) ? Fail() : GetRaw(count * sizeof(T));
    std::vector<T> column;
    if (!ok_) return column;
    column.resize(count);
    if (count > 0) std::memcpy(column.data(), raw.data(), raw.size());
    return column;
  }
  std::string_view GetText() { return GetRaw(Get<uint32_t>()); }
  std::string_view GetRaw(size_t size) {
    if (!ok_ || size > rest_.size()) return Fail();
    const std::string_view raw = rest_.substr(0, size);
    rest_.remove_prefix(size);
    return raw;
  }
  bool ok() const { return ok_; }
  bool at_end() const { return rest_.empty(); }

 private:
  std::string_view Fail() {
    ok_ = false;
    return {};
  }
  std::string_view rest_;
  bool ok_ = true;
};

// SHA-256 over the SHA-256 digests of pieces: as sure as one over all, and several times as fast.
Digest Checksum(std::string_view bytes) {
  std::vector<std::string_view> pieces;
  for (size_t at = 0; at < bytes.size(); at += kChecksumPiece) {
    pieces.push_back(bytes.substr(at, kChecksumPiece));
  }
  std::vector<Digest> digests(pieces.size());
  Sha256Many(pieces, digests);
  Sha256 all;
  for (const Digest& digest : digests) all.Update(digest.bytes());
  return all.Finish();
}

uint16_t KindOf(const ScannedEntry& entry) {
  return static_cast<uint16_t>(static_cast<uint16_t>(entry.type) << 12 | entry.mode);
}

}  // namespace

StatCache StatCache::Of(const Scan& scan, const Digest& manifest, const Totals& totals) {
  StatCache cache;
  cache.manifest = manifest;
  cache.totals = totals;
  const size_t count = scan.entries.size();
  const int64_t racy_ns = absl::ToUnixNanos(scan.started - kRacyWindow);
  for (const ScannedEntry& entry : scan.entries) {
    if (entry.type != EntryType::kFile) continue;
    cache.device = entry.device;
    break;
  }
  cache.path_sizes.reserve(count);
  cache.target_sizes.reserve(count);
  cache.kinds.reserve(count);
  cache.sizes.reserve(count);
  cache.mtimes.reserve(count);
  cache.ctimes.reserve(count);
  cache.inodes.reserve(count);
  for (const ScannedEntry& entry : scan.entries) {
    const bool file = entry.type == EntryType::kFile;
    const bool trusted = !file || (entry.ctime_ns < racy_ns && entry.device == cache.device);
    cache.path_sizes.push_back(static_cast<uint16_t>(entry.path.size()));
    cache.target_sizes.push_back(static_cast<uint16_t>(entry.target.size()));
    cache.kinds.push_back(KindOf(entry));
    cache.sizes.push_back(entry.size);
    cache.mtimes.push_back(entry.mtime_ns);
    cache.ctimes.push_back(trusted ? entry.ctime_ns : kUntrusted);
    cache.inodes.push_back(entry.inode);
    cache.names.append(entry.path).append(entry.target);
  }
  return cache;
}

StatCache::Comparison StatCache::Compare(std::span<const ScannedEntry> scanned) const {
  Comparison result;
  result.identical = scanned.size() == path_sizes.size();
  result.unchanged.assign(scanned.size(), Comparison::kChanged);
  const std::string_view all(names);
  size_t here = 0, name = 0;  // the entry of this cache, and where its name begins
  for (size_t i = 0; i < scanned.size(); ++i) {
    const ScannedEntry& entry = scanned[i];
    int order = 1;
    while (here < path_sizes.size()) {
      const std::string_view path = all.substr(name, path_sizes[here]);
      order = path == entry.path ? 0 : ComparePaths(entry.path, path);
      if (order <= 0) break;
      result.identical = false;
      name += path_sizes[here] + target_sizes[here];
      ++here;
    }
    if (here == path_sizes.size() || order < 0) {
      result.identical = false;
      continue;
    }
    const bool same_stat = kinds[here] == KindOf(entry) && sizes[here] == entry.size &&
                           mtimes[here] == entry.mtime_ns && ctimes[here] == entry.ctime_ns &&
                           inodes[here] == entry.inode &&
                           (entry.type != EntryType::kFile || entry.device == device) &&
                           all.substr(name + path_sizes[here], target_sizes[here]) == entry.target;
    if (!same_stat) {
      result.identical = false;
    } else if (entry.type == EntryType::kFile) {
      result.unchanged[i] = static_cast<uint32_t>(here);
    }
    name += path_sizes[here] + target_sizes[here];
    ++here;
  }
  return result;
}

std::string StatCache::Encode(const DatasetName& dataset, const std::string& path) const {
  Writer writer;
  writer.Reserve(names.size() + path_sizes.size() * 40 + path.size() + 512);
  writer.PutRaw(kMagic);
  writer.Put(kVersion);
  writer.PutText(dataset.str());
  writer.PutText(path);
  writer.PutRaw(manifest.bytes());
  writer.Put(totals.files);
  writer.Put(totals.bytes);
  writer.Put(totals.chunks);
  writer.Put(device);
  writer.Put(uint64_t{path_sizes.size()});
  writer.Put(uint64_t{names.size()});
  writer.PutColumn(sizes);
  writer.PutColumn(mtimes);
  writer.PutColumn(ctimes);
  writer.PutColumn(inodes);
  writer.PutColumn(path_sizes);
  writer.PutColumn(target_sizes);
  writer.PutColumn(kinds);
  writer.PutRaw(names);
  writer.PutRaw(Checksum(writer.bytes()).bytes());
  return writer.Take();
}

std::optional<StatCache> StatCache::Decode(std::string_view bytes, const DatasetName& dataset,
                                           const std::string& path) {
  if (bytes.size() < kMagic.size() + Digest::kSize) return std::nullopt;
  const std::string_view body = bytes.substr(0, bytes.size() - Digest::kSize);
  if (Checksum(body).bytes() != bytes.substr(body.size())) return std::nullopt;
  Reader reader(body);
  if (reader.GetRaw(kMagic.size()) != kMagic || reader.Get<uint32_t>() != kVersion) return std::nullopt;
  if (reader.GetText() != dataset.str() || reader.GetText() != path) return std::nullopt;
  StatCache cache;
  const auto digest = Digest::FromBytes(reader.GetRaw(Digest::kSize));
  if (!digest.ok()) return std::nullopt;
  cache.manifest = *digest;
  cache.totals.files = reader.Get<uint64_t>();
  cache.totals.bytes = reader.Get<uint64_t>();
  cache.totals.chunks = reader.Get<uint64_t>();
  cache.device = reader.Get<uint64_t>();
  const uint64_t count = reader.Get<uint64_t>();
  const uint64_t names_size = reader.Get<uint64_t>();
  if (!reader.ok() || count > kMaxEntries) return std::nullopt;
  cache.sizes = reader.GetColumn<uint64_t>(count);
  cache.mtimes = reader.GetColumn<int64_t>(count);
  cache.ctimes = reader.GetColumn<int64_t>(count);
  cache.inodes = reader.GetColumn<uint64_t>(count);
  cache.path_sizes = reader.GetColumn<uint16_t>(count);
  cache.target_sizes = reader.GetColumn<uint16_t>(count);
  cache.kinds = reader.GetColumn<uint16_t>(count);
  cache.names = reader.GetRaw(names_size);
  if (!reader.ok() || !reader.at_end()) return std::nullopt;
  uint64_t total = 0;
  for (size_t i = 0; i < count; ++i) {
    if (cache.path_sizes[i] > kMaxNameSize || cache.target_sizes[i] > kMaxNameSize) return std::nullopt;
    total += cache.path_sizes[i] + cache.target_sizes[i];
  }
  if (total != names_size) return std::nullopt;
  return cache;
}

}  // namespace aetherfs
