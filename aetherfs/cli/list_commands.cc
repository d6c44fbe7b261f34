// What stands: ls, tags, log, version.

#include <algorithm>

#include "aetherfs/base/quantity.h"
#include "aetherfs/base/status.h"
#include "aetherfs/cli/change_text.h"
#include "aetherfs/cli/command.h"
#include "aetherfs/cli/text.h"
#include "aetherfs/telemetry/version.h"
#include "fmt/format.h"

namespace aetherfs {
namespace {

constexpr uint32_t kHistoryPage = 1000;   // the most that a server gives at once
constexpr int kMaxDatasetPages = 10'000;  // ten million datasets: something is wrong with the server

class LsCommand : public CliCommand {
 public:
  std::string_view name() const override { return "ls"; }
  std::string_view summary() const override { return "list datasets"; }
  std::string_view examples() const override {
    return "  aetherfs ls\n"
           "  aetherfs ls maxmind/ -o json\n";
  }
  void Declare(OptionSet& options) override {
    options.AddPositional("PREFIX", &prefix_, "only datasets whose names begin so").Optional();
  }

  absl::Status Run(CliContext& context) override {
    context.SetSubject(prefix_);
    // "host:port/prefix", as in a reference; what is behind the host need not be a whole name.
    std::string host;
    if (const size_t slash = prefix_.find('/'); slash != std::string::npos) {
      const absl::StatusOr<Reference> reference = Reference::Parse(prefix_.substr(0, slash) + "/x");
      if (reference.ok() && !reference->host.empty()) {
        host = reference->host;
        prefix_.erase(0, slash + 1);
      }
    }
    ASSIGN_OR_RETURN(ServerClient * server, context.Server(host));
    dataset::v1::ListDatasetsRequest request;
    request.set_prefix(prefix_);
    Json datasets = Json::array();
    for (int page = 0; page < kMaxDatasetPages; ++page) {
      ASSIGN_OR_RETURN(const dataset::v1::ListDatasetsResponse response, server->ListDatasets(request));
      if (page == 0) context.NoteFreshness(response.freshness());
      for (const std::string& dataset : response.datasets()) {
        if (context.json()) {
          datasets.push_back(dataset);
        } else {
          context.out() << TerminalText(dataset) << '\n';
        }
      }
      if (response.next_page_token().empty()) {
        if (context.json()) context.PrintJson({{"datasets", std::move(datasets)}});
        return absl::OkStatus();
      }
      request.set_page_token(response.next_page_token());
    }
    return absl::OutOfRangeError("the server's list does not end");
  }

 private:
  std::string prefix_;
};

class TagsCommand : public CliCommand {
 public:
  std::string_view name() const override { return "tags"; }
  std::string_view summary() const override { return "list a dataset's tags and what they point at"; }
  std::string_view examples() const override { return "  aetherfs tags maxmind/city\n"; }
  void Declare(OptionSet& options) override { options.AddPositional("DATASET", &dataset_, "which one"); }

  absl::Status Run(CliContext& context) override {
    ASSIGN_OR_RETURN(const Reference reference, ParseDataset(dataset_));
    context.SetSubject(reference.dataset.str());
    ASSIGN_OR_RETURN(ServerClient * server, context.Server(reference.host));
    dataset::v1::ListTagsRequest request;
    request.set_dataset(reference.dataset.str());
    ASSIGN_OR_RETURN(const dataset::v1::ListTagsResponse response, server->ListTags(request));
    context.NoteFreshness(response.freshness());
    if (context.json()) {
      Json tags = Json::array();
      for (const dataset::v1::Tag& tag : response.tags()) {
        Json json = {{"tag", tag.name()}};
        json.update(SnapshotJson(tag.snapshot()));
        json["seq"] = tag.seq();
        json["updated"] = UnixMicrosText(tag.updated_unix_micros());
        tags.push_back(std::move(json));
      }
      context.PrintJson(
          {{"dataset", reference.dataset.str()}, {"seq", response.seq()}, {"tags", std::move(tags)}});
      return absl::OkStatus();
    }
    Table table({{"TAG"}, {"DIGEST"}, {"FILES", true}, {"SIZE", true}, {"UPDATED"}});
    for (const dataset::v1::Tag& tag : response.tags()) {
      table.AddRow({TerminalText(tag.name()), TerminalText(tag.snapshot().digest()),
                    std::to_string(tag.snapshot().files()), FormatSize(tag.snapshot().bytes()),
                    UnixMicrosText(tag.updated_unix_micros())});
    }
    table.Print(context.out());
    return absl::OkStatus();
  }

 private:
  std::string dataset_;
};

class LogCommand : public CliCommand {
 public:
  std::string_view name() const override { return "log"; }
  std::string_view summary() const override { return "list what happened to a dataset, newest first"; }
  std::string_view examples() const override {
    return "  aetherfs log maxmind/city\n"
           "  aetherfs log maxmind/city -n 1 -o json\n";
  }
  void Declare(OptionSet& options) override {
    options.AddPositional("DATASET", &dataset_, "which one");
    options.AddInt("limit", &limit_, {1, 1'000'000}, "at most so many entries").Short('n').ValueName("N");
  }

  absl::Status Run(CliContext& context) override {
    ASSIGN_OR_RETURN(const Reference reference, ParseDataset(dataset_));
    context.SetSubject(reference.dataset.str());
    ASSIGN_OR_RETURN(ServerClient * server, context.Server(reference.host));
    std::vector<dataset::v1::Change> changes;
    dataset::v1::HistoryRequest request;
    request.set_dataset(reference.dataset.str());
    while (changes.size() < limit_) {
      const auto page = std::min<uint64_t>(kHistoryPage, limit_ - changes.size());
      request.set_limit(static_cast<uint32_t>(page));
      ASSIGN_OR_RETURN(const dataset::v1::HistoryResponse response, server->History(request));
      for (const dataset::v1::Change& change : response.changes()) {
        // A page that does not go on downwards would be asked for again for ever.
        if (!changes.empty() && change.seq() >= changes.back().seq()) {
          return absl::InternalError("the server's journal is out of order");
        }
        changes.push_back(change);
      }
      if (static_cast<uint64_t>(response.changes_size()) < page || changes.back().seq() <= 1) break;
      request.set_before_seq(changes.back().seq());
    }
    if (context.json()) {
      Json list = Json::array();
      for (const dataset::v1::Change& change : changes) list.push_back(ChangeJson(change));
      context.PrintJson({{"dataset", reference.dataset.str()}, {"changes", std::move(list)}});
      return absl::OkStatus();
    }
    Table table({{"SEQ", true}, {"TIME"}, {"BY"}, {"VERSION"}, {"WHAT"}});
    for (const dataset::v1::Change& change : changes) {
      std::string what = ChangeText(change);
      if (!change.publication().message().empty())
        what += "  " + TerminalText(change.publication().message());
      table.AddRow({std::to_string(change.seq()), UnixMicrosText(change.time_unix_micros()),
                    TerminalText(change.author()), ChangeDigest(change), std::move(what)});
    }
    table.Print(context.out());
    return absl::OkStatus();
  }

 private:
  std::string dataset_;
  uint64_t limit_ = 100;
};

class VersionCommand : public CliCommand {
 public:
  std::string_view name() const override { return "version"; }
  std::string_view summary() const override { return "print this program's version"; }
  std::string_view examples() const override { return "  aetherfs version\n"; }
  void Declare(OptionSet& options) override {}
  absl::Status Run(CliContext& context) override {
    if (context.json()) {
      context.PrintJson({{"version", Version()}, {"revision", Revision()}});
    } else {
      context.out() << "aetherfs " << VersionText() << '\n';
    }
    return absl::OkStatus();
  }
};

}  // namespace

std::unique_ptr<CliCommand> MakeLsCommand() { return std::make_unique<LsCommand>(); }
std::unique_ptr<CliCommand> MakeTagsCommand() { return std::make_unique<TagsCommand>(); }
std::unique_ptr<CliCommand> MakeLogCommand() { return std::make_unique<LogCommand>(); }
std::unique_ptr<CliCommand> MakeVersionCommand() { return std::make_unique<VersionCommand>(); }

}  // namespace aetherfs
