#include "aetherfs/agent/agent_listener.h"

#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/health_check_service_interface.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "absl/time/clock.h"
#include "aetherfs/base/status.h"
#include "aetherfs/os/file.h"
#include "aetherfs/rpc/channel.h"
#include "fmt/format.h"

namespace aetherfs {
namespace {

constexpr std::string_view kUnixPrefix = "unix://";
constexpr mode_t kSocketMode = 0660;
constexpr int kMaxPollers = 2;
constexpr absl::Duration kMaxConnectionAge = absl::Hours(24 * 7);  // there is no other agent to move to

// Makes sure that the socket's name is free.
absl::Status ClearSocket(const std::string& path) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  if (!path.starts_with('/') || path.size() >= sizeof(address.sun_path)) {
    return absl::InvalidArgumentError(
        fmt::format("--listen: '{}' can't be a Unix socket: an absolute path of at most {} bytes is needed",
                    Printable(path), sizeof(address.sun_path) - 1));
  }
  RETURN_IF_ERROR(MakeDirectories(ParentPath(path)));
  struct stat status;
  if (::lstat(path.c_str(), &status) != 0) return absl::OkStatus();
  if (!S_ISSOCK(status.st_mode)) {
    return absl::FailedPreconditionError(
        fmt::format("--listen: {} is there and is not a socket: move it away", path));
  }
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  const UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0) {
    return absl::FailedPreconditionError(fmt::format(
        "--listen: somebody listens on {} already: end that agent or choose another socket", path));
  }
  return RemoveFile(path);
}

}  // namespace

absl::StatusOr<std::unique_ptr<AgentListener>> AgentListener::Start(
    const std::vector<std::string>& addresses, grpc::Service* service) {
  static const bool plugins = [] {
    grpc::EnableDefaultHealthCheckService(true);
    grpc::reflection::InitProtoReflectionServerBuilderPlugin();
    return true;
  }();
  (void)plugins;
  std::unique_ptr<AgentListener> listener(new AgentListener());
  grpc::ServerBuilder builder;
  ApplyServerTransport({.max_connection_age = kMaxConnectionAge}, builder);
  builder.SetSyncServerOption(grpc::ServerBuilder::MAX_POLLERS, kMaxPollers);
  std::vector<int> ports(addresses.size(), 0);
  for (size_t i = 0; i < addresses.size(); ++i) {
    if (std::string_view(addresses[i]).starts_with(kUnixPrefix)) {
      const std::string path = addresses[i].substr(kUnixPrefix.size());
      RETURN_IF_ERROR(ClearSocket(path));
      listener->socket_files_.push_back(path);
      builder.AddListeningPort("unix:" + path, grpc::InsecureServerCredentials(), &ports[i]);
    } else if (addresses[i].rfind(':') != std::string::npos) {
      builder.AddListeningPort(addresses[i], grpc::InsecureServerCredentials(), &ports[i]);
    } else {
      return absl::InvalidArgumentError(fmt::format(
          "--listen: '{}' is no address: unix:///path or HOST:PORT is needed", Printable(addresses[i])));
    }
  }
  builder.RegisterService(service);
  // Nobody else may connect before the mode is set.
  const mode_t before = ::umask(0777 & ~kSocketMode);
  listener->server_ = builder.BuildAndStart();
  ::umask(before);
  if (listener->server_ == nullptr) {
    listener->socket_files_.clear();
    return absl::UnavailableError(fmt::format(
        "--listen: cannot listen on {}: is somebody else there, is it an address of this machine?",
        fmt::join(addresses, ", ")));
  }
  for (const std::string& path : listener->socket_files_) {
    if (::chmod(path.c_str(), kSocketMode) != 0)
      return ErrnoStatus(errno, fmt::format("set the mode of {}", path));
  }
  for (size_t i = 0; i < addresses.size(); ++i) {
    const bool is_unix = std::string_view(addresses[i]).starts_with(kUnixPrefix);
    listener->addresses_.push_back(
        is_unix ? addresses[i]
                : fmt::format("{}:{}", addresses[i].substr(0, addresses[i].rfind(':')), ports[i]));
  }
  return listener;
}

AgentListener::~AgentListener() { Stop(absl::ZeroDuration()); }

void AgentListener::Stop(absl::Duration grace) {
  if (server_ == nullptr) return;
  server_->Shutdown(absl::ToChronoTime(absl::Now() + grace));
  server_->Wait();
  server_.reset();
  for (const std::string& path : socket_files_) RemoveFile(path).IgnoreError();
}

}  // namespace aetherfs
