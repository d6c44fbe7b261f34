#ifndef AETHERFS_CLI_CONTEXT_H_
#define AETHERFS_CLI_CONTEXT_H_

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "aetherfs/base/reference.h"
#include "aetherfs/cli/cli.h"
#include "aetherfs/cli/json.h"
#include "aetherfs/cli/progress.h"
#include "aetherfs/dataset/v1/dataset.pb.h"

namespace aetherfs {

class AgentClient;

inline constexpr std::string_view kDefaultServer = "127.0.0.1:7400";
inline constexpr std::string_view kDefaultAgent = "unix:///run/aetherfs/agent.sock";

// How long a command looks for a server that answers: somebody waits for a question's answer; a transfer
// sits out a server's restart.
inline constexpr absl::Duration kQueryPatience = absl::Seconds(5);
inline constexpr absl::Duration kTransferPatience = absl::Seconds(30);

// The options that every command takes.
struct GlobalOptions {
  std::vector<std::string> servers = {std::string(kDefaultServer)};
  std::string agent;  // empty: not asked for
  std::string output = "text";
  bool quiet = false;
  std::string cache_dir;  // empty: the user's
  std::string patience;   // empty: the command's own
};

// What a running command has at hand: options, streams, connections made when first asked for.
// Belongs to one run; not thread-safe.
class CliContext {
 public:
  CliContext(const CliEnvironment& environment, const GlobalOptions& options);
  ~CliContext();
  CliContext(const CliContext&) = delete;
  CliContext& operator=(const CliContext&) = delete;

  const CliEnvironment& environment() const { return environment_; }
  const GlobalOptions& options() const { return options_; }
  std::ostream& out() { return *environment_.out; }
  bool json() const { return options_.output == "json"; }
  const std::atomic<bool>* cancelled() const { return environment_.interrupt->flag(); }

  // One JSON document on one line of stdout.
  void PrintJson(const Json& document);
  // A message for people, on stderr; not with --quiet.
  void Note(std::string_view message);
  // Says so if an answer comes from a server that cannot ask its store.
  void NoteFreshness(const dataset::v1::Freshness& freshness);
  // Ends with an error if stdout cannot take what was written.
  absl::Status Flush();

  // What error messages name besides the command.
  void SetSubject(std::string subject) { subject_ = std::move(subject); }
  const std::string& subject() const { return subject_; }

  // The client for a reference's host, or for --server if that is empty. Lives as long as this.
  absl::StatusOr<ServerClient*> Server(const std::string& host, absl::Duration patience = kQueryPatience);
  // For --agent, or the default address.
  absl::StatusOr<AgentClient*> Agent();
  bool asked_agent() const { return agent_ != nullptr; }
  // Whether an agent was asked for where a command can do without.
  bool prefers_agent() const { return !options_.agent.empty(); }

  // A directory of the user's that may be written to, made if need be; empty if there is none.
  std::string CacheDirectory() const;
  std::string Variable(const std::string& name) const;
  // Absolute, without ".", ".." and double slashes. Symlinks are left alone.
  std::string AbsolutePath(std::string_view path) const;

  // Whether and how progress is shown.
  ProgressLine::Options Progress() const;

 private:
  const CliEnvironment& environment_;
  const GlobalOptions& options_;
  std::string subject_;
  struct Connection {
    std::shared_ptr<ServerClient> client;
    Interrupt::Registration cancel;
  };
  std::map<std::string, Connection> connections_;  // by host
  std::unique_ptr<AgentClient> agent_;
};

// `path` made absolute against `base`, and cleaned by its text alone.
std::string CleanPath(std::string_view base, std::string_view path);

// A reference as the user wrote it; INVALID_ARGUMENT if it is none.
absl::StatusOr<Reference> ParseReference(std::string_view text);
// The same, but neither tag nor digest may be there.
absl::StatusOr<Reference> ParseDataset(std::string_view text);
// "sha256:…", or the hexadecimal digits alone.
absl::StatusOr<Digest> ParseDigest(std::string_view text);

// What a reference names now.
absl::StatusOr<dataset::v1::LookupResponse> LookupReference(ServerClient& server,
                                                            const Reference& reference);
// The digest in a server's answer; INTERNAL if it is none.
absl::StatusOr<Digest> DigestOf(const dataset::v1::Snapshot& snapshot);

}  // namespace aetherfs

#endif  // AETHERFS_CLI_CONTEXT_H_
