#ifndef AETHERFS_TELEMETRY_VERSION_H_
#define AETHERFS_TELEMETRY_VERSION_H_

#include <string>
#include <string_view>

namespace aetherfs {

// "0.1.0": the project's version.
std::string_view Version();
// What git called the source when the build was configured, "v0.1.0-3-g1a2b3c4"; empty outside git.
std::string_view Revision();
// "0.1.0 (v0.1.0-3-g1a2b3c4)", or without the parentheses if there is no revision.
std::string VersionText();

}  // namespace aetherfs

#endif  // AETHERFS_TELEMETRY_VERSION_H_
