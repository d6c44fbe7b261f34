#include "aetherfs/config/field_set.h"

#include <algorithm>

#include "aetherfs/base/status.h"
#include "aetherfs/config/nearest.h"
#include "fmt/format.h"

namespace aetherfs {

absl::Status StoreYaml(const YamlNode& node, std::string_view name, const ValueBinding& binding) {
  if (binding.is_list()) {
    ASSIGN_OR_RETURN(std::vector<std::string> texts, node.Texts(name));
    binding.SetList(std::move(texts));
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const std::string text, node.Text(name));
  if (absl::Status status = binding.SetText(text); !status.ok()) {
    return node.Error(fmt::format("{}: {}", Printable(name), Message(status)));
  }
  return absl::OkStatus();
}

absl::Status ReadSequence(const YamlNode& node, std::string_view name, size_t most,
                          const std::function<absl::Status(const YamlNode&)>& read) {
  if (node.kind == YamlNode::Kind::kNull) return absl::OkStatus();
  if (node.kind != YamlNode::Kind::kSequence) {
    return node.Error(
        fmt::format("{}: expected a list, each element with '- ' before it", Printable(name)));
  }
  if (node.items.size() > most) {
    return node.Error(
        fmt::format("{}: {} elements; at most {} are allowed", Printable(name), node.items.size(), most));
  }
  for (const YamlNode& item : node.items) RETURN_IF_ERROR(read(item));
  return absl::OkStatus();
}

void FieldSet::Bind(std::string key, ValueBinding binding, bool required) {
  fields_.push_back({std::move(key), required, std::move(binding), nullptr});
}

void FieldSet::AddNested(std::string key, std::function<absl::Status(const YamlNode&)> read) {
  fields_.push_back({std::move(key), false, ValueBinding(), std::move(read)});
}

absl::Status FieldSet::Read(const YamlNode& map) const {
  if (map.kind != YamlNode::Kind::kMap) return map.Error("expected a map of 'key: value' lines");
  std::vector<bool> seen(fields_.size(), false);
  for (const YamlField& field : map.fields) {
    const auto known =
        std::find_if(fields_.begin(), fields_.end(), [&](const Field& f) { return f.key == field.key; });
    if (known == fields_.end()) {
      std::vector<std::string> names;
      for (const Field& f : fields_) names.push_back(f.key);
      YamlNode place = field.value;
      place.line = field.key_line;
      return place.Error(
          fmt::format("unknown key '{}'{}", Printable(field.key), DidYouMean(field.key, names)));
    }
    seen[static_cast<size_t>(known - fields_.begin())] = true;
    RETURN_IF_ERROR(known->read ? known->read(field.value)
                                : StoreYaml(field.value, field.key, known->binding));
  }
  for (size_t i = 0; i < fields_.size(); ++i) {
    if (fields_[i].required && !seen[i])
      return map.Error(fmt::format("key '{}' is missing", fields_[i].key));
  }
  return absl::OkStatus();
}

}  // namespace aetherfs
