#ifndef AETHERFS_CLI_SUBSCRIPTION_TEXT_H_
#define AETHERFS_CLI_SUBSCRIPTION_TEXT_H_

#include <ostream>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "aetherfs/agent/v1/agent.pb.h"
#include "aetherfs/cli/json.h"

namespace aetherfs {

// How an agent's subscriptions and publications look to people and to programs. Pure functions.

// "waiting", "updating", "current", "failing", "unknown".
std::string_view StateName(agent::v1::SubscriptionStatus::State state);
std::string_view StateName(agent::v1::Publication::State state);

Json SubscriptionJson(const agent::v1::SubscriptionStatus& status);
Json PublicationJson(const agent::v1::Publication& publication);

// A table, then a line for each error. `now` makes ages of times.
void PrintSubscriptions(const std::vector<agent::v1::SubscriptionStatus>& statuses, absl::Time now,
                        std::ostream& out);
void PrintPublications(const std::vector<agent::v1::Publication>& publications, std::ostream& out);

}  // namespace aetherfs

#endif  // AETHERFS_CLI_SUBSCRIPTION_TEXT_H_
