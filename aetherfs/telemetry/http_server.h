#ifndef AETHERFS_TELEMETRY_HTTP_SERVER_H_
#define AETHERFS_TELEMETRY_HTTP_SERVER_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace aetherfs {

struct HttpRequest {
  std::string method;  // "GET"; a HEAD arrives as GET
  std::string path;    // as sent: begins with '/', nothing decoded
  std::string query;   // what follows the '?'
  std::vector<std::pair<std::string, std::string>> headers;
  std::string body;

  // The first header of that name, case ignored; empty if there is none.
  std::string_view Header(std::string_view name) const;
};

struct HttpResponse {
  int status = 200;
  std::string content_type = "text/plain; charset=utf-8";
  std::string body;
  std::vector<std::pair<std::string, std::string>> headers;
};

using HttpHandler = std::function<HttpResponse(const HttpRequest&)>;

struct HttpRoute {
  HttpHandler handler;
  std::vector<std::string> methods = {"GET"};  // HEAD comes with GET
};

// By path. One that ends in '/' and is longer than that takes everything below it that no longer path has.
using HttpRoutes = std::map<std::string, HttpRoute>;

struct HttpServerOptions {
  // "HOST:PORT", "[::1]:0"; an empty host is every address of the machine, port 0 any free one.
  std::string listen;
  HttpRoutes routes;
  size_t max_connections = 256;  // one more is answered 503 and closed
  uint32_t max_header_bytes = 16 * 1024;
  uint64_t max_body_bytes = 64 * 1024;
  absl::Duration idle_timeout = absl::Seconds(30);   // to the end of the next request
  absl::Duration write_timeout = absl::Seconds(30);  // of one response
};

// A small HTTP/1.1 server for metrics, health and the like. One thread, "http", runs everything, handlers
// included: they must be quick, must not block, and need no locks amongst themselves. Whatever a client
// sends, it gets an answer (400, 404, 405, 413, 431) or is cut off; a handler that throws is a 500. Slow
// clients time out. Thread-safe, except that a handler must not call Stop().
class HttpServer {
 public:
  // Listens when it returns. INVALID_ARGUMENT for an address that is none; UNAVAILABLE and the like, with
  // the address and the cause, if it cannot be had.
  static absl::StatusOr<std::unique_ptr<HttpServer>> Start(HttpServerOptions options);
  // Stops.
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  uint16_t port() const;
  // "127.0.0.1:7401", "[::1]:7401": what was bound.
  const std::string& address() const;

  // Takes no more connections, closes the idle ones, lets responses that are being written end (for at
  // most kStopTimeout), and returns when the thread has ended. Again: nothing.
  void Stop();

  static constexpr absl::Duration kStopTimeout = absl::Seconds(5);

 private:
  class Core;
  class Session;
  explicit HttpServer(std::unique_ptr<Core> core);
  const std::unique_ptr<Core> core_;
};

}  // namespace aetherfs

#endif  // AETHERFS_TELEMETRY_HTTP_SERVER_H_
