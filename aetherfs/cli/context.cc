#include "aetherfs/cli/context.h"

#include <unistd.h>

#include "aetherfs/base/address.h"
#include "aetherfs/base/quantity.h"
#include "aetherfs/base/status.h"
#include "aetherfs/cli/agent_client.h"
#include "aetherfs/cli/text.h"
#include "aetherfs/os/file.h"
#include "fmt/format.h"

namespace aetherfs {
namespace {

// "unix:///path" or "HOST:PORT"; gRPC would take anything else for a name to look up.
absl::Status ValidateAgentAddress(const std::string& address) {
  if (address.starts_with("unix:///")) return absl::OkStatus();
  const size_t colon = address.rfind(':');
  if (colon != std::string::npos && address.find(']', colon) == std::string::npos &&
      ParseServerAddress(address).ok()) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(fmt::format(
      "--agent: '{}' is not an agent's address; write unix:///path or HOST:PORT", Printable(address)));
}

}  // namespace

CliContext::CliContext(const CliEnvironment& environment, const GlobalOptions& options)
    : environment_(environment), options_(options) {}

CliContext::~CliContext() = default;

void CliContext::PrintJson(const Json& document) { out() << JsonText(document) << '\n'; }

void CliContext::Note(std::string_view message) {
  if (!options_.quiet) *environment_.err << message << '\n' << std::flush;
}

void CliContext::NoteFreshness(const dataset::v1::Freshness& freshness) {
  if (!freshness.stale()) return;
  Note(fmt::format("note: the server cannot reach its store; this is what it knew {} ago",
                   FormatElapsed(absl::Milliseconds(freshness.age_millis()))));
}

absl::Status CliContext::Flush() {
  out().flush();
  if (out().good()) return absl::OkStatus();
  return absl::UnknownError("write to standard output failed; is its disk full, or its reader gone?");
}

absl::StatusOr<ServerClient*> CliContext::Server(const std::string& host, absl::Duration patience) {
  const auto found = connections_.find(host);
  if (found != connections_.end()) return found->second.client.get();
  ServerClientOptions options;
  options.patience = patience;
  if (!options_.patience.empty()) {
    absl::StatusOr<absl::Duration> given = ParseDuration(options_.patience);
    if (!given.ok()) return Annotate(given.status(), "--patience");
    options.patience = *given;
  }
  if (!host.empty()) {
    ASSIGN_OR_RETURN(options.servers.emplace_back(), ParseServerAddress(host));
  } else {
    for (const std::string& server : options_.servers) {
      if (server.empty()) continue;
      absl::StatusOr<std::string> address = ParseServerAddress(server);
      if (!address.ok()) return Annotate(address.status(), "--server");
      options.servers.push_back(*std::move(address));
    }
  }
  if (options.servers.empty()) {
    return absl::InvalidArgumentError("--server names no server; give HOST:PORT, or several joined by ','");
  }
  ASSIGN_OR_RETURN(std::shared_ptr<ServerClient> client, environment_.connect_server(options));
  Interrupt::Registration cancel = environment_.interrupt->OnTrigger([client] { client->Cancel(); });
  ServerClient* const raw = client.get();
  connections_.emplace(host, Connection{std::move(client), std::move(cancel)});
  return raw;
}

absl::StatusOr<AgentClient*> CliContext::Agent() {
  if (agent_ == nullptr) {
    const std::string address = options_.agent.empty() ? std::string(kDefaultAgent) : options_.agent;
    RETURN_IF_ERROR(ValidateAgentAddress(address));
    agent_ =
        std::make_unique<AgentClient>(address, environment_.connect_agent(address), environment_.interrupt);
  }
  return agent_.get();
}

std::string CliContext::Variable(const std::string& name) const {
  return environment_.variables(name).value_or("");
}

std::string CliContext::CacheDirectory() const {
  std::string directory = options_.cache_dir;
  if (directory.empty()) {
    if (const std::string xdg = Variable("XDG_CACHE_HOME"); xdg.starts_with('/')) {
      directory = JoinPath(xdg, "aetherfs");
    } else if (const std::string home = Variable("HOME"); home.starts_with('/')) {
      directory = JoinPath(home, ".cache/aetherfs");
    } else {
      return "";
    }
  }
  directory = AbsolutePath(directory);
  // Nothing depends on it: without it everything works, only slower.
  if (!MakeDirectories(directory, 0700).ok() || access(directory.c_str(), W_OK | X_OK) != 0) return "";
  return directory;
}

std::string CliContext::AbsolutePath(std::string_view path) const {
  return CleanPath(environment_.working_directory, path);
}

ProgressLine::Options CliContext::Progress() const {
  return {.shown = environment_.err_is_terminal && !options_.quiet, .width = environment_.err_width};
}

std::string CleanPath(std::string_view base, std::string_view path) {
  const std::string whole = path.starts_with('/') ? std::string(path) : fmt::format("{}/{}", base, path);
  std::vector<std::string_view> parts;
  const std::string_view rest = whole;
  for (size_t begin = 0; begin <= rest.size();) {
    const size_t end = std::min(rest.find('/', begin), rest.size());
    const std::string_view part = rest.substr(begin, end - begin);
    if (part == "..") {
      if (!parts.empty()) parts.pop_back();
    } else if (!part.empty() && part != ".") {
      parts.push_back(part);
    }
    begin = end + 1;
  }
  std::string clean;
  for (const std::string_view part : parts) clean.append("/").append(part);
  return clean.empty() ? "/" : clean;
}

absl::StatusOr<Reference> ParseReference(std::string_view text) {
  absl::StatusOr<Reference> reference = Reference::Parse(text);
  if (!reference.ok()) {
    return Annotate(reference.status(), fmt::format("reference '{}'", Printable(text)));
  }
  return reference;
}

absl::StatusOr<Reference> ParseDataset(std::string_view text) {
  ASSIGN_OR_RETURN(Reference reference, ParseReference(text));
  if (!reference.tag.empty() || reference.digest) {
    return absl::InvalidArgumentError(
        fmt::format("'{}' names a version where a dataset is wanted; write {}", Printable(text),
                    reference.dataset.str()));
  }
  return reference;
}

absl::StatusOr<Digest> ParseDigest(std::string_view text) {
  return text.size() == 2 * Digest::kSize ? Digest::ParseHex(text) : Digest::Parse(text);
}

absl::StatusOr<dataset::v1::LookupResponse> LookupReference(ServerClient& server,
                                                            const Reference& reference) {
  dataset::v1::LookupRequest request;
  request.set_dataset(reference.dataset.str());
  if (reference.digest) {
    request.set_digest(reference.digest->ToString());
  } else {
    request.set_tag(reference.TagOrDefault());
  }
  return server.Lookup(request);
}

absl::StatusOr<Digest> DigestOf(const dataset::v1::Snapshot& snapshot) {
  absl::StatusOr<Digest> digest = Digest::Parse(snapshot.digest());
  if (!digest.ok())
    return absl::InternalError("the server's answer names no snapshot; is it an AetherFS server?");
  return digest;
}

}  // namespace aetherfs
