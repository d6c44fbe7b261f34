#include "aetherfs/agent/subscription_spec.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace aetherfs {
namespace {

agent::v1::Subscription Asked(const std::string& reference, const std::string& path = "") {
  agent::v1::Subscription subscription;
  subscription.set_reference(reference);
  subscription.set_path(path);
  return subscription;
}

TEST(SubscriptionSpecTest, DefaultsAreTagLatestAndThePathOfTheReference) {
  const auto spec = SubscriptionSpec::Parse(Asked("maps/city"), 3);
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_EQ(spec->Reference(), "maps/city:latest");
  EXPECT_EQ(spec->path, "maps/city/latest");
  EXPECT_EQ(spec->keep, 3);
  EXPECT_EQ(spec->FilterHash(), "");
}

TEST(SubscriptionSpecTest, WhatWasParsedSurvivesTheProto) {
  agent::v1::Subscription asked = Asked("@scope/a:v1.4", "some/where");
  asked.set_keep(7);
  asked.add_check("/bin/true");
  asked.add_notify("reload");
  asked.add_include("b");
  asked.add_include("a/**");
  asked.add_exclude("*.tmp");
  const auto spec = SubscriptionSpec::Parse(asked, 2);
  ASSERT_TRUE(spec.ok()) << spec.status();
  const auto again = SubscriptionSpec::Parse(spec->ToProto(), 2);
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(*spec, *again);
  EXPECT_EQ(spec->FilterHash().size(), 8);
}

TEST(SubscriptionSpecTest, FilterHashTellsIncludeFromExclude) {
  SubscriptionSpec a, b;
  a.include = {"x"};
  b.exclude = {"x"};
  EXPECT_NE(a.FilterHash(), b.FilterHash());
}

TEST(SubscriptionSpecTest, WhatCanNotBeFollowedIsRefusedByName) {
  const std::string digest = "@sha256:" + std::string(64, 'a');
  for (const auto& asked :
       {Asked(""), Asked("UPPER"), Asked("a" + digest), Asked("host:7400/a"), Asked("a", "../outside"),
        Asked("a", "/absolute"), Asked("a", ".aetherfs"), Asked("a", ".aetherfs/snapshots/x"),
        Asked("a", "x//y"), Asked("a", std::string("nul\0byte", 8))}) {
    const auto spec = SubscriptionSpec::Parse(asked, 2);
    EXPECT_TRUE(absl::IsInvalidArgument(spec.status()))
        << asked.ShortDebugString() << ": " << spec.status();
  }
  agent::v1::Subscription many = Asked("a");
  many.set_keep(kMaxKeep + 1);
  EXPECT_TRUE(absl::IsInvalidArgument(SubscriptionSpec::Parse(many, 2).status()));
  agent::v1::Subscription glob = Asked("a");
  glob.add_include("/abs");
  EXPECT_TRUE(absl::IsInvalidArgument(SubscriptionSpec::Parse(glob, 2).status()));
}

TEST(SubscriptionSpecTest, PathsConflictWhenOneIsOrHoldsTheOther) {
  EXPECT_TRUE(PathsConflict("a", "a"));
  EXPECT_TRUE(PathsConflict("a", "a/b"));
  EXPECT_TRUE(PathsConflict("a/b/c", "a/b"));
  EXPECT_FALSE(PathsConflict("a", "ab"));
  EXPECT_FALSE(PathsConflict("a/b", "a/c"));
}

}  // namespace
}  // namespace aetherfs
