#include "aetherfs/object/s3/credentials.h"

#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/synchronization/notification.h"
#include "aetherfs/base/random.h"
#include "aetherfs/base/status.h"
#include "aetherfs/base/testing/fake_clock.h"
#include "aetherfs/object/s3/profile.h"
#include "aetherfs/object/testing/http_server.h"
#include "fmt/format.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace aetherfs {
namespace {

using absl::StatusCode;
using testing::HasSubstr;
using Reply = TestHttpServer::Reply;
using Request = TestHttpServer::Request;

constexpr absl::Time kNever = absl::InfiniteFuture();

class CredentialsTest : public testing::Test {
 protected:
  CredentialsTest() {
    std::filesystem::create_directories(directory_);
    variables_["HOME"] = directory_;
    variables_["AWS_EC2_METADATA_DISABLED"] = "true";
  }
  ~CredentialsTest() override { std::filesystem::remove_all(directory_); }

  std::string Write(const std::string& name, const std::string& content) {
    const std::string path = directory_ + "/" + name;
    std::filesystem::create_directories(std::filesystem::path(path).parent_path());
    std::ofstream(path) << content;
    return path;
  }
  Environment environment() {
    return [this](const std::string& name) -> std::optional<std::string> {
      const auto found = variables_.find(name);
      return found == variables_.end() ? std::nullopt : std::optional(found->second);
    };
  }
  absl::StatusOr<Credentials> Chain() {
    return DefaultCredentials(environment(), Clock::System())->Get(kNever);
  }

  const std::string directory_ =
      fmt::format("{}/aetherfs-credentials-{:016x}", testing::TempDir(), Random::System()->Next());
  std::map<std::string, std::string> variables_;
};

std::string JsonBody(const std::string& id) {
  return fmt::format(R"({{"Code":"Success","AccessKeyId":"{}","SecretAccessKey":"s","Token":"t",)"
                     R"("Expiration":"2099-01-02T03:04:05Z"}})",
                     id);
}
const absl::Time kExpiration = absl::FromCivil(absl::CivilSecond(2099, 1, 2, 3, 4, 5), absl::UTCTimeZone());

TEST_F(CredentialsTest, TheEnvironmentComesFirst) {
  Write(".aws/credentials", "[default]\naws_access_key_id=file\naws_secret_access_key=s\n");
  variables_["AWS_ACCESS_KEY_ID"] = "id";
  EXPECT_EQ(Chain().status().code(), StatusCode::kFailedPrecondition);  // half of it is a mistake
  variables_["AWS_SECRET_ACCESS_KEY"] = "secret";
  variables_["AWS_SESSION_TOKEN"] = "token";
  EXPECT_EQ(*Chain(), (Credentials{"id", "secret", "token"}));
}

TEST_F(CredentialsTest, ProfilesAreReadFromBothFiles) {
  Write(".aws/credentials",
        "# comment\n[default]\naws_access_key_id = d-id\naws_secret_access_key=d-secret\n\n"
        "[ other ]\n aws_access_key_id=nested\naws_access_key_id=o-id # "
        "mine\r\nAWS_SECRET_ACCESS_KEY=o=secret/+\n"
        "aws_session_token=o-token\n");
  Write(".aws/config",
        "[default]\nregion=d-region\n[profile other]\nregion = o-region\ns3 =\n  max_concurrent_requests = "
        "20\n"
        "aws_access_key_id=loses\n");
  EXPECT_EQ(*Chain(), (Credentials{"d-id", "d-secret"}));
  EXPECT_EQ(ProfileRegion(environment()), "d-region");
  variables_["AWS_PROFILE"] = "other";
  EXPECT_EQ(*Chain(), (Credentials{"o-id", "o=secret/+", "o-token"}));
  EXPECT_EQ(ProfileRegion(environment()), "o-region");
}

TEST_F(CredentialsTest, TheFilesMayLieElsewhere) {
  variables_["AWS_SHARED_CREDENTIALS_FILE"] =
      Write("elsewhere", "[default]\naws_access_key_id=id\naws_secret_access_key=secret");
  EXPECT_EQ(*Chain(), (Credentials{"id", "secret"}));
}

TEST_F(CredentialsTest, ANamedProfileThatCannotBeUsedIsAnError) {
  variables_["AWS_PROFILE"] = "sso";
  EXPECT_THAT(Describe(Chain().status()), HasSubstr("'sso', which does not exist"));
  Write(".aws/config", "[profile sso]\nsso_session = x\n");
  EXPECT_EQ(Chain().status().code(), StatusCode::kFailedPrecondition);
  EXPECT_THAT(Describe(Chain().status()), HasSubstr("supported are"));
}

TEST_F(CredentialsTest, NoneAtAllIsUnauthenticatedAndSaysWhatWasTried) {
  const absl::Status status = Chain().status();
  EXPECT_EQ(status.code(), StatusCode::kUnauthenticated);
  for (const char* part : {"AWS_ACCESS_KEY_ID", "shared credentials", "AWS_WEB_IDENTITY_TOKEN_FILE",
                           "AWS_CONTAINER_CREDENTIALS", "AWS_EC2_METADATA_DISABLED"}) {
    EXPECT_THAT(Describe(status), HasSubstr(part));
  }
}

TEST_F(CredentialsTest, WebIdentityIsExchangedAtSts) {
  TestHttpServer sts([](const Request&) {
    return Reply{
        .body =
            "<AssumeRoleWithWebIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">"
            "<AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>id</AccessKeyId>"
            "<SecretAccessKey>secret</SecretAccessKey><SessionToken>token</SessionToken>"
            "<Expiration>2099-01-02T03:04:05Z</Expiration></Credentials>"
            "</AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"};
  });
  variables_["AWS_ENDPOINT_URL_STS"] = sts.url() + "/";
  variables_["AWS_WEB_IDENTITY_TOKEN_FILE"] = Write("token", "e30.e30.x+y\n");
  EXPECT_EQ(Chain().status().code(), StatusCode::kFailedPrecondition);
  variables_["AWS_ROLE_ARN"] = "arn:aws:iam::1:role/r";
  EXPECT_EQ(*Chain(), (Credentials{"id", "secret", "token", kExpiration}));
  const Request request = sts.requests().back();
  EXPECT_EQ(request.method, "POST");
  EXPECT_EQ(
      request.body,
      "Action=AssumeRoleWithWebIdentity&RoleArn=arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fr&RoleSessionName=aetherfs&"
      "Version=2011-06-15&WebIdentityToken=e30.e30.x%2By");
  // The same through a profile.
  Write(".aws/config", fmt::format("[profile p]\nrole_arn=arn:p\nweb_identity_token_file={}/token\n"
                                   "role_session_name=me\n",
                                   directory_));
  variables_["AWS_PROFILE"] = "p";
  EXPECT_EQ(Chain()->access_key_id, "id");
  EXPECT_THAT(sts.requests().back().body, HasSubstr("RoleArn=arn%3Ap&RoleSessionName=me"));
}

TEST_F(CredentialsTest, StsErrorsAreTold) {
  int status = 403;
  std::string body = "<ErrorResponse><Error><Code>AccessDenied</Code></Error></ErrorResponse>";
  TestHttpServer sts([&](const Request&) { return Reply{.status = status, .body = body}; });
  variables_["AWS_ENDPOINT_URL_STS"] = sts.url();
  variables_["AWS_WEB_IDENTITY_TOKEN_FILE"] = Write("token", "x");
  variables_["AWS_ROLE_ARN"] = "arn";
  EXPECT_EQ(Chain().status().code(), StatusCode::kPermissionDenied);
  EXPECT_THAT(Describe(Chain().status()), HasSubstr("AccessDenied"));
  status = 500;
  EXPECT_EQ(Chain().status().code(), StatusCode::kUnavailable);
  status = 200;
  body = "<html/>";
  EXPECT_EQ(Chain().status().code(), StatusCode::kUnavailable);
  variables_["AWS_WEB_IDENTITY_TOKEN_FILE"] = "/nowhere/token";
  EXPECT_EQ(Chain().status().code(), StatusCode::kFailedPrecondition);
}

TEST_F(CredentialsTest, ContainersGiveCredentialsForAToken) {
  TestHttpServer agent([](const Request&) { return Reply{.body = JsonBody("container")}; });
  variables_["AWS_CONTAINER_CREDENTIALS_FULL_URI"] = agent.url() + "/v1/credentials?x=y";
  variables_["AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"] = Write("auth", "Bearer abc\n");
  EXPECT_EQ(*Chain(), (Credentials{"container", "s", "t", kExpiration}));
  EXPECT_EQ(agent.requests().back().target, "/v1/credentials?x=y");
  EXPECT_EQ(agent.requests().back().headers["authorization"], "Bearer abc");
  variables_["AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"] = Write("auth", "a\r\nx-evil: b");
  EXPECT_EQ(Chain().status().code(), StatusCode::kFailedPrecondition);
}

TEST_F(CredentialsTest, ContainerCredentialsInClearComeOnlyFromThisMachine) {
  for (const char* url :
       {"http://example.com/x", "http://127.evil.example/x@127.0.0.1", "ftp://127.0.0.1/",
        "http://localhost:x@example.com/", "http://127.0.0.1@example.com/", "http://169.254.170.200/"}) {
    variables_["AWS_CONTAINER_CREDENTIALS_FULL_URI"] = url;
    EXPECT_EQ(Chain().status().code(), StatusCode::kFailedPrecondition) << url;
  }
}

TEST_F(CredentialsTest, InstancesAreAskedWithASessionToken) {
  TestHttpServer metadata([](const Request& request) -> Reply {
    if (request.method == "PUT" && request.target == "/latest/api/token" &&
        request.headers.contains("x-aws-ec2-metadata-token-ttl-seconds")) {
      return {.body = "imds-token"};
    }
    if (!request.headers.contains("x-aws-ec2-metadata-token") ||
        request.headers.at("x-aws-ec2-metadata-token") != "imds-token") {
      return {.status = 401};
    }
    constexpr std::string_view kRoles = "/latest/meta-data/iam/security-credentials/";
    if (request.target == kRoles) return {.body = "my-role"};
    if (request.target == std::string(kRoles) + "my-role") return {.body = JsonBody("instance")};
    return {.status = 404};
  });
  variables_.erase("AWS_EC2_METADATA_DISABLED");
  variables_["AWS_EC2_METADATA_SERVICE_ENDPOINT"] = metadata.url();
  EXPECT_EQ(*Chain(), (Credentials{"instance", "s", "t", kExpiration}));
}

TEST_F(CredentialsTest, AnInstanceWithoutARoleOrNoInstanceIsUnauthenticated) {
  variables_.erase("AWS_EC2_METADATA_DISABLED");
  {
    TestHttpServer metadata([](const Request& request) -> Reply {
      if (request.method == "PUT") return {.body = "token"};
      return {.status = 404};
    });
    variables_["AWS_EC2_METADATA_SERVICE_ENDPOINT"] = metadata.url();
    EXPECT_EQ(Chain().status().code(), StatusCode::kUnauthenticated);
  }
  EXPECT_EQ(Chain().status().code(), StatusCode::kUnauthenticated);  // nobody listens there any more
}

TEST_F(CredentialsTest, StrangeAnswersAreErrors) {
  std::string body;
  TestHttpServer agent([&](const Request&) { return Reply{.body = body}; });
  variables_["AWS_CONTAINER_CREDENTIALS_FULL_URI"] = agent.url();
  for (const char* strange :
       {"", "[]", "{", "{\"AccessKeyId\":1}", "{\"Code\":\"Failed\",\"Message\":\"m\"}",
        "{\"AccessKeyId\":\"a\",\"SecretAccessKey\":\"b\",\"Expiration\":\"soon\"}"}) {
    body = strange;
    EXPECT_EQ(Chain().status().code(), StatusCode::kUnavailable) << strange;
  }
}

// Gives "1", "2", … that live for an hour; fails on command; can be held.
class ScriptedSource {
 public:
  explicit ScriptedSource(FakeClock& clock) : clock_(clock) {}
  CredentialsSource source() {
    return [this](absl::Time) -> absl::StatusOr<Credentials> {
      ++calls;
      if (reached != nullptr) reached->Notify();
      if (release != nullptr) release->WaitForNotification();
      if (!error.ok()) return error;
      return Credentials{std::to_string(calls), "s", "t", clock_.Now() + absl::Hours(1)};
    };
  }
  int calls = 0;
  absl::Status error;
  absl::Notification *reached = nullptr, *release = nullptr;

 private:
  FakeClock& clock_;
};

TEST(CachingCredentialsTest, AreFetchedAgainBeforeTheyExpire) {
  FakeClock clock;
  ScriptedSource source(clock);
  CachingCredentials credentials(source.source(), &clock);
  EXPECT_EQ(credentials.Get(kNever)->access_key_id, "1");
  clock.Advance(absl::Minutes(54));
  EXPECT_EQ(credentials.Get(kNever)->access_key_id, "1");
  clock.Advance(absl::Minutes(2));
  EXPECT_EQ(credentials.Get(kNever)->access_key_id, "2");
  EXPECT_EQ(source.calls, 2);
}

TEST(CachingCredentialsTest, StayInUseWhileTheSourceFailsAndTheyAreValid) {
  FakeClock clock;
  ScriptedSource source(clock);
  CachingCredentials credentials(source.source(), &clock);
  ASSERT_TRUE(credentials.Get(kNever).ok());
  source.error = absl::UnavailableError("away");
  clock.Advance(absl::Minutes(56));
  EXPECT_EQ(credentials.Get(kNever)->access_key_id, "1");
  EXPECT_EQ(credentials.Get(kNever)->access_key_id, "1");
  EXPECT_EQ(source.calls, 2);  // left alone for a while after a failure
  clock.Advance(absl::Seconds(11));
  EXPECT_EQ(credentials.Get(kNever)->access_key_id, "1");
  EXPECT_EQ(source.calls, 3);
  clock.Advance(absl::Minutes(5));
  EXPECT_EQ(credentials.Get(kNever).status().code(), StatusCode::kUnavailable);
  source.error = absl::OkStatus();
  EXPECT_EQ(credentials.Get(kNever)->access_key_id, "5");
}

TEST(CachingCredentialsTest, AreFetchedOnceForManyCallers) {
  FakeClock clock;
  ScriptedSource source(clock);
  absl::Notification reached, release;
  source.reached = &reached;
  source.release = &release;
  CachingCredentials credentials(source.source(), &clock);
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&] { EXPECT_EQ(credentials.Get(kNever)->access_key_id, "1"); });
  }
  reached.WaitForNotification();
  EXPECT_EQ(credentials.Get(absl::InfinitePast()).status().code(), StatusCode::kDeadlineExceeded);
  release.Notify();
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(source.calls, 1);
}

TEST(CachingCredentialsTest, OthersGoOnWithWhatIsValidDuringARefresh) {
  FakeClock clock;
  ScriptedSource source(clock);
  CachingCredentials credentials(source.source(), &clock);
  ASSERT_TRUE(credentials.Get(kNever).ok());
  clock.Advance(absl::Minutes(56));
  absl::Notification reached, release;
  source.reached = &reached;
  source.release = &release;
  std::thread refresher([&] { EXPECT_EQ(credentials.Get(kNever)->access_key_id, "2"); });
  reached.WaitForNotification();
  EXPECT_EQ(credentials.Get(kNever)->access_key_id, "1");
  release.Notify();
  refresher.join();
  EXPECT_EQ(credentials.Get(kNever)->access_key_id, "2");
}

TEST(CachingCredentialsTest, RefusedOnesAreNotGivenAgain) {
  FakeClock clock;
  ScriptedSource source(clock);
  CachingCredentials credentials(source.source(), &clock);
  const Credentials first = *credentials.Get(kNever);
  credentials.Invalidate(first);
  const Credentials second = *credentials.Get(kNever);
  EXPECT_EQ(second.access_key_id, "2");
  credentials.Invalidate(first);  // somebody is late
  EXPECT_EQ(*credentials.Get(kNever), second);
}

}  // namespace
}  // namespace aetherfs
