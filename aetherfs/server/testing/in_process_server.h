#ifndef AETHERFS_SERVER_TESTING_IN_PROCESS_SERVER_H_
#define AETHERFS_SERVER_TESTING_IN_PROCESS_SERVER_H_

#include <grpcpp/channel.h>

#include <memory>
#include <string>
#include <vector>

#include "aetherfs/base/quantity.h"
#include "aetherfs/object/object_store.h"
#include "aetherfs/server/server_app.h"

namespace aetherfs {

// A whole server in this process, on a free port of the loopback interface, over a store in memory or one
// of the caller's. Dies (with the reason) if it cannot start. Not thread-safe, but for what channels do.
//
//   InProcessServer server;
//   auto stub = dataset::v1::DatasetAPI::NewStub(server.channel());
//
// Two of them over one `store` are two replicas.
class InProcessServer {
 public:
  struct Options {
    std::shared_ptr<ObjectStore> store = nullptr;  // null: a new one in memory
    uint64_t cache_memory = 32 * kMiB;
    absl::Duration poll_interval = absl::Milliseconds(20);
    bool http = false;  // also serve HTTP, on another free port
    std::vector<std::string> peers = {};
  };
  InProcessServer();
  explicit InProcessServer(Options options);
  ~InProcessServer();

  // "127.0.0.1:PORT"; the same after Stop() and Start().
  const std::string& address() const { return address_; }
  std::string http_address() const { return app_->http_address(); }
  // A new channel, with the arguments that clients use.
  std::shared_ptr<grpc::Channel> channel() const;
  ObjectStore& store() { return *options_.store; }
  std::shared_ptr<ObjectStore> shared_store() { return options_.store; }
  ServerApp& app() { return *app_; }

  // As a crash: running calls are cancelled. Start() again serves the same store at the same address.
  void Stop();
  void Start();
  // Starts again as one of these, or as one that is in nobody's list if its address is not among them.
  void Join(const std::vector<std::string>& peers);

 private:
  Options options_;
  std::string address_;
  std::unique_ptr<ServerApp> app_;
};

}  // namespace aetherfs

#endif  // AETHERFS_SERVER_TESTING_IN_PROCESS_SERVER_H_
