#include "aetherfs/base/quantity.h"
#include "aetherfs/base/status.h"
#include "aetherfs/cli/command.h"
#include "aetherfs/cli/pull_directory.h"
#include "aetherfs/cli/text.h"
#include "fmt/format.h"

namespace aetherfs {
namespace {

class PullCommand : public CliCommand {
 public:
  std::string_view name() const override { return "pull"; }
  std::string_view summary() const override {
    return "make a directory that version, once and at one stroke";
  }
  std::string_view examples() const override {
    return "  aetherfs pull maxmind/city ./city\n"
           "  aetherfs pull maxmind/city:v1.4 ./city      # replaces what is there; moves only what "
           "differs\n"
           "  aetherfs pull data.example.com:7400/maxmind/city@sha256:4be2… /srv/city -o json\n";
  }
  void Declare(OptionSet& options) override {
    options.AddPositional("REF", &reference_, "the version");
    options.AddPositional("DIR", &directory_, "what becomes that version; all that is in it goes");
  }

  absl::Status Run(CliContext& context) override {
    const absl::Time start = context.environment().clock->Now();
    PullOptions options;
    ASSIGN_OR_RETURN(options.reference, ParseReference(reference_));
    context.SetSubject(options.reference.ToString());
    if (directory_.empty()) return absl::InvalidArgumentError("DIR is empty; name a directory");
    options.directory = context.AbsolutePath(directory_);
    options.cache_dir = context.CacheDirectory();
    options.working_directory = context.environment().working_directory;
    if (const std::string home = context.Variable("HOME"); home.starts_with('/')) {
      options.home = context.AbsolutePath(home);
    }
    PullProgress progress;
    const auto server = [&] { return context.Server(options.reference.host, kTransferPatience); };
    const absl::StatusOr<PullResult> result = [&] {
      const ProgressLine line(context.environment().err, context.Progress(), [&progress] {
        return ProgressSample{"pulling", progress.transfer.verified_bytes.load(),
                              progress.total_bytes.load(),
                              FormatSize(progress.transfer.downloaded_bytes.load()) + " received"};
      });
      return PullDirectory(server, options, &progress, context.cancelled());
    }();
    if (!result.ok()) return result.status();
    if (!result->warning.empty()) context.Note("note: " + TerminalText(result->warning));
    Print(context, options, *result, progress.transfer, context.environment().clock->Now() - start);
    return absl::OkStatus();
  }

 private:
  static void Print(CliContext& context, const PullOptions& options, const PullResult& result,
                    const TransferStats& stats, absl::Duration elapsed) {
    if (context.json()) {
      context.PrintJson({{"reference", options.reference.ToString()},
                         {"dataset", options.reference.dataset.str()},
                         {"digest", result.digest.ToString()},
                         {"directory", options.directory},
                         {"files", result.files},
                         {"bytes", result.bytes},
                         {"downloaded_bytes", stats.downloaded_bytes.load()},
                         {"reused_bytes", result.reused_bytes},
                         {"delta_bytes", result.delta_bytes},
                         {"delta_failures", stats.delta_failures.load()},
                         {"requests", stats.requests.load()},
                         {"integrity_failures", stats.integrity_failures.load()},
                         {"unchanged", result.unchanged},
                         {"seconds", absl::ToDoubleSeconds(elapsed)}});
      return;
    }
    Reference exact = options.reference;
    if (!exact.digest) exact.tag = exact.TagOrDefault();
    exact.digest = result.digest;
    context.out() << exact.ToString() << '\n';
    const std::string what = fmt::format("{}, {}", CountOf(result.files, "file"), FormatSize(result.bytes));
    if (result.unchanged) {
      context.Note(fmt::format("unchanged: {} is that version already ({}, {})",
                               TerminalText(options.directory), what, FormatElapsed(elapsed)));
      return;
    }
    context.Note(fmt::format("pulled {} into {}: {} received, {} reused ({})", what,
                             TerminalText(options.directory), FormatSize(stats.downloaded_bytes.load()),
                             FormatSize(result.reused_bytes), FormatElapsed(elapsed)));
  }

  std::string reference_;
  std::string directory_;
};

}  // namespace

std::unique_ptr<CliCommand> MakePullCommand() { return std::make_unique<PullCommand>(); }

}  // namespace aetherfs
