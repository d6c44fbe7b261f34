#include "aetherfs/object/file/file_object_store.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "aetherfs/base/random.h"
#include "aetherfs/base/status.h"
#include "aetherfs/base/testing/fake_clock.h"
#include "fmt/format.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace aetherfs {
namespace {

using absl::StatusCode;
using testing::ElementsAre;
namespace fs = std::filesystem;

constexpr absl::Time kNever = absl::InfiniteFuture();

class FileObjectStoreTest : public testing::Test {
 protected:
  ~FileObjectStoreTest() override { fs::remove_all(root_); }

  std::unique_ptr<FileObjectStore> Open(Clock* clock = Clock::System()) {
    auto store = FileObjectStore::Open(root_, clock);
    EXPECT_TRUE(store.ok()) << Describe(store.status());
    return *std::move(store);
  }
  size_t Temporaries() const {
    return static_cast<size_t>(
        std::distance(fs::directory_iterator(root_ + "/#tmp"), fs::directory_iterator()));
  }
  static std::vector<std::string> Keys(ObjectStore& store) {
    std::vector<std::string> keys;
    EXPECT_TRUE(ListAll(store, {}, [&](const ListedObject& object) {
                  keys.push_back(object.key);
                  return true;
                }).ok());
    return keys;
  }

  const std::string root_ =
      fmt::format("{}/aetherfs-file-{:016x}", testing::TempDir(), Random::System()->Next());
};

TEST_F(FileObjectStoreTest, ObjectsStayWhenTheStoreIsOpenedAgain) {
  ASSERT_TRUE(Open()->Put("a/b/c", {"x"}, {.if_absent = true}).ok());
  EXPECT_EQ(*ReadObject(*Open(), "a/b/c", 10), "x");
  EXPECT_EQ(Open()->Put("a/b/c", {"y"}, {.if_absent = true}).code(), StatusCode::kAlreadyExists);
}

TEST_F(FileObjectStoreTest, NoTemporaryFileIsLeftOrListed) {
  const auto store = Open();
  ASSERT_TRUE(store->Put("k", {"x"}, {.if_absent = true}).ok());
  ASSERT_TRUE(store->Put("k", {"y"}, {}).ok());
  EXPECT_FALSE(store->Put("k", {"z"}, {.if_absent = true}).ok());
  EXPECT_FALSE(store->Put("k/below", {"z"}, {}).ok());
  EXPECT_EQ(Temporaries(), 0u);
  std::ofstream(root_ + "/#tmp/1-2-3") << "half written";
  EXPECT_THAT(Keys(*store), ElementsAre("k"));
}

TEST_F(FileObjectStoreTest, TemporaryFilesOlderThanADayAreRemovedAtOpen) {
  (void)Open();
  for (const std::string name : {"old", "young"}) std::ofstream(root_ + "/#tmp/" + name) << "x";
  FakeClock clock;
  for (const auto& [name, age] : {std::pair("old", absl::Hours(25)), std::pair("young", absl::Hours(23))}) {
    const timespec time = absl::ToTimespec(clock.Now() - age);
    const timespec times[2] = {time, time};
    ASSERT_EQ(utimensat(AT_FDCWD, (root_ + "/#tmp/" + name).c_str(), times, 0), 0);
  }
  (void)Open(&clock);
  EXPECT_FALSE(fs::exists(root_ + "/#tmp/old"));
  EXPECT_TRUE(fs::exists(root_ + "/#tmp/young"));
}

TEST_F(FileObjectStoreTest, WhatIsNoRegularFileIsNoObject) {
  const auto store = Open();
  ASSERT_TRUE(store->Put("k", {"x"}, {}).ok());
  fs::create_symlink(root_ + "/k", root_ + "/link");
  fs::create_directory_symlink("/", root_ + "/everything");
  ASSERT_EQ(mkfifo((root_ + "/fifo").c_str(), 0600), 0);
  std::ofstream(root_ + "/not a key") << "x";
  EXPECT_THAT(Keys(*store), ElementsAre("k"));
  for (const char* key : {"link", "everything", "fifo"}) {
    EXPECT_EQ(store->Head(key, kNever).status().code(), StatusCode::kNotFound) << key;
    EXPECT_EQ(ReadObject(*store, key, 10).status().code(), StatusCode::kNotFound) << key;
  }
}

TEST_F(FileObjectStoreTest, ADirectoryThatWasTidiedAwayIsMadeAgain) {
  const auto store = Open();
  ASSERT_TRUE(store->Put("a/b/k", {"x"}, {}).ok());
  ASSERT_TRUE(store->Remove("a/b/k", kNever).ok());
  fs::remove_all(root_ + "/a");
  EXPECT_TRUE(store->Put("a/b/k", {"y"}, {.if_absent = true}).ok());
  EXPECT_EQ(*ReadObject(*store, "a/b/k", 10), "y");
}

TEST_F(FileObjectStoreTest, ATooLongComponentIsInvalid) {
  const auto store = Open();
  EXPECT_EQ(store->Put(std::string(256, 'n'), {"x"}, {}).code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(store->Put(std::string(256, 'n') + "/k", {"x"}, {}).code(), StatusCode::kInvalidArgument);
}

TEST_F(FileObjectStoreTest, ManySmallPiecesAreWrittenInOrder) {
  const auto store = Open();
  std::string whole;
  std::vector<std::string> parts;
  for (int i = 0; i < 1000; ++i)
    parts.push_back(std::string(static_cast<size_t>(i % 7), static_cast<char>(i)));
  std::vector<std::string_view> pieces(parts.begin(), parts.end());
  for (const std::string& part : parts) whole += part;
  ASSERT_TRUE(store->Put("k", pieces, {}).ok());
  EXPECT_EQ(*ReadObject(*store, "k", whole.size()), whole);
}

// A limit on the size of files stands for a full disk, which a test cannot have everywhere.
TEST_F(FileObjectStoreTest, AWriteThatFailsHalfWayIsResourceExhaustedAndLeavesNothing) {
  const auto store = Open();
  rlimit before = {};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const rlimit limit = {.rlim_cur = 1 << 20, .rlim_max = before.rlim_max};
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &limit), 0);
  const absl::Status status = store->Put("a/k", {std::string(2 << 20, 'x')}, {});
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
  std::signal(SIGXFSZ, handler);
  EXPECT_EQ(status.code(), StatusCode::kResourceExhausted) << Describe(status);
  EXPECT_EQ(Temporaries(), 0u);
  EXPECT_TRUE(Keys(*store).empty());
  EXPECT_TRUE(store->Put("a/k", {"small"}, {.if_absent = true}).ok());
}

// Each of several processes creates what it can; together they create everything once.
TEST_F(FileObjectStoreTest, ProcessesShareADirectory) {
  constexpr int kProcesses = 4, kKeys = 40;
  (void)Open();
  std::vector<pid_t> children;
  int results[2];
  ASSERT_EQ(pipe(results), 0);
  for (int process = 0; process < kProcesses; ++process) {
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      auto store = FileObjectStore::Open(root_);
      char won = 0;
      for (int i = 0; store.ok() && i < kKeys; ++i) {
        const absl::Status status =
            (*store)->Put(fmt::format("d{}/e/{}", i % 5, i), {"x"}, {.if_absent = true});
        if (status.ok()) ++won;
        if (!status.ok() && !absl::IsAlreadyExists(status)) _exit(1);
      }
      _exit(write(results[1], &won, 1) == 1 ? 0 : 1);
    }
    children.push_back(child);
  }
  int won = 0;
  for (const pid_t child : children) {
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
    char wins = 0;
    ASSERT_EQ(read(results[0], &wins, 1), 1);
    won += wins;
  }
  close(results[0]);
  close(results[1]);
  EXPECT_EQ(won, kKeys);
  EXPECT_EQ(Keys(*Open()).size(), static_cast<size_t>(kKeys));
}

// Killed at any moment, a writer leaves objects that are whole, or none.
TEST_F(FileObjectStoreTest, AKilledWriterLeavesNoHalfObjects) {
  (void)Open();
  for (int round = 0; round < 10; ++round) {
    int started[2];
    ASSERT_EQ(pipe(started), 0);
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      auto store = FileObjectStore::Open(root_);
      const std::string body(300'000, 'x');
      for (int i = 0; store.ok(); ++i) {
        (void)(*store)->Put(fmt::format("r{}/{}", round, i), {body}, {.if_absent = i % 2 == 0});
        if (write(started[1], "", 1) != 1) _exit(1);
      }
      _exit(1);
    }
    char byte;
    for (int i = 0; i <= round; ++i) ASSERT_EQ(read(started[0], &byte, 1), 1);
    kill(child, SIGKILL);
    ASSERT_EQ(waitpid(child, nullptr, 0), child);
    close(started[0]);
    close(started[1]);
  }
  const auto store = Open();
  size_t seen = 0;
  ASSERT_TRUE(ListAll(*store, {}, [&](const ListedObject& object) {
                EXPECT_EQ(object.size, 300'000u) << object.key;
                ++seen;
                return true;
              }).ok());
  EXPECT_GE(seen, 55u);  // 1 + 2 + … + 10 were acknowledged
}

}  // namespace
}  // namespace aetherfs
