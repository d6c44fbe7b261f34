#ifndef AETHERFS_OBJECT_ENVIRONMENT_H_
#define AETHERFS_OBJECT_ENVIRONMENT_H_

#include <functional>
#include <optional>
#include <string>

namespace aetherfs {

// The value of an environment variable, or nothing if it is unset or empty. Thread-safe.
using Environment = std::function<std::optional<std::string>(const std::string& name)>;

// This process's.
Environment ProcessEnvironment();

}  // namespace aetherfs

#endif  // AETHERFS_OBJECT_ENVIRONMENT_H_
