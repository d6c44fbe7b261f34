#include "aetherfs/telemetry/http_server.h"

#include <random>
#include <stdexcept>
#include <thread>

#include "absl/synchronization/notification.h"
#include "aetherfs/base/status.h"
#include "aetherfs/telemetry/testing/http_client.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace aetherfs {
namespace {

using ::testing::AnyOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

HttpServerOptions EchoOptions() {
  HttpServerOptions options;
  options.listen = "127.0.0.1:0";
  options.routes["/hello"].handler = [](const HttpRequest& request) {
    HttpResponse response;
    response.body = "hello " + request.query + std::string(request.Header("X-NAME"));
    return response;
  };
  options.routes["/under/"].handler = [](const HttpRequest& request) {
    HttpResponse response;
    response.body = request.path;
    return response;
  };
  options.routes["/echo"] = {[](const HttpRequest& request) {
                               HttpResponse response;
                               response.body = request.method + request.body;
                               response.headers = {{"X-Good", "yes"}, {"X-Bad", "a\r\nSet-Cookie: b"}};
                               return response;
                             },
                             {"POST"}};
  options.routes["/throws"].handler = [](const HttpRequest&) -> HttpResponse {
    throw std::runtime_error("oops");
  };
  return options;
}

std::unique_ptr<HttpServer> StartOrDie(HttpServerOptions options) {
  absl::StatusOr<std::unique_ptr<HttpServer>> server = HttpServer::Start(std::move(options));
  EXPECT_TRUE(server.ok()) << server.status();
  return server.ok() ? *std::move(server) : nullptr;
}

TEST(HttpServerTest, AnswersByPath) {
  const auto server = StartOrDie(EchoOptions());
  EXPECT_EQ(server->address(), "127.0.0.1:" + std::to_string(server->port()));
  const HttpReply reply = HttpTestClient::Get(server->port(), "/hello?a=b", "x-name: you\r\n");
  EXPECT_EQ(reply.status, 200);
  EXPECT_EQ(reply.body, "hello a=byou");
  EXPECT_EQ(reply.headers.at("content-type"), "text/plain; charset=utf-8");
  EXPECT_EQ(reply.headers.at("x-content-type-options"), "nosniff");
}

TEST(HttpServerTest, UnknownPathsAreNotFound) {
  const auto server = StartOrDie(EchoOptions());
  for (const char* path : {"/", "/hell", "/hello/", "/hello/x", "//hello", "/under", "/../hello"}) {
    EXPECT_EQ(HttpTestClient::Get(server->port(), path).status, 404) << path;
  }
}

TEST(HttpServerTest, PathThatEndsInASlashTakesWhatIsBelow) {
  const auto server = StartOrDie(EchoOptions());
  EXPECT_EQ(HttpTestClient::Get(server->port(), "/under/").body, "/under/");
  EXPECT_EQ(HttpTestClient::Get(server->port(), "/under/a/b?c").body, "/under/a/b");
}

TEST(HttpServerTest, AbsoluteUrlsArePathsToo) {
  const auto server = StartOrDie(EchoOptions());
  EXPECT_EQ(HttpTestClient::Get(server->port(), "http://any.host/hello?q").body, "hello q");
  EXPECT_EQ(HttpTestClient::Get(server->port(), "http://any.host").status, 404);
  EXPECT_EQ(HttpTestClient::Get(server->port(), "*").status, 400);
}

TEST(HttpServerTest, HeadIsGetWithoutBodyAndTheConnectionGoesOn) {
  const auto server = StartOrDie(EchoOptions());
  HttpTestClient client(server->port());
  ASSERT_TRUE(client.Send("HEAD /hello HTTP/1.1\r\nHost: a\r\n\r\n"));
  const HttpReply head = client.Receive(true);
  EXPECT_EQ(head.status, 200);
  EXPECT_EQ(head.headers.at("content-length"), "6");
  ASSERT_TRUE(client.Send("GET /hello HTTP/1.1\r\nHost: a\r\n\r\n"));
  EXPECT_EQ(client.Receive().body, "hello ");
}

TEST(HttpServerTest, OtherMethodsAreRefusedByName) {
  const auto server = StartOrDie(EchoOptions());
  for (const char* method : {"POST", "DELETE", "BREW", "OPTIONS"}) {
    HttpTestClient client(server->port());
    ASSERT_TRUE(
        client.Send(std::string(method) + " /hello HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab"));
    const HttpReply reply = client.Receive();
    EXPECT_EQ(reply.status, 405) << method;
    EXPECT_EQ(reply.headers.at("allow"), "GET, HEAD");
  }
}

TEST(HttpServerTest, RouteMayTakeOtherMethodsAndBodies) {
  const auto server = StartOrDie(EchoOptions());
  HttpTestClient client(server->port());
  ASSERT_TRUE(client.Send(
      "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"));
  const HttpReply reply = client.Receive();
  EXPECT_EQ(reply.body, "POSTabc");
  EXPECT_EQ(reply.headers.at("x-good"), "yes");
  EXPECT_EQ(reply.headers.count("set-cookie"), 0u);
}

TEST(HttpServerTest, PipelinedRequestsAreAnsweredInOrder) {
  const auto server = StartOrDie(EchoOptions());
  HttpTestClient client(server->port());
  std::string requests;
  for (int i = 0; i < 20; ++i)
    requests += "GET /hello?" + std::to_string(i) + " HTTP/1.1\r\nHost: a\r\n\r\n";
  ASSERT_TRUE(client.Send(requests));
  for (int i = 0; i < 20; ++i) EXPECT_EQ(client.Receive().body, "hello " + std::to_string(i));
}

TEST(HttpServerTest, OldOrUnwillingClientsAreHungUpOn) {
  const auto server = StartOrDie(EchoOptions());
  for (const char* request :
       {"GET /hello HTTP/1.0\r\n\r\n", "GET /hello HTTP/1.1\r\nConnection: close\r\n\r\n"}) {
    HttpTestClient client(server->port());
    ASSERT_TRUE(client.Send(request));
    EXPECT_EQ(client.Receive().status, 200);
    client.EndSending();
    EXPECT_EQ(client.ReceiveRest(), "");
  }
}

TEST(HttpServerTest, TooMuchHeaderOrBodyIsRefused) {
  HttpServerOptions options = EchoOptions();
  options.max_header_bytes = 1000;
  options.max_body_bytes = 100;
  const auto server = StartOrDie(options);
  EXPECT_EQ(HttpTestClient::Get(server->port(), "/hello", "X: " + std::string(5000, 'x') + "\r\n").status,
            431);
  EXPECT_EQ(HttpTestClient::Get(server->port(), "/" + std::string(5000, 'x')).status, 431);
  HttpTestClient client(server->port());
  client.Send("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n" +
              std::string(100000, 'b'));
  EXPECT_EQ(client.Receive().status, 413);
  HttpTestClient chunked(server->port());
  chunked.Send("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n400\r\n" +
               std::string(1024, 'b'));
  EXPECT_EQ(chunked.Receive().status, 413);
}

TEST(HttpServerTest, WhatIsNoRequestIsRefused) {
  const auto server = StartOrDie(EchoOptions());
  for (const char* bytes :
       {"hello\r\n\r\n", "GET\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "GET / HTTP/1.1\r\nno colon\r\n\r\n", "\x16\x03\x01\x02\x01\x01\xfc\x03\r\n\r\n",
        "POST /echo HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
        "POST /echo HTTP/1.1\r\nContent-Length: 99999999999999999999999\r\n\r\n",
        "POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"}) {
    HttpTestClient client(server->port());
    ASSERT_TRUE(client.Send(bytes));
    EXPECT_EQ(client.Receive().status, 400) << bytes;
  }
}

TEST(HttpServerTest, GarbageNeverEndsTheServer) {
  const auto server = StartOrDie(EchoOptions());
  std::mt19937 random(7);
  const std::string request = "POST /echo?a HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nX: y\r\n\r\nabc";
  for (int i = 0; i < 300; ++i) {
    std::string bytes = request;
    for (int flips = 0; flips < 1 + i % 5; ++flips)
      bytes[random() % bytes.size()] = static_cast<char>(random());
    bytes.resize(1 + random() % bytes.size());
    HttpTestClient client(server->port());
    client.Send(bytes);
    client.EndSending();
    EXPECT_THAT(client.ReceiveRest(), AnyOf("", StartsWith("HTTP/1.1 "))) << bytes;
  }
  EXPECT_EQ(HttpTestClient::Get(server->port(), "/hello").status, 200);
}

TEST(HttpServerTest, HandlerThatThrowsIsAnInternalError) {
  const auto server = StartOrDie(EchoOptions());
  testing::internal::CaptureStderr();
  EXPECT_EQ(HttpTestClient::Get(server->port(), "/throws").status, 500);
  EXPECT_THAT(testing::internal::GetCapturedStderr(), HasSubstr("path=/throws error=oops"));
  EXPECT_EQ(HttpTestClient::Get(server->port(), "/hello").status, 200);
}

TEST(HttpServerTest, SlowClientsAreCutOff) {
  HttpServerOptions options = EchoOptions();
  options.idle_timeout = absl::Milliseconds(20);
  const auto server = StartOrDie(options);
  HttpTestClient silent(server->port());
  EXPECT_EQ(silent.ReceiveRest(), "");
  HttpTestClient halfway(server->port());
  ASSERT_TRUE(halfway.Send("GET /hello HTTP/1.1\r\nHo"));
  EXPECT_EQ(halfway.ReceiveRest(), "");
}

TEST(HttpServerTest, ConnectionsBeyondTheLimitAreTurnedAwayUntilThereIsRoom) {
  HttpServerOptions options = EchoOptions();
  options.max_connections = 2;
  const auto server = StartOrDie(options);
  HttpTestClient second(server->port());
  {
    HttpTestClient first(server->port());
    for (HttpTestClient* client : {&first, &second}) {
      ASSERT_TRUE(client->Send("GET /hello HTTP/1.1\r\nHost: a\r\n\r\n"));
      EXPECT_EQ(client->Receive().status, 200);
    }
    HttpTestClient third(server->port());
    const HttpReply reply = third.Receive();
    EXPECT_EQ(reply.status, 503);
    EXPECT_EQ(reply.body, "too many connections\n");
    // The server hangs up on the first after this, and says so.
    ASSERT_TRUE(first.Send("GET /hello HTTP/1.1\r\nConnection: close\r\n\r\n"));
    EXPECT_EQ(first.Receive().status, 200);
    first.EndSending();
    EXPECT_EQ(first.ReceiveRest(), "");
  }
  // It may see that end after the next connection.
  int status = 503;
  while (status == 503) status = HttpTestClient::Get(server->port(), "/hello").status;
  EXPECT_EQ(status, 200);
}

TEST(HttpServerTest, ListensOnIpv6AndOnEveryAddress) {
  HttpServerOptions options = EchoOptions();
  options.listen = "[::1]:0";
  const auto v6 = StartOrDie(options);
  EXPECT_EQ(v6->address(), "[::1]:" + std::to_string(v6->port()));
  HttpTestClient client(v6->port(), true);
  ASSERT_TRUE(client.Send("GET /hello HTTP/1.1\r\nHost: a\r\n\r\n"));
  EXPECT_EQ(client.Receive().status, 200);
  options.listen = ":0";
  const auto all = StartOrDie(options);
  EXPECT_EQ(HttpTestClient::Get(all->port(), "/hello").status, 200);
  options.listen = "localhost:0";
  EXPECT_NE(StartOrDie(options)->port(), 0);
}

TEST(HttpServerTest, WrongAddressesAreErrorsThatNameThem) {
  for (const char* listen :
       {"", "7401", "host", "::1:7401", "[::1]", "[::1", "[]:1", "a:b", "a:", "a:70000", "a:-1"}) {
    HttpServerOptions options;
    options.listen = listen;
    const auto server = HttpServer::Start(options);
    ASSERT_EQ(server.status().code(), absl::StatusCode::kInvalidArgument) << listen;
    EXPECT_THAT(Message(server.status()), HasSubstr(std::string("'") + listen + "' is not an address"));
  }
}

TEST(HttpServerTest, AddressInUseIsAnErrorThatNamesIt) {
  const auto server = StartOrDie(EchoOptions());
  HttpServerOptions options;
  options.listen = server->address();
  const auto second = HttpServer::Start(options);
  ASSERT_FALSE(second.ok());
  EXPECT_THAT(Message(second.status()), HasSubstr("listen on " + server->address() + " for HTTP"));
  EXPECT_THAT(Message(second.status()), HasSubstr("in use"));
}

TEST(HttpServerTest, StopHangsUpOnIdleClientsAndMayBeCalledAgain) {
  const auto server = StartOrDie(EchoOptions());
  HttpTestClient idle(server->port());
  ASSERT_TRUE(idle.Send("GET /hello HTTP/1.1\r\nHost: a\r\n\r\n"));
  EXPECT_EQ(idle.Receive().status, 200);
  HttpTestClient halfway(server->port());
  ASSERT_TRUE(halfway.Send("GET /he"));
  const uint16_t port = server->port();
  server->Stop();
  EXPECT_EQ(idle.ReceiveRest(), "");
  EXPECT_EQ(halfway.ReceiveRest(), "");
  EXPECT_FALSE(HttpTestClient(port).connected());
  server->Stop();
}

// More than the sockets' buffers take: such a response waits for its client.
constexpr size_t kBigBytes = 16 << 20;

HttpServerOptions BigOptions(absl::Notification& asked) {
  HttpServerOptions options;
  options.listen = "127.0.0.1:0";
  options.routes["/big"].handler = [&asked](const HttpRequest&) {
    asked.Notify();
    HttpResponse response;
    response.body.assign(kBigBytes, 'b');
    return response;
  };
  return options;
}

TEST(HttpServerTest, StopLetsAResponseEnd) {
  absl::Notification asked;
  const auto server = StartOrDie(BigOptions(asked));
  HttpTestClient client(server->port());
  ASSERT_TRUE(client.Send("GET /big HTTP/1.1\r\nHost: a\r\n\r\n"));
  asked.WaitForNotification();
  std::thread stopper([&] { server->Stop(); });
  const HttpReply reply = client.Receive();
  EXPECT_EQ(reply.status, 200);
  EXPECT_EQ(reply.body.size(), kBigBytes);
  stopper.join();
}

TEST(HttpServerTest, ClientThatTakesNothingIsCutOff) {
  absl::Notification asked;
  HttpServerOptions options = BigOptions(asked);
  options.write_timeout = absl::Milliseconds(20);
  const auto server = StartOrDie(options);
  HttpTestClient client(server->port());
  ASSERT_TRUE(client.Send("GET /big HTTP/1.1\r\nHost: a\r\n\r\n"));
  asked.WaitForNotification();
  // It waits for the response, and so for the timeout.
  server->Stop();
  EXPECT_LT(client.ReceiveRest().size(), kBigBytes);
}

TEST(HttpServerTest, ManyClientsAtOnce) {
  const auto server = StartOrDie(EchoOptions());
  std::vector<std::thread> clients;
  for (int c = 0; c < 8; ++c) {
    clients.emplace_back([&] {
      HttpTestClient client(server->port());
      for (int i = 0; i < 50; ++i) {
        ASSERT_TRUE(client.Send("GET /hello HTTP/1.1\r\nHost: a\r\n\r\n"));
        ASSERT_EQ(client.Receive().status, 200);
      }
    });
  }
  for (std::thread& client : clients) client.join();
}

}  // namespace
}  // namespace aetherfs
