#include "aetherfs/base/reference.h"

#include "gtest/gtest.h"

namespace aetherfs {
namespace {

const std::string kHex(64, 'a');

TEST(ReferenceTest, ReadsAsDockerUsersExpect) {
  const Reference plain = *Reference::Parse("maxmind/city");
  EXPECT_EQ(plain.host, "");
  EXPECT_EQ(plain.dataset.str(), "maxmind/city");
  EXPECT_EQ(plain.TagOrDefault(), "latest");

  const Reference full = *Reference::Parse("cache.example:7400/@geo/maxmind/city:v1.4@sha256:" + kHex);
  EXPECT_EQ(full.host, "cache.example:7400");
  EXPECT_EQ(full.dataset.str(), "@geo/maxmind/city");
  EXPECT_EQ(full.tag, "v1.4");
  EXPECT_EQ(full.digest->Hex(), kHex);
  EXPECT_EQ(full.ToString(), "cache.example:7400/@geo/maxmind/city:v1.4@sha256:" + kHex);

  EXPECT_EQ(Reference::Parse("localhost/x")->host, "localhost");
  EXPECT_EQ(Reference::Parse("a.b")->dataset.str(), "a.b");
  EXPECT_EQ(Reference::Parse("x:y")->tag, "y");
  EXPECT_EQ(Reference::Parse("x@sha256:" + kHex)->ToString(), "x@sha256:" + kHex);
}

TEST(ReferenceTest, RefusesWhatIsNotAReference) {
  for (
      const char* text :
      {"",          "/",   "a//b",   "A",       "a/b/c/d/e", "a:",           ":x",          "a:b:c",
       "a/",        "-a",  ".a",     "a b",     "@s",        "@s/a/b/c/d/e", "@/a",         "a@sha256:12",
       "a@sha256:", "..",  "a/../b", "../b",    "./b",       "a..b/c",       "host:port/a", "host:999999/a",
       "a:\xff",    "a\n", "h.x/",   "\xc3\xa4"}) {
    EXPECT_EQ(Reference::Parse(text).status().code(), absl::StatusCode::kInvalidArgument) << text;
  }
  EXPECT_FALSE(Reference::Parse("host.x:65536/a").ok());
  EXPECT_FALSE(Reference::Parse("host.x:0/a").ok());
  EXPECT_FALSE(DatasetName::Parse(std::string(65, 'a')).ok());
  EXPECT_TRUE(DatasetName::Parse(std::string(64, 'a')).ok());
  EXPECT_FALSE(ValidateTag(std::string(129, 'a')).ok());
  EXPECT_TRUE(ValidateTag(std::string(128, 'a')).ok());
}

TEST(DatasetNameTest, EscapingIsOnePathComponentAndBack) {
  const DatasetName name = *DatasetName::Parse("@geo/maxmind/city_v2.x");
  EXPECT_EQ(name.Escaped(), "%40geo%2Fmaxmind%2Fcity_v2.x");
  EXPECT_EQ(*DatasetName::Unescape(name.Escaped()), name);
  EXPECT_FALSE(DatasetName::Unescape("a%2fb").ok());
  EXPECT_FALSE(DatasetName::Unescape("..").ok());
}

}  // namespace
}  // namespace aetherfs
