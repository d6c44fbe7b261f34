// How a dataset is kept: settings.

#include <map>

#include "aetherfs/base/status.h"
#include "aetherfs/cli/command.h"
#include "aetherfs/cli/text.h"
#include "fmt/format.h"

namespace aetherfs {
namespace {

class SettingsCommand : public CliCommand {
 public:
  std::string_view name() const override { return "settings"; }
  std::string_view summary() const override { return "show a dataset's settings, or change them"; }
  std::string_view examples() const override {
    return "  aetherfs settings maxmind/city\n"
           "  aetherfs settings maxmind/city deltas.keep=24\n"
           "  aetherfs settings maxmind/city deltas.keep=\n";
  }
  void Declare(OptionSet& options) override {
    options.AddPositional("DATASET", &dataset_, "which one");
    options.AddPositional("KEY=VALUE", &changes_, "what to set; without a value: back to the default")
        .Optional();
  }

  absl::Status Run(CliContext& context) override {
    ASSIGN_OR_RETURN(const Reference reference, ParseDataset(dataset_));
    context.SetSubject(reference.dataset.str());
    ASSIGN_OR_RETURN(const auto changes, ParseChanges());
    ASSIGN_OR_RETURN(ServerClient * server, context.Server(reference.host));
    bool unchanged = false;
    if (!changes.empty()) {
      dataset::v1::UpdateSettingsRequest request;
      request.set_dataset(reference.dataset.str());
      request.mutable_settings()->insert(changes.begin(), changes.end());
      request.set_author(context.environment().user());
      request.set_nonce(context.environment().random->Bytes(16));
      ASSIGN_OR_RETURN(const dataset::v1::UpdateSettingsResponse response, server->UpdateSettings(request));
      unchanged = response.unchanged();
    }
    dataset::v1::GetSettingsRequest request;
    request.set_dataset(reference.dataset.str());
    ASSIGN_OR_RETURN(const dataset::v1::GetSettingsResponse response, server->GetSettings(request));
    context.NoteFreshness(response.freshness());
    const std::map<std::string, std::string> settings(response.settings().begin(),
                                                      response.settings().end());
    if (context.json()) {
      Json json = {{"dataset", reference.dataset.str()}, {"seq", response.seq()}};
      json["settings"] = settings;
      if (!changes.empty()) json["unchanged"] = unchanged;
      context.PrintJson(json);
      return absl::OkStatus();
    }
    for (const auto& [key, value] : settings)
      context.out() << TerminalText(fmt::format("{}={}", key, value)) << '\n';
    if (unchanged) context.Note("unchanged: it was set so already");
    return absl::OkStatus();
  }

 private:
  absl::StatusOr<std::map<std::string, std::string>> ParseChanges() const {
    std::map<std::string, std::string> changes;
    for (const std::string& change : changes_) {
      const size_t equals = change.find('=');
      if (equals == std::string::npos || equals == 0) {
        return absl::InvalidArgumentError(
            fmt::format("'{}' sets nothing; write KEY=VALUE", Printable(change)));
      }
      if (!changes.emplace(change.substr(0, equals), change.substr(equals + 1)).second) {
        return absl::InvalidArgumentError(
            fmt::format("{} is set twice", Printable(change.substr(0, equals))));
      }
    }
    return changes;
  }

  std::string dataset_;
  std::vector<std::string> changes_;
};

}  // namespace

std::unique_ptr<CliCommand> MakeSettingsCommand() { return std::make_unique<SettingsCommand>(); }

}  // namespace aetherfs
