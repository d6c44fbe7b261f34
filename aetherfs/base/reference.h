#ifndef AETHERFS_BASE_REFERENCE_H_
#define AETHERFS_BASE_REFERENCE_H_

#include <compare>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "aetherfs/base/digest.h"

namespace aetherfs {

// The name of a dataset: `[@scope/]seg/…/seg`, 1 to 4 segments of `[a-z0-9][a-z0-9._-]{0,63}`; the scope
// is such a segment too. Always valid, or empty when default-constructed.
class DatasetName {
 public:
  DatasetName() = default;
  static absl::StatusOr<DatasetName> Parse(std::string_view text);

  const std::string& str() const { return name_; }
  // One path component: everything but `[a-z0-9._-]` percent-encoded, so '/' is "%2F".
  std::string Escaped() const;
  // The inverse of Escaped(); INVALID_ARGUMENT if it does not yield a valid name in canonical escaping.
  static absl::StatusOr<DatasetName> Unescape(std::string_view escaped);

  friend bool operator==(const DatasetName&, const DatasetName&) = default;
  friend auto operator<=>(const DatasetName&, const DatasetName&) = default;
  template <typename H>
  friend H AbslHashValue(H h, const DatasetName& n) {
    return H::combine(std::move(h), n.name_);
  }

 private:
  explicit DatasetName(std::string name) : name_(std::move(name)) {}
  std::string name_;
};

// OK if `text` is a tag, `[A-Za-z0-9_][A-Za-z0-9._-]{0,127}`; otherwise INVALID_ARGUMENT.
absl::Status ValidateTag(std::string_view text);

inline constexpr std::string_view kDefaultTag = "latest";

// `[host[:port]/]dataset[:tag][@sha256:hex]`, read as Docker users expect: the first component is a host
// if it holds a '.' or ':' or is "localhost".
struct Reference {
  std::string host;  // "host[:port]", or empty
  DatasetName dataset;
  std::string tag;  // as given; empty if none was
  std::optional<Digest> digest;

  static absl::StatusOr<Reference> Parse(std::string_view text);

  std::string TagOrDefault() const { return tag.empty() ? std::string(kDefaultTag) : tag; }
  // Canonical text; the tag is left out only if there is a digest and none was given.
  std::string ToString() const;

  friend bool operator==(const Reference&, const Reference&) = default;
};

}  // namespace aetherfs

#endif  // AETHERFS_BASE_REFERENCE_H_
