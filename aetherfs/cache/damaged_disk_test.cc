// DiskPartCache on a real directory, and what becomes of that behind its back.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "aetherfs/cache/disk_part_cache.h"
#include "aetherfs/cache/part_file.h"
#include "aetherfs/cache/part_files.h"
#include "aetherfs/cache/testing/any_part_source.h"
#include "aetherfs/os/file.h"

namespace aetherfs {
namespace {

constexpr uint64_t kBlock = DiskPartCache::kDiskBlock;
const PartSource::Options kCachedOnly{.scope = PartScope::kCached};

PartKey Key(uint64_t object) { return {"object" + std::to_string(object), 0}; }

class DamagedDiskTest : public ::testing::Test {
 protected:
  void Start() {
    cache_.reset();  // and its lock
    auto files = DirectoryPartFiles::Open(directory_.path());
    ASSERT_TRUE(files.ok()) << files.status();
    const DiskPartCacheOptions options{.size_bytes = 100 * kBlock};
    cache_ = std::make_unique<DiskPartCache>(*std::move(files), options, &below_);
    cache_->AwaitIdle();
  }
  std::string PathOf(const PartKey& key) const {
    const std::string id = PartFileId::Of(key).Hex();
    return JoinPath(directory_.path(), "v1/" + id.substr(0, 2) + "/" + id);
  }
  static void Change(const std::string& path, const std::function<void(std::string&)>& change) {
    std::string bytes = *ReadWholeFile(path, kPartSize);
    change(bytes);
    ASSERT_TRUE(WriteFileAtomically(path, bytes).ok());
  }

  GivenPart Get(const PartKey& key, const PartSource::Options& options = {}) {
    return GetPart(*cache_, key, options);
  }
  // Has it written.
  void Load(const PartKey& key) {
    EXPECT_EQ(Get(key).bytes(), below_.Bytes(key));
    cache_->AwaitIdle();
  }
  bool IsKept(const PartKey& key) { return Get(key, kCachedOnly).part.ok(); }

  const TemporaryDirectory directory_ = *TemporaryDirectory::Create("disk-cache");
  AnyPartSource below_;
  std::unique_ptr<DiskPartCache> cache_;
};

TEST_F(DamagedDiskTest, DamageIsFoundOutCountedAndMadeGood) {
  const size_t header = PartFileHeaderSize(Key(1));
  const std::vector<std::pair<std::string, std::function<void(std::string&)>>> damages = {
      {"a flipped byte", [&](std::string& bytes) { bytes[header + 500] ^= 1; }},
      {"a flipped byte in the header", [](std::string& bytes) { bytes[10] ^= 1; }},
      {"cut short", [](std::string& bytes) { bytes.resize(bytes.size() - 1); }},
      {"only a header", [&](std::string& bytes) { bytes.resize(header); }},
      {"nothing", [](std::string& bytes) { bytes.clear(); }},
      {"zeros, as after a power cut", [](std::string& bytes) { bytes.assign(bytes.size(), '\0'); }},
      {"the file of another part",
       [&](std::string& bytes) { bytes = *ReadWholeFile(PathOf(Key(2)), kPartSize); }},
  };
  for (const bool restarted : {false, true}) {
    for (const auto& [name, damage] : damages) {
      SCOPED_TRACE(name + (restarted ? ", found after a restart" : ""));
      Start();
      Load(Key(1));
      Load(Key(2));
      ASSERT_TRUE(IsKept(Key(1)));
      Change(PathOf(Key(1)), damage);
      if (restarted) Start();
      const int count = below_.count;
      EXPECT_EQ(Get(Key(1)).bytes(), below_.Bytes(Key(1)));
      EXPECT_EQ(below_.count, count + 1);
      EXPECT_EQ(cache_->stats().corrupt, 1u);
      cache_->AwaitIdle();
      Load(Key(1));
      EXPECT_EQ(Get(Key(1), kCachedOnly).bytes(), below_.Bytes(Key(1)));
      EXPECT_TRUE(IsKept(Key(2)));
    }
  }
}

TEST_F(DamagedDiskTest, FilesThatWereTakenAwayComeFromBelow) {
  Start();
  Load(Key(1));
  std::filesystem::remove(PathOf(Key(1)));
  Load(Key(1));
  EXPECT_EQ(cache_->stats().failures, 1u);
  Load(Key(1));
  EXPECT_TRUE(IsKept(Key(1)));
}

TEST_F(DamagedDiskTest, FilesOnDiskTakeNoMoreThanTheSize) {
  Start();
  for (uint64_t i = 0; i < 200; ++i) Load(Key(i));
  uint64_t bytes = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(directory_.path())) {
    if (entry.is_regular_file() && entry.path().filename() != "lock")
      bytes += (entry.file_size() + 4095) / 4096 * 4096;
  }
  EXPECT_LE(bytes, 100 * kBlock);
  EXPECT_EQ(bytes, cache_->stats().used_bytes);
}

}  // namespace
}  // namespace aetherfs
