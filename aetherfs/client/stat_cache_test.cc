#include "aetherfs/client/stat_cache.h"

#include "aetherfs/base/sha256.h"
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
