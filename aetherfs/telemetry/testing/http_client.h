#ifndef AETHERFS_TELEMETRY_TESTING_HTTP_CLIENT_H_
#define AETHERFS_TELEMETRY_TESTING_HTTP_CLIENT_H_

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

namespace aetherfs {

struct HttpReply {
  int status = 0;                              // 0: the connection ended without a reply
  std::map<std::string, std::string> headers;  // names in lower case
  std::string body;
};

// A connection to a server on this machine that sends any bytes. Blocking, with a time limit that ends a
// hanging test. Not thread-safe.
class HttpTestClient {
 public:
  explicit HttpTestClient(uint16_t port, bool ipv6 = false);
  ~HttpTestClient();
  HttpTestClient(const HttpTestClient&) = delete;
  HttpTestClient& operator=(const HttpTestClient&) = delete;

  bool connected() const { return fd_ >= 0; }
  // False if the server hung up meanwhile.
  bool Send(std::string_view bytes);
  // One reply; `to_head`: it has no body, whatever its length says.
  HttpReply Receive(bool to_head = false);
  // Until the server hangs up: what it said until then.
  std::string ReceiveRest();
  // No more will be sent.
  void EndSending();

  // GET on a connection of its own.
  static HttpReply Get(uint16_t port, const std::string& path, const std::string& extra_headers = "");

 private:
  bool Fill();
  int fd_ = -1;
  std::string received_;
};

}  // namespace aetherfs

#endif  // AETHERFS_TELEMETRY_TESTING_HTTP_CLIENT_H_
