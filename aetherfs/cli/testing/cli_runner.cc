#include "aetherfs/cli/testing/cli_runner.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <regex>

#include "gtest/gtest.h"

namespace aetherfs {
namespace {

constexpr time_t kFileTime = 1'700'000'000;

TemporaryDirectory MakeTemporaryDirectory() {
  absl::StatusOr<TemporaryDirectory> directory = TemporaryDirectory::Create("aetherfs-cli-");
  if (!directory.ok()) abort();
  return *std::move(directory);
}

}  // namespace

CliRunner::CliRunner() : temporary_(MakeTemporaryDirectory()), work_(JoinPath(temporary_.path(), "work")) {
  EXPECT_TRUE(MakeDirectories(work_).ok());
  variables_["HOME"] = JoinPath(temporary_.path(), "home");
}

FakeServerClient& CliRunner::AddServer(const std::string& address) {
  auto& server = other_servers_[address];
  server = std::make_shared<FakeServerClient>();
  return *server;
}

CliRunner::Result CliRunner::Run(const std::vector<std::string>& args) {
  std::ostringstream out;
  std::ostringstream err;
  CliEnvironment environment;
  environment.args = args;
  environment.variables = [this](const std::string& name) -> std::optional<std::string> {
    const auto found = variables_.find(name);
    if (found == variables_.end()) return std::nullopt;
    return found->second;
  };
  environment.read_file = SystemFileReader();
  environment.out = &out;
  environment.err = &err;
  environment.err_is_terminal = err_is_terminal_;
  environment.working_directory = work_;
  environment.user = [] { return std::string("ada@build7"); };
  environment.clock = &clock_;
  environment.random = Random::System();
  environment.interrupt = interrupt_.get();
  environment.connect_server =
      [this](const ServerClientOptions& options) -> absl::StatusOr<std::shared_ptr<ServerClient>> {
    connections_.push_back(options);
    const auto other = other_servers_.find(options.servers[0]);
    if (other != other_servers_.end()) return other->second;
    return server_;
  };
  environment.connect_agent = [this](const std::string& address) {
    agent_addresses_.push_back(address);
    return agent_;
  };
  Result result;
  result.status = RunCli(environment);
  result.out = out.str();
  result.err = err.str();
  return result;
}

void CliRunner::Write(const std::string& relative, std::string_view contents, unsigned mode) {
  const std::string path = Path(relative);
  ASSERT_TRUE(MakeDirectories(ParentPath(path)).ok());
  ASSERT_TRUE(WriteFileAtomically(path, contents, mode).ok());
  ASSERT_EQ(chmod(path.c_str(), mode), 0);
  const timespec times[2] = {{kFileTime, 0}, {kFileTime, 0}};
  ASSERT_EQ(utimensat(AT_FDCWD, path.c_str(), times, 0), 0);
}

std::string CliRunner::Read(const std::string& relative) const {
  const auto contents = ReadWholeFile(Path(relative), 1 << 30);
  return contents.ok() ? *contents : "(" + contents.status().ToString() + ")";
}

std::vector<std::string> CliRunner::Names(const std::string& relative) const {
  const auto names = ListDirectory(Path(relative));
  return names.ok() ? *names : std::vector<std::string>{"(none)"};
}

std::string CliRunner::Publish(const std::string& reference, const std::string& path,
                               const std::vector<std::string>& more) {
  std::vector<std::string> args = {"publish", reference, path, "-o", "json"};
  args.insert(args.end(), more.begin(), more.end());
  const Result result = Run(args);
  EXPECT_EQ(result.status, 0) << result.err;
  if (result.status != 0) return "";
  return result.json()["digest"].get<std::string>();
}

std::string Replaced(std::string text, std::string_view from, std::string_view to) {
  for (size_t at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size())) {
    text.replace(at, from.size(), to);
  }
  return text;
}

std::string WithoutTimes(std::string text) {
  static const std::regex kTime(R"(\(([^()]*, )?[0-9.]+m?s\))");
  return std::regex_replace(text, kTime, "($1…)");
}

}  // namespace aetherfs
