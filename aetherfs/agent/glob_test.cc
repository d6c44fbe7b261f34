#include "aetherfs/agent/glob.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace aetherfs {
namespace {

using ::testing::ElementsAre;

TEST(GlobTest, StarAndQuestionMarkStayWithinAComponent) {
  EXPECT_TRUE(GlobMatches("*.csv", "a.csv"));
  EXPECT_TRUE(GlobMatches("*.csv", ".csv"));
  EXPECT_FALSE(GlobMatches("*.csv", "d/a.csv"));
  EXPECT_TRUE(GlobMatches("a?c", "abc"));
  EXPECT_FALSE(GlobMatches("a?c", "a/c"));
  EXPECT_FALSE(GlobMatches("a?c", "ac"));
  EXPECT_TRUE(GlobMatches("d/*/x", "d/e/x"));
  EXPECT_FALSE(GlobMatches("d/*/x", "d/e/f/x"));
}

TEST(GlobTest, TwoStarsGoAcrossComponents) {
  EXPECT_TRUE(GlobMatches("**/x", "x"));
  EXPECT_TRUE(GlobMatches("**/x", "a/b/x"));
  EXPECT_FALSE(GlobMatches("**/x", "a/bx"));
  EXPECT_TRUE(GlobMatches("a/**", "a/b/c"));
  EXPECT_FALSE(GlobMatches("a/**", "b/a/c"));
  EXPECT_TRUE(GlobMatches("a/**/z", "a/z"));
  EXPECT_TRUE(GlobMatches("a/**/z", "a/b/c/z"));
  EXPECT_FALSE(GlobMatches("a/**/z", "a/b/cz"));
  EXPECT_TRUE(GlobMatches("**", "anything/at/all"));
}

TEST(GlobTest, EverythingElseIsItself) {
  EXPECT_TRUE(GlobMatches("a[b]c", "a[b]c"));
  EXPECT_FALSE(GlobMatches("a[b]c", "abc"));
  EXPECT_FALSE(GlobMatches("a", "A"));
  EXPECT_FALSE(GlobMatches("a", "ab"));
}

TEST(GlobTest, ManyStarsTakeNoExponentialTime) {
  std::string pattern;
  for (int i = 0; i < 100; ++i) pattern += "*a";
  EXPECT_FALSE(GlobMatches(pattern, std::string(4000, 'a') + "b"));
}

TEST(GlobTest, PatternsThatCanNeverMatchAreRefused) {
  EXPECT_TRUE(ValidateGlobs({"a/**", "*.csv"}, {"b"}).ok());
  for (const char* pattern : {"", "/a", "../a", "a//b", "a/./b", "a/"}) {
    const absl::Status status = ValidateGlobs({}, {pattern});
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << pattern;
  }
  EXPECT_TRUE(absl::IsInvalidArgument(ValidateGlobs({std::string(kMaxGlobSize + 1, 'a')}, {})));
  EXPECT_TRUE(absl::IsInvalidArgument(ValidateGlobs(std::vector<std::string>(kMaxGlobs + 1, "a"), {})));
}

Manifest Tree() {
  Manifest manifest;
  const auto add = [&](const char* path, EntryType type) {
    Manifest::Entry entry;
    entry.path = path;
    entry.type = type;
    manifest.entries.push_back(entry);
  };
  add("a", EntryType::kDirectory);     // 0
  add("a/b", EntryType::kDirectory);   // 1
  add("a/b/x.csv", EntryType::kFile);  // 2
  add("a/b/y.txt", EntryType::kFile);  // 3
  add("a/z.csv", EntryType::kFile);    // 4
  add("c", EntryType::kDirectory);     // 5
  add("c/q", EntryType::kSymlink);     // 6
  add("d.csv", EntryType::kFile);      // 7
  return manifest;
}

TEST(SelectEntriesTest, NoPatternsTakeEverything) {
  EXPECT_THAT(SelectEntries(Tree(), {}, {}), ElementsAre(0, 1, 2, 3, 4, 5, 6, 7));
}

TEST(SelectEntriesTest, DirectoriesAboveWhatIsTakenComeWithIt) {
  EXPECT_THAT(SelectEntries(Tree(), {"**/*.csv"}, {}), ElementsAre(0, 1, 2, 4, 7));
}

TEST(SelectEntriesTest, ADirectoryStandsForAllBelowIt) {
  EXPECT_THAT(SelectEntries(Tree(), {"a/b", "c"}, {}), ElementsAre(0, 1, 2, 3, 5, 6));
  EXPECT_THAT(SelectEntries(Tree(), {}, {"a"}), ElementsAre(5, 6, 7));
}

TEST(SelectEntriesTest, ExcludeBeatsInclude) {
  EXPECT_THAT(SelectEntries(Tree(), {"a"}, {"**/*.txt", "a/z.csv"}), ElementsAre(0, 1, 2));
}

}  // namespace
}  // namespace aetherfs
