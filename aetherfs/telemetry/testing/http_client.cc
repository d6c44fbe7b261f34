#include "aetherfs/telemetry/testing/http_client.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <cstdlib>

namespace aetherfs {
namespace {

constexpr timeval kTimeLimit = {20, 0};

std::string LowerCase(std::string text) {
  for (char& c : text) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  return text;
}

}  // namespace

HttpTestClient::HttpTestClient(uint16_t port, bool ipv6) {
  fd_ = socket(ipv6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &kTimeLimit, sizeof(kTimeLimit));
  setsockopt(fd_, SOL_SOCKET, SO_SNDTIMEO, &kTimeLimit, sizeof(kTimeLimit));
  sockaddr_in v4 = {};
  v4.sin_family = AF_INET;
  v4.sin_port = htons(port);
  v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  sockaddr_in6 v6 = {};
  v6.sin6_family = AF_INET6;
  v6.sin6_port = htons(port);
  v6.sin6_addr = in6addr_loopback;
  const int failed = ipv6 ? connect(fd_, reinterpret_cast<const sockaddr*>(&v6), sizeof(v6))
                          : connect(fd_, reinterpret_cast<const sockaddr*>(&v4), sizeof(v4));
  if (failed != 0) {
    close(fd_);
    fd_ = -1;
  }
}

HttpTestClient::~HttpTestClient() {
  if (fd_ >= 0) close(fd_);
}

bool HttpTestClient::Send(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent <= 0) return false;
    bytes.remove_prefix(static_cast<size_t>(sent));
  }
  return true;
}

bool HttpTestClient::Fill() {
  char bytes[16384];
  const ssize_t got = recv(fd_, bytes, sizeof(bytes), 0);
  if (got <= 0) return false;
  received_.append(bytes, static_cast<size_t>(got));
  return true;
}

HttpReply HttpTestClient::Receive(bool to_head) {
  HttpReply reply;
  size_t end;
  while ((end = received_.find("\r\n\r\n")) == std::string::npos) {
    if (!Fill()) return reply;
  }
  const std::string head = received_.substr(0, end + 2);
  received_.erase(0, end + 4);
  size_t line = head.find("\r\n") + 2;
  while (line < head.size()) {
    const size_t next = head.find("\r\n", line);
    const size_t colon = head.find(": ", line);
    reply.headers[LowerCase(head.substr(line, colon - line))] = head.substr(colon + 2, next - colon - 2);
    line = next + 2;
  }
  const size_t length = to_head ? 0 : std::strtoul(reply.headers["content-length"].c_str(), nullptr, 10);
  while (received_.size() < length) {
    if (!Fill()) return reply;
  }
  reply.body = received_.substr(0, length);
  received_.erase(0, length);
  reply.status = std::atoi(head.substr(head.find(' ') + 1).c_str());
  return reply;
}

std::string HttpTestClient::ReceiveRest() {
  while (Fill()) {
  }
  return std::move(received_);
}

void HttpTestClient::EndSending() { shutdown(fd_, SHUT_WR); }

HttpReply HttpTestClient::Get(uint16_t port, const std::string& path, const std::string& extra_headers) {
  HttpTestClient client(port);
  if (!client.Send("GET " + path + " HTTP/1.1\r\nHost: test\r\n" + extra_headers + "\r\n")) return {};
  return client.Receive();
}

}  // namespace aetherfs
