#include "aetherfs/cli/cli.h"

#include <algorithm>

#include "aetherfs/base/status.h"
#include "aetherfs/cli/command.h"
#include "aetherfs/cli/context.h"
#include "aetherfs/cli/exit_status.h"
#include "aetherfs/cli/text.h"
#include "fmt/format.h"

namespace aetherfs {
namespace {

void DeclareGlobals(OptionSet& options, GlobalOptions& globals) {
  options.Add("server", &globals.servers, "servers to ask; a reference's own host beats it")
      .ValueName("HOST:PORT,...");
  options
      .Add("agent", &globals.agent,
           fmt::format("agent to ask: subscriptions are always its business (at {} if none is given), a "
                       "publish is if this is given",
                       kDefaultAgent))
      .ValueName("ADDRESS");
  options.Add("output", &globals.output, "form of what is printed").Short('o').Choices({"text", "json"});
  options.Add("quiet", &globals.quiet, "no progress, no notes; only data and errors").Short('q');
  options
      .Add("cache-dir", &globals.cache_dir,
           "what makes repeated work quick is kept there (default $XDG_CACHE_HOME/aetherfs or "
           "~/.cache/aetherfs)")
      .ValueName("DIR");
  options
      .Add("patience", &globals.patience,
           "how long to look for a server that answers (default 30s for publish, pull and verify, 5s for "
           "all "
           "else)")
      .ValueName("TIME");
}

constexpr std::string_view kEpilog =
    "A reference REF is [host[:port]/]dataset[:tag][@sha256:hex]; the tag is 'latest' if none is given.\n"
    "\n"
    "Exit status: 0 done; 1 failed; 2 wrong usage; 3 not found; 4 conflict (an expectation did not hold);\n"
    "5 unavailable (worth trying again); 6 not permitted.\n"
    "\n"
    "Examples:\n"
    "  aetherfs publish maxmind/city ./build -t v1.4 -m 'September data'\n"
    "  aetherfs pull maxmind/city:v1.4 ./city\n"
    "  aetherfs help publish\n";

// What to do about an error whose message does not say so itself.
std::string_view AdviceFor(const absl::Status& status, bool by_agent) {
  if (Message(status).find("; ") != std::string_view::npos) return "";
  switch (status.code()) {
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kDeadlineExceeded:
      return by_agent ? "; check that aetherfs-agent runs and that --agent is its address"
                      : "; check --server, or try again later";
    case absl::StatusCode::kNotFound:
      return by_agent ? "; 'aetherfs status' lists what the agent has"
                      : "; 'aetherfs ls' and 'aetherfs tags' list what there is";
    case absl::StatusCode::kAborted:
    case absl::StatusCode::kAlreadyExists:
      return "; 'aetherfs tags' shows what stands now";
    case absl::StatusCode::kPermissionDenied:
    case absl::StatusCode::kUnauthenticated:
      return "; check who runs this and what they may do";
    default:
      return "";
  }
}

int Fail(std::ostream& err, const std::string& what, ExitStatus status) {
  err << "aetherfs: " << what << '\n' << std::flush;
  return static_cast<int>(status);
}

// Whatever the words are wrong for: also a configuration file that is not there is no dataset that is
// missing.
int FailUsage(std::ostream& err, const absl::Status& status, const std::string& help) {
  return Fail(err, fmt::format("{}\nSee '{}'.", TerminalText(Message(status)), help), ExitStatus::kUsage);
}

int RunParsed(CliCommand& command, CliContext& context) {
  std::ostream& err = *context.environment().err;
  absl::Status status = command.Run(context);
  if (status.ok()) status = context.Flush();
  context.out().flush();
  if (status.ok()) return static_cast<int>(ExitStatus::kDone);
  std::string where(command.name());
  if (!context.subject().empty()) where += " " + TerminalText(context.subject());
  if (context.environment().interrupt->triggered()) {
    return Fail(err, where + ": interrupted", ExitStatus::kInterrupted);
  }
  // Only this user's interrupt is one.
  const ExitStatus exit_status = absl::IsCancelled(status) ? ExitStatus::kFailed : ExitStatusOf(status);
  return Fail(err,
              fmt::format("{}: {}{}", where, TerminalText(Message(status)),
                          AdviceFor(status, context.asked_agent())),
              exit_status);
}

}  // namespace

int RunCli(const CliEnvironment& environment) {
  GlobalOptions globals;
  OptionSet options("aetherfs", "publishes and loads versioned datasets");
  DeclareGlobals(options, globals);
  options.SetEpilog(std::string(kEpilog));
  const std::vector<std::unique_ptr<CliCommand>> commands = AllCommands();
  for (const auto& command : commands) {
    OptionSet& set = options.AddCommand(std::string(command->name()), std::string(command->summary()));
    command->Declare(set);
    set.SetEpilog(fmt::format("Examples:\n{}", command->examples()));
  }
  const absl::StatusOr<ParseOutcome> outcome =
      options.Parse(environment.args, environment.variables, environment.read_file);
  if (!outcome.ok()) {
    // The command, if one was named, has the help that fits.
    std::string help = "aetherfs help";
    for (const auto& command : commands) {
      const auto& args = environment.args;
      if (std::find(args.begin(), args.end(), command->name()) != args.end()) {
        help += " " + std::string(command->name());
        break;
      }
    }
    return FailUsage(*environment.err, outcome.status(), help);
  }
  CliContext context(environment, globals);
  std::string name = outcome->command;
  if (outcome->action == ParseOutcome::Action::kShowVersion) name = "version";
  if (outcome->action == ParseOutcome::Action::kShowHelp) {
    *environment.out << outcome->help_text << std::flush;
    return static_cast<int>(ExitStatus::kDone);
  }
  const auto command = std::find_if(commands.begin(), commands.end(),
                                    [&](const auto& candidate) { return candidate->name() == name; });
  if (command == commands.end()) {
    return FailUsage(*environment.err, absl::InvalidArgumentError("no command given"), "aetherfs help");
  }
  return RunParsed(**command, context);
}

}  // namespace aetherfs
