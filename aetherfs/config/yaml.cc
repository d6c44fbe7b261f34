#include "aetherfs/config/yaml.h"

#include <exception>
#include <utility>

#include "aetherfs/base/status.h"
#include "fmt/format.h"
#include "yaml-cpp/yaml.h"

namespace aetherfs {
namespace {

// Turns yaml-cpp's shared, mutable graph into plain values.
class Converter {
 public:
  explicit Converter(std::shared_ptr<const std::string> file) : file_(std::move(file)) {}

  absl::StatusOr<YamlNode> Convert(const YAML::Node& from, int depth) {
    YamlNode node;
    node.file = file_;
    node.line = from.Mark().line + 1;
    // An alias of a node within itself would never end; aliases of aliases grow without bound.
    if (++nodes_ > kMaxYamlNodes || depth > kMaxDepth) {
      return node.Error(fmt::format("too large: more than {} nodes or {} levels with aliases expanded",
                                    kMaxYamlNodes, kMaxDepth));
    }
    switch (from.Type()) {
      case YAML::NodeType::Undefined:
      case YAML::NodeType::Null:
        break;
      case YAML::NodeType::Scalar:
        node.kind = YamlNode::Kind::kScalar;
        node.scalar = from.Scalar();
        break;
      case YAML::NodeType::Sequence:
        node.kind = YamlNode::Kind::kSequence;
        for (const YAML::Node& item : from) {
          ASSIGN_OR_RETURN(YamlNode converted, Convert(item, depth + 1));
          node.items.push_back(std::move(converted));
        }
        break;
      case YAML::NodeType::Map:
        node.kind = YamlNode::Kind::kMap;
        for (const auto& field : from) RETURN_IF_ERROR(AddField(field.first, field.second, depth, node));
        break;
    }
    return node;
  }

 private:
  static constexpr int kMaxDepth = 64;

  absl::Status AddField(const YAML::Node& key, const YAML::Node& value, int depth, YamlNode& map) {
    YamlNode place;
    place.file = file_;
    place.line = key.Mark().line + 1;
    if (!key.IsScalar()) return place.Error("a key must be plain text");
    YamlField field;
    field.key = key.Scalar();
    field.key_line = place.line;
    for (const YamlField& other : map.fields) {
      if (other.key == field.key) {
        return place.Error(
            fmt::format("key '{}' stands twice, first in line {}", Printable(field.key), other.key_line));
      }
    }
    ASSIGN_OR_RETURN(field.value, Convert(value, depth + 1));
    // yaml-cpp gives a missing value no place.
    if (field.value.line <= 0) field.value.line = field.key_line;
    map.fields.push_back(std::move(field));
    return absl::OkStatus();
  }

  const std::shared_ptr<const std::string> file_;
  size_t nodes_ = 0;
};

}  // namespace

std::string YamlNode::Where() const {
  return fmt::format("{}:{}", file ? *file : std::string("YAML"), line);
}

absl::Status YamlNode::Error(std::string_view problem) const {
  return absl::InvalidArgumentError(fmt::format("{}: {}", Where(), problem));
}

absl::StatusOr<std::string> YamlNode::Text(std::string_view name) const {
  if (kind == Kind::kScalar || kind == Kind::kNull) return scalar;
  return Error(fmt::format("{}: expected one value, not a {}", Printable(name),
                           kind == Kind::kMap ? "map" : "sequence"));
}

absl::StatusOr<std::vector<std::string>> YamlNode::Texts(std::string_view name) const {
  std::vector<std::string> texts;
  if (kind == Kind::kScalar) texts.push_back(scalar);
  if (kind == Kind::kMap) return Error(fmt::format("{}: expected a list, not a map", Printable(name)));
  for (const YamlNode& item : items) {
    if (item.kind != Kind::kScalar) {
      return item.Error(fmt::format("{}: expected one value in each line of the list", Printable(name)));
    }
    texts.push_back(item.scalar);
  }
  return texts;
}

absl::StatusOr<YamlNode> ParseYaml(std::string_view text, std::string_view file_name) {
  auto file = std::make_shared<const std::string>(Printable(file_name));
  try {
    const std::vector<YAML::Node> documents = YAML::LoadAll(std::string(text));
    YamlNode empty;
    empty.file = file;
    empty.line = 1;
    if (documents.empty()) return empty;
    if (documents.size() > 1) {
      empty.line = documents[1].Mark().line + 1;
      return empty.Error("a second YAML document; there may be one only");
    }
    return Converter(file).Convert(documents[0], 0);
  } catch (const YAML::Exception& e) {
    return absl::InvalidArgumentError(
        fmt::format("{}:{}: not valid YAML: {}", *file, e.mark.line + 1, Printable(e.msg)));
  } catch (const std::exception& e) {
    return absl::InvalidArgumentError(fmt::format("{}: not valid YAML: {}", *file, Printable(e.what())));
  }
}

}  // namespace aetherfs
