#include "aetherfs/server/testing/in_process_server.h"

#include <fmt/format.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <utility>

#include "aetherfs/base/status.h"
#include "aetherfs/object/memory/memory_object_store.h"
#include "aetherfs/rpc/channel.h"

namespace aetherfs {

InProcessServer::InProcessServer() : InProcessServer(Options()) {}

InProcessServer::InProcessServer(Options options) : options_(std::move(options)), address_("127.0.0.1:0") {
  if (options_.store == nullptr) options_.store = std::make_shared<MemoryObjectStore>();
  Start();
}

InProcessServer::~InProcessServer() = default;

void InProcessServer::Start() {
  ServerConfig config;
  config.listen = address_;
  config.http_listen = options_.http ? "127.0.0.1:0" : "";
  config.cache_memory = options_.cache_memory;
  config.poll_interval = options_.poll_interval;
  config.peers = options_.peers;
  if (std::find(config.peers.begin(), config.peers.end(), address_) != config.peers.end()) {
    config.advertise = address_;
  }
  absl::StatusOr<std::unique_ptr<ServerApp>> app = ServerApp::Start(config, options_.store);
  if (!app.ok()) {
    fmt::print(stderr, "InProcessServer: {}\n", Describe(app.status()));
    std::abort();
  }
  app_ = *std::move(app);
  address_ = app_->address();
}

void InProcessServer::Stop() { app_.reset(); }

void InProcessServer::Join(const std::vector<std::string>& peers) {
  Stop();
  options_.peers = peers;
  Start();
}

std::shared_ptr<grpc::Channel> InProcessServer::channel() const {
  grpc::ChannelArguments arguments = ClientChannelArguments();
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);  // a connection of its own
  return grpc::CreateCustomChannel(address_, grpc::InsecureChannelCredentials(), arguments);
}

}  // namespace aetherfs
