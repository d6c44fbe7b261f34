#include "aetherfs/telemetry/health.h"

#include "aetherfs/telemetry/testing/http_client.h"
#include "aetherfs/telemetry/version.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace aetherfs {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

class HealthTest : public testing::Test {
 protected:
  HealthTest() {
    HttpServerOptions options;
    options.listen = "127.0.0.1:0";
    RegisterStandardEndpoints(options.routes, &health_, &metrics_);
    auto server = HttpServer::Start(std::move(options));
    EXPECT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
  }
  HttpReply Get(const std::string& path) { return HttpTestClient::Get(server_->port(), path); }
  HttpReply GetJson(const std::string& path) {
    return HttpTestClient::Get(server_->port(), path, "Accept: application/json\r\n");
  }

  Health health_;
  MetricsRegistry metrics_;
  std::unique_ptr<HttpServer> server_;
};

TEST_F(HealthTest, IsReadyWhenEveryConditionIsMet) {
  EXPECT_EQ(Get("/readyz").body, "ready\n");
  health_.SetUnmet("store", "no answer from s3://b");
  health_.SetUnmet("a", "waiting");
  HttpReply reply = Get("/readyz");
  EXPECT_EQ(reply.status, 503);
  EXPECT_EQ(reply.body, "not ready\na: waiting\nstore: no answer from s3://b\n");
  health_.SetMet("store");
  health_.Remove("a");
  EXPECT_TRUE(health_.IsReady());
  reply = Get("/readyz");
  EXPECT_EQ(reply.status, 200);
  EXPECT_EQ(reply.body, "ready\n");
}

TEST_F(HealthTest, ReadinessIsJsonWhereThatIsAccepted) {
  health_.SetMet("x");
  health_.SetUnmet("store", "says \"no\"");
  HttpReply reply = GetJson("/readyz");
  EXPECT_EQ(reply.status, 503);
  EXPECT_EQ(reply.headers.at("content-type"), "application/json");
  EXPECT_EQ(reply.body,
            "{\"ready\":false,\"conditions\":2,\"unmet\":1,\"not_met\":[{\"condition\":\"store\","
            "\"reason\":\"says "
            "\\\"no\\\"\"}]}\n");
  health_.SetMet("store");
  EXPECT_EQ(GetJson("/readyz").body, "{\"ready\":true,\"conditions\":2,\"unmet\":0,\"not_met\":[]}\n");
}

TEST_F(HealthTest, ReadinessNamesABoundedNumberOfConditions) {
  for (size_t i = 0; i < kMaxShownConditions + 7; ++i) health_.SetUnmet("c" + std::to_string(i), "waits");
  EXPECT_THAT(Get("/readyz").body, HasSubstr("and 7 more\n"));
}

TEST_F(HealthTest, IsAliveUntilItIsDead) {
  EXPECT_EQ(Get("/healthz").body, "ok\n");
  health_.SetDead("stuck");
  health_.SetDead("later");
  const HttpReply reply = Get("/healthz");
  EXPECT_EQ(reply.status, 503);
  EXPECT_EQ(reply.body, "stuck\n");
}

TEST_F(HealthTest, MetricsAreServed) {
  metrics_.AddCounter("aetherfs_things_total", "Things.").Only().Increment();
  const HttpReply reply = Get("/metrics");
  EXPECT_EQ(reply.status, 200);
  EXPECT_EQ(reply.headers.at("content-type"), "text/plain; version=0.0.4; charset=utf-8");
  EXPECT_THAT(reply.body, HasSubstr("aetherfs_things_total 1\n"));
}

TEST_F(HealthTest, VersionIsServed) {
  EXPECT_THAT(std::string(Version()), testing::MatchesRegex("[0-9]+\\.[0-9]+\\.[0-9]+"));
  EXPECT_EQ(Get("/version").body, VersionText() + "\n");
  EXPECT_THAT(GetJson("/version").body, HasSubstr("\"version\":\"" + std::string(Version()) + "\""));
}

}  // namespace
}  // namespace aetherfs
