// What is in a version: inspect, diff.

#include <map>

#include "aetherfs/agent/update.h"
#include "aetherfs/base/quantity.h"
#include "aetherfs/base/status.h"
#include "aetherfs/cli/change_text.h"
#include "aetherfs/cli/command.h"
#include "aetherfs/cli/snapshot_diff.h"
#include "aetherfs/cli/text.h"
#include "aetherfs/client/fetcher.h"
#include "fmt/format.h"

namespace aetherfs {
namespace {

constexpr uint32_t kSearchPage = 1000;
constexpr int kMaxSearchPages = 10;  // of the journal, for how a version was published

class InspectCommand : public CliCommand {
 public:
  std::string_view name() const override { return "inspect"; }
  std::string_view summary() const override {
    return "tell a version's size, labels, and how it was published";
  }
  std::string_view examples() const override {
    return "  aetherfs inspect maxmind/city\n"
           "  aetherfs inspect maxmind/city:v1.4 -o json\n";
  }
  void Declare(OptionSet& options) override { options.AddPositional("REF", &reference_, "the version"); }

  absl::Status Run(CliContext& context) override {
    ASSIGN_OR_RETURN(const Reference reference, ParseReference(reference_));
    context.SetSubject(reference.ToString());
    ASSIGN_OR_RETURN(ServerClient * server, context.Server(reference.host));
    ASSIGN_OR_RETURN(dataset::v1::LookupResponse found, LookupReference(*server, reference));
    context.NoteFreshness(found.freshness());
    if (!found.change().has_publication()) RETURN_IF_ERROR(FindPublication(*server, reference, found));
    if (context.json()) {
      PrintJson(context, reference, found);
    } else {
      PrintText(context, reference, found);
    }
    return absl::OkStatus();
  }

 private:
  // A version older than the entries that a server has at hand: read back in the journal, so far and no
  // farther.
  static absl::Status FindPublication(ServerClient& server, const Reference& reference,
                                      dataset::v1::LookupResponse& found) {
    dataset::v1::HistoryRequest request;
    request.set_dataset(reference.dataset.str());
    request.set_limit(kSearchPage);
    for (int page = 0; page < kMaxSearchPages; ++page) {
      ASSIGN_OR_RETURN(const dataset::v1::HistoryResponse response, server.History(request));
      for (const dataset::v1::Change& change : response.changes()) {
        if (change.publication().snapshot().digest() == found.snapshot().digest()) {
          *found.mutable_change() = change;
          return absl::OkStatus();
        }
      }
      if (response.changes().empty() || response.changes().rbegin()->seq() <= 1) break;
      request.set_before_seq(response.changes().rbegin()->seq());
    }
    return absl::OkStatus();
  }

  static void PrintJson(CliContext& context, const Reference& reference,
                        const dataset::v1::LookupResponse& found) {
    Json json = {{"reference", reference.ToString()}, {"dataset", reference.dataset.str()}};
    json.update(SnapshotJson(found.snapshot()));
    json["dataset_seq"] = found.seq();
    json["published"] = found.change().has_publication() ? ChangeJson(found.change()) : Json(nullptr);
    context.PrintJson(json);
  }

  static void PrintText(CliContext& context, const Reference& reference,
                        const dataset::v1::LookupResponse& found) {
    const dataset::v1::Snapshot& snapshot = found.snapshot();
    FieldList fields;
    fields.Add("reference", reference.ToString());
    fields.Add("digest", TerminalText(snapshot.digest()));
    fields.Add("files", std::to_string(snapshot.files()));
    fields.Add("size", fmt::format("{} ({} bytes)", FormatSize(snapshot.bytes()), snapshot.bytes()));
    fields.Add("chunks", fmt::format("{} in {}", snapshot.chunks(), CountOf(snapshot.blocks(), "block")));
    if (const dataset::v1::Change& change = found.change(); change.has_publication()) {
      const dataset::v1::Publication& publication = change.publication();
      fields.Add("published",
                 fmt::format("{}{}{}", UnixMicrosText(change.time_unix_micros()),
                             change.author().empty() ? "" : " by ", TerminalText(change.author())));
      fields.Add("as",
                 TerminalText(JoinWords({publication.tags().begin(), publication.tags().end()}, ", ")));
      fields.Add("message", TerminalText(publication.message()));
      fields.Add("new then", fmt::format("{} in {}, {} sent", FormatSize(publication.stats().new_bytes()),
                                         CountOf(publication.stats().new_chunks(), "chunk"),
                                         FormatSize(publication.stats().uploaded_bytes())));
      for (const dataset::v1::Delta& delta : publication.deltas()) fields.Add("delta", DeltaText(delta));
      for (const auto& [key, value] :
           std::map<std::string, std::string>(publication.labels().begin(), publication.labels().end())) {
        fields.Add("label", TerminalText(key + "=" + value));
      }
    }
    fields.Print(context.out());
  }

  std::string reference_;
};

class DiffCommand : public CliCommand {
 public:
  std::string_view name() const override { return "diff"; }
  std::string_view summary() const override {
    return "compare two versions: files, and what the step costs";
  }
  std::string_view examples() const override {
    return "  aetherfs diff maxmind/city:v1.3 maxmind/city:v1.4\n";
  }
  void Declare(OptionSet& options) override {
    options.AddPositional("OLD", &old_, "a reference");
    options.AddPositional("NEW", &new_, "a reference");
  }

  absl::Status Run(CliContext& context) override {
    context.SetSubject(old_ + " " + new_);
    TransferStats stats;
    ASSIGN_OR_RETURN(const Side before, Load(context, old_, &stats));
    ASSIGN_OR_RETURN(const Side after, Load(context, new_, &stats));
    const SnapshotDiff diff = DiffSnapshots(before.manifest, after.manifest);
    const Update update = CostOfUpdate(before, after);
    if (context.json()) {
      PrintJson(context, before, after, diff, update);
    } else {
      PrintText(context, diff, update);
    }
    return absl::OkStatus();
  }

 private:
  struct Side {
    Reference reference;
    Digest digest;
    Manifest manifest;
    std::vector<DeltaOffer> offers;
  };
  // What a consumer of the old version would receive.
  struct Update {
    std::vector<DeltaOffer> chain;  // empty: there is none that costs less than blocks
    TransferCost by_deltas;
    TransferCost by_blocks;
  };

  static Update CostOfUpdate(const Side& before, const Side& after) {
    Update update;
    const std::vector<LocalSource> sources = {{"", &before.manifest, true, nullptr}};
    update.by_blocks = CostOfBlocks(after.manifest, sources, MaterializeOptions());
    if (before.reference.dataset != after.reference.dataset) return update;
    update.chain = CheapestChain({&before.digest, 1}, after.digest, after.offers, UINT64_MAX);
    update.by_deltas = CostOfChain(update.chain);
    if (update.by_deltas.Weight() >= update.by_blocks.Weight()) update.chain.clear();
    return update;
  }

  static absl::StatusOr<Side> Load(CliContext& context, const std::string& text, TransferStats* stats) {
    Side side;
    ASSIGN_OR_RETURN(side.reference, ParseReference(text));
    ASSIGN_OR_RETURN(ServerClient * server, context.Server(side.reference.host));
    const absl::StatusOr<dataset::v1::LookupResponse> found = LookupReference(*server, side.reference);
    if (!found.ok()) return Annotate(found.status(), text);
    context.NoteFreshness(found->freshness());
    ASSIGN_OR_RETURN(side.digest, DigestOf(found->snapshot()));
    side.offers = OffersFrom(found->deltas());
    ASSIGN_OR_RETURN(const std::string canonical,
                     Fetcher(server).FetchManifest(side.reference.dataset, side.digest, stats));
    ASSIGN_OR_RETURN(side.manifest, DecodeManifest(canonical));
    return side;
  }

  static void PrintJson(CliContext& context, const Side& before, const Side& after,
                        const SnapshotDiff& diff, const Update& update) {
    Json added = Json::array();
    Json removed = Json::array();
    Json changed = Json::array();
    for (const SnapshotDiff::Item& item : diff.items) {
      switch (item.kind) {
        case SnapshotDiff::Kind::kAdded:
          added.push_back({{"path", item.path}, {"bytes", item.new_size}});
          break;
        case SnapshotDiff::Kind::kRemoved:
          removed.push_back({{"path", item.path}, {"bytes", item.old_size}});
          break;
        case SnapshotDiff::Kind::kChanged:
          changed.push_back({{"path", item.path},
                             {"what", item.what},
                             {"old_bytes", item.old_size},
                             {"new_bytes", item.new_size}});
          break;
      }
    }
    context.PrintJson(
        {{"old", {{"reference", before.reference.ToString()}, {"digest", before.digest.ToString()}}},
         {"new", {{"reference", after.reference.ToString()}, {"digest", after.digest.ToString()}}},
         {"added", std::move(added)},
         {"removed", std::move(removed)},
         {"changed", std::move(changed)},
         {"unchanged", diff.unchanged},
         {"times_only", diff.times_only},
         {"changed_bytes", diff.changed_bytes},
         {"new_chunk_bytes", diff.new_chunk_bytes},
         {"download_bytes", diff.download_bytes},
         {"update",
          {{"by", update.chain.empty() ? "blocks" : "deltas"},
           {"deltas", update.chain.size()},
           {"delta_bytes", update.by_deltas.bytes},
           {"delta_requests", update.by_deltas.requests},
           {"block_bytes", update.by_blocks.bytes},
           {"block_requests", update.by_blocks.requests}}}});
  }

  static void PrintText(CliContext& context, const SnapshotDiff& diff, const Update& update) {
    for (const SnapshotDiff::Item& item : diff.items) {
      const std::string path = TerminalText(item.path);
      switch (item.kind) {
        case SnapshotDiff::Kind::kAdded:
          context.out() << fmt::format("+ {}  {}\n", path, FormatSize(item.new_size));
          break;
        case SnapshotDiff::Kind::kRemoved:
          context.out() << fmt::format("- {}  {}\n", path, FormatSize(item.old_size));
          break;
        case SnapshotDiff::Kind::kChanged: {
          const std::string sizes =
              item.old_size == item.new_size
                  ? FormatSize(item.new_size)
                  : fmt::format("{} -> {}", FormatSize(item.old_size), FormatSize(item.new_size));
          context.out() << fmt::format("~ {}  {}  ({})\n", path, sizes, TerminalText(item.what));
          break;
        }
      }
    }
    std::string same = fmt::format("{} unchanged", diff.unchanged);
    if (diff.times_only > 0) same += fmt::format(" ({} with another time)", diff.times_only);
    context.out() << fmt::format("{} added, {} removed, {} changed, {}\n", diff.added, diff.removed,
                                 diff.changed, same);
    context.out() << fmt::format("{} in files that differ, {} of it new\n", FormatSize(diff.changed_bytes),
                                 FormatSize(diff.new_chunk_bytes));
    const std::string blocks = FormatSize(update.by_blocks.bytes) + " in blocks";
    if (update.chain.empty()) {
      context.out() << fmt::format("to receive: {}{}\n", blocks,
                                   update.by_deltas.requests > 0 ? ", which is less than by deltas" : "");
      return;
    }
    context.out() << fmt::format(
        "to receive: {} as {}, manifest included (otherwise {})\n", FormatSize(update.by_deltas.bytes),
        update.chain.size() == 1 ? std::string("a delta")
                                 : fmt::format("a chain of {} deltas", update.chain.size()),
        blocks);
  }

  std::string old_;
  std::string new_;
};

}  // namespace

std::unique_ptr<CliCommand> MakeInspectCommand() { return std::make_unique<InspectCommand>(); }
std::unique_ptr<CliCommand> MakeDiffCommand() { return std::make_unique<DiffCommand>(); }

}  // namespace aetherfs
