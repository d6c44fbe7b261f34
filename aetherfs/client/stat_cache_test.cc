#include "aetherfs/client/stat_cache.h"

#include <functional>

#include "aetherfs/base/sha256.h"
#include "aetherfs/format/testing/samples.h"
#include "aetherfs/os/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace aetherfs {
namespace {

using ::testing::ElementsAre;

constexpr uint32_t kChanged = StatCache::Comparison::kChanged;
constexpr int64_t kLongAgo = 1'700'000'000'000'000'000;

ScannedEntry File(const std::string& path, uint64_t inode) {
  ScannedEntry entry;
  entry.path = path;
  entry.mode = 0644;
  entry.size = 10 * inode;
  entry.mtime_ns = kLongAgo + static_cast<int64_t>(inode);
  entry.ctime_ns = kLongAgo;
  entry.inode = inode;
  entry.device = 7;
  return entry;
}

ScannedEntry Link(const std::string& path, const std::string& target) {
  ScannedEntry entry;
  entry.path = path;
  entry.type = EntryType::kSymlink;
  entry.mode = 0777;
  entry.target = target;
  return entry;
}

Scan MakeScan() {
  Scan scan;
  scan.started = absl::FromUnixSeconds(1'800'000'000);
  scan.entries = {File("a", 1), File("b", 2), Link("l", "b"), File("z", 3)};
  return scan;
}

template <typename T>
std::string Raw(T value) {
  return {reinterpret_cast<const char*>(&value), sizeof(value)};
}
std::string Text(const std::string& text) { return Raw(static_cast<uint32_t>(text.size())) + text; }

// A cache as docs/formats/stat-cache.md has it, of one file "a"; a case changes one piece. Its checksum is
// right, as a hostile writer's would be.
struct RawCache {
  std::string magic = "AFSC" + Raw(uint32_t{1});
  std::string subject = Text("geo/city") + Text("/data");
  std::string manifest = std::string(Sha256::Of("manifest").bytes());
  std::string totals = Raw(uint64_t{1}) + Raw(uint64_t{10}) + Raw(uint64_t{1});
  std::string device = Raw(uint64_t{7});
  std::string count = Raw(uint64_t{1});
  std::string names_size = Raw(uint64_t{1});
  std::string stats = Raw(uint64_t{10}) + Raw(kLongAgo + 1) + Raw(kLongAgo) + Raw(uint64_t{1});
  std::string path_size = Raw(uint16_t{1});
  std::string target_size = Raw(uint16_t{0});
  std::string kind = Raw(uint16_t{0644});
  std::string names = "a";
  std::string tail;

  std::string Bytes() const {
    const std::string body = magic + subject + manifest + totals + device + count + names_size + stats +
                             path_size + target_size + kind + names + tail;
    return body + std::string(Sha256::Of(Sha256::Of(body).bytes()).bytes());
  }
};

class StatCacheTest : public ::testing::Test {
 protected:
  const DatasetName dataset_ = *DatasetName::Parse("geo/city");
  const Digest manifest_ = Sha256::Of("manifest");
};

TEST_F(StatCacheTest, SameTreeIsIdentical) {
  const Scan scan = MakeScan();
  const auto comparison = StatCache::Of(scan, manifest_, {}).Compare(scan.entries);
  EXPECT_TRUE(comparison.identical);
  EXPECT_THAT(comparison.unchanged, ElementsAre(0, 1, kChanged, 3));
}

TEST_F(StatCacheTest, EverySignOfChangeCounts) {
  const Scan scan = MakeScan();
  const StatCache cache = StatCache::Of(scan, manifest_, {});
  const auto changes = std::vector<std::function<void(ScannedEntry&)>>{
      [](ScannedEntry& e) { ++e.size; },     [](ScannedEntry& e) { ++e.mtime_ns; },
      [](ScannedEntry& e) { ++e.ctime_ns; }, [](ScannedEntry& e) { ++e.inode; },
      [](ScannedEntry& e) { ++e.device; },   [](ScannedEntry& e) { e.mode = 0755; }};
  for (size_t i = 0; i < changes.size(); ++i) {
    std::vector<ScannedEntry> now = scan.entries;
    changes[i](now[1]);
    const auto comparison = cache.Compare(now);
    EXPECT_FALSE(comparison.identical) << i;
    EXPECT_THAT(comparison.unchanged, ElementsAre(0, kChanged, kChanged, 3)) << i;
  }
}

TEST_F(StatCacheTest, AddedRemovedAndRetargetedEntriesAreSeen) {
  const Scan scan = MakeScan();
  const StatCache cache = StatCache::Of(scan, manifest_, {});
  std::vector<ScannedEntry> now = {File("a", 1), File("aa", 9), Link("l", "b"), File("z", 3)};
  EXPECT_THAT(cache.Compare(now).unchanged, ElementsAre(0, kChanged, kChanged, 3));
  EXPECT_FALSE(cache.Compare(now).identical);
  now = {File("a", 1), File("b", 2), Link("l", "a"), File("z", 3)};
  EXPECT_FALSE(cache.Compare(now).identical);
  now = {File("a", 1), File("b", 2), Link("l", "b")};
  EXPECT_FALSE(cache.Compare(now).identical);
  now = scan.entries;
  now.push_back(File("zz", 4));
  EXPECT_FALSE(cache.Compare(now).identical);
}

TEST_F(StatCacheTest, FileThatChangedJustBeforeTheScanIsNotTrusted) {
  Scan scan = MakeScan();
  scan.entries[0].ctime_ns = absl::ToUnixNanos(scan.started - absl::Milliseconds(900));
  scan.entries[1].ctime_ns = absl::ToUnixNanos(scan.started - absl::Milliseconds(1100));
  const auto comparison = StatCache::Of(scan, manifest_, {}).Compare(scan.entries);
  EXPECT_FALSE(comparison.identical);
  EXPECT_THAT(comparison.unchanged, ElementsAre(kChanged, 1, kChanged, 3));
}

TEST_F(StatCacheTest, EncodingIsReadBackForTheSameTreeOnly) {
  const Scan scan = MakeScan();
  const std::string bytes =
      StatCache::Of(scan, manifest_, {.files = 3, .bytes = 60, .chunks = 2}).Encode(dataset_, "/data");
  const auto cache = StatCache::Decode(bytes, dataset_, "/data");
  ASSERT_TRUE(cache.has_value());
  EXPECT_EQ(cache->manifest, manifest_);
  EXPECT_EQ(cache->totals.bytes, 60u);
  EXPECT_TRUE(cache->Compare(scan.entries).identical);
  EXPECT_FALSE(StatCache::Decode(bytes, dataset_, "/other").has_value());
  EXPECT_FALSE(StatCache::Decode(bytes, *DatasetName::Parse("geo/country"), "/data").has_value());
}

TEST_F(StatCacheTest, NoDamageGoesUnnoticed) {
  const std::string bytes = StatCache::Of(MakeScan(), manifest_, {}).Encode(dataset_, "/data");
  for (size_t i = 0; i < bytes.size(); ++i) {
    std::string damaged = bytes;
    damaged[i] = static_cast<char>(damaged[i] ^ 0x10);
    EXPECT_FALSE(StatCache::Decode(damaged, dataset_, "/data").has_value()) << i;
    EXPECT_FALSE(StatCache::Decode(bytes.substr(0, i), dataset_, "/data").has_value()) << i;
  }
  EXPECT_FALSE(StatCache::Decode(bytes + "x", dataset_, "/data").has_value());
}

TEST_F(StatCacheTest, GoldenFileIsReadAndWrittenAsItWas) {
  const Scan scan = MakeScan();
  const std::string bytes =
      StatCache::Of(scan, manifest_, {.files = 3, .bytes = 60, .chunks = 2}).Encode(dataset_, "/data");
  WriteSample("compat/v1/stat-cache", bytes);
  const std::string golden = ReadSample("compat/v1/stat-cache");
  EXPECT_TRUE(golden == bytes);
  const auto cache = StatCache::Decode(golden, dataset_, "/data");
  ASSERT_TRUE(cache.has_value());
  EXPECT_EQ(cache->totals, (StatCache::Totals{.files = 3, .bytes = 60, .chunks = 2}));
  EXPECT_TRUE(cache->Compare(scan.entries).identical);
}

// Whole, with a right checksum, and yet not what this publisher could have written.
TEST_F(StatCacheTest, MalformedFilesAreAsGoodAsNone) {
  const auto with = [](const std::function<void(RawCache&)>& change) {
    RawCache raw;
    change(raw);
    return raw.Bytes();
  };
  const std::pair<std::string, std::string> cases[] = {
      {"ok-one-file", with([](auto&) {})},
      {"ok-no-entries", with([](auto& r) {
         r.count = r.names_size = Raw(uint64_t{0});
         r.stats = r.path_size = r.target_size = r.kind = r.names = "";
       })},
      {"nothing", ""},
      {"checksum-only", std::string(Sha256::Of(Sha256::Of("").bytes()).bytes())},
      {"checksum", with([](auto&) {}).replace(4, 1, "x")},
      {"other-magic", with([](auto& r) { r.magic[3] = 'X'; })},
      {"version-2", with([](auto& r) { r.magic[4] = 2; })},
      {"other-dataset", with([](auto& r) { r.subject = Text("geo/town") + Text("/data"); })},
      {"other-path", with([](auto& r) { r.subject = Text("geo/city") + Text("/date"); })},
      {"dataset-of-4-gib", with([](auto& r) { r.subject = Raw(UINT32_MAX); })},
      {"cut-behind-the-header", with([](auto& r) {
         r.device = r.count = r.names_size = r.stats = r.path_size = r.target_size = r.kind = r.names = "";
       })},
      {"entries-missing", with([](auto& r) { r.count = Raw(uint64_t{2}); })},
      {"entries-beyond-the-limit", with([](auto& r) { r.count = Raw(uint64_t{kMaxEntries + 1}); })},
      {"count-of-2^64", with([](auto& r) { r.count = Raw(UINT64_MAX); })},
      {"names-of-2^64", with([](auto& r) { r.names_size = Raw(UINT64_MAX); })},
      {"names-shorter-than-their-sizes", with([](auto& r) { r.path_size = Raw(uint16_t{2}); })},
      {"names-longer-than-their-sizes", with([](auto& r) { r.path_size = Raw(uint16_t{0}); })},
      {"path-too-long", with([](auto& r) {
         r.path_size = Raw(uint16_t{4097});
         r.names_size = Raw(uint64_t{4097});
         r.names = std::string(4097, 'a');
       })},
      {"bytes-behind-the-end", with([](auto& r) { r.tail = "x"; })},
  };
  for (const auto& [name, bytes] : cases) WriteSample("corpus/stat-cache/" + name, bytes);
  const auto samples = ReadSamples("corpus/stat-cache");
  EXPECT_GE(samples.size(), std::size(cases));
  for (const auto& [name, bytes] : samples) {
    EXPECT_EQ(StatCache::Decode(bytes, dataset_, "/data").has_value(), name.starts_with("ok-")) << name;
  }
}

TEST_F(StatCacheTest, CacheKeepsStatsAndTheLatestManifests) {
  const auto dir = TemporaryDirectory::Create("publish-cache");
  const PublishCache cache(JoinPath(dir->path(), "below/it"));
  EXPECT_FALSE(cache.LoadStats(dataset_, "/data").has_value());
  ASSERT_TRUE(cache.SaveStats(dataset_, "/data", StatCache::Of(MakeScan(), manifest_, {})).ok());
  EXPECT_TRUE(cache.LoadStats(dataset_, "/data").has_value());
  EXPECT_FALSE(cache.LoadStats(dataset_, "/data2").has_value());

  for (int i = 0; i < 20; ++i) {
    const std::string bytes = "manifest " + std::to_string(i);
    ASSERT_TRUE(cache.SaveManifest(Sha256::Of(bytes), bytes).ok());
  }
  size_t kept = 0;
  for (int i = 0; i < 20; ++i) {
    kept += cache.LoadManifest(Sha256::Of("manifest " + std::to_string(i))).has_value();
  }
  EXPECT_EQ(kept, PublishCache::kMaxManifests);
}

TEST_F(StatCacheTest, CacheWithoutADirectoryKeepsNothing) {
  const PublishCache cache("");
  EXPECT_TRUE(cache.SaveManifest(manifest_, "x").ok());
  EXPECT_FALSE(cache.LoadManifest(manifest_).has_value());
}

}  // namespace
}  // namespace aetherfs
