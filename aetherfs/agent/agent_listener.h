#ifndef AETHERFS_AGENT_AGENT_LISTENER_H_
#define AETHERFS_AGENT_AGENT_LISTENER_H_

#include <grpcpp/grpcpp.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace aetherfs {

// Serves a gRPC service on Unix sockets (unix:///path) and TCP (HOST:PORT), with health and reflection.
//
// A socket file is for its owner and group (mode 0660); its directory is made if need be. One that a dead
// process left is replaced, one that somebody listens on is not. Thread-safe.
class AgentListener {
 public:
  // INVALID_ARGUMENT for an address that is none; FAILED_PRECONDITION if somebody listens there;
  // UNAVAILABLE. The service must outlive the listener.
  static absl::StatusOr<std::unique_ptr<AgentListener>> Start(const std::vector<std::string>& addresses,
                                                              grpc::Service* service);
  // Stops at once.
  ~AgentListener();
  AgentListener(const AgentListener&) = delete;
  AgentListener& operator=(const AgentListener&) = delete;

  // As a client would name them; port 0 is the one that was found.
  const std::vector<std::string>& addresses() const { return addresses_; }
  // Takes no more calls, cancels those that still run after the grace, waits for all, removes socket files.
  void Stop(absl::Duration grace);

 private:
  AgentListener() = default;
  std::unique_ptr<grpc::Server> server_;
  std::vector<std::string> addresses_;
  std::vector<std::string> socket_files_;
};

}  // namespace aetherfs

#endif  // AETHERFS_AGENT_AGENT_LISTENER_H_
