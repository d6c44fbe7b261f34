#include "aetherfs/cli/subscription_text.h"

#include <algorithm>

#include "aetherfs/base/quantity.h"
#include "aetherfs/cli/change_text.h"
#include "aetherfs/cli/text.h"
#include "fmt/format.h"

namespace aetherfs {
namespace {

using agent::v1::Publication;
using agent::v1::SubscriptionStatus;

template <typename Strings>
Json ListJson(const Strings& strings) {
  Json json = Json::array();
  for (const std::string& text : strings) json.push_back(text);
  return json;
}

// Null for what is not known.
Json TimeJson(int64_t unix_micros) {
  return unix_micros == 0 ? Json(nullptr) : Json(TimeTextMillis(absl::FromUnixMicros(unix_micros)));
}
Json TextJson(const std::string& text) { return text.empty() ? Json(nullptr) : Json(text); }

// "3.2s", or "-".
std::string Age(int64_t unix_micros, absl::Time now) {
  if (unix_micros == 0) return "-";
  return FormatElapsed(std::max(absl::ZeroDuration(), now - absl::FromUnixMicros(unix_micros)));
}

// "the last update received 9.4 KiB (all of it deltas) in 1 request and reused 2.4 MiB (48ms)"
std::string UpdateText(const agent::v1::UpdateStats& stats) {
  std::string deltas;
  if (stats.delta_bytes() > 0) {
    deltas = stats.delta_bytes() == stats.downloaded_bytes()
                 ? " (all of it deltas)"
                 : fmt::format(" ({} of it deltas)", FormatSize(stats.delta_bytes()));
  }
  return fmt::format("the last update received {}{} in {} and reused {} ({})",
                     FormatSize(stats.downloaded_bytes()), deltas, CountOf(stats.requests(), "request"),
                     FormatSize(stats.reused_bytes()), FormatElapsed(absl::Seconds(stats.seconds())));
}

}  // namespace

std::string_view StateName(SubscriptionStatus::State state) {
  switch (state) {
    case SubscriptionStatus::STATE_WAITING:
      return "waiting";
    case SubscriptionStatus::STATE_UPDATING:
      return "updating";
    case SubscriptionStatus::STATE_CURRENT:
      return "current";
    case SubscriptionStatus::STATE_FAILING:
      return "failing";
    default:
      return "unknown";
  }
}

std::string_view StateName(Publication::State state) {
  switch (state) {
    case Publication::STATE_WAITING:
      return "waiting";
    case Publication::STATE_RUNNING:
      return "running";
    case Publication::STATE_DONE:
      return "done";
    case Publication::STATE_FAILED:
      return "failed";
    default:
      return "unknown";
  }
}

Json SubscriptionJson(const SubscriptionStatus& status) {
  const agent::v1::Subscription& subscription = status.subscription();
  Json json = {{"reference", subscription.reference()},
               {"state", StateName(status.state())},
               {"path", status.active_path()},
               {"digest", TextJson(status.active_digest())},
               {"wanted_digest", TextJson(status.wanted_digest())},
               {"pinned_digest", TextJson(status.pinned_digest())},
               {"activated", TimeJson(status.activated_unix_micros())},
               {"confirmed", TimeJson(status.confirmed_unix_micros())},
               {"kept_digests", ListJson(status.kept_digests())},
               {"bad_digests", ListJson(status.bad_digests())},
               {"error", TextJson(status.error())},
               {"keep", subscription.keep()}};
  if (status.has_last_update()) {
    const agent::v1::UpdateStats& stats = status.last_update();
    json["last_update"] = {{"files", stats.files()},
                           {"bytes", stats.bytes()},
                           {"downloaded_bytes", stats.downloaded_bytes()},
                           {"reused_bytes", stats.reused_bytes()},
                           {"delta_bytes", stats.delta_bytes()},
                           {"requests", stats.requests()},
                           {"seconds", stats.seconds()}};
  } else {
    json["last_update"] = nullptr;
  }
  return json;
}

Json PublicationJson(const Publication& publication) {
  Json json = {{"publication_id", publication.publication_id()},
               {"state", StateName(publication.state())},
               {"reference", publication.request().reference()},
               {"path", publication.request().path()},
               {"attempts", publication.attempts()},
               {"error", TextJson(publication.error())}};
  json["digest"] = publication.has_result() ? Json(publication.result().digest()) : Json(nullptr);
  return json;
}

void PrintSubscriptions(const std::vector<SubscriptionStatus>& statuses, absl::Time now,
                        std::ostream& out) {
  Table table({{"REFERENCE"},
               {"STATE"},
               {"ACTIVE"},
               {"SINCE", true},
               {"CONFIRMED", true},
               {"KEPT", true},
               {"PATH"}});
  for (const SubscriptionStatus& status : statuses) {
    std::string state(StateName(status.state()));
    if (!status.pinned_digest().empty()) state += ", pinned";
    table.AddRow({TerminalText(status.subscription().reference()), std::move(state),
                  status.active_digest().empty() ? "-" : ShortDigest(status.active_digest()),
                  Age(status.activated_unix_micros(), now), Age(status.confirmed_unix_micros(), now),
                  std::to_string(status.kept_digests_size()), TerminalText(status.active_path())});
  }
  table.Print(out);
  for (const SubscriptionStatus& status : statuses) {
    const std::string reference = TerminalText(status.subscription().reference());
    if (status.has_last_update()) out << reference << ": " << UpdateText(status.last_update()) << '\n';
    if (!status.error().empty()) out << reference << ": " << TerminalText(status.error()) << '\n';
    for (const std::string& digest : status.bad_digests()) {
      out << reference << ": the check refused " << ShortDigest(digest) << '\n';
    }
  }
}

void PrintPublications(const std::vector<Publication>& publications, std::ostream& out) {
  Table table({{"PUBLICATION"}, {"STATE"}, {"REFERENCE"}, {"VERSION"}, {"TRIES", true}, {"PATH"}});
  for (const Publication& publication : publications) {
    table.AddRow({TerminalText(publication.publication_id()), std::string(StateName(publication.state())),
                  TerminalText(publication.request().reference()),
                  publication.has_result() ? ShortDigest(publication.result().digest()) : "-",
                  std::to_string(publication.attempts()), TerminalText(publication.request().path())});
  }
  table.Print(out);
  for (const Publication& publication : publications) {
    if (!publication.error().empty()) {
      out << TerminalText(publication.publication_id()) << ": " << TerminalText(publication.error())
          << '\n';
    }
  }
}

}  // namespace aetherfs
