#include "aetherfs/rpc/rpc_status.h"

#include <string>

#include "aetherfs/base/status.h"
#include "aetherfs/base/utf8.h"

namespace aetherfs {
namespace {

// What gRPC says when there is no connection, without what only its authors can read.
std::string Readable(const std::string& message) {
  constexpr std::string_view kConnect = "failed to connect to all addresses; last error: ";
  constexpr std::string_view kRemote = "Failed to connect to remote host: ";
  constexpr std::string_view kCode = "UNKNOWN: ";
  constexpr std::string_view kResolve = "DNS resolution failed for ";
  constexpr std::string_view kResolver = ": C-ares status is not ARES_SUCCESS";
  std::string_view rest = message;
  if (rest.starts_with(kConnect)) {
    rest.remove_prefix(kConnect.size());
    if (rest.starts_with(kCode)) rest.remove_prefix(kCode.size());
    std::string readable = "cannot connect: " + std::string(rest);
    if (const size_t at = readable.find(kRemote); at != std::string::npos)
      readable.erase(at, kRemote.size());
    return readable;
  }
  const size_t resolver = rest.find(kResolver);
  if (rest.starts_with(kResolve) && resolver != std::string_view::npos) {
    return "cannot find the address of " +
           std::string(rest.substr(kResolve.size(), resolver - kResolve.size())) +
           std::string(rest.substr(rest.rfind(": ")));
  }
  return message;
}

}  // namespace

grpc::Status ToGrpc(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  std::string_view message = Message(status);
  if (message.size() > kMaxStatusMessageSize) {
    size_t end = kMaxStatusMessageSize;
    // Not in the middle of a character.
    while (end > 0 && (static_cast<unsigned char>(message[end]) & 0xC0) == 0x80) --end;
    message = message.substr(0, end);
  }
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()), std::string(message));
}

absl::Status FromGrpc(const grpc::Status& status) {
  if (status.ok()) return absl::OkStatus();
  const int code = static_cast<int>(status.error_code());
  const bool known = code > 0 && code <= static_cast<int>(grpc::StatusCode::UNAUTHENTICATED);
  return absl::Status(known ? static_cast<absl::StatusCode>(code) : absl::StatusCode::kUnknown,
                      Readable(status.error_message()));
}

}  // namespace aetherfs
