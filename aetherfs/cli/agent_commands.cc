// What is always an agent's business: subscribe, unsubscribe, status, pin, unpin, back.

#include <map>
#include <set>

#include "aetherfs/base/quantity.h"
#include "aetherfs/base/status.h"
#include "aetherfs/cli/agent_client.h"
#include "aetherfs/cli/command.h"
#include "aetherfs/cli/subscription_text.h"
#include "aetherfs/cli/text.h"
#include "fmt/format.h"

namespace aetherfs {
namespace {

using agent::v1::SubscriptionStatus;

// A tag of a dataset: what a subscription follows.
absl::StatusOr<Reference> ParseSubscribed(std::string_view text) {
  ASSIGN_OR_RETURN(Reference reference, ParseReference(text));
  if (reference.digest) {
    return absl::InvalidArgumentError(
        fmt::format("'{}' is one version for ever; subscribe to a tag, then pin it", Printable(text)));
  }
  return reference;
}

void PrintStatuses(CliContext& context, const std::vector<SubscriptionStatus>& statuses) {
  if (context.json()) {
    Json list = Json::array();
    for (const SubscriptionStatus& status : statuses) list.push_back(SubscriptionJson(status));
    context.PrintJson({{"subscriptions", std::move(list)}});
  } else {
    PrintSubscriptions(statuses, context.environment().clock->Now(), context.out());
  }
}

class SubscribeCommand : public CliCommand {
 public:
  std::string_view name() const override { return "subscribe"; }
  std::string_view summary() const override { return "have an agent keep datasets current under its root"; }
  std::string_view examples() const override {
    return "  aetherfs subscribe maxmind/city maxmind/asn:stable\n"
           "  aetherfs subscribe maxmind/city --wait --timeout 1m\n"
           "  aetherfs subscribe maxmind/city --check 'test -s city.mmdb' --notify 'systemctl reload "
           "geo'\n";
  }
  void Declare(OptionSet& options) override {
    options.AddPositional("REF", &references_, "a tag to follow");
    options.Add("path", &subscription_path_, "the symlink, below the agent's root (default DATASET/TAG)")
        .ValueName("PATH");
    options.AddInt("keep", &keep_, {0, 1000}, "versions kept on disk; 0: as the agent has it")
        .ValueName("N");
    options.Add("check", &check_, "shell command run on a new version before the switch; it must succeed")
        .ValueName("COMMAND");
    options.Add("notify", &notify_, "shell command run after a switch").ValueName("COMMAND");
    options.Add("include", &include_, "only paths that match").ValueName("GLOB");
    options.Add("exclude", &exclude_, "no paths that match").ValueName("GLOB");
    options.Add("wait", &wait_, "until every one of them is active and current");
    options.Add("timeout", &timeout_, "give up waiting; 0: never").ValueName("TIME");
  }

  absl::Status Run(CliContext& context) override {
    context.SetSubject(JoinWords(references_, " "));
    if (!subscription_path_.empty() && references_.size() > 1) {
      return absl::InvalidArgumentError("--path is for one REF; subscribe to them one by one");
    }
    std::vector<std::string> references;
    for (const std::string& text : references_) {
      ASSIGN_OR_RETURN(const Reference reference, ParseSubscribed(text));
      references.push_back(reference.ToString());
    }
    ASSIGN_OR_RETURN(AgentClient * agent, context.Agent());
    std::vector<SubscriptionStatus> statuses;
    for (const std::string& reference : references) {
      ASSIGN_OR_RETURN(agent::v1::SubscribeResponse response,
                       agent->Call(&AgentClient::Stub::Subscribe, RequestFor(reference), kAgentQueryLimit));
      statuses.push_back(std::move(*response.mutable_status()));
    }
    if (wait_) {
      ASSIGN_OR_RETURN(statuses, Wait(context, *agent, references));
    }
    PrintStatuses(context, statuses);
    return absl::OkStatus();
  }

 private:
  agent::v1::SubscribeRequest RequestFor(const std::string& reference) const {
    agent::v1::SubscribeRequest request;
    agent::v1::Subscription& subscription = *request.mutable_subscription();
    subscription.set_reference(reference);
    subscription.set_path(subscription_path_);
    subscription.set_keep(keep_);
    // A shell, so that people can write what they would type.
    const auto set_command = [](const std::string& text, auto* command) {
      if (text.empty()) return;
      for (const std::string_view word : {std::string_view("/bin/sh"), std::string_view("-c")}) {
        command->Add(std::string(word));
      }
      command->Add(std::string(text));
    };
    set_command(check_, subscription.mutable_check());
    set_command(notify_, subscription.mutable_notify());
    subscription.mutable_include()->Assign(include_.begin(), include_.end());
    subscription.mutable_exclude()->Assign(exclude_.begin(), exclude_.end());
    return request;
  }

  absl::StatusOr<std::vector<SubscriptionStatus>> Wait(CliContext& context, AgentClient& agent,
                                                       const std::vector<std::string>& references) const {
    agent::v1::WatchSubscriptionRequest request;
    request.mutable_references()->Assign(references.begin(), references.end());
    std::map<std::string, SubscriptionStatus> current;
    std::string last_error;
    const absl::Duration limit = timeout_ > absl::ZeroDuration() ? timeout_ : absl::InfiniteDuration();
    const absl::Status status = agent.Watch(request, limit, [&](const SubscriptionStatus& update) {
      const std::string& reference = update.subscription().reference();
      if (update.state() == SubscriptionStatus::STATE_CURRENT) {
        current[reference] = update;
      } else {
        current.erase(reference);
      }
      if (!update.error().empty() && update.error() != last_error) {
        last_error = update.error();
        context.Note(fmt::format("{}: {}", TerminalText(reference), TerminalText(last_error)));
      }
      return current.size() < std::set<std::string>(references.begin(), references.end()).size();
    });
    if (absl::IsDeadlineExceeded(status)) {
      return absl::DeadlineExceededError(fmt::format("not current after {}{}{}; the agent goes on trying",
                                                     FormatElapsed(timeout_),
                                                     last_error.empty() ? "" : ": ", last_error));
    }
    if (!status.ok()) return status;
    std::vector<SubscriptionStatus> statuses;
    for (auto& [reference, update] : current) statuses.push_back(std::move(update));
    return statuses;
  }

  std::vector<std::string> references_;
  std::string subscription_path_;
  uint32_t keep_ = 0;
  std::string check_;
  std::string notify_;
  std::vector<std::string> include_;
  std::vector<std::string> exclude_;
  bool wait_ = false;
  absl::Duration timeout_;
};

class UnsubscribeCommand : public CliCommand {
 public:
  std::string_view name() const override { return "unsubscribe"; }
  std::string_view summary() const override { return "have an agent follow datasets no more"; }
  std::string_view examples() const override {
    return "  aetherfs unsubscribe maxmind/city\n"
           "  aetherfs unsubscribe maxmind/city --remove-files\n";
  }
  void Declare(OptionSet& options) override {
    options.AddPositional("REF", &references_, "what was subscribed to");
    options.Add("remove-files", &remove_files_, "delete the versions on the agent's disk, too");
  }

  absl::Status Run(CliContext& context) override {
    context.SetSubject(JoinWords(references_, " "));
    std::vector<std::string> references;
    for (const std::string& text : references_) {
      ASSIGN_OR_RETURN(const Reference reference, ParseSubscribed(text));
      references.push_back(reference.ToString());
    }
    ASSIGN_OR_RETURN(AgentClient * agent, context.Agent());
    for (const std::string& reference : references) {
      agent::v1::UnsubscribeRequest request;
      request.set_reference(reference);
      request.set_remove_files(remove_files_);
      const absl::Status status =
          agent->Call(&AgentClient::Stub::Unsubscribe, request, kAgentQueryLimit).status();
      if (!status.ok()) return Annotate(status, reference);
    }
    if (context.json()) context.PrintJson({{"unsubscribed", references}});
    return absl::OkStatus();
  }

 private:
  std::vector<std::string> references_;
  bool remove_files_ = false;
};

class StatusCommand : public CliCommand {
 public:
  std::string_view name() const override { return "status"; }
  std::string_view summary() const override {
    return "tell an agent's subscriptions, active versions, ages, errors";
  }
  std::string_view examples() const override { return "  aetherfs status\n"; }
  void Declare(OptionSet& options) override {}

  absl::Status Run(CliContext& context) override {
    ASSIGN_OR_RETURN(AgentClient * agent, context.Agent());
    ASSIGN_OR_RETURN(const agent::v1::StatusResponse response,
                     agent->Call(&AgentClient::Stub::Status, agent::v1::StatusRequest(), kAgentQueryLimit));
    if (context.json()) {
      Json subscriptions = Json::array();
      for (const auto& status : response.subscriptions()) subscriptions.push_back(SubscriptionJson(status));
      Json publications = Json::array();
      for (const auto& publication : response.publications())
        publications.push_back(PublicationJson(publication));
      Json servers = Json::array();
      for (const std::string& server : response.servers()) servers.push_back(server);
      context.PrintJson({{"version", response.version()},
                         {"root", response.root()},
                         {"servers", std::move(servers)},
                         {"connected", response.connected()},
                         {"subscriptions", std::move(subscriptions)},
                         {"publications", std::move(publications)}});
      return absl::OkStatus();
    }
    FieldList fields;
    fields.Add("agent", TerminalText(fmt::format("{} at {}", response.version(), agent->address())));
    fields.Add("root", TerminalText(response.root()));
    fields.Add("servers",
               TerminalText(JoinWords({response.servers().begin(), response.servers().end()}, ", ")) +
                   (response.connected() ? " (connected)" : " (not connected)"));
    fields.Print(context.out());
    if (!response.subscriptions().empty()) context.out() << '\n';
    PrintSubscriptions({response.subscriptions().begin(), response.subscriptions().end()},
                       context.environment().clock->Now(), context.out());
    if (!response.publications().empty()) context.out() << '\n';
    PrintPublications({response.publications().begin(), response.publications().end()}, context.out());
    return absl::OkStatus();
  }
};

class PinCommand : public CliCommand {
 public:
  std::string_view name() const override { return "pin"; }
  std::string_view summary() const override { return "hold a subscription at one version"; }
  std::string_view examples() const override { return "  aetherfs pin maxmind/city sha256:4be2…\n"; }
  void Declare(OptionSet& options) override {
    options.AddPositional("REF", &reference_, "what was subscribed to");
    options.AddPositional("DIGEST", &digest_, "the version");
  }
  absl::Status Run(CliContext& context) override {
    ASSIGN_OR_RETURN(const Reference reference, ParseSubscribed(reference_));
    context.SetSubject(reference.ToString());
    ASSIGN_OR_RETURN(const Digest digest, ParseDigest(digest_));
    agent::v1::PinRequest request;
    request.set_reference(reference.ToString());
    request.set_digest(digest.ToString());
    ASSIGN_OR_RETURN(AgentClient * agent, context.Agent());
    // It may have to be fetched first.
    ASSIGN_OR_RETURN(SubscriptionStatus status,
                     agent->Call(&AgentClient::Stub::Pin, request, absl::InfiniteDuration()));
    PrintStatuses(context, {std::move(status)});
    return absl::OkStatus();
  }

 private:
  std::string reference_;
  std::string digest_;
};

class UnpinCommand : public CliCommand {
 public:
  std::string_view name() const override { return "unpin"; }
  std::string_view summary() const override { return "let a subscription follow its tag again"; }
  std::string_view examples() const override { return "  aetherfs unpin maxmind/city\n"; }
  void Declare(OptionSet& options) override {
    options.AddPositional("REF", &reference_, "what was subscribed to");
  }
  absl::Status Run(CliContext& context) override {
    ASSIGN_OR_RETURN(const Reference reference, ParseSubscribed(reference_));
    context.SetSubject(reference.ToString());
    agent::v1::UnpinRequest request;
    request.set_reference(reference.ToString());
    ASSIGN_OR_RETURN(AgentClient * agent, context.Agent());
    ASSIGN_OR_RETURN(SubscriptionStatus status,
                     agent->Call(&AgentClient::Stub::Unpin, request, kAgentQueryLimit));
    PrintStatuses(context, {std::move(status)});
    return absl::OkStatus();
  }

 private:
  std::string reference_;
};

class BackCommand : public CliCommand {
 public:
  std::string_view name() const override { return "back"; }
  std::string_view summary() const override {
    return "switch a subscription to the version before, and pin it there";
  }
  std::string_view examples() const override { return "  aetherfs back maxmind/city\n"; }
  void Declare(OptionSet& options) override {
    options.AddPositional("REF", &reference_, "what was subscribed to");
  }
  absl::Status Run(CliContext& context) override {
    ASSIGN_OR_RETURN(const Reference reference, ParseSubscribed(reference_));
    context.SetSubject(reference.ToString());
    agent::v1::BackRequest request;
    request.set_reference(reference.ToString());
    ASSIGN_OR_RETURN(AgentClient * agent, context.Agent());
    ASSIGN_OR_RETURN(SubscriptionStatus status,
                     agent->Call(&AgentClient::Stub::Back, request, kAgentQueryLimit));
    PrintStatuses(context, {std::move(status)});
    return absl::OkStatus();
  }

 private:
  std::string reference_;
};

}  // namespace

std::unique_ptr<CliCommand> MakeSubscribeCommand() { return std::make_unique<SubscribeCommand>(); }
std::unique_ptr<CliCommand> MakeUnsubscribeCommand() { return std::make_unique<UnsubscribeCommand>(); }
std::unique_ptr<CliCommand> MakeStatusCommand() { return std::make_unique<StatusCommand>(); }
std::unique_ptr<CliCommand> MakePinCommand() { return std::make_unique<PinCommand>(); }
std::unique_ptr<CliCommand> MakeUnpinCommand() { return std::make_unique<UnpinCommand>(); }
std::unique_ptr<CliCommand> MakeBackCommand() { return std::make_unique<BackCommand>(); }

}  // namespace aetherfs
