#ifndef AETHERFS_CONFIG_YAML_H_
#define AETHERFS_CONFIG_YAML_H_

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace aetherfs {

inline constexpr size_t kMaxYamlNodes = 100'000;

struct YamlField;

// One node of a YAML document, as a plain value: scalars are text, their types are the reader's business.
// Copyable; immutable use is thread-safe.
struct YamlNode {
  enum class Kind { kNull, kScalar, kSequence, kMap };
  Kind kind = Kind::kNull;
  std::string scalar;
  std::vector<YamlNode> items;    // kSequence
  std::vector<YamlField> fields;  // kMap: in document order, keys unique
  int line = 0;                   // from 1
  std::shared_ptr<const std::string> file;

  // "agent.yaml:12".
  std::string Where() const;
  // INVALID_ARGUMENT "agent.yaml:12: …".
  absl::Status Error(std::string_view problem) const;
  // A scalar, or null as "". `name` is for the message.
  absl::StatusOr<std::string> Text(std::string_view name) const;
  // A sequence of scalars, null as none. A lone scalar is one element.
  absl::StatusOr<std::vector<std::string>> Texts(std::string_view name) const;
};

struct YamlField {
  std::string key;
  int key_line = 0;
  YamlNode value;
};

// One document; null if `text` is empty. INVALID_ARGUMENT, with file and line, for what is not YAML, for a
// second document, a key that stands twice or is not plain text, and for more than kMaxYamlNodes nodes
// after aliases are expanded.
absl::StatusOr<YamlNode> ParseYaml(std::string_view text, std::string_view file_name);

}  // namespace aetherfs

#endif  // AETHERFS_CONFIG_YAML_H_
