#include "aetherfs/agent/agent_service.h"

#include <grpcpp/grpcpp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <fstream>

#include "absl/synchronization/notification.h"
#include "aetherfs/agent/agent_listener.h"
#include "aetherfs/agent/testing/agent_fixture.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace aetherfs {
namespace {

using ::testing::ElementsAre;

class AgentServiceTest : public AgentFixture {
 protected:
  void Serve() {
    StartAgent();
    service_ = std::make_unique<AgentService>(agent_.get(), [this] { shut_down_.Notify(); });
    auto listener = AgentListener::Start({"unix://" + socket_, "127.0.0.1:0"}, service_.get());
    ASSERT_TRUE(listener.ok()) << listener.status();
    listener_ = *std::move(listener);
    channel_ = grpc::CreateChannel("unix:" + socket_, grpc::InsecureChannelCredentials());
    stub_ = agent::v1::AgentAPI::NewStub(channel_);
  }
  void TearDown() override {
    if (agent_ != nullptr) agent_->Stop();
    if (listener_ != nullptr) listener_->Stop(absl::Seconds(1));
    service_.reset();
    StopAgent();
  }

  const std::string socket_ = JoinPath(temporary_.path(), "run/agent.sock");
  absl::Notification shut_down_;
  std::unique_ptr<AgentService> service_;
  std::unique_ptr<AgentListener> listener_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<agent::v1::AgentAPI::Stub> stub_;
};

TEST_F(AgentServiceTest, SocketIsForOwnerAndGroup) {
  Serve();
  struct stat status;
  ASSERT_EQ(::stat(socket_.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0660);
  EXPECT_THAT(listener_->addresses()[1], ::testing::StartsWith("127.0.0.1:"));
  listener_->Stop(absl::ZeroDuration());
  EXPECT_FALSE(Exists(socket_));
}

TEST_F(AgentServiceTest, StaleSocketIsReplacedAndALiveOneIsNot) {
  ASSERT_TRUE(MakeDirectories(ParentPath(socket_)).ok());
  {
    const UniqueFd dead(::socket(AF_UNIX, SOCK_STREAM, 0));
    sockaddr_un address = {};
    address.sun_family = AF_UNIX;
    socket_.copy(address.sun_path, sizeof(address.sun_path) - 1);
    ASSERT_EQ(::bind(dead.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  }
  ASSERT_TRUE(Exists(socket_));
  Serve();
  const auto second = AgentListener::Start({"unix://" + socket_}, service_.get());
  EXPECT_TRUE(absl::IsFailedPrecondition(second.status())) << second.status();
  grpc::ClientContext context;
  agent::v1::StatusResponse response;
  EXPECT_TRUE(stub_->Status(&context, {}, &response).ok());
}

TEST_F(AgentServiceTest, FileInTheSocketsPlaceIsNotRemoved) {
  ASSERT_TRUE(MakeDirectories(ParentPath(socket_)).ok());
  std::ofstream(socket_) << "precious";
  StartAgent();
  AgentService service(agent_.get(), [] {});
  EXPECT_TRUE(absl::IsFailedPrecondition(AgentListener::Start({"unix://" + socket_}, &service).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(AgentListener::Start({"nonsense"}, &service).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(AgentListener::Start({"unix://relative"}, &service).status()));
  EXPECT_EQ(*ReadWholeFile(socket_, 100), "precious");
}

TEST_F(AgentServiceTest, SubscribeWatchAndSeeEveryVersion) {
  Serve();
  {
    grpc::ClientContext context;
    agent::v1::SubscribeRequest request;
    request.mutable_subscription()->set_reference("maps/city");
    agent::v1::SubscribeResponse response;
    const grpc::Status status = stub_->Subscribe(&context, request, &response);
    ASSERT_TRUE(status.ok()) << status.error_message();
    EXPECT_EQ(response.status().subscription().reference(), "maps/city:latest");
  }
  grpc::ClientContext context;
  agent::v1::WatchSubscriptionRequest request;
  request.add_references("maps/city");
  const auto stream = stub_->WatchSubscription(&context, request);
  SubscriptionStatus status;
  ASSERT_TRUE(stream->Read(&status));  // what stands first
  EXPECT_EQ(status.active_digest(), "");
  for (const char* contents : {"one", "two"}) {
    const Digest digest = PublishTree(OneFile(contents));
    while (status.active_digest() != digest.ToString()) ASSERT_TRUE(stream->Read(&status));
    EXPECT_EQ(ConsumedFile(), contents);
  }
  agent_->Stop();
  while (stream->Read(&status)) {
  }
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
}

TEST_F(AgentServiceTest, WatchEndsWhenItsClientGoes) {
  Serve();
  {
    grpc::ClientContext context;
    const auto stream = stub_->WatchSubscription(&context, {});
    context.TryCancel();
    SubscriptionStatus status;
    EXPECT_FALSE(stream->Read(&status));
    EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::CANCELLED);
  }
  grpc::ClientContext context;
  agent::v1::WatchSubscriptionRequest request;
  request.add_references("no/such");
  const auto stream = stub_->WatchSubscription(&context, request);
  SubscriptionStatus status;
  EXPECT_FALSE(stream->Read(&status));
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::NOT_FOUND);
}

TEST_F(AgentServiceTest, ErrorsKeepTheirCodes) {
  Serve();
  agent::v1::SubscribeResponse subscribed;
  agent::v1::SubscribeRequest subscribe;
  subscribe.mutable_subscription()->set_reference("NO");
  grpc::ClientContext c1;
  EXPECT_EQ(stub_->Subscribe(&c1, subscribe, &subscribed).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  agent::v1::BackRequest back;
  back.set_reference("maps/city");
  SubscriptionStatus status;
  grpc::ClientContext c2;
  EXPECT_EQ(stub_->Back(&c2, back, &status).error_code(), grpc::StatusCode::NOT_FOUND);
  agent::v1::PinRequest pin;
  pin.set_reference("maps/city");
  grpc::ClientContext c3;
  EXPECT_EQ(stub_->Pin(&c3, pin, &status).error_code(), grpc::StatusCode::NOT_FOUND);
  agent::v1::UnpinRequest unpin;
  grpc::ClientContext c4;
  EXPECT_EQ(stub_->Unpin(&c4, unpin, &status).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  agent::v1::UnsubscribeResponse unsubscribed;
  agent::v1::UnsubscribeRequest unsubscribe;
  unsubscribe.set_reference("maps/city");
  grpc::ClientContext c5;
  EXPECT_EQ(stub_->Unsubscribe(&c5, unsubscribe, &unsubscribed).error_code(), grpc::StatusCode::NOT_FOUND);
  agent::v1::Publication publication;
  grpc::ClientContext c6;
  EXPECT_EQ(stub_->GetPublication(&c6, {}, &publication).error_code(), grpc::StatusCode::NOT_FOUND);
}

TEST_F(AgentServiceTest, GracefulShutdownWaitsForAsynchronousPublishes) {
  Serve();
  const std::string path = JoinPath(temporary_.path(), "produced");
  ASSERT_TRUE(MakeDirectories(path).ok());
  std::ofstream(JoinPath(path, "file")) << "produced";
  server_.FailNext(FakeServerClient::Method::kPublish, absl::UnavailableError("not now"), 2);
  agent::v1::PublishRequest publish;
  publish.set_reference("maps/city");
  publish.set_path(path);
  publish.set_asynchronous(true);
  agent::v1::PublishResponse published;
  grpc::ClientContext c1;
  ASSERT_TRUE(stub_->Publish(&c1, publish, &published).ok());
  grpc::ClientContext c2;
  agent::v1::GracefulShutdownResponse response;
  const grpc::Status status = stub_->GracefulShutdown(&c2, {}, &response);
  EXPECT_TRUE(status.ok()) << status.error_message();
  shut_down_.WaitForNotification();
  EXPECT_TRUE(server_.TagDigest("maps/city", "latest").has_value());
}

}  // namespace
}  // namespace aetherfs
