#include "aetherfs/agent/subscription_spec.h"

#include <algorithm>

#include "aetherfs/agent/glob.h"
#include "aetherfs/base/sha256.h"
#include "aetherfs/base/status.h"
#include "fmt/format.h"

namespace aetherfs {
namespace {

constexpr std::string_view kOwnDirectory = ".aetherfs";

absl::StatusOr<Reference> ParseTagReference(std::string_view text) {
  ASSIGN_OR_RETURN(Reference reference, Reference::Parse(text));
  if (reference.digest.has_value()) {
    return absl::InvalidArgumentError(fmt::format(
        "'{}' names one version; subscribe to a tag, and pin the subscription to hold it at a version",
        Printable(text)));
  }
  if (!reference.host.empty()) {
    return absl::InvalidArgumentError(
        fmt::format("'{}' names a server; an agent follows its own servers (--server): leave '{}/' out",
                    Printable(text), reference.host));
  }
  return reference;
}

absl::Status CheckCommand(std::string_view name, const std::vector<std::string>& argv) {
  if (argv.size() > kMaxCommandArguments) {
    return absl::InvalidArgumentError(fmt::format("the {} command has {} arguments; at most {} are allowed",
                                                  name, argv.size(), kMaxCommandArguments));
  }
  if (!argv.empty() && argv.front().empty()) {
    return absl::InvalidArgumentError(fmt::format("the {} command's program is empty", name));
  }
  for (const std::string& argument : argv) {
    if (argument.find('\0') != std::string::npos) {
      return absl::InvalidArgumentError(
          fmt::format("an argument of the {} command holds a NUL byte", name));
    }
  }
  return absl::OkStatus();
}

std::vector<std::string> ToVector(const google::protobuf::RepeatedPtrField<std::string>& field) {
  return {field.begin(), field.end()};
}

}  // namespace

absl::StatusOr<SubscriptionSpec> SubscriptionSpec::Parse(const agent::v1::Subscription& subscription,
                                                         uint32_t default_keep) {
  SubscriptionSpec spec;
  ASSIGN_OR_RETURN(const aetherfs::Reference reference, ParseTagReference(subscription.reference()));
  spec.dataset = reference.dataset;
  spec.tag = reference.TagOrDefault();
  spec.path = subscription.path().empty() ? spec.dataset.str() + "/" + spec.tag : subscription.path();
  const absl::Status valid = ValidatePath(spec.path);
  if (!valid.ok()) {
    return absl::InvalidArgumentError(
        fmt::format("the subscription {} can't have the path '{}' below the root: {}", spec.Reference(),
                    Printable(spec.path), Message(valid)));
  }
  if (PathsConflict(spec.path, kOwnDirectory)) {
    return absl::InvalidArgumentError(
        fmt::format("the subscription {} can't have the path '{}': {} is the agent's own", spec.Reference(),
                    Printable(spec.path), kOwnDirectory));
  }
  spec.keep = subscription.keep() == 0 ? default_keep : subscription.keep();
  if (spec.keep > kMaxKeep) {
    return absl::InvalidArgumentError(fmt::format("the subscription {} can't keep {} versions; at most {}",
                                                  spec.Reference(), spec.keep, kMaxKeep));
  }
  spec.check = ToVector(subscription.check());
  spec.notify = ToVector(subscription.notify());
  spec.include = ToVector(subscription.include());
  spec.exclude = ToVector(subscription.exclude());
  for (const absl::Status& status : {CheckCommand("check", spec.check), CheckCommand("notify", spec.notify),
                                     ValidateGlobs(spec.include, spec.exclude)}) {
    if (!status.ok()) return Annotate(status, fmt::format("subscription {}", spec.Reference()));
  }
  std::sort(spec.include.begin(), spec.include.end());
  std::sort(spec.exclude.begin(), spec.exclude.end());
  return spec;
}

agent::v1::Subscription SubscriptionSpec::ToProto() const {
  agent::v1::Subscription proto;
  proto.set_reference(Reference());
  proto.set_path(path);
  proto.set_keep(keep);
  proto.mutable_check()->Add(check.begin(), check.end());
  proto.mutable_notify()->Add(notify.begin(), notify.end());
  proto.mutable_include()->Add(include.begin(), include.end());
  proto.mutable_exclude()->Add(exclude.begin(), exclude.end());
  return proto;
}

std::string SubscriptionSpec::FilterHash() const {
  if (include.empty() && exclude.empty()) return "";
  Sha256 hash;
  for (const auto* patterns : {&include, &exclude}) {
    for (const std::string& pattern : *patterns) hash.Update(pattern + '\0');
    hash.Update(std::string_view("\0", 1));
  }
  return hash.Finish().Hex().substr(0, 8);
}

absl::StatusOr<std::string> CanonicalReference(std::string_view text) {
  ASSIGN_OR_RETURN(const Reference reference, ParseTagReference(text));
  return reference.dataset.str() + ":" + reference.TagOrDefault();
}

bool PathsConflict(std::string_view a, std::string_view b) {
  if (a.size() > b.size()) std::swap(a, b);
  return b.starts_with(a) && (a.size() == b.size() || b[a.size()] == '/');
}

}  // namespace aetherfs
