#include "aetherfs/os/process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "absl/time/clock.h"
#include "aetherfs/base/status.h"
#include "aetherfs/os/file.h"
#include "fmt/format.h"

extern char** environ;

namespace aetherfs {
namespace {

constexpr absl::Duration kPollInterval = absl::Milliseconds(50);

std::vector<std::string> MergedEnvironment(const std::map<std::string, std::string>& added) {
  std::vector<std::string> merged;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text(*entry);
    if (!added.contains(std::string(text.substr(0, text.find('='))))) merged.emplace_back(text);
  }
  for (const auto& [name, value] : added) merged.push_back(fmt::format("{}={}", name, value));
  return merged;
}

std::vector<char*> Pointers(const std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  for (const std::string& text : strings) pointers.push_back(const_cast<char*>(text.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

// Starts the command with its output going to `out`.
absl::StatusOr<pid_t> Spawn(const CommandOptions& options, int out) {
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  posix_spawn_file_actions_init(&actions);
  posix_spawnattr_init(&attributes);
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&actions, out, STDERR_FILENO);
  if (!options.directory.empty()) {
    posix_spawn_file_actions_addchdir_np(&actions, options.directory.c_str());
  }
  // A group of its own, so that what the command starts can be ended with it; the signals that this process
  // blocks for its listener are the command's to receive.
  sigset_t none, ignored_here;
  sigemptyset(&none);
  sigemptyset(&ignored_here);
  sigaddset(&ignored_here, SIGPIPE);
  posix_spawnattr_setpgroup(&attributes, 0);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setsigdefault(&attributes, &ignored_here);
  posix_spawnattr_setflags(&attributes,
                           POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  const std::vector<std::string> environment = MergedEnvironment(options.environment);
  pid_t pid = -1;
  const int error = posix_spawnp(&pid, options.argv[0].c_str(), &actions, &attributes,
                                 Pointers(options.argv).data(), Pointers(environment).data());
  posix_spawn_file_actions_destroy(&actions);
  posix_spawnattr_destroy(&attributes);
  if (error != 0) return ErrnoStatus(error, fmt::format("starting {}", Printable(options.argv[0])));
  return pid;
}

void KeepTail(std::string& output, std::string_view more) {
  output.append(more);
  if (output.size() > kMaxCommandOutput) output.erase(0, output.size() - kMaxCommandOutput);
}

}  // namespace

absl::StatusOr<CommandResult> RunCommand(const CommandOptions& options,
                                         const std::atomic<bool>* cancelled) {
  if (options.argv.empty()) return absl::InvalidArgumentError("a command needs a program's name");
  int pipe_fds[2];
  if (pipe2(pipe_fds, O_CLOEXEC) != 0) return ErrnoStatus(errno, "making a pipe");
  const UniqueFd reader(pipe_fds[0]);
  UniqueFd writer(pipe_fds[1]);
  ASSIGN_OR_RETURN(const pid_t pid, Spawn(options, writer.get()));
  writer.reset();
  fcntl(reader.get(), F_SETFL, O_NONBLOCK);

  CommandResult result;
  const absl::Time deadline = absl::Now() + options.timeout;
  bool was_cancelled = false;
  int wait_status = 0;
  // The command is over when its process is, even if something that it started still holds the pipe.
  for (bool running = true; running;) {
    pollfd poll_fd = {reader.get(), POLLIN, 0};
    poll(&poll_fd, 1, static_cast<int>(absl::ToInt64Milliseconds(kPollInterval)));
    const pid_t ended = waitpid(pid, &wait_status, WNOHANG);
    running = ended == 0 || (ended < 0 && errno == EINTR);
    char buffer[4096];
    for (ssize_t n; (n = read(reader.get(), buffer, sizeof(buffer))) > 0;) {
      KeepTail(result.output, {buffer, static_cast<size_t>(n)});
    }
    if (!running) break;
    if ((poll_fd.revents & POLLHUP) != 0) usleep(1000);  // output closed, process still there
    was_cancelled = cancelled != nullptr && cancelled->load();
    result.timed_out = !was_cancelled && absl::Now() >= deadline;
    if (was_cancelled || result.timed_out) {
      kill(-pid, SIGKILL);
      while (waitpid(pid, &wait_status, 0) < 0 && errno == EINTR) {
      }
      break;
    }
  }
  if (was_cancelled) {
    return absl::CancelledError(fmt::format("running {}: cancelled", Printable(options.argv[0])));
  }
  result.exit_status = WIFEXITED(wait_status)
                           ? WEXITSTATUS(wait_status)
                           : 128 + (WIFSIGNALED(wait_status) ? WTERMSIG(wait_status) : 0);
  return result;
}

}  // namespace aetherfs
