#ifndef AETHERFS_TELEMETRY_JSON_TEXT_H_
#define AETHERFS_TELEMETRY_JSON_TEXT_H_

#include <string>
#include <string_view>

namespace aetherfs {

// `text` as a JSON string with its quotes, in one line and always valid UTF-8: what is not becomes U+FFFD.
std::string JsonString(std::string_view text);

}  // namespace aetherfs

#endif  // AETHERFS_TELEMETRY_JSON_TEXT_H_
