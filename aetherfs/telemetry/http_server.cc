#include "aetherfs/telemetry/http_server.h"

#include <pthread.h>

#include <algorithm>
#include <boost/asio/dispatch.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ip/v6_only.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <charconv>
#include <chrono>
#include <exception>
#include <optional>
#include <set>
#include <thread>

#include "absl/base/call_once.h"
#include "aetherfs/base/status.h"
#include "aetherfs/telemetry/log.h"
#include "fmt/format.h"

// Everything in Core and Session but Start(), the getters and Stop() runs in the one thread "http", so it
// has no locks. A session lives as long as an operation of its own is outstanding: each holds a shared_ptr
// to it. At most one is outstanding per session; Core knows sessions only while they live.

namespace aetherfs {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using tcp = asio::ip::tcp;
using ErrorCode = boost::system::error_code;

// After an accept failed, most likely for want of file descriptors.
constexpr std::chrono::milliseconds kAcceptPause{100};
// How much, and how long, is read and dropped before a connection with an error is closed: closed at once,
// the system would reset it and the client might never see the answer.
constexpr size_t kLingerBytes = 1 << 20;
constexpr std::chrono::seconds kLingerTime{2};
constexpr int kBacklog = 128;

struct HostPort {
  std::string host;
  std::string port;
};

absl::StatusOr<HostPort> SplitAddress(const std::string& address) {
  const absl::Status error = absl::InvalidArgumentError(
      fmt::format("'{}' is not an address to listen on; write it like 127.0.0.1:7401, [::1]:7401 or :7401",
                  Printable(address)));
  const size_t colon = address.rfind(':');
  if (colon == std::string::npos) return error;
  HostPort parts{address.substr(0, colon), address.substr(colon + 1)};
  if (!parts.host.empty() && parts.host.front() == '[') {
    if (parts.host.size() < 3 || parts.host.back() != ']') return error;
    parts.host = parts.host.substr(1, parts.host.size() - 2);
  } else if (parts.host.find(':') != std::string::npos) {
    return error;
  }
  uint16_t port = 0;
  const char* last = parts.port.data() + parts.port.size();
  const auto [end, failure] = std::from_chars(parts.port.data(), last, port);
  if (parts.port.empty() || failure != std::errc() || end != last) return error;
  return parts;
}

std::chrono::nanoseconds Chrono(absl::Duration duration) { return absl::ToChronoNanoseconds(duration); }

bool SameIgnoringCase(std::string_view a, std::string_view b) {
  const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; };
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [&](char x, char y) { return lower(x) == lower(y); });
}

bool IsHeaderText(std::string_view text) {
  return std::none_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < ' '; });
}

HttpResponse Refusal(int status, std::string_view text) {
  HttpResponse response;
  response.status = status;
  response.body = fmt::format("{}\n", text);
  return response;
}

// False if the target is neither a path nor an absolute URL.
bool SplitTarget(std::string_view target, HttpRequest& request) {
  if (const size_t scheme = target.find("://"); scheme != std::string_view::npos && target.front() != '/') {
    target.remove_prefix(scheme + 3);
    const size_t slash = target.find('/');
    target = slash == std::string_view::npos ? std::string_view("/") : target.substr(slash);
  }
  if (target.empty() || target.front() != '/') return false;
  const size_t question = target.find('?');
  request.path = target.substr(0, question);
  if (question != std::string_view::npos) request.query = target.substr(question + 1);
  return true;
}

std::string_view View(beast::string_view text) { return {text.data(), text.size()}; }

const HttpRoute* FindRoute(const HttpRoutes& routes, std::string_view path) {
  if (const auto exact = routes.find(std::string(path)); exact != routes.end()) return &exact->second;
  for (size_t slash = path.rfind('/'); slash != 0 && slash != std::string_view::npos;) {
    const auto above = routes.find(std::string(path.substr(0, slash + 1)));
    if (above != routes.end()) return &above->second;
    slash = path.rfind('/', slash - 1);
  }
  return nullptr;
}

HttpResponse Answer(const HttpRoutes& routes, const HttpRequest& request) {
  const HttpRoute* route = FindRoute(routes, request.path);
  if (route == nullptr) return Refusal(404, "not found");
  if (std::find(route->methods.begin(), route->methods.end(), request.method) == route->methods.end()) {
    HttpResponse response = Refusal(405, "method not allowed");
    std::string allowed;
    for (const std::string& method : route->methods) {
      allowed += (allowed.empty() ? "" : ", ") + method + (method == "GET" ? ", HEAD" : "");
    }
    response.headers.emplace_back("Allow", allowed);
    return response;
  }
  try {
    return route->handler(request);
  } catch (const std::exception& e) {
    LogError("an HTTP handler failed", {{"path", request.path}, {"error", e.what()}});
  } catch (...) {
    LogError("an HTTP handler failed", {{"path", request.path}});
  }
  return Refusal(500, "internal error");
}

// What to say about bytes that are no request; 0 if there is nobody to say it to.
int StatusOfReadError(const ErrorCode& error) {
  if (error == http::error::header_limit || error == http::error::buffer_overflow) return 431;
  if (error == http::error::body_limit) return 413;
  if (error == http::error::end_of_stream || error == http::error::partial_message) return 0;
  const ErrorCode of_http = http::error::bad_method;
  return error.category() == of_http.category() ? 400 : 0;
}

}  // namespace

std::string_view HttpRequest::Header(std::string_view name) const {
  for (const auto& [key, value] : headers) {
    if (SameIgnoringCase(key, name)) return value;
  }
  return {};
}

class HttpServer::Core {
 public:
  explicit Core(HttpServerOptions options)
      : options_(std::move(options)), acceptor_(io_), accept_pause_(io_), stop_deadline_(io_) {}

  absl::Status Listen();
  void StartThread();
  void Stop();

  const HttpServerOptions& options() const { return options_; }
  const std::string& address() const { return address_; }
  uint16_t port() const { return port_; }

  // For sessions, in the thread.
  bool stopping() const { return stopping_; }
  void Enter(Session* session) { sessions_.insert(session); }
  void Leave(Session* session);

 private:
  ErrorCode Bind(const tcp::endpoint& endpoint);
  void Accept();
  void OnAccept(const ErrorCode& error, tcp::socket socket);
  void Refuse(tcp::socket socket);
  void StopInThread();
  void Run();

  const HttpServerOptions options_;
  std::string address_;
  uint16_t port_ = 0;
  bool stopping_ = false;
  std::set<Session*> sessions_;  // outlives io_, whose end destroys sessions
  asio::io_context io_{1};
  tcp::acceptor acceptor_;
  asio::steady_timer accept_pause_;
  asio::steady_timer stop_deadline_;
  absl::once_flag stop_once_;
  std::thread thread_;
};

class HttpServer::Session : public std::enable_shared_from_this<HttpServer::Session> {
 public:
  Session(Core* core, tcp::socket socket) : core_(core), stream_(std::move(socket)) { core_->Enter(this); }
  ~Session() { core_->Leave(this); }

  void Read();
  // Ends it now if it waits for a request, else after the response.
  void Drain();
  void Abort();

 private:
  void OnRead(const ErrorCode& error, size_t);
  void Respond(HttpResponse response, bool keep_alive, bool is_head);
  void OnWrite(bool keep_alive, const ErrorCode& error);
  void Linger();

  Core* const core_;
  beast::tcp_stream stream_;
  beast::flat_buffer buffer_;
  std::optional<http::request_parser<http::string_body>> parser_;
  http::response<http::string_body> response_;
  std::optional<http::response_serializer<http::string_body>> serializer_;
  bool writing_ = false;
  size_t dropped_bytes_ = 0;
  char dropped_[4096];
};

void HttpServer::Session::Read() {
  parser_.emplace();
  parser_->header_limit(core_->options().max_header_bytes);
  parser_->body_limit(core_->options().max_body_bytes);
  stream_.expires_after(Chrono(core_->options().idle_timeout));
  http::async_read(stream_, buffer_, *parser_, [self = shared_from_this()](ErrorCode error, size_t size) {
    self->OnRead(error, size);
  });
}

void HttpServer::Session::OnRead(const ErrorCode& error, size_t) {
  if (error) {
    const int status = StatusOfReadError(error);
    if (status == 0) return Abort();
    return Respond(Refusal(status, status == 400   ? "not an HTTP request"
                                   : status == 413 ? "request body too large"
                                                   : "request header too large"),
                   false, false);
  }
  const http::request<http::string_body>& message = parser_->get();
  const bool is_head = message.method() == http::verb::head;
  HttpRequest request;
  request.method = is_head ? "GET" : std::string(View(message.method_string()));
  if (!SplitTarget(View(message.target()), request)) {
    return Respond(Refusal(400, "not a path"), false, is_head);
  }
  for (const auto& field : message)
    request.headers.emplace_back(View(field.name_string()), View(field.value()));
  const bool keep_alive = message.keep_alive();
  request.body = message.body();
  Respond(Answer(core_->options().routes, request), keep_alive && !core_->stopping(), is_head);
}

void HttpServer::Session::Respond(HttpResponse response, bool keep_alive, bool is_head) {
  response_ = {};
  response_.version(11);
  response_.result(static_cast<unsigned>(std::clamp(response.status, 200, 599)));
  response_.set(http::field::content_type, response.content_type);
  response_.set("X-Content-Type-Options", "nosniff");
  response_.set(http::field::cache_control, "no-store");
  for (const auto& [key, value] : response.headers) {
    if (IsHeaderText(key) && IsHeaderText(value)) response_.set(key, value);
  }
  response_.keep_alive(keep_alive);
  response_.body() = std::move(response.body);
  response_.prepare_payload();
  serializer_.emplace(response_);
  writing_ = true;
  stream_.expires_after(Chrono(core_->options().write_timeout));
  auto done = [self = shared_from_this(), keep_alive](ErrorCode error, size_t) {
    self->OnWrite(keep_alive, error);
  };
  if (is_head) {
    serializer_->split(true);
    http::async_write_header(stream_, *serializer_, std::move(done));
  } else {
    http::async_write(stream_, *serializer_, std::move(done));
  }
}

void HttpServer::Session::OnWrite(bool keep_alive, const ErrorCode& error) {
  writing_ = false;
  if (error) return Abort();
  if (keep_alive && !core_->stopping()) return Read();
  ErrorCode ignored;
  stream_.socket().shutdown(tcp::socket::shutdown_send, ignored);
  if (core_->stopping()) return Abort();
  stream_.expires_after(kLingerTime);
  Linger();
}

void HttpServer::Session::Linger() {
  stream_.async_read_some(asio::buffer(dropped_),
                          [self = shared_from_this()](ErrorCode error, size_t size) {
                            self->dropped_bytes_ += size;
                            if (error || self->dropped_bytes_ > kLingerBytes) return self->Abort();
                            self->Linger();
                          });
}

void HttpServer::Session::Drain() {
  if (!writing_) Abort();
}

void HttpServer::Session::Abort() {
  // Closing ends the outstanding operation, if any, and with it the last reference.
  ErrorCode ignored;
  stream_.socket().close(ignored);
  stream_.expires_never();
}

absl::Status HttpServer::Core::Listen() {
  ASSIGN_OR_RETURN(const HostPort parts, SplitAddress(options_.listen));
  std::vector<tcp::endpoint> endpoints;
  ErrorCode error;
  if (parts.host.empty()) {
    uint16_t port = 0;
    std::from_chars(parts.port.data(), parts.port.data() + parts.port.size(), port);
    // The first takes IPv4 too; a machine without IPv6 has only the second.
    endpoints = {{tcp::v6(), port}, {tcp::v4(), port}};
  } else {
    tcp::resolver resolver(io_);
    for (const auto& found : resolver.resolve(parts.host, parts.port, tcp::resolver::passive, error)) {
      endpoints.push_back(found.endpoint());
    }
    if (error) {
      return absl::UnavailableError(
          fmt::format("listen on {} for HTTP: find the address: {}", options_.listen, error.message()));
    }
  }
  for (const tcp::endpoint& endpoint : endpoints) {
    error = Bind(endpoint);
    if (!error) break;
  }
  if (error || endpoints.empty()) {
    return ErrnoStatus(error.value(), fmt::format("listen on {} for HTTP", options_.listen));
  }
  const tcp::endpoint bound = acceptor_.local_endpoint();
  port_ = bound.port();
  const std::string host = bound.address().to_string();
  address_ =
      bound.address().is_v6() ? fmt::format("[{}]:{}", host, port_) : fmt::format("{}:{}", host, port_);
  return absl::OkStatus();
}

ErrorCode HttpServer::Core::Bind(const tcp::endpoint& endpoint) {
  ErrorCode error, ignored;
  acceptor_.close(ignored);
  if (acceptor_.open(endpoint.protocol(), error)) return error;
  acceptor_.set_option(asio::socket_base::reuse_address(true), ignored);
  if (endpoint.protocol() == tcp::v6()) acceptor_.set_option(asio::ip::v6_only(false), ignored);
  if (acceptor_.bind(endpoint, error)) return error;
  acceptor_.listen(kBacklog, error);
  return error;
}

void HttpServer::Core::StartThread() {
  Accept();
  thread_ = std::thread([this] { Run(); });
}

void HttpServer::Core::Run() {
  pthread_setname_np(pthread_self(), "http");
  while (true) {
    try {
      io_.run();
      return;
    } catch (const std::exception& e) {
      // Out of memory, at most: that connection is lost, the server goes on.
      LogError("HTTP server: unexpected failure", {{"error", e.what()}});
    }
  }
}

void HttpServer::Core::Accept() {
  acceptor_.async_accept(
      [this](ErrorCode error, tcp::socket socket) { OnAccept(error, std::move(socket)); });
}

void HttpServer::Core::OnAccept(const ErrorCode& error, tcp::socket socket) {
  if (stopping_ || error == asio::error::operation_aborted) return;
  if (error) {
    LogWarning("HTTP server: accept failed", {{"error", error.message()}});
    accept_pause_.expires_after(kAcceptPause);
    accept_pause_.async_wait([this](ErrorCode cancelled) {
      if (!cancelled && !stopping_) Accept();
    });
    return;
  }
  // First, so that nothing that happens to this connection ends the accepting.
  Accept();
  if (sessions_.size() >= options_.max_connections) return Refuse(std::move(socket));
  std::make_shared<Session>(this, std::move(socket))->Read();
}

// One attempt, without waiting: whoever does not take it is only closed.
void HttpServer::Core::Refuse(tcp::socket socket) {
  static constexpr std::string_view kBusy =
      "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 21\r\n\r\ntoo many "
      "connections\n";
  ErrorCode ignored;
  socket.non_blocking(true, ignored);
  socket.write_some(asio::buffer(kBusy.data(), kBusy.size()), ignored);
  socket.shutdown(tcp::socket::shutdown_send, ignored);
}

void HttpServer::Core::Leave(Session* session) {
  sessions_.erase(session);
  if (stopping_ && sessions_.empty()) stop_deadline_.cancel();
}

void HttpServer::Core::StopInThread() {
  stopping_ = true;
  ErrorCode ignored;
  acceptor_.close(ignored);
  accept_pause_.cancel();
  if (sessions_.empty()) return;
  stop_deadline_.expires_after(Chrono(kStopTimeout));
  stop_deadline_.async_wait([this](ErrorCode cancelled) {
    if (cancelled) return;
    for (Session* session : sessions_) session->Abort();
  });
  for (Session* session : sessions_) session->Drain();
}

void HttpServer::Core::Stop() {
  absl::call_once(stop_once_, [this] {
    asio::post(io_, [this] { StopInThread(); });
    thread_.join();
  });
}

HttpServer::HttpServer(std::unique_ptr<Core> core) : core_(std::move(core)) {}

HttpServer::~HttpServer() { Stop(); }

absl::StatusOr<std::unique_ptr<HttpServer>> HttpServer::Start(HttpServerOptions options) {
  auto core = std::make_unique<Core>(std::move(options));
  RETURN_IF_ERROR(core->Listen());
  core->StartThread();
  return std::unique_ptr<HttpServer>(new HttpServer(std::move(core)));
}

uint16_t HttpServer::port() const { return core_->port(); }

const std::string& HttpServer::address() const { return core_->address(); }

void HttpServer::Stop() { core_->Stop(); }

}  // namespace aetherfs
