#ifndef AETHERFS_CLI_TESTING_CLI_RUNNER_H_
#define AETHERFS_CLI_TESTING_CLI_RUNNER_H_

#include <map>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "aetherfs/base/testing/fake_clock.h"
#include "aetherfs/cli/cli.h"
#include "aetherfs/cli/json.h"
#include "aetherfs/client/testing/fake_server_client.h"
#include "aetherfs/os/file.h"
#include "grpcpp/channel.h"

namespace aetherfs {

// Runs whole commands against a server in memory, in directories of its own. Not thread-safe, but for the
// interrupt and the server.
class CliRunner {
 public:
  CliRunner();

  struct Result {
    int status = -1;
    std::string out;
    std::string err;
    Json json() const { return Json::parse(out, nullptr, /*allow_exceptions=*/false); }
  };
  Result Run(const std::vector<std::string>& args);

  FakeServerClient& server() { return *server_; }
  FakeClock& clock() { return clock_; }
  Interrupt& interrupt() { return *interrupt_; }
  // What came before is forgotten: as a new process.
  void ResetInterrupt() { interrupt_ = std::make_unique<Interrupt>(); }
  std::map<std::string, std::string>& variables() { return variables_; }
  void set_agent(std::shared_ptr<grpc::Channel> channel) { agent_ = std::move(channel); }
  void set_terminal(bool is_terminal) { err_is_terminal_ = is_terminal; }
  // How servers and agents were asked for.
  const std::vector<ServerClientOptions>& connections() const { return connections_; }
  const std::vector<std::string>& agent_addresses() const { return agent_addresses_; }
  // Another server in memory, for references with that host (and port).
  FakeServerClient& AddServer(const std::string& address);

  // The working directory, below which relative paths lie.
  const std::string& directory() const { return work_; }
  std::string Path(std::string_view relative) const { return JoinPath(work_, relative); }
  // Writes a file below the working directory, its directories too, with an mtime that is always the same.
  void Write(const std::string& relative, std::string_view contents, unsigned mode = 0644);
  std::string Read(const std::string& relative) const;
  // Names in a directory below the working directory, hidden ones too; "(none)" if it does not exist.
  std::vector<std::string> Names(const std::string& relative) const;

  // Publishes and returns the version's digest; fails the test if that fails.
  std::string Publish(const std::string& reference, const std::string& path,
                      const std::vector<std::string>& more = {});

 private:
  TemporaryDirectory temporary_;
  std::string work_;
  std::shared_ptr<FakeServerClient> server_ = std::make_shared<FakeServerClient>();
  std::map<std::string, std::shared_ptr<FakeServerClient>> other_servers_;
  FakeClock clock_;
  std::unique_ptr<Interrupt> interrupt_ = std::make_unique<Interrupt>();
  std::map<std::string, std::string> variables_;
  std::shared_ptr<grpc::Channel> agent_;
  bool err_is_terminal_ = false;
  std::vector<ServerClientOptions> connections_;
  std::vector<std::string> agent_addresses_;
};

// `text` with every occurrence of `from` replaced.
std::string Replaced(std::string text, std::string_view from, std::string_view to);
// With what is in the last parentheses of each line, a time taken, left out: "(12ms)" becomes "(…)".
std::string WithoutTimes(std::string text);

}  // namespace aetherfs

#endif  // AETHERFS_CLI_TESTING_CLI_RUNNER_H_
