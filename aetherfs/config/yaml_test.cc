#include "aetherfs/config/yaml.h"

#include "aetherfs/base/status.h"
#include "aetherfs/config/nearest.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace aetherfs {
namespace {

using ::testing::AnyOf;
using ::testing::HasSubstr;

TEST(YamlTest, KeepsScalarsAsTextAndLinesForMessages) {
  const auto node = ParseYaml("a: 010\nb:\n  - yes\n  - \"quoted\"\nc:\n", "f.yaml");
  ASSERT_TRUE(node.ok()) << node.status();
  ASSERT_EQ(node->fields.size(), 3u);
  EXPECT_EQ(node->fields[0].value.scalar, "010");
  EXPECT_EQ(node->fields[1].value.items[0].scalar, "yes");
  EXPECT_EQ(node->fields[1].value.items[1].Where(), "f.yaml:4");
  EXPECT_EQ(node->fields[2].value.kind, YamlNode::Kind::kNull);
  EXPECT_EQ(node->fields[2].key_line, 5);
}

TEST(YamlTest, AliasesAreExpanded) {
  const auto node = ParseYaml("a: &x [1, 2]\nb: *x\n", "f.yaml");
  ASSERT_TRUE(node.ok()) << node.status();
  EXPECT_EQ(node->fields[1].value.items.size(), 2u);
}

TEST(YamlTest, AliasesOfAliasesAreBounded) {
  std::string text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n";
  for (int i = 1; i < 12; ++i) {
    const std::string last = "*a" + std::to_string(i - 1);
    text += "a" + std::to_string(i) + ": &a" + std::to_string(i) + " [";
    for (int j = 0; j < 10; ++j) text += (j == 0 ? "" : ", ") + last;
    text += "]\n";
  }
  const auto node = ParseYaml(text, "f.yaml");
  ASSERT_FALSE(node.ok());
  EXPECT_THAT(Describe(node.status()), HasSubstr("too large"));
}

TEST(YamlTest, GarbageIsAnErrorNeverACrash) {
  const std::string cases[] = {
      "a: &x [*x]",
      "*unknown",
      std::string(100000, '['),
      std::string(3000, '{'),
      "\t- a",
      "a: b: c",
      "%YAML 9.9\n---\na",
      "\"unterminated",
      std::string(1, '\0'),
      "\xff\xfe\xfd",
      "? [a]\n: b",
      "a: !!binary \x01",
      "!<tag",
      "&a &a &a",
      "- - - - -\n -",
      "{a: b, a: c}",
      "a: |\n\tx",
      "'",
      ": :",
      "a:\n- b\n c: d",
  };
  for (const std::string& text : cases) {
    const auto node = ParseYaml(text, "f.yaml");
    EXPECT_THAT(Describe(node.status()), AnyOf("OK", HasSubstr("INVALID_ARGUMENT: f.yaml")));
  }
}

TEST(NearestNameTest, FindsSlipsOfThePenOnly) {
  const std::vector<std::string> names = {"listen", "http-listen", "cache-memory", "keep"};
  EXPECT_EQ(NearestName("lsiten", names), "listen");
  EXPECT_EQ(NearestName("cache_memory", names), "cache-memory");
  EXPECT_EQ(NearestName("kep", names), "keep");
  EXPECT_EQ(NearestName("volume", names), "");
  EXPECT_EQ(NearestName("", names), "");
  EXPECT_EQ(NearestName(std::string(1000, 'a'), names), "");
}

}  // namespace
}  // namespace aetherfs
