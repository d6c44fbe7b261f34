#include "aetherfs/cli/change_text.h"

#include <map>
#include <vector>

#include "aetherfs/base/digest.h"
#include "aetherfs/base/quantity.h"
#include "aetherfs/cli/text.h"
#include "fmt/format.h"

namespace aetherfs {
namespace {

template <typename Strings>
std::string List(const Strings& strings) {
  return TerminalText(JoinWords(std::vector<std::string>(strings.begin(), strings.end()), ", "));
}

template <typename StringMap>
Json MapJson(const StringMap& map) {
  Json json = Json::object();
  for (const auto& [key, value] : std::map<std::string, std::string>(map.begin(), map.end()))
    json[key] = value;
  return json;
}

template <typename Strings>
Json ListJson(const Strings& strings) {
  Json json = Json::array();
  for (const std::string& text : strings) json.push_back(text);
  return json;
}

// All that a consumer may have to fetch of it.
uint64_t SizeOf(const dataset::v1::Delta& delta) { return delta.size() + delta.parts_size(); }

void AddPublication(const dataset::v1::Publication& publication, Json& json) {
  json["kind"] = "publish";
  json["tags"] = ListJson(publication.tags());
  json["snapshot"] = SnapshotJson(publication.snapshot());
  json["message"] = publication.message();
  json["labels"] = MapJson(publication.labels());
  json["new_chunks"] = publication.stats().new_chunks();
  json["new_bytes"] = publication.stats().new_bytes();
  json["uploaded_bytes"] = publication.stats().uploaded_bytes();
  json["delta_bytes"] = publication.stats().delta_bytes();
  Json deltas = Json::array();
  for (const dataset::v1::Delta& delta : publication.deltas()) {
    deltas.push_back({{"digest", delta.digest()},
                      {"from", delta.from()},
                      {"bytes", SizeOf(delta)},
                      {"head_bytes", delta.head_size()}});
  }
  json["deltas"] = std::move(deltas);
}

void AddTagChange(const dataset::v1::TagChange& change, Json& json) {
  json["kind"] = "tag";
  Json moves = Json::array();
  for (const auto& move : change.moves()) {
    moves.push_back({{"tag", move.tag()}, {"digest", move.snapshot().digest()}});
  }
  json["moves"] = std::move(moves);
  json["deleted"] = ListJson(change.deleted());
}

std::string TagChangeText(const dataset::v1::TagChange& change) {
  std::vector<std::string> parts;
  for (const auto& move : change.moves()) {
    parts.push_back(
        fmt::format("tag {} -> {}", TerminalText(move.tag()), ShortDigest(move.snapshot().digest())));
  }
  if (!change.deleted().empty()) parts.push_back("untag " + List(change.deleted()));
  return JoinWords(parts, ", ");
}

}  // namespace

std::string ShortDigest(const std::string& digest) {
  const auto parsed = Digest::Parse(digest);
  return parsed.ok() ? parsed->Short() : TerminalText(digest);
}

std::string DeltaText(const dataset::v1::Delta& delta) {
  return fmt::format("from {} {}", ShortDigest(delta.from()), FormatSize(SizeOf(delta)));
}

Json SnapshotJson(const dataset::v1::Snapshot& snapshot) {
  return {{"digest", snapshot.digest()},
          {"files", snapshot.files()},
          {"bytes", snapshot.bytes()},
          {"chunks", snapshot.chunks()},
          {"blocks", snapshot.blocks()}};
}

Json ChangeJson(const dataset::v1::Change& change) {
  Json json;
  json["seq"] = change.seq();
  json["time"] = UnixMicrosText(change.time_unix_micros());
  json["author"] = change.author();
  switch (change.kind_case()) {
    case dataset::v1::Change::kPublication:
      AddPublication(change.publication(), json);
      break;
    case dataset::v1::Change::kTagChange:
      AddTagChange(change.tag_change(), json);
      break;
    case dataset::v1::Change::kCondemnation:
      json["kind"] = "condemn";
      json["epoch"] = change.condemnation().epoch();
      json["blocks"] = ListJson(change.condemnation().blocks());
      json["manifests"] = ListJson(change.condemnation().manifests());
      break;
    case dataset::v1::Change::kSettingsChange:
      json["kind"] = "settings";
      json["settings"] = MapJson(change.settings_change().settings());
      break;
    case dataset::v1::Change::KIND_NOT_SET:
      json["kind"] = "unknown";
      break;
  }
  return json;
}

std::string ChangeText(const dataset::v1::Change& change) {
  switch (change.kind_case()) {
    case dataset::v1::Change::kPublication: {
      const dataset::v1::Publication& publication = change.publication();
      std::string text = fmt::format("publish {}: {}, {} ({} new)", List(publication.tags()),
                                     CountOf(publication.snapshot().files(), "file"),
                                     FormatSize(publication.snapshot().bytes()),
                                     FormatSize(publication.stats().new_bytes()));
      for (const dataset::v1::Delta& delta : publication.deltas()) text += ", delta " + DeltaText(delta);
      return text;
    }
    case dataset::v1::Change::kTagChange:
      return TagChangeText(change.tag_change());
    case dataset::v1::Change::kCondemnation:
      return fmt::format(
          "condemn {}, {}", CountOf(static_cast<uint64_t>(change.condemnation().blocks_size()), "block"),
          CountOf(static_cast<uint64_t>(change.condemnation().manifests_size()), "manifest"));
    case dataset::v1::Change::kSettingsChange: {
      std::vector<std::string> parts;
      for (const auto& [key, value] : std::map<std::string, std::string>(
               change.settings_change().settings().begin(), change.settings_change().settings().end())) {
        parts.push_back(TerminalText(key + "=" + value));
      }
      return "set " + JoinWords(parts, ", ");
    }
    case dataset::v1::Change::KIND_NOT_SET:
      break;
  }
  return "of a kind that this version does not know";
}

std::string ChangeDigest(const dataset::v1::Change& change) {
  if (change.has_publication()) return ShortDigest(change.publication().snapshot().digest());
  if (change.has_tag_change() && change.tag_change().moves_size() == 1) {
    return ShortDigest(change.tag_change().moves(0).snapshot().digest());
  }
  return "";
}

}  // namespace aetherfs
