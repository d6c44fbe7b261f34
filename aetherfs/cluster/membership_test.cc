#include "aetherfs/cluster/membership.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "aetherfs/base/testing/fake_clock.h"
#include "aetherfs/cluster/testing/fake_peer.h"

namespace aetherfs {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class ScriptedResolver : public HostResolver {
 public:
  absl::StatusOr<std::vector<std::string>> Resolve(const std::string& host) override {
    ++lookups;
    const auto it = hosts.find(host);
    if (it == hosts.end()) return absl::UnavailableError("no answer");
    return it->second;
  }
  std::map<std::string, std::vector<std::string>> hosts;
  int lookups = 0;
};

class MembershipTest : public ::testing::Test {
 protected:
  std::unique_ptr<Membership> Make(const std::vector<std::string>& list, const std::string& advertise = "") {
    Membership::Environment environment;
    environment.resolver = &resolver_;
    environment.connect = [this](const std::string& address) {
      auto& peer = peers_[address];
      if (peer == nullptr) peer = std::make_shared<FakePeer>(address);
      return peer;
    };
    environment.clock = &clock_;
    environment.random = Random::System();
    environment.metrics = &metrics_;
    return std::make_unique<Membership>(*ParsePeerList(list), advertise, "my id", environment);
  }

  static std::vector<std::string> Addresses(const std::vector<ClusterMember>& members) {
    std::vector<std::string> addresses;
    for (const ClusterMember& member : members) {
      addresses.push_back(member.address + (member.peer == nullptr ? " (self)" : ""));
    }
    return addresses;
  }
  static std::vector<std::string> Members(const Membership& membership) {
    return Addresses(membership.view()->members);
  }

  // All checks that are due within an interval.
  void Round(Membership& membership) {
    clock_.Advance(Membership::kCheckInterval * 11 / 10);
    membership.Tick();
  }

  FakeClock clock_;
  ScriptedResolver resolver_;
  MetricsRegistry registry_;
  ClusterMetrics metrics_{registry_};
  std::map<std::string, std::shared_ptr<FakePeer>> peers_;
};

TEST_F(MembershipTest, MembersAreThoseThatAnswer) {
  resolver_.hosts = {{"a", {"10.0.0.1"}}, {"b", {"10.0.0.2"}}, {"c", {"10.0.0.3"}}};
  peers_["c:1"] = std::make_shared<FakePeer>("c:1");
  peers_["c:1"]->health = absl::UnavailableError("connection refused");
  const auto membership = Make({"a:1", "b:1", "c:1"}, "a:1");
  EXPECT_THAT(Members(*membership), IsEmpty());
  membership->Tick();
  EXPECT_THAT(Members(*membership), ElementsAre("a:1 (self)", "b:1"));
  EXPECT_EQ(peers_.count("a:1"), 0u);  // it does not call itself
  EXPECT_TRUE(membership->IsPeerAddress("10.0.0.3"));
  EXPECT_FALSE(membership->IsPeerAddress("10.0.0.4"));
}

TEST_F(MembershipTest, ServerFindsItselfByItsId) {
  resolver_.hosts["servers"] = {"10.0.0.1", "10.0.0.2", "fd00::3"};
  peers_["10.0.0.2:7400"] = std::make_shared<FakePeer>("10.0.0.2:7400");
  peers_["10.0.0.2:7400"]->hello.set_server_id("my id");
  const auto membership = Make({"dns:servers:7400"});
  membership->Tick();
  EXPECT_THAT(Members(*membership), ElementsAre("10.0.0.1:7400", "10.0.0.2:7400 (self)", "[fd00::3]:7400"));
  Round(*membership);
  EXPECT_EQ(peers_["10.0.0.2:7400"]->checks, 1);
}

TEST_F(MembershipTest, OneLostCheckChangesNothing) {
  resolver_.hosts = {{"a", {"10.0.0.1"}}, {"b", {"10.0.0.2"}}};
  const auto membership = Make({"a:1", "b:1"}, "a:1");
  membership->Tick();
  peers_["b:1"]->health = absl::DeadlineExceededError("no answer");
  Round(*membership);
  EXPECT_THAT(Members(*membership), ElementsAre("a:1 (self)", "b:1"));
  Round(*membership);
  EXPECT_THAT(Members(*membership), ElementsAre("a:1 (self)"));
  // It comes back after two answers, and says hello again: it may be another version.
  peers_["b:1"]->health = absl::OkStatus();
  peers_["b:1"]->hello.set_protocol(1);
  Round(*membership);
  EXPECT_THAT(Members(*membership), ElementsAre("a:1 (self)"));
  Round(*membership);
  ASSERT_THAT(Members(*membership), ElementsAre("a:1 (self)", "b:1"));
  EXPECT_EQ(membership->view()->members[1].protocol, 1u);
  EXPECT_EQ(peers_["b:1"]->hellos, 2);
}

TEST_F(MembershipTest, ServerThatSaysThatItGoesIsGoneAtOnce) {
  resolver_.hosts = {{"a", {"10.0.0.1"}}, {"b", {"10.0.0.2"}}};
  const auto membership = Make({"a:1", "b:1"}, "a:1");
  membership->Tick();
  peers_["b:1"]->health = absl::FailedPreconditionError("not serving");
  Round(*membership);
  EXPECT_THAT(Members(*membership), ElementsAre("a:1 (self)"));
}

TEST_F(MembershipTest, SuspectIsCheckedAtOnceAndGoesWithThatFailure) {
  resolver_.hosts = {{"a", {"10.0.0.1"}}, {"b", {"10.0.0.2"}}};
  const auto membership = Make({"a:1", "b:1"}, "a:1");
  membership->Tick();
  membership->Suspect("b:1");
  membership->Tick();  // it answers: an error of one call was not its end
  EXPECT_THAT(Members(*membership), ElementsAre("a:1 (self)", "b:1"));
  peers_["b:1"]->health = absl::UnavailableError("connection refused");
  membership->Suspect("b:1");
  membership->Tick();
  EXPECT_THAT(Members(*membership), ElementsAre("a:1 (self)"));
  membership->Suspect("nobody:1");
}

TEST_F(MembershipTest, NamesAreLookedUpAgain) {
  resolver_.hosts["servers"] = {"10.0.0.1", "10.0.0.2"};
  const auto membership = Make({"dns:servers:7400"}, "10.0.0.1:7400");
  membership->Tick();
  resolver_.hosts["servers"] = {"10.0.0.1", "10.0.0.3"};
  clock_.Advance(Membership::kResolveInterval);
  membership->Tick();
  EXPECT_THAT(Members(*membership), ElementsAre("10.0.0.1:7400 (self)", "10.0.0.3:7400"));
  EXPECT_FALSE(membership->IsPeerAddress("10.0.0.2"));
  // Nobody can tell: what was known stays.
  resolver_.hosts.clear();
  clock_.Advance(Membership::kResolveInterval);
  membership->Tick();
  EXPECT_THAT(Members(*membership), ElementsAre("10.0.0.1:7400 (self)", "10.0.0.3:7400"));
  EXPECT_TRUE(membership->IsPeerAddress("10.0.0.3"));
}

TEST_F(MembershipTest, StrangerHasNamesLookedUpSoon) {
  resolver_.hosts["servers"] = {"10.0.0.1"};
  const auto membership = Make({"dns:servers:7400"}, "10.0.0.1:7400");
  membership->Tick();
  resolver_.hosts["servers"] = {"10.0.0.1", "10.0.0.2"};
  EXPECT_FALSE(membership->IsPeerAddress("10.0.0.2"));
  membership->Tick();
  EXPECT_EQ(resolver_.lookups, 1);  // not for each of many strangers
  clock_.Advance(Membership::kResolveSoon);
  membership->Tick();
  EXPECT_TRUE(membership->IsPeerAddress("10.0.0.2"));
}

TEST_F(MembershipTest, PreviousMembersAreThoseBeforeTheChange) {
  resolver_.hosts["servers"] = {"10.0.0.1", "10.0.0.2"};
  const auto membership = Make({"dns:servers:7400"}, "10.0.0.1:7400");
  membership->Tick();
  // It has just started: to it the cluster was the others.
  EXPECT_THAT(Addresses(membership->view()->previous), ElementsAre("10.0.0.2:7400"));
  EXPECT_EQ(membership->view()->previous_until, clock_.Now() + Membership::kHandoverTime);

  clock_.Advance(absl::Minutes(1));
  resolver_.hosts["servers"] = {"10.0.0.1", "10.0.0.2", "10.0.0.3"};
  membership->Tick();
  EXPECT_THAT(Addresses(membership->view()->previous), ElementsAre("10.0.0.1:7400 (self)", "10.0.0.2:7400"));
  // What follows at once belongs to the same change.
  clock_.Advance(absl::Seconds(1));
  peers_["10.0.0.3:7400"]->health = absl::FailedPreconditionError("not serving");
  Round(*membership);
  EXPECT_THAT(Members(*membership), ElementsAre("10.0.0.1:7400 (self)", "10.0.0.2:7400"));
  EXPECT_THAT(Addresses(membership->view()->previous), ElementsAre("10.0.0.1:7400 (self)", "10.0.0.2:7400"));
}

TEST_F(MembershipTest, ThreadKeepsTheViewCurrent) {
  resolver_.hosts = {{"a", {"10.0.0.1"}}, {"b", {"10.0.0.2"}}};
  Membership::Environment environment;
  environment.resolver = &resolver_;
  environment.connect = [](const std::string& address) { return std::make_shared<FakePeer>(address); };
  environment.clock = Clock::System();
  environment.random = Random::System();
  environment.metrics = &metrics_;
  Membership membership(*ParsePeerList({"a:1", "b:1"}), "a:1", "my id", environment);
  membership.Start();
  while (membership.view()->members.size() < 2) std::this_thread::yield();
  membership.Stop();
}

}  // namespace
}  // namespace aetherfs
