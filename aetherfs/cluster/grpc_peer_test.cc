#include "aetherfs/cluster/grpc_peer.h"

#include <gmock/gmock.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/server_builder.h>
#include <gtest/gtest.h>

#include <string>

#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "aetherfs/peer/v1/peer.grpc.pb.h"

namespace aetherfs {
namespace {

// A peer as the first version of the protocol had it: it knows neither cached_only nor checksums.
class FirstVersionPeer : public peer::v1::PeerAPI::Service {
 public:
  grpc::Status Hello(grpc::ServerContext*, const peer::v1::HelloRequest* request,
                     peer::v1::HelloResponse* response) override {
    greeted_by = request->server_id();
    response->set_protocol(1);
    response->set_server_id("old");
    response->set_ranking(1);
    return grpc::Status::OK;
  }
  grpc::Status GetPart(grpc::ServerContext*, const peer::v1::GetPartRequest* request,
                       grpc::ServerWriter<peer::v1::GetPartResponse>* writer) override {
    if (request->object_key() != "datasets/geo/blocks/1") return {grpc::StatusCode::NOT_FOUND, "no such object"};
    peer::v1::GetPartResponse response;
    response.set_object_size(6);
    writer->Write(response);
    for (const char* data : {"abc", "def"}) {
      response.Clear();
      response.set_data(data);
      writer->Write(response);
    }
    return grpc::Status::OK;
  }
  grpc::Status Announce(grpc::ServerContext*, const peer::v1::AnnounceRequest* request,
                        peer::v1::AnnounceResponse*) override {
    announced = request->announcements_size();
    return grpc::Status::OK;
  }

  std::string greeted_by;
  int announced = 0;
};

class GrpcPeerTest : public ::testing::Test {
 protected:
  GrpcPeerTest() {
    grpc::EnableDefaultHealthCheckService(true);
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(&service_);
    server_ = builder.BuildAndStart();
    peer_ = std::make_unique<GrpcPeer>("127.0.0.1:" + std::to_string(port));
  }
  ~GrpcPeerTest() override { server_->Shutdown(std::chrono::system_clock::now()); }

  absl::Time Soon() const { return absl::Now() + absl::Seconds(20); }

  struct Received {
    bool accepted = false;
    uint64_t object_size = 0;
    std::string bytes;
    absl::Status status;
    std::optional<uint64_t> checksum;
  };
  // `refuse_after`: bytes after which the receiver wants no more.
  Received GetPart(const PartKey& key, size_t refuse_after = 1000) {
    Received received;
    absl::Notification done;
    Peer::PartHandler handler;
    handler.accepted = [&received] { received.accepted = true; };
    handler.size = [&received](uint64_t size) { received.object_size = size; };
    handler.bytes = [&received, refuse_after](std::string_view bytes) {
      received.bytes += bytes;
      return received.bytes.size() > refuse_after ? absl::DataLossError("enough") : absl::OkStatus();
    };
    handler.done = [&received, &done](const absl::Status& status, std::optional<uint64_t> checksum) {
      received.status = status;
      received.checksum = checksum;
      done.Notify();
    };
    const std::shared_ptr<PeerCall> call = peer_->GetPart(key, false, Soon(), std::move(handler));
    done.WaitForNotification();
    call->Cancel();  // after its end
    return received;
  }

  FirstVersionPeer service_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<GrpcPeer> peer_;
};

TEST_F(GrpcPeerTest, PartOfAnOlderPeerArrivesWithoutAChecksum) {
  const Received received = GetPart({"datasets/geo/blocks/1", 0});
  EXPECT_TRUE(received.status.ok()) << received.status;
  EXPECT_TRUE(received.accepted);
  EXPECT_EQ(received.object_size, 6u);
  EXPECT_EQ(received.bytes, "abcdef");
  EXPECT_FALSE(received.checksum.has_value());
}

TEST_F(GrpcPeerTest, ErrorsKeepTheirCode) {
  EXPECT_EQ(GetPart({"datasets/geo/blocks/2", 0}).status.code(), absl::StatusCode::kNotFound);
}

TEST_F(GrpcPeerTest, ReceiverThatWantsNoMoreEndsTheCall) {
  EXPECT_EQ(GetPart({"datasets/geo/blocks/1", 0}, 2).status.code(), absl::StatusCode::kDataLoss);
}

TEST_F(GrpcPeerTest, HealthHelloAndAnnounce) {
  absl::Notification checked;
  peer_->Check(Soon(), [&checked](const absl::Status& status) {
    EXPECT_TRUE(status.ok()) << status;
    checked.Notify();
  });
  checked.WaitForNotification();

  absl::Notification greeted;
  peer::v1::HelloRequest hello;
  hello.set_server_id("me");
  peer_->Hello(hello, Soon(), [&greeted](const absl::StatusOr<peer::v1::HelloResponse>& response) {
    ASSERT_TRUE(response.ok()) << response.status();
    EXPECT_EQ(response->protocol(), 1u);
    EXPECT_EQ(response->server_id(), "old");
    greeted.Notify();
  });
  greeted.WaitForNotification();
  EXPECT_EQ(service_.greeted_by, "me");

  absl::Notification announced;
  peer::v1::AnnounceRequest announce;
  announce.add_announcements()->set_dataset("geo");
  peer_->Announce(announce, Soon(), [&announced](const absl::Status& status) {
    EXPECT_TRUE(status.ok()) << status;
    announced.Notify();
  });
  announced.WaitForNotification();
  EXPECT_EQ(service_.announced, 1);
}

TEST_F(GrpcPeerTest, ServerThatIsGoingSaysSo) {
  server_->GetHealthCheckService()->SetServingStatus(false);
  absl::Notification checked;
  peer_->Check(Soon(), [&checked](const absl::Status& status) {
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
    checked.Notify();
  });
  checked.WaitForNotification();
}

TEST_F(GrpcPeerTest, NobodyThere) {
  absl::Notification checked;
  GrpcPeer("127.0.0.1:1").Check(Soon(), [&checked](const absl::Status& status) {
    EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << status;
    checked.Notify();
  });
  checked.WaitForNotification();
}

}  // namespace
}  // namespace aetherfs
