#ifndef AETHERFS_BASE_ADDRESS_H_
#define AETHERFS_BASE_ADDRESS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace aetherfs {

// Addresses as users write them: "fs-a:7400", "10.0.0.7:7400", "[::1]:7400". Pure functions; nothing is
// looked up. IPv6 addresses stand in brackets.

// The port of a server that nobody named another one for.
inline constexpr uint16_t kDefaultServerPort = 7400;

// "7400": 0 to 65535, in digits only.
std::optional<uint16_t> ParsePort(std::string_view text);

// The address of a server to talk to, "HOST:PORT"; "HOST" gets kDefaultServerPort. INVALID_ARGUMENT, with
// the address and what is wrong with it, for anything else and for port 0.
absl::StatusOr<std::string> ParseServerAddress(std::string_view text);

// Whether this is "HOST:PORT" to listen on; port 0 is any free one, no host every address of the machine.
bool IsListenAddress(std::string_view text);

}  // namespace aetherfs

#endif  // AETHERFS_BASE_ADDRESS_H_
