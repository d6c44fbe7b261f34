#ifndef AETHERFS_OBJECT_S3_HTTP_CLIENT_H_
#define AETHERFS_OBJECT_S3_HTTP_CLIENT_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "aetherfs/base/clock.h"
#include "aetherfs/base/quantity.h"

namespace aetherfs {

struct HttpClientOptions {
  int max_connections = 32;  // with 256 KiB of buffer each; requests beyond that wait for one to end
  absl::Duration connect_timeout = absl::Seconds(5);
  // A transfer that moves fewer bytes per second for that long is given up (UNAVAILABLE).
  int64_t low_speed_bytes = 1024;
  absl::Duration low_speed_time = absl::Seconds(30);
  // Bytes that an answer's body may have where no sink takes them.
  uint64_t max_body_bytes = 16 * kMiB;
  std::string ca_file = {};  // instead of the system's certificates
  bool use_proxy = true;     // as http_proxy, https_proxy and no_proxy say
};

struct HttpClientRequest {
  std::string method;
  std::string url;  // sent as it is, never normalised
  std::vector<std::pair<std::string, std::string>> headers = {};
  std::span<const std::string_view> body = {};  // valid until Do() returns
  absl::Time deadline = absl::InfiniteFuture();
};

struct HttpClientResponse {
  int status = 0;
  std::vector<std::pair<std::string, std::string>> headers;  // names in lower case
  std::string body;                                          // empty if a sink got it

  // The first header of that lower-case name, or nothing.
  std::optional<std::string_view> Find(std::string_view name) const;
  bool ok() const { return status >= 200 && status < 300; }
};

// Takes a successful answer's body. `begin` sees status and headers first and may refuse.
struct HttpBodySink {
  std::function<absl::Status(const HttpClientResponse&)> begin;
  std::function<absl::Status(std::string_view)> data;
};

// HTTP/1.1 requests over a bounded pool of kept-alive connections (one libcurl easy handle each; TLS
// always verified). Thread-safe; each call blocks its thread. Redirects are not followed: a signature does
// not survive them. Owns its connections; no call may be in progress when it is destroyed.
class HttpClient {
 public:
  explicit HttpClient(HttpClientOptions options, Clock* clock = Clock::System());
  ~HttpClient();

  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;

  // A request that finds its kept connection closed by the server, as servers may do at any time, is sent
  // again on a new one. Any complete HTTP answer is OK, whatever its status. The body of a 2xx answer goes
  // to `sink` if there is one; every other body is kept in the response. Errors: what the sink returned;
  // DEADLINE_EXCEEDED; UNAVAILABLE (no connection, cut off, too slow); FAILED_PRECONDITION (the certificate
  // is not trusted); RESOURCE_EXHAUSTED (max_body_bytes); INVALID_ARGUMENT (the URL).
  absl::StatusOr<HttpClientResponse> Do(const HttpClientRequest& request,
                                        const HttpBodySink* sink = nullptr);

 private:
  class Handle;
  class Transfer;

  absl::StatusOr<std::unique_ptr<Handle>> Acquire(absl::Time deadline);
  void Release(std::unique_ptr<Handle> handle);

  const HttpClientOptions options_;
  Clock& clock_;
  absl::Mutex mutex_;
  std::vector<std::unique_ptr<Handle>> idle_ ABSL_GUARDED_BY(mutex_);  // the last one used is the warmest
  int in_use_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace aetherfs

#endif  // AETHERFS_OBJECT_S3_HTTP_CLIENT_H_
