#include "aetherfs/object/testing/http_server.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <memory>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "fmt/format.h"

namespace aetherfs {
namespace {

bool SendAll(int fd, std::string_view data) {
  while (!data.empty()) {
    const ssize_t sent = send(fd, data.data(), data.size(), MSG_NOSIGNAL);
    if (sent <= 0) return false;
    data.remove_prefix(static_cast<size_t>(sent));
  }
  return true;
}

bool Receive(int fd, std::string& buffer) {
  char chunk[65536];
  const ssize_t got = recv(fd, chunk, sizeof(chunk), 0);
  if (got <= 0) return false;
  buffer.append(chunk, static_cast<size_t>(got));
  return true;
}

// As a server's close(): the client is told at once that nobody reads what it still sends, which shutdown()
// does not do. The descriptor stays, of something else, for the one who will close it.
void CloseWithUnreadBytes(int fd) {
  const int nothing = open("/dev/null", O_RDWR | O_CLOEXEC);
  if (nothing < 0 || dup3(nothing, fd, O_CLOEXEC) < 0) std::abort();
  close(nothing);
}

TestHttpServer::Handler InTurn(std::vector<TestHttpServer::Reply> replies) {
  struct State {
    absl::Mutex mutex;
    size_t next ABSL_GUARDED_BY(mutex) = 0;
    std::vector<TestHttpServer::Reply> replies;
  };
  auto state = std::make_shared<State>();
  state->replies = std::move(replies);
  return [state](const TestHttpServer::Request&) {
    absl::MutexLock lock(&state->mutex);
    const size_t at = std::min(state->next++, state->replies.size() - 1);
    return state->replies[at];
  };
}

}  // namespace

TestHttpServer::TestHttpServer(Handler handler) : handler_(std::move(handler)) {
  Listen();
  acceptor_ = std::thread([this] { Accept(); });
}

TestHttpServer::TestHttpServer(Replies replies) : TestHttpServer(InTurn(std::move(replies))) {}

TestHttpServer::~TestHttpServer() {
  {
    absl::MutexLock lock(&mutex_);
    ending_ = true;
    for (const int fd : connections_) shutdown(fd, SHUT_RDWR);
  }
  shutdown(listener_, SHUT_RDWR);
  acceptor_.join();
  close(listener_);
  std::vector<std::thread> threads;
  std::vector<int> connections;
  {
    absl::MutexLock lock(&mutex_);
    threads.swap(threads_);
    connections.swap(connections_);
  }
  for (std::thread& thread : threads) thread.join();
  for (const int fd : connections) close(fd);
}

void TestHttpServer::Listen() {
  listener_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  auto* generic = reinterpret_cast<sockaddr*>(&address);
  if (listener_ < 0 || bind(listener_, generic, size) != 0 || listen(listener_, 64) != 0 ||
      getsockname(listener_, generic, &size) != 0) {
    std::abort();  // a test without its server proves nothing
  }
  port_ = ntohs(address.sin_port);
}

void TestHttpServer::Accept() {
  while (true) {
    const int fd = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    if (fd < 0) return;
    absl::MutexLock lock(&mutex_);
    if (ending_) {
      close(fd);
      return;
    }
    connections_.push_back(fd);
    threads_.emplace_back([this, fd] { Serve(fd); });
  }
}

void TestHttpServer::Serve(int fd) {
  std::string buffer;
  while (const std::optional<Request> request = Read(fd, buffer)) {
    {
      absl::MutexLock lock(&mutex_);
      requests_.push_back(*request);
    }
    const Reply reply = handler_(*request);
    if (!Write(fd, *request, reply)) break;
    if (reply.close_on_next) {
      Receive(fd, buffer);
      CloseWithUnreadBytes(fd);
      return;
    }
  }
  shutdown(fd, SHUT_RDWR);
}

std::optional<TestHttpServer::Request> TestHttpServer::Read(int fd, std::string& buffer) {
  size_t end = 0;
  while ((end = buffer.find("\r\n\r\n")) == std::string::npos) {
    if (!Receive(fd, buffer)) return std::nullopt;
  }
  Request request;
  std::string_view head = std::string_view(buffer).substr(0, end + 2);
  bool first = true;
  while (!head.empty()) {
    const size_t line_end = head.find("\r\n");
    const std::string_view line = head.substr(0, line_end);
    head.remove_prefix(line_end + 2);
    if (std::exchange(first, false)) {
      const size_t space = line.find(' '), last = line.rfind(' ');
      request.method = std::string(line.substr(0, space));
      request.target = std::string(line.substr(space + 1, last - space - 1));
    } else if (const size_t colon = line.find(':'); colon != std::string_view::npos) {
      std::string value(line.substr(colon + 1));
      absl::StripAsciiWhitespace(&value);
      request.headers[absl::AsciiStrToLower(std::string(line.substr(0, colon)))] = value;
    }
  }
  buffer.erase(0, end + 4);
  uint64_t length = 0;
  if (request.headers.contains("content-length") &&
      !absl::SimpleAtoi(request.headers["content-length"], &length)) {
    return std::nullopt;
  }
  while (buffer.size() < length) {
    if (!Receive(fd, buffer)) return std::nullopt;
  }
  request.body = buffer.substr(0, length);
  buffer.erase(0, length);
  return request;
}

bool TestHttpServer::Write(int fd, const Request& request, const Reply& reply) {
  if (reply.hang_up) return false;
  std::string head = fmt::format("HTTP/1.1 {} Scripted\r\n", reply.status);
  for (const auto& [name, value] : reply.headers) head += fmt::format("{}: {}\r\n", name, value);
  if (reply.status != 204) {
    head += fmt::format("Content-Length: {}\r\n", reply.content_length.value_or(reply.body.size()));
  }
  head += "\r\n";
  std::string_view body = request.method == "HEAD" ? std::string_view() : reply.body;
  if (reply.stall_at.has_value()) body = body.substr(0, *reply.stall_at);
  if (!SendAll(fd, head) || !SendAll(fd, body)) return false;
  if (reply.stall_at.has_value()) {
    std::string ignored;
    while (Receive(fd, ignored)) ignored.clear();
    return false;
  }
  return !reply.close;
}

std::vector<TestHttpServer::Request> TestHttpServer::requests() const {
  absl::MutexLock lock(&mutex_);
  return requests_;
}

int TestHttpServer::connections() const {
  absl::MutexLock lock(&mutex_);
  return static_cast<int>(connections_.size());
}

}  // namespace aetherfs
