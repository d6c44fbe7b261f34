#include "aetherfs/client/grpc_server_client.h"

#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>

#include <atomic>
#include <functional>
#include <memory>
#include <thread>

#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "aetherfs/base/sha256.h"
#include "aetherfs/base/status.h"
#include "aetherfs/client/testing/tree.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace aetherfs {
namespace {

using ::testing::HasSubstr;

constexpr size_t kPiece = 100'000;

// A server whose every answer is scripted. It has one object.
class ScriptedServer : public block::v1::BlockAPI::Service, public dataset::v1::DatasetAPI::Service {
 public:
  explicit ScriptedServer(std::string object, const std::string& listen = "127.0.0.1:0")
      : object_(std::move(object)) {
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort(listen, grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(static_cast<block::v1::BlockAPI::Service*>(this));
    builder.RegisterService(static_cast<dataset::v1::DatasetAPI::Service*>(this));
    server_ = builder.BuildAndStart();
    address_ = "127.0.0.1:" + std::to_string(port);
  }
  ~ScriptedServer() override {
    ended_.Notify();
    server_->Shutdown(absl::ToChronoTime(absl::Now()));
  }
  const std::string& address() const { return address_; }

  grpc::Status Download(grpc::ServerContext* context, const block::v1::DownloadRequest* request,
                        grpc::ServerWriter<block::v1::DownloadResponse>* writer) override {
    ++downloads;
    block::v1::DownloadResponse response;
    response.set_object_size(object_.size());
    writer->Write(response);
    response.clear_object_size();
    std::string bytes;
    for (const auto& range : request->ranges()) bytes += object_.substr(range.offset(), range.size());
    if (request->ranges().empty()) bytes = object_;
    size_t sent = 0;
    while (sent < bytes.size()) {
      if (sent >= fail_after) return grpc::Status(grpc::StatusCode::UNAVAILABLE, "cut off");
      if (sent >= hang_after) {
        while (!context->IsCancelled() && !ended_.HasBeenNotified()) {
          ended_.WaitForNotificationWithTimeout(absl::Milliseconds(2));
        }
        return grpc::Status::CANCELLED;
      }
      response.set_data(bytes.substr(sent, kPiece));
      if (!writer->Write(response)) return grpc::Status::CANCELLED;
      sent += response.data().size();
      served_bytes += response.data().size();
    }
    if (send_too_much) writer->Write(response);
    return grpc::Status::OK;
  }

  grpc::Status Upload(grpc::ServerContext*, grpc::ServerReader<block::v1::UploadRequest>* reader,
                      block::v1::UploadResponse* response) override {
    ++uploads;
    block::v1::UploadRequest request;
    if (!reader->Read(&request) || !request.has_header()) {
      return grpc::Status(grpc::StatusCode::INVALID_ARGUMENT, "no header");
    }
    if (answer_at_once) {
      response->set_already_present(true);
      return grpc::Status::OK;
    }
    std::string bytes;
    while (reader->Read(&request)) {
      bytes += request.data();
      if (bytes.size() >= fail_after) return grpc::Status(grpc::StatusCode::UNAVAILABLE, "cut off");
    }
    absl::MutexLock lock(&mutex);
    uploaded = bytes;
    return grpc::Status::OK;
  }

  grpc::Status Lookup(grpc::ServerContext*, const dataset::v1::LookupRequest* request,
                      dataset::v1::LookupResponse* response) override {
    ++lookups;
    if (!lookup_status.ok()) return lookup_status;
    response->set_tag(request->tag());
    return grpc::Status::OK;
  }
  grpc::Status Lookup(grpc::ServerContext*, const block::v1::LookupRequest*,
                      block::v1::LookupResponse*) override {
    return grpc::Status::OK;
  }

  grpc::Status Subscribe(grpc::ServerContext* context, const dataset::v1::SubscribeRequest*,
                         grpc::ServerWriter<dataset::v1::SubscribeResponse>* writer) override {
    ++subscribes;
    for (uint64_t seq = 1; seq <= 3; ++seq) {
      dataset::v1::SubscribeResponse response;
      response.mutable_change()->set_seq(seq);
      writer->Write(response);
    }
    if (end_streams) return grpc::Status(grpc::StatusCode::UNAVAILABLE, "draining");
    while (!context->IsCancelled() && !ended_.HasBeenNotified()) {
      ended_.WaitForNotificationWithTimeout(absl::Milliseconds(2));
    }
    return grpc::Status::CANCELLED;
  }

  std::atomic<int> downloads{0}, uploads{0}, lookups{0}, subscribes{0};
  std::atomic<uint64_t> served_bytes{0};
  size_t fail_after = SIZE_MAX;
  size_t hang_after = SIZE_MAX;
  bool send_too_much = false;
  bool answer_at_once = false;
  bool end_streams = false;
  grpc::Status lookup_status;
  absl::Mutex mutex;
  std::string uploaded ABSL_GUARDED_BY(mutex);

 private:
  const std::string object_;
  absl::Notification ended_;
  std::string address_;
  std::unique_ptr<grpc::Server> server_;
};

class GrpcServerClientTest : public ::testing::Test {
 protected:
  std::unique_ptr<ServerClient> Connect(std::vector<std::string> servers,
                                        absl::Duration patience = absl::Seconds(20),
                                        absl::Duration call_timeout = absl::Seconds(20)) {
    return ServerClient::Create(
               {.servers = std::move(servers), .patience = patience, .call_timeout = call_timeout})
        .value();
  }
  absl::Status Download(ServerClient& client, const std::vector<std::pair<uint64_t, uint64_t>>& ranges,
                        std::string* got) {
    block::v1::DownloadRequest request;
    request.set_dataset("geo/city");
    request.set_digest(Sha256::Of(object_).ToString());
    for (const auto& [offset, size] : ranges) {
      auto* range = request.add_ranges();
      range->set_offset(offset);
      range->set_size(size);
    }
    got->clear();
    return client.Download(request, [&](std::string_view piece) {
      got->append(piece);
      return absl::OkStatus();
    });
  }

  const std::string object_ = RandomBytes(1'500'000, 1);
};

TEST_F(GrpcServerClientTest, AddressesAreChecked) {
  EXPECT_TRUE(absl::IsInvalidArgument(ServerClient::Create({}).status()));
  for (const char* bad : {"localhost", ":7400", "host:"}) {
    const auto client = ServerClient::Create({.servers = {bad}});
    EXPECT_TRUE(absl::IsInvalidArgument(client.status())) << bad;
    EXPECT_THAT(std::string(Message(client.status())), HasSubstr(bad));
  }
}

TEST_F(GrpcServerClientTest, WholeObjectsAndRangesAreDownloaded) {
  ScriptedServer server(object_);
  const auto client = Connect({server.address()});
  std::string got;
  ASSERT_TRUE(Download(*client, {}, &got).ok());
  EXPECT_EQ(got, object_);
  ASSERT_TRUE(Download(*client, {{5, 10}, {700'000, 300'000}, {2, 1}}, &got).ok());
  EXPECT_EQ(got, object_.substr(5, 10) + object_.substr(700'000, 300'000) + object_.substr(2, 1));
  EXPECT_TRUE(client->connected());
}

TEST_F(GrpcServerClientTest, EmptyObjectIsDownloaded) {
  ScriptedServer server("");
  std::string got = "x";
  ASSERT_TRUE(Download(*Connect({server.address()}), {}, &got).ok());
  EXPECT_EQ(got, "");
}

TEST_F(GrpcServerClientTest, DownloadGoesOnElsewhereBehindWhatCame) {
  ScriptedServer bad(object_), good(object_);
  bad.fail_after = 450'000;
  const auto client = Connect({bad.address(), good.address()});
  std::string got;
  for (int i = 0; i < 2; ++i) {  // one of them begins with the bad one
    ASSERT_TRUE(Download(*client, {}, &got).ok());
    EXPECT_EQ(got, object_);
    ASSERT_TRUE(Download(*client, {{0, 600'000}, {650'000, 800'000}}, &got).ok());
    EXPECT_EQ(got, object_.substr(0, 600'000) + object_.substr(650'000, 800'000));
  }
  EXPECT_GT(bad.served_bytes, 0u);
  EXPECT_EQ(bad.served_bytes + good.served_bytes, 2 * 1'500'000 + 2 * 1'400'000u) << "no byte came twice";
}

TEST_F(GrpcServerClientTest, ServerThatHangsIsLeft) {
  ScriptedServer hanging(object_), good(object_);
  hanging.hang_after = 200'000;
  const auto client =
      Connect({hanging.address(), good.address()}, absl::Seconds(20), absl::Milliseconds(300));
  std::string got;
  for (int i = 0; i < 2; ++i) {
    ASSERT_TRUE(Download(*client, {}, &got).ok());
    EXPECT_EQ(got, object_);
  }
  EXPECT_EQ(hanging.downloads, 1);
}

TEST_F(GrpcServerClientTest, ServerThatSendsTooMuchIsLeft) {
  ScriptedServer server(object_);
  server.send_too_much = true;
  std::string got;
  const absl::Status status =
      Download(*Connect({server.address()}, absl::Milliseconds(50)), {{0, 1000}}, &got);
  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
  EXPECT_EQ(got, object_.substr(0, 1000));
}

TEST_F(GrpcServerClientTest, ErrorOfTheSinkIsReturnedAndNotRetried) {
  ScriptedServer server(object_);
  const auto client = Connect({server.address()});
  block::v1::DownloadRequest request;
  const absl::Status status =
      client->Download(request, [](std::string_view) { return absl::UnavailableError("mine"); });
  EXPECT_EQ(Message(status), "mine");
  EXPECT_EQ(server.downloads, 1);
}

TEST_F(GrpcServerClientTest, ObjectsAreUploaded) {
  ScriptedServer server("");
  const auto client = Connect({server.address()});
  block::v1::UploadHeader header;
  for (const size_t size : {0u, 10u, 1'000'000u, 5'000'001u}) {
    const std::string object = RandomBytes(size, size);
    header.set_size(size);
    const auto response = client->Upload(header, object);
    ASSERT_TRUE(response.ok()) << response.status();
    EXPECT_FALSE(response->already_present());
    absl::MutexLock lock(&server.mutex);
    EXPECT_EQ(server.uploaded, object);
  }
}

TEST_F(GrpcServerClientTest, EarlyAnswerEndsAnUpload) {
  ScriptedServer server("");
  server.answer_at_once = true;
  const auto client = Connect({server.address()});
  const std::string object = RandomBytes(12'000'000, 1);
  for (int i = 0; i < 3; ++i) {
    const auto response = client->Upload({}, object);
    ASSERT_TRUE(response.ok()) << response.status();
    EXPECT_TRUE(response->already_present());
  }
}

TEST_F(GrpcServerClientTest, UploadThatFailsIsSentElsewhere) {
  ScriptedServer bad(""), good("");
  bad.fail_after = 1'000'000;
  const auto client = Connect({bad.address(), good.address()});
  const std::string object = RandomBytes(4'000'000, 1);
  for (int i = 0; i < 2; ++i) ASSERT_TRUE(client->Upload({}, object).ok());
  absl::MutexLock lock(&good.mutex);
  EXPECT_EQ(good.uploaded, object);
  EXPECT_EQ(bad.uploads, 1);
}

TEST_F(GrpcServerClientTest, CallsFailOverAndStayWhereTheyWorked) {
  auto gone = std::make_unique<ScriptedServer>("");
  ScriptedServer good("");
  const std::string nobody = gone->address();
  gone.reset();
  const auto client = Connect({nobody, good.address()});
  dataset::v1::LookupRequest request;
  request.set_tag("latest");
  for (int i = 0; i < 5; ++i) {
    const auto response = client->Lookup(request);
    ASSERT_TRUE(response.ok()) << response.status();
    EXPECT_EQ(response->tag(), "latest");
  }
  EXPECT_EQ(good.lookups, 5);
  EXPECT_TRUE(client->connected());
}

TEST_F(GrpcServerClientTest, AnswersAreNotAskedForElsewhere) {
  ScriptedServer server("");
  server.lookup_status = grpc::Status(grpc::StatusCode::NOT_FOUND, "no such tag");
  const auto client = Connect({server.address()});
  const auto response = client->Lookup({});
  EXPECT_TRUE(absl::IsNotFound(response.status()));
  EXPECT_EQ(Message(response.status()), "no such tag");
  EXPECT_EQ(server.lookups, 1);
  EXPECT_TRUE(client->connected());
}

TEST_F(GrpcServerClientTest, NobodyThereIsUnavailableAndSaysWhoWasTried) {
  auto gone = std::make_unique<ScriptedServer>("");
  const std::string nobody = gone->address();
  gone.reset();
  const auto client = Connect({nobody}, absl::Milliseconds(200));
  const auto response = client->Lookup({});
  EXPECT_TRUE(absl::IsUnavailable(response.status())) << response.status();
  EXPECT_THAT(std::string(Message(response.status())), HasSubstr(nobody));
  EXPECT_FALSE(client->connected());
}

TEST_F(GrpcServerClientTest, ServerThatComesBackIsNoticedSoon) {
  auto server = std::make_unique<ScriptedServer>("");
  const std::string address = server->address();
  const auto client = Connect({address});
  ASSERT_TRUE(client->Lookup({}).ok());
  server.reset();
  std::thread call([&] { EXPECT_TRUE(client->Lookup({}).ok()); });
  const absl::Time deadline = absl::Now() + absl::Seconds(10);
  while (client->connected() && absl::Now() < deadline) std::this_thread::yield();
  EXPECT_FALSE(client->connected());
  server = std::make_unique<ScriptedServer>("", address);
  const absl::Time back = absl::Now();
  call.join();
  // A server in this process looks after the client's connections too; without one see tests/faults.
  EXPECT_LT(absl::Now() - back, absl::Seconds(5));
}

TEST_F(GrpcServerClientTest, CancelEndsAPauseToo) {
  auto gone = std::make_unique<ScriptedServer>("");
  const std::string nobody = gone->address();
  gone.reset();
  const auto client = Connect({nobody}, absl::Minutes(5));
  std::thread canceller([&] { client->Cancel(); });
  EXPECT_TRUE(absl::IsCancelled(client->Lookup({}).status()));
  canceller.join();
}

TEST_F(GrpcServerClientTest, CancelEndsWhatRunsAndWhatComes) {
  ScriptedServer server(object_);
  server.hang_after = 100'000;
  const auto client = Connect({server.address()});
  std::thread canceller;
  block::v1::DownloadRequest request;
  absl::Notification begun;
  canceller = std::thread([&] {
    begun.WaitForNotification();
    client->Cancel();
  });
  const absl::Status status = client->Download(request, [&](std::string_view) {
    if (!begun.HasBeenNotified()) begun.Notify();
    return absl::OkStatus();
  });
  canceller.join();
  EXPECT_TRUE(absl::IsCancelled(status)) << status;
  EXPECT_TRUE(absl::IsCancelled(client->Lookup({}).status()));
}

TEST_F(GrpcServerClientTest, SubscriptionDeliversEventsThenDone) {
  ScriptedServer server("");
  server.end_streams = true;
  const auto client = Connect({server.address()});
  std::atomic<uint64_t> last{0};
  absl::Notification done;
  absl::Status ended;
  const auto stream = client->Subscribe(
      {}, [&](const dataset::v1::SubscribeResponse& response) { last = response.change().seq(); },
      [&](const absl::Status& status) {
        ended = status;
        done.Notify();
      });
  done.WaitForNotification();
  EXPECT_EQ(last, 3u);
  EXPECT_TRUE(absl::IsUnavailable(ended)) << ended;
}

TEST_F(GrpcServerClientTest, SubscriptionsSpreadOverTheServers) {
  ScriptedServer one("");
  ScriptedServer other("");
  const auto client = Connect({one.address(), other.address()});
  std::vector<std::unique_ptr<ServerClient::SubscribeStream>> streams;
  std::vector<std::unique_ptr<absl::Notification>> heard;
  for (int i = 0; i < 6; ++i) {
    heard.push_back(std::make_unique<absl::Notification>());
    streams.push_back(client->Subscribe(
        {},
        [seen = heard.back().get()](const dataset::v1::SubscribeResponse& response) {
          if (response.change().seq() == 3) seen->Notify();
        },
        [](const absl::Status&) {}));
  }
  for (const auto& notification : heard) notification->WaitForNotification();
  EXPECT_EQ(one.subscribes, 3);
  EXPECT_EQ(other.subscribes, 3);
}

TEST_F(GrpcServerClientTest, DestroyingASubscriptionEndsIt) {
  ScriptedServer server("");
  const auto client = Connect({server.address()});
  for (int i = 0; i < 20; ++i) {
    std::atomic<int> events{0};
    auto stream = client->Subscribe(
        {}, [&](const dataset::v1::SubscribeResponse&) { ++events; }, [](const absl::Status&) {});
    stream.reset();
    const int seen = events;
    EXPECT_LE(seen, 3);
  }
}

}  // namespace
}  // namespace aetherfs
