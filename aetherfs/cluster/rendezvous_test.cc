#include "aetherfs/cluster/rendezvous.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>

namespace aetherfs {
namespace {

using ::testing::ElementsAre;

std::vector<std::string> Servers(int count) {
  std::vector<std::string> members;
  for (int i = 0; i < count; ++i) members.push_back("10.0.0." + std::to_string(i) + ":7400");
  return members;
}

PartKey Key(int i) { return {"datasets/geo/blocks/" + std::to_string(i / 3), static_cast<uint64_t>(i % 3)}; }

std::string OwnerOf(const std::vector<std::string>& members, const PartKey& key) {
  return members[RankMembers(members, key).front()];
}

TEST(RankMembersTest, RanksAreFixed) {
  // Changing these changes who owns what in every cluster that is updated one server at a time: then
  // kRankingVersion has to change too.
  EXPECT_THAT(RankMembers({"a:1", "b:1", "c:1"}, {"datasets/x/blocks/1", 0}), ElementsAre(1, 0, 2));
  EXPECT_THAT(RankMembers({"a:1", "b:1", "c:1"}, {"datasets/x/blocks/1", 1}), ElementsAre(0, 1, 2));
  EXPECT_THAT(RankMembers({"a:1", "b:1", "c:1"}, {"datasets/x/blocks/2", 0}), ElementsAre(0, 1, 2));
  EXPECT_THAT(RankMembers({}, {"datasets/x/blocks/1", 0}), ElementsAre());
}

TEST(RankMembersTest, OrderOfTheListDoesNotMatter) {
  std::vector<std::string> one = Servers(7);
  std::vector<std::string> other(one.rbegin(), one.rend());
  for (int i = 0; i < 100; ++i) {
    const std::vector<size_t> a = RankMembers(one, Key(i));
    const std::vector<size_t> b = RankMembers(other, Key(i));
    for (size_t rank = 0; rank < a.size(); ++rank) EXPECT_EQ(one[a[rank]], other[b[rank]]);
  }
}

TEST(RankMembersTest, SharesAreEven) {
  const std::vector<std::string> members = Servers(5);
  std::map<std::string, int> owned;
  for (int i = 0; i < 10'000; ++i) ++owned[OwnerOf(members, Key(i))];
  for (const std::string& member : members) EXPECT_NEAR(owned[member], 2000, 200) << member;
}

TEST(RankMembersTest, MemberThatGoesMovesOnlyItsShare) {
  const std::vector<std::string> before = Servers(5);
  const std::vector<std::string> after(before.begin(), before.end() - 1);
  int moved = 0;
  for (int i = 0; i < 5000; ++i) {
    const std::string owner = OwnerOf(before, Key(i));
    if (owner == before.back()) {
      ++moved;
      // It goes to whoever was the next in rank.
      EXPECT_EQ(OwnerOf(after, Key(i)), before[RankMembers(before, Key(i))[1]]);
    } else {
      EXPECT_EQ(OwnerOf(after, Key(i)), owner);
    }
  }
  EXPECT_NEAR(moved, 1000, 150);
}

}  // namespace
}  // namespace aetherfs
