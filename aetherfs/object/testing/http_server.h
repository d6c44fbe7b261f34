#ifndef AETHERFS_OBJECT_TESTING_HTTP_SERVER_H_
#define AETHERFS_OBJECT_TESTING_HTTP_SERVER_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace aetherfs {

// An HTTP/1.1 server on a free port of 127.0.0.1 that answers as a test scripts it, faults of the wire
// included, and keeps what it was asked. One thread per connection. Thread-safe.
class TestHttpServer {
 public:
  struct Request {
    std::string method;
    std::string target;                          // as sent: path and query
    std::map<std::string, std::string> headers;  // names in lower case
    std::string body;
  };
  struct Reply {
    int status = 200;
    std::vector<std::pair<std::string, std::string>> headers = {};
    std::string body = {};
    std::optional<uint64_t> content_length = std::nullopt;  // what is claimed; absent: the truth
    bool hang_up = false;                                   // close without a word
    bool close = false;                                     // close after the body
    bool close_on_next = false;  // close when the next request begins to come, and read no more of it
    // Sends so many bytes of the body and then nothing, until the client gives up.
    std::optional<uint64_t> stall_at = std::nullopt;
  };
  using Replies = std::vector<Reply>;
  using Handler = std::function<Reply(const Request&)>;

  explicit TestHttpServer(Handler handler);
  // Gives `replies` in turn, the last one again and again.
  explicit TestHttpServer(Replies replies);
  // Cuts all connections.
  ~TestHttpServer();

  TestHttpServer(const TestHttpServer&) = delete;
  TestHttpServer& operator=(const TestHttpServer&) = delete;

  std::string url() const { return "http://" + authority(); }
  std::string authority() const { return "127.0.0.1:" + std::to_string(port_); }
  std::vector<Request> requests() const;
  int connections() const;  // accepted so far

 private:
  void Listen();
  void Accept();
  void Serve(int fd);
  static std::optional<Request> Read(int fd, std::string& buffer);
  // False if the connection is to be closed.
  static bool Write(int fd, const Request& request, const Reply& reply);

  const Handler handler_;
  int listener_ = -1;
  uint16_t port_ = 0;
  std::thread acceptor_;
  mutable absl::Mutex mutex_;
  bool ending_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<Request> requests_ ABSL_GUARDED_BY(mutex_);
  std::vector<int> connections_ ABSL_GUARDED_BY(mutex_);  // closed at the end only
  std::vector<std::thread> threads_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace aetherfs

#endif  // AETHERFS_OBJECT_TESTING_HTTP_SERVER_H_
