#include "aetherfs/object/probe.h"

#include <string>

#include "aetherfs/base/status.h"
#include "fmt/format.h"

namespace aetherfs {
namespace {

constexpr std::string_view kFirst = "first", kSecond = "second";
constexpr std::string_view kAdvice =
    "publishing would not be safe; use a store (version) whose PUT honours 'If-None-Match: *', see "
    "docs/s3.md";

absl::Status CheckSecondWrite(ObjectStore& store, const std::string& key, absl::Time deadline) {
  const absl::Status second =
      store.Put(key, {kSecond}, {.if_absent = true, .sha256 = std::nullopt, .deadline = deadline});
  if (second.ok()) {
    return absl::FailedPreconditionError(
        fmt::format("the object store does not honour create-if-absent: of two writes of '{}' the second "
                    "succeeded too; {}",
                    key, kAdvice));
  }
  if (!absl::IsAlreadyExists(second)) {
    return Annotate(second, "probe the object store's create-if-absent: second write");
  }
  const absl::StatusOr<std::string> content = ReadObject(store, key, kSecond.size(), deadline);
  if (!content.ok()) return Annotate(content.status(), "probe the object store's create-if-absent: read");
  if (*content != kFirst) {
    return absl::FailedPreconditionError(fmt::format(
        "the object store does not honour create-if-absent: a write of '{}' that it refused changed it; {}",
        key, kAdvice));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status ProbeCreateIfAbsent(ObjectStore& store, Random& random, absl::Time deadline) {
  const std::string key = fmt::format("probe/{:016x}{:016x}", random.Next(), random.Next());
  const absl::Status first =
      store.Put(key, {kFirst}, {.if_absent = true, .sha256 = std::nullopt, .deadline = deadline});
  // Below a retrying store ALREADY_EXISTS may be this call's own first write, whose answer was lost.
  if (!first.ok() && !absl::IsAlreadyExists(first)) {
    return Annotate(first, "probe the object store's create-if-absent: first write");
  }
  const absl::Status result = CheckSecondWrite(store, key, deadline);
  const absl::Status removed = store.Remove(key, deadline);
  if (!result.ok()) return result;
  return Annotate(removed, "probe the object store's create-if-absent: remove the probe");
}

}  // namespace aetherfs
