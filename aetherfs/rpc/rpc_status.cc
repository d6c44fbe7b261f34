#include "aetherfs/rpc/rpc_status.h"

#include <string>

#include "aetherfs/base/status.h"
#include "aetherfs/base/utf8.h"

namespace aetherfs {

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
                      status.error_message());
}

}  // namespace aetherfs
