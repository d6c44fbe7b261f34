#include <map>
#include <optional>

#include "aetherfs/base/quantity.h"
#include "aetherfs/base/status.h"
#include "aetherfs/cli/agent_client.h"
#include "aetherfs/cli/command.h"
#include "aetherfs/cli/text.h"
#include "aetherfs/client/publisher.h"
#include "fmt/format.h"

namespace aetherfs {
namespace {

constexpr size_t kMaxLabels = 1000;

class PublishCommand : public CliCommand {
 public:
  std::string_view name() const override { return "publish"; }
  std::string_view summary() const override { return "publish a directory, or one file, as a new version"; }
  std::string_view examples() const override {
    return "  aetherfs publish maxmind/city ./build\n"
           "  aetherfs publish maxmind/city:v1.4 ./build -t latest -m 'September data' --label run=812\n"
           "  aetherfs publish maxmind/city ./build --expect sha256:4be2…  # only if nobody was faster\n"
           "  aetherfs publish maxmind/city ./build --agent unix:///run/aetherfs/agent.sock --async\n";
  }

  void Declare(OptionSet& options) override {
    options.AddPositional("REF", &reference_text_, "dataset, and a tag to point at the version");
    options.AddPositional("PATH", &path_, "what to publish");
    options.Add("tag", &tags_, "a further tag to point at the version").Short('t').ValueName("TAG");
    options.Add("message", &message_, "why, for the log").Short('m').ValueName("TEXT");
    options.Add("label", &labels_, "a label of the version").ValueName("KEY=VALUE").Whole();
    options.Add("expect-absent", &expect_absent_, "fail unless none of the tags exists");
    options.Add("expect", &expect_, "fail unless every tag points at this version now").ValueName("DIGEST");
    options.Add("no-delta", &no_delta_, "make no delta from the version before");
    options.Add("async", &asynchronous_, "with --agent: return once the agent has recorded what to do");
  }

  absl::Status Run(CliContext& context) override {
    ASSIGN_OR_RETURN(reference_, ParseReference(reference_text_));
    context.SetSubject(reference_.dataset.str());
    RETURN_IF_ERROR(CheckOptions(context));
    return context.prefers_agent() ? RunThroughAgent(context) : RunHere(context);
  }

 private:
  absl::Status CheckOptions(const CliContext& context) {
    if (reference_.digest) {
      return absl::InvalidArgumentError(
          fmt::format("'{}' names a version that is there, but this makes a new one; leave the digest out",
                      Printable(reference_text_)));
    }
    if (!reference_.tag.empty()) tags_.insert(tags_.begin(), reference_.tag);
    if (tags_.empty()) tags_.emplace_back(kDefaultTag);
    for (size_t i = 0; i < tags_.size(); ++i) {
      RETURN_IF_ERROR(ValidateTag(tags_[i]));
      for (size_t j = tags_.size() - 1; j > i; --j) {
        if (tags_[j] == tags_[i]) tags_.erase(tags_.begin() + static_cast<std::ptrdiff_t>(j));
      }
    }
    if (expect_absent_ && !expect_.empty()) {
      return absl::InvalidArgumentError(
          "--expect-absent and --expect contradict each other; give one of them");
    }
    if (!expect_.empty()) {
      absl::StatusOr<Digest> digest = ParseDigest(expect_);
      if (!digest.ok()) return Annotate(digest.status(), "--expect");
      expected_ = *digest;
    }
    if (asynchronous_ && !context.prefers_agent()) {
      return absl::InvalidArgumentError("--async needs an agent to do the work; give --agent ADDRESS");
    }
    if (path_.empty()) return absl::InvalidArgumentError("PATH is empty; name a directory or a file");
    if (labels_.size() > kMaxLabels) {
      return absl::InvalidArgumentError(fmt::format("more than {} labels", kMaxLabels));
    }
    for (const std::string& label : labels_) {
      const size_t equals = label.find('=');
      if (equals == 0 || equals == std::string::npos) {
        return absl::InvalidArgumentError(
            fmt::format("label '{}' has no key; write --label KEY=VALUE", Printable(label)));
      }
      label_map_[label.substr(0, equals)] = label.substr(equals + 1);
    }
    return absl::OkStatus();
  }

  absl::Status RunHere(CliContext& context) {
    ASSIGN_OR_RETURN(ServerClient * server, context.Server(reference_.host, kTransferPatience));
    PublishOptions options;
    options.dataset = reference_.dataset;
    options.tags = tags_;
    options.path = context.AbsolutePath(path_);
    options.message = message_;
    options.labels = label_map_;
    options.expect_absent = expect_absent_;
    options.expect = expected_;
    options.make_deltas = !no_delta_;
    options.author = context.environment().user();
    options.cache_dir = context.CacheDirectory();
    options.nonce = context.environment().random->Bytes(16);
    PublishProgress progress;
    absl::StatusOr<PublishResult> result = [&] {
      const ProgressLine line(context.environment().err, context.Progress(), [&progress] {
        const uint64_t total = progress.total_bytes.load();
        if (total == 0)
          return ProgressSample{"scanning", 0, 0, CountOf(progress.scanned_files.load(), "file")};
        return ProgressSample{"publishing", progress.processed_bytes.load(), total,
                              FormatSize(progress.uploaded_bytes.load()) + " sent"};
      });
      return PublishDirectory(*server, options, &progress, context.cancelled());
    }();
    if (!result.ok()) return result.status();
    agent::v1::PublishResult message;
    message.set_dataset(result->dataset.str());
    for (const std::string& tag : result->tags) message.add_tags(tag);
    message.set_digest(result->digest.ToString());
    message.set_files(result->files);
    message.set_bytes(result->bytes);
    message.set_chunks(result->chunks);
    message.set_new_chunks(result->new_chunks);
    message.set_new_bytes(result->new_bytes);
    message.set_uploaded_bytes(result->uploaded_bytes);
    message.set_delta_bytes(result->delta_bytes);
    message.set_seq(result->seq);
    message.set_unchanged(result->unchanged);
    message.set_seconds(absl::ToDoubleSeconds(result->elapsed));
    PrintResult(context, message);
    if (!result->warning.empty()) context.Note("note: " + TerminalText(result->warning));
    return absl::OkStatus();
  }

  absl::Status RunThroughAgent(CliContext& context) {
    ASSIGN_OR_RETURN(AgentClient * agent, context.Agent());
    agent::v1::PublishRequest request;
    reference_.tag = tags_.front();
    request.set_reference(reference_.ToString());
    request.set_path(context.AbsolutePath(path_));
    for (const std::string& tag : tags_) request.add_tags(tag);
    request.set_message(message_);
    request.mutable_labels()->insert(label_map_.begin(), label_map_.end());
    request.set_expect_absent(expect_absent_);
    if (expected_) request.set_expect_digest(expected_->ToString());
    request.set_no_delta(no_delta_);
    request.set_asynchronous(asynchronous_);
    // However long a publish takes, the agent says when it is done or cannot be.
    ASSIGN_OR_RETURN(const agent::v1::PublishResponse response,
                     agent->Call(&AgentClient::Stub::Publish, request, absl::InfiniteDuration()));
    if (response.has_result()) {
      PrintResult(context, response.result());
    } else if (context.json()) {
      context.PrintJson({{"publication_id", response.publication_id()}, {"state", "waiting"}});
    } else {
      context.out() << TerminalText(response.publication_id()) << '\n';
      context.Note("recorded; 'aetherfs status' tells how it stands");
    }
    return absl::OkStatus();
  }

  void PrintResult(CliContext& context, const agent::v1::PublishResult& result) const {
    PrintOutcome(context, result);
    if (!result.unchanged() || (message_.empty() && label_map_.empty())) return;
    context.Note("note: nothing was published, so message and labels are recorded nowhere");
  }

  static void PrintOutcome(CliContext& context, const agent::v1::PublishResult& result) {
    if (context.json()) {
      Json tags = Json::array();
      for (const std::string& tag : result.tags()) tags.push_back(tag);
      context.PrintJson({{"dataset", result.dataset()},
                         {"tags", std::move(tags)},
                         {"digest", result.digest()},
                         {"files", result.files()},
                         {"bytes", result.bytes()},
                         {"chunks", result.chunks()},
                         {"new_chunks", result.new_chunks()},
                         {"new_bytes", result.new_bytes()},
                         {"uploaded_bytes", result.uploaded_bytes()},
                         {"delta_bytes", result.delta_bytes()},
                         {"seq", result.seq()},
                         {"unchanged", result.unchanged()},
                         {"seconds", result.seconds()}});
      return;
    }
    for (const std::string& tag : result.tags()) {
      context.out() << TerminalText(fmt::format("{}:{}@{}", result.dataset(), tag, result.digest()))
                    << '\n';
    }
    const std::string what =
        fmt::format("{}, {}", CountOf(result.files(), "file"), FormatSize(result.bytes()));
    const std::string time = FormatElapsed(absl::Seconds(result.seconds()));
    if (result.unchanged()) {
      context.Note(fmt::format("unchanged: {}; nothing to publish ({})", what, time));
      return;
    }
    context.Note(fmt::format("published {}: {} in {} new, {} sent ({})", what,
                             FormatSize(result.new_bytes()), CountOf(result.new_chunks(), "chunk"),
                             FormatSize(result.uploaded_bytes()), time));
  }

  std::string reference_text_;
  std::string path_;
  std::vector<std::string> tags_;
  std::string message_;
  std::vector<std::string> labels_;
  bool expect_absent_ = false;
  std::string expect_;
  bool no_delta_ = false;
  bool asynchronous_ = false;

  Reference reference_;
  std::optional<Digest> expected_;
  std::map<std::string, std::string> label_map_;
};

}  // namespace

std::unique_ptr<CliCommand> MakePublishCommand() { return std::make_unique<PublishCommand>(); }

}  // namespace aetherfs
