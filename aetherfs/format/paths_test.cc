#include "aetherfs/format/paths.h"

#include <algorithm>
#include <vector>

#include "aetherfs/base/status.h"
#include "aetherfs/format/manifest.h"
#include "aetherfs/format/testing/samples.h"
#include "gmock/gmock.h"

namespace aetherfs {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::vector<std::string> Components(const std::string& path) {
  std::vector<std::string> components(1);
  for (const char c : path) {
    if (c == '/') {
      components.emplace_back();
    } else {
      components.back() += c;
    }
  }
  return components;
}

int Sign(int value) { return (value > 0) - (value < 0); }

TEST(PathsTest, OrderIsByComponents) {
  SeededSequence random(1);
  std::vector<std::string> paths;
  for (int i = 0; i < 300; ++i) {
    std::string path = i % 2 == 0 ? "common/prefix/" : "";
    for (size_t n = random.Below(12); n > 0; --n) path += "ab/\x01\xff-"[random.Below(6)];
    paths.push_back(path);
  }
  for (const std::string& a : paths) {
    for (const std::string& b : paths) {
      const auto x = Components(a), y = Components(b);
      EXPECT_EQ(Sign(ComparePaths(a, b)), x < y ? -1 : x > y ? 1 : 0) << a << " " << b;
    }
  }
}

TEST(PathsTest, ADirectoryComesRightBeforeWhatItHolds) {
  std::vector<std::string> paths = {"a.txt", "a/b", "a", "a-b", "a/b/c", "b"};
  std::sort(paths.begin(), paths.end(),
            [](const auto& x, const auto& y) { return ComparePaths(x, y) < 0; });
  EXPECT_THAT(paths, ElementsAre("a", "a/b", "a/b/c", "a-b", "a.txt", "b"));
}

TEST(PathsTest, CommonPrefixesAreFoundAtEveryLength) {
  const std::string text = "0123456789abcdefghij";
  for (size_t size = 0; size <= text.size(); ++size) {
    EXPECT_EQ(CommonPrefixSize(text, text.substr(0, size)), size);
    EXPECT_EQ(CommonPrefixSize(text.substr(0, size) + "XYZ", text), size);
  }
}

TEST(PathsTest, CleanRelativePathsAreValid) {
  for (const std::string& path :
       {std::string("a"), std::string("a/b/c"), std::string("..."), std::string(".hidden"),
        std::string("a b\n"), std::string("naïve/€/𝄞"), std::string(255, 'x'), std::string("a..b/..c")}) {
    EXPECT_TRUE(ValidatePath(path).ok()) << path;
  }
  std::string longest;
  while (longest.size() < kMaxPathSize) longest += std::string(15, 'x') + "/";
  longest.back() = 'x';
  EXPECT_TRUE(ValidatePath(longest).ok());
}

TEST(PathsTest, AnythingElseIsRefusedAndNamed) {
  const struct {
    std::string path, problem;
  } kCases[] = {
      {"", "is empty"},
      {"/a", "empty component"},
      {"a/", "empty component"},
      {"a//b", "empty component"},
      {"/", "empty component"},
      {".", "'.' or '..'"},
      {"..", "'.' or '..'"},
      {"a/../b", "'.' or '..'"},
      {"a/./b", "'.' or '..'"},
      {"a/..", "'.' or '..'"},
      {std::string("a\0b", 3), "NUL"},
      {"a\xff", "UTF-8"},
      {"a/\xed\xa0\x80/c", "UTF-8"},
      {"\xc0\xae\xc0\xae/x", "UTF-8"},
      {std::string(256, 'x'), "255"},
      {std::string(4097, 'x'), "4096"},
  };
  for (const auto& [path, problem] : kCases) {
    const absl::Status status = ValidatePath(path);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << path;
    EXPECT_THAT(std::string(Message(status)), HasSubstr(problem));
    EXPECT_THAT(std::string(Message(status)), HasSubstr("path '" + Printable(path).substr(0, 20)));
  }
}

TEST(PathsTest, LookingFromAComponentOnFindsWhatLookingAtAllFinds) {
  const std::string path =
      "good/b\xff"
      "d/good";
  for (size_t from = 0; from < path.size(); ++from) {
    EXPECT_EQ(PathProblem(path, from) != nullptr, from <= 8) << from;
  }
}

}  // namespace
}  // namespace aetherfs
