#ifndef AETHERFS_CONFIG_FIELD_SET_H_
#define AETHERFS_CONFIG_FIELD_SET_H_

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "aetherfs/config/option.h"
#include "aetherfs/config/yaml.h"

namespace aetherfs {

// Reads one YAML map into variables, strictly: an unknown key, a missing required one or a value that does
// not fit is INVALID_ARGUMENT with file, line and key.
//
//   FieldSet fields;
//   fields.Require("reference", &subscription.reference);
//   fields.AddInt("keep", &subscription.keep, {1, 1000});
//   RETURN_IF_ERROR(fields.Read(node));
//
// Bound variables must outlive it. Not thread-safe.
class FieldSet {
 public:
  template <typename T>
  void Add(std::string key, T* target) {
    Bind(std::move(key), ValueBinding::Of(target), false);
  }
  template <typename T>
  void Require(std::string key, T* target) {
    Bind(std::move(key), ValueBinding::Of(target), true);
  }
  void AddSize(std::string key, uint64_t* target) {
    Bind(std::move(key), ValueBinding::OfSize(target), false);
  }
  template <std::integral T>
  void AddInt(std::string key, T* target, IntRange range) {
    Bind(std::move(key), ValueBinding::OfInt(target, range), false);
  }
  // A map or sequence inside.
  void AddNested(std::string key, std::function<absl::Status(const YamlNode&)> read);

  absl::Status Read(const YamlNode& map) const;

 private:
  struct Field {
    std::string key;
    bool required = false;
    ValueBinding binding;  // used unless `read` is there
    std::function<absl::Status(const YamlNode&)> read;
  };
  void Bind(std::string key, ValueBinding binding, bool required);

  std::vector<Field> fields_;
};

// Calls `read` for each element of a sequence; INVALID_ARGUMENT if `node`, called `name`, is none or has
// more than `most` elements. Null has no elements.
absl::Status ReadSequence(const YamlNode& node, std::string_view name, size_t most,
                          const std::function<absl::Status(const YamlNode&)>& read);

// Stores a node's scalar (or sequence, for a list) through `binding`; errors have file, line and `name`.
absl::Status StoreYaml(const YamlNode& node, std::string_view name, const ValueBinding& binding);

}  // namespace aetherfs

#endif  // AETHERFS_CONFIG_FIELD_SET_H_
