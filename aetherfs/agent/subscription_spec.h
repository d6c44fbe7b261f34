#ifndef AETHERFS_AGENT_SUBSCRIPTION_SPEC_H_
#define AETHERFS_AGENT_SUBSCRIPTION_SPEC_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "aetherfs/agent/v1/agent.pb.h"
#include "aetherfs/base/reference.h"

namespace aetherfs {

inline constexpr uint32_t kMaxKeep = 1000;
inline constexpr size_t kMaxCommandArguments = 256;

// What a user asked to be kept current, checked. A value. Pure.
struct SubscriptionSpec {
  DatasetName dataset;
  std::string tag;
  std::string path;   // of the symlink, relative to the root; valid, not below ".aetherfs"
  uint32_t keep = 2;  // versions on disk, the active one included
  std::vector<std::string> check;
  std::vector<std::string> notify;
  std::vector<std::string> include;
  std::vector<std::string> exclude;

  // INVALID_ARGUMENT, naming what is wrong, for anything that can't be followed.
  static absl::StatusOr<SubscriptionSpec> Parse(const agent::v1::Subscription& subscription,
                                                uint32_t default_keep);
  agent::v1::Subscription ToProto() const;

  // "dataset:tag", its name in every API and in the state.
  std::string Reference() const { return dataset.str() + ":" + tag; }
  // Tells filtered snapshots of one digest apart: empty without a filter, otherwise 8 hexadecimal digits.
  std::string FilterHash() const;

  friend bool operator==(const SubscriptionSpec&, const SubscriptionSpec&) = default;
};

// The canonical "dataset:tag" of what a user typed. INVALID_ARGUMENT for what names no tag of a dataset.
absl::StatusOr<std::string> CanonicalReference(std::string_view text);

// Whether two symlinks can't both exist: the same path, or one below the other.
bool PathsConflict(std::string_view a, std::string_view b);

}  // namespace aetherfs

#endif  // AETHERFS_AGENT_SUBSCRIPTION_SPEC_H_
