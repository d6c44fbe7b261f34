#ifndef AETHERFS_CLI_JSON_H_
#define AETHERFS_CLI_JSON_H_

#include <string>

#include "nlohmann/json.hpp"

namespace aetherfs {

// Keys stay in the order in which they are set, which is the order people read them in.
using Json = nlohmann::ordered_json;

// One line, without its end. Bytes that are not UTF-8 become U+FFFD.
inline std::string JsonText(const Json& value) {
  return value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace aetherfs

#endif  // AETHERFS_CLI_JSON_H_
