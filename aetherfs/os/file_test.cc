#include "aetherfs/os/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "aetherfs/base/status.h"
#include "gtest/gtest.h"

namespace aetherfs {
namespace {

class FileTest : public ::testing::Test {
 protected:
  std::string Path(std::string_view name) const { return JoinPath(directory_.path(), name); }
  TemporaryDirectory directory_ = *TemporaryDirectory::Create("aetherfs-file-test-");
};

TEST_F(FileTest, AtomicWriteReplacesWholeContentsAndLeavesNothingElse) {
  ASSERT_TRUE(WriteFileAtomically(Path("f"), "old contents").ok());
  ASSERT_TRUE(WriteFileAtomically(Path("f"), "new").ok());
  EXPECT_EQ(*ReadWholeFile(Path("f"), 100), "new");
  EXPECT_EQ(*ListDirectory(directory_.path()), std::vector<std::string>{"f"});
}

TEST_F(FileTest, ReadRefusesMoreThanAllowedAndNamesTheFile) {
  ASSERT_TRUE(WriteFileAtomically(Path("big"), std::string(5000, 'x')).ok());
  EXPECT_TRUE(ReadWholeFile(Path("big"), 5000).ok());
  const absl::Status status = ReadWholeFile(Path("big"), 4999).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_NE(Message(status).find("big"), std::string_view::npos);
}

TEST_F(FileTest, ReadsFilesThatTellNoSize) {
  const absl::StatusOr<std::string> status = ReadWholeFile("/proc/self/status", 1 << 20);
  ASSERT_TRUE(status.ok());
  EXPECT_NE(status->find("Name:"), std::string::npos);
}

TEST_F(FileTest, MissingFileIsNotFound) {
  EXPECT_EQ(ReadWholeFile(Path("none"), 10).status().code(), absl::StatusCode::kNotFound);
  EXPECT_FALSE(Exists(Path("none")));
  EXPECT_TRUE(RemoveFile(Path("none")).ok());
  EXPECT_TRUE(RemoveTree(Path("none")).ok());
}

TEST_F(FileTest, RemoveTreeTakesReadOnlyDirectoriesAndNeverFollowsSymlinks) {
  ASSERT_TRUE(MakeDirectories(Path("keep")).ok());
  ASSERT_TRUE(WriteFileAtomically(Path("keep/precious"), "p").ok());
  ASSERT_TRUE(MakeDirectories(Path("tree/a/b")).ok());
  ASSERT_TRUE(WriteFileAtomically(Path("tree/a/b/f"), "x").ok());
  ASSERT_EQ(symlink(Path("keep").c_str(), Path("tree/a/link").c_str()), 0);
  ASSERT_EQ(chmod(Path("tree/a/b").c_str(), 0555), 0);
  ASSERT_EQ(chmod(Path("tree/a").c_str(), 0), 0);
  ASSERT_TRUE(RemoveTree(Path("tree")).ok());
  EXPECT_FALSE(Exists(Path("tree")));
  EXPECT_TRUE(Exists(Path("keep/precious")));
}

TEST_F(FileTest, ReplaceSymlinkSwitchesAndExchangeSwaps) {
  ASSERT_TRUE(ReplaceSymlink("one", Path("link")).ok());
  ASSERT_TRUE(ReplaceSymlink("two", Path("link")).ok());
  EXPECT_EQ(*ReadSymlink(Path("link")), "two");
  ASSERT_TRUE(MakeDirectories(Path("d1")).ok());
  ASSERT_TRUE(WriteFileAtomically(Path("d1/x"), "1").ok());
  ASSERT_TRUE(MakeDirectories(Path("d2")).ok());
  ASSERT_TRUE(ExchangeNames(Path("d1"), Path("d2")).ok());
  EXPECT_TRUE(Exists(Path("d2/x")));
  EXPECT_FALSE(Exists(Path("d1/x")));
}

TEST_F(FileTest, CopyRangeCopiesExactlyTheRangeAndNoticesAShortSource) {
  ASSERT_TRUE(WriteFileAtomically(Path("from"), "0123456789").ok());
  const UniqueFd from = *OpenFile(Path("from"), O_RDONLY);
  const UniqueFd to = *OpenFile(Path("to"), O_RDWR | O_CREAT, 0644);
  ASSERT_TRUE(CopyRange(from.get(), 3, to.get(), 2, 4).ok());
  EXPECT_EQ(*ReadWholeFile(Path("to"), 100), std::string("\0\0", 2) + "3456");
  EXPECT_EQ(CopyRange(from.get(), 8, to.get(), 0, 5).code(), absl::StatusCode::kDataLoss);
}

TEST_F(FileTest, SecondLockFailsAndNamesTheHolder) {
  absl::StatusOr<FileLock> first = FileLock::Acquire(Path("lock"));
  ASSERT_TRUE(first.ok());
  const absl::Status second = FileLock::Acquire(Path("lock")).status();
  EXPECT_EQ(second.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_NE(Message(second).find(std::to_string(getpid())), std::string_view::npos);
  {
    const FileLock dropped = *std::move(first);
  }
  EXPECT_TRUE(FileLock::Acquire(Path("lock")).ok());
}

TEST_F(FileTest, WritingToAFullDeviceIsResourceExhausted) {
  const UniqueFd full = *OpenFile("/dev/full", O_WRONLY);
  EXPECT_EQ(WriteAt(full.get(), 0, "x").code(), absl::StatusCode::kResourceExhausted);
}

TEST(PathTest, JoinAndParent) {
  EXPECT_EQ(JoinPath("a", "b"), "a/b");
  EXPECT_EQ(JoinPath("a/", "b"), "a/b");
  EXPECT_EQ(JoinPath("", "b"), "b");
  EXPECT_EQ(ParentPath("/a/b/"), "/a");
  EXPECT_EQ(ParentPath("/a"), "/");
  EXPECT_EQ(ParentPath("a"), "");
}

}  // namespace
}  // namespace aetherfs
