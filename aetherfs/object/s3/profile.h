#ifndef AETHERFS_OBJECT_S3_PROFILE_H_
#define AETHERFS_OBJECT_S3_PROFILE_H_

#include <map>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "aetherfs/object/environment.h"

namespace aetherfs {

// One profile of the files that AWS's tools share.
struct Profile {
  std::string name;
  bool named = false;  // by AWS_PROFILE or AWS_DEFAULT_PROFILE, not merely "default"
  bool found = false;
  std::map<std::string, std::string> settings = {};  // of both files; the credentials file wins

  std::string Setting(const std::string& key) const;
};

// The settings of `section` in the text of an INI file. Nested settings (indented lines) are left out.
std::map<std::string, std::string> ParseIniSection(std::string_view text, std::string_view section,
                                                   bool* found);

// Reads AWS_SHARED_CREDENTIALS_FILE (~/.aws/credentials) and AWS_CONFIG_FILE (~/.aws/config). Files that
// do not exist are empty; one that cannot be read is an error.
absl::StatusOr<Profile> ReadProfile(const Environment& environment);

// A whole small file; NOT_FOUND if there is none, RESOURCE_EXHAUSTED if it has more than 1 MiB.
absl::StatusOr<std::string> ReadSmallFile(const std::string& path);

}  // namespace aetherfs

#endif  // AETHERFS_OBJECT_S3_PROFILE_H_
