#include "aetherfs/server/server_app.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <grpcpp/client_context.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <string>

#include "aetherfs/server/testing/in_process_server.h"
#include "aetherfs/server/testing/sample_snapshot.h"
#include "aetherfs/server/testing/switchable_store.h"

namespace aetherfs {
namespace {

using ::testing::HasSubstr;

// The whole answer to one GET.
std::string HttpGet(const std::string& address, const std::string& path) {
  sockaddr_in target{};
  target.sin_family = AF_INET;
  target.sin_port = htons(static_cast<uint16_t>(std::stoi(address.substr(address.rfind(':') + 1))));
  target.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  std::string answer;
  if (connect(fd, reinterpret_cast<const sockaddr*>(&target), sizeof(target)) == 0) {
    const std::string request = "GET " + path + " HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n";
    EXPECT_EQ(send(fd, request.data(), request.size(), 0), static_cast<ssize_t>(request.size()));
    char buffer[4096];
    for (ssize_t got; (got = read(fd, buffer, sizeof(buffer))) > 0;)
      answer.append(buffer, static_cast<size_t>(got));
  }
  close(fd);
  return answer;
}

TEST(ServerAppTest, StoreThatIgnoresCreateIfAbsentIsServedButNotPublishedTo) {
  auto store = std::make_shared<SwitchableStore>();
  InProcessServer first({.store = store});
  ASSERT_TRUE(PublishSample(first.channel(), "a/b", MakeSampleSnapshot("1")).ok());
  store->SetIgnoresIfAbsent(true);
  InProcessServer server({.store = store, .http = true});
  const absl::Status refused = PublishSample(server.channel(), "a/b", MakeSampleSnapshot("2")).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(refused.message()), HasSubstr("create-if-absent"));
  const auto stub = dataset::v1::DatasetAPI::NewStub(server.channel());
  grpc::ClientContext context;
  dataset::v1::LookupRequest request;
  request.set_dataset("a/b");
  dataset::v1::LookupResponse response;
  EXPECT_TRUE(stub->Lookup(&context, request, &response).ok());
  const std::string ready = HttpGet(server.http_address(), "/readyz");
  EXPECT_THAT(ready, HasSubstr("200 OK"));
  EXPECT_THAT(ready, HasSubstr("publishes are refused"));
  EXPECT_THAT(HttpGet(server.http_address(), "/metrics"), HasSubstr("aetherfs_store_fit 0"));
}

TEST(ServerAppTest, StartsWithTheStoreAwayAndIsNotReadyUntilItAnswers) {
  auto store = std::make_shared<SwitchableStore>();
  store->SetAway(true);
  InProcessServer server({.store = store, .http = true});
  EXPECT_THAT(HttpGet(server.http_address(), "/readyz"), HasSubstr("503"));
  EXPECT_THAT(HttpGet(server.http_address(), "/healthz"), HasSubstr("200 OK"));
}

TEST(ServerAppTest, HttpTellsMetricsHealthAndVersion) {
  InProcessServer server({.http = true});
  ASSERT_TRUE(PublishSample(server.channel(), "a/b", MakeSampleSnapshot("1")).ok());
  const std::string metrics = HttpGet(server.http_address(), "/metrics");
  for (const char* line :
       {"aetherfs_server_calls_total{code=\"OK\",method=\"Publish\"} 1",
        "aetherfs_journal_appends_total{result=\"written\"} 1", "aetherfs_cache_hits_total",
        "aetherfs_store_requests_total{code=\"OK\",operation=\"put\"}", "aetherfs_store_fit 1",
        "aetherfs_server_subscribers 0"}) {
    EXPECT_NE(metrics.find(line), metrics.npos) << line;
  }
  EXPECT_THAT(HttpGet(server.http_address(), "/readyz"), HasSubstr("200 OK"));
  EXPECT_THAT(HttpGet(server.http_address(), "/version"), HasSubstr("200 OK"));
}

TEST(ServerAppTest, AddressInUseIsAnError) {
  InProcessServer server;
  ServerConfig config;
  config.listen = server.address();
  config.http_listen = "";
  const auto second = ServerApp::Start(config, server.shared_store());
  EXPECT_EQ(second.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(second.status().message()), HasSubstr(server.address()));
}

TEST(ServerAppTest, ServesTheSameStoreAtTheSameAddressAfterACrash) {
  InProcessServer server;
  const std::string address = server.address();
  ASSERT_TRUE(PublishSample(server.channel(), "a/b", MakeSampleSnapshot("1")).ok());
  server.Stop();
  server.Start();
  EXPECT_EQ(server.address(), address);
  const auto again = PublishSample(server.channel(), "a/b", MakeSampleSnapshot("1"));
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_TRUE(again->unchanged());
}

TEST(ServerConfigTest, FlagsAreReadAndChecked) {
  ServerConfig config;
  OptionSet options("aetherfs-server", "");
  AddServerOptions(config, options);
  const auto none = [](const std::string&) { return std::optional<std::string>(); };
  ASSERT_TRUE(options
                  .Parse({"--listen", "[::1]:0", "--cache-memory=1GiB", "--poll-interval", "250ms",
                          "--http-listen="},
                         none, SystemFileReader())
                  .ok());
  EXPECT_EQ(config.listen, "[::1]:0");
  EXPECT_EQ(config.cache_memory, kGiB);
  EXPECT_EQ(config.poll_interval, absl::Milliseconds(250));
  EXPECT_TRUE(CheckServerConfig(config).ok());
  config.listen = ":7400";
  EXPECT_TRUE(CheckServerConfig(config).ok()) << "no host is every address";
  for (const char* bad : {"", "7400", "localhost", "localhost:x", "localhost:70000"}) {
    config.listen = bad;
    EXPECT_EQ(CheckServerConfig(config).code(), absl::StatusCode::kInvalidArgument) << bad;
    config.listen = ":7400";
    config.http_listen = bad;
    EXPECT_EQ(CheckServerConfig(config).ok(), config.http_listen.empty()) << bad;
    config.http_listen = "";
  }
  config.cache_memory = 1;
  EXPECT_EQ(CheckServerConfig(config).code(), absl::StatusCode::kInvalidArgument);
  config = {};
  config.cache_dir = "/cache";
  EXPECT_THAT(std::string(CheckServerConfig(config).message()), HasSubstr("--cache-disk"));
  config.cache_disk = DiskPartCache::kMinSize - 1;
  EXPECT_THAT(std::string(CheckServerConfig(config).message()), HasSubstr("64.0 MiB"));
  config.cache_disk = DiskPartCache::kMinSize;
  EXPECT_TRUE(CheckServerConfig(config).ok());
  config.cache_dir = "";
  EXPECT_THAT(std::string(CheckServerConfig(config).message()), HasSubstr("--cache-dir"));
  config = {};
  config.poll_interval = absl::ZeroDuration();
  EXPECT_EQ(CheckServerConfig(config).code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace aetherfs
