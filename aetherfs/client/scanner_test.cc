#include "aetherfs/client/scanner.h"

#include <sys/stat.h>
#include <unistd.h>

#include "aetherfs/base/status.h"
#include "aetherfs/client/testing/tree.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace aetherfs {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class ScannerTest : public ::testing::Test {
 protected:
  std::string Path(const std::string& path) { return JoinPath(dir_.path(), path); }
  std::vector<std::string> Paths(const Scan& scan) {
    std::vector<std::string> paths;
    for (const ScannedEntry& entry : scan.entries) paths.push_back(entry.path);
    return paths;
  }

  TemporaryDirectory dir_ = *TemporaryDirectory::Create("scanner");
};

TEST_F(ScannerTest, EntriesComeInTheOrderOfManifests) {
  for (const char* path : {"a/z", "a.b", "a/b/c", "a-", "b"}) WriteTestFile(Path(path), "x");
  const auto scan = ScanPath(dir_.path(), nullptr, nullptr);
  ASSERT_TRUE(scan.ok()) << scan.status();
  EXPECT_THAT(Paths(*scan), ElementsAre("a", "a/b", "a/b/c", "a/z", "a-", "a.b", "b"));
  for (size_t i = 1; i < scan->entries.size(); ++i) {
    EXPECT_LT(ComparePaths(scan->entries[i - 1].path, scan->entries[i].path), 0);
  }
}

TEST_F(ScannerTest, ManyDirectoriesComeInOrderToo) {
  for (int i = 0; i < 400; ++i)
    WriteTestFile(Path("d" + std::to_string(i % 40) + "/e" + std::to_string(i)), "x");
  std::atomic<uint64_t> scanned{0};
  const auto scan = ScanPath(dir_.path(), &scanned, nullptr);
  ASSERT_TRUE(scan.ok()) << scan.status();
  EXPECT_EQ(scan->entries.size(), 440u);
  EXPECT_EQ(scan->files, 400u);
  EXPECT_EQ(scan->bytes, 400u);
  EXPECT_EQ(scanned, 400u);
  for (size_t i = 1; i < scan->entries.size(); ++i) {
    ASSERT_LT(ComparePaths(scan->entries[i - 1].path, scan->entries[i].path), 0);
  }
}

TEST_F(ScannerTest, DirectoriesAndSymlinksHaveNoTimesOrModesOfTheirOwn) {
  ASSERT_EQ(mkdir(Path("d").c_str(), 0700), 0);
  ASSERT_EQ(symlink("../elsewhere", Path("l").c_str()), 0);
  WriteTestFile(Path("x"), "1", 0750);
  const auto scan = ScanPath(dir_.path(), nullptr, nullptr);
  ASSERT_TRUE(scan.ok()) << scan.status();
  ASSERT_THAT(Paths(*scan), ElementsAre("d", "l", "x"));
  EXPECT_EQ(scan->entries[0].type, EntryType::kDirectory);
  EXPECT_EQ(scan->entries[0].mode, 0755);
  EXPECT_EQ(scan->entries[0].mtime_ns, 0);
  EXPECT_EQ(scan->entries[1].type, EntryType::kSymlink);
  EXPECT_EQ(scan->entries[1].target, "../elsewhere");
  EXPECT_EQ(scan->entries[1].mode, 0777);
  EXPECT_EQ(scan->entries[2].mode, 0750);
  EXPECT_GT(scan->entries[2].mtime_ns, 0);
}

TEST_F(ScannerTest, SymlinksAreFollowedAtTheTopOnly) {
  WriteTestFile(Path("real/f"), "x");
  ASSERT_EQ(symlink("real", Path("link").c_str()), 0);
  ASSERT_EQ(symlink("..", Path("real/up").c_str()), 0);
  const auto scan = ScanPath(Path("link"), nullptr, nullptr);
  ASSERT_TRUE(scan.ok()) << scan.status();
  EXPECT_THAT(Paths(*scan), ElementsAre("f", "up"));
}

TEST_F(ScannerTest, DeepTreesNeedFewDescriptors) {
  std::string deep = dir_.path();
  for (int i = 0; i < 300; ++i) deep += "/d";
  WriteTestFile(deep + "/f", "x");
  const auto scan = ScanPath(dir_.path(), nullptr, nullptr);
  ASSERT_TRUE(scan.ok()) << scan.status();
  EXPECT_EQ(scan->entries.size(), 301u);
}

TEST_F(ScannerTest, SingleFileKeepsTheNameThatWasGiven) {
  WriteTestFile(Path("real.csv"), "x");
  ASSERT_EQ(symlink("real.csv", Path("name.csv").c_str()), 0);
  const auto scan = ScanPath(Path("name.csv"), nullptr, nullptr);
  ASSERT_TRUE(scan.ok()) << scan.status();
  EXPECT_THAT(Paths(*scan), ElementsAre("name.csv"));
  EXPECT_TRUE(OpenScanned(*scan, scan->entries[0]).ok());
}

TEST_F(ScannerTest, WhatCannotBePublishedIsRefusedByName) {
  ASSERT_EQ(mkfifo(Path("queue").c_str(), 0600), 0);
  const auto fifo = ScanPath(dir_.path(), nullptr, nullptr);
  EXPECT_TRUE(absl::IsInvalidArgument(fifo.status()));
  EXPECT_THAT(std::string(Message(fifo.status())), HasSubstr("'queue' is a FIFO"));
  EXPECT_TRUE(absl::IsInvalidArgument(ScanPath("/dev/null", nullptr, nullptr).status()));
  EXPECT_TRUE(absl::IsNotFound(ScanPath(Path("none"), nullptr, nullptr).status()));
}

TEST_F(ScannerTest, CancelledScanEnds) {
  const std::atomic<bool> cancelled{true};
  EXPECT_TRUE(absl::IsCancelled(ScanPath(dir_.path(), nullptr, &cancelled).status()));
}

}  // namespace
}  // namespace aetherfs
