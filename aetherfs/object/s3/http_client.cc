#include "aetherfs/object/s3/http_client.h"

#include <curl/curl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "absl/strings/ascii.h"
#include "aetherfs/base/status.h"
#include "fmt/format.h"

namespace aetherfs {
namespace {

constexpr size_t kMaxHeaders = 256;
constexpr size_t kMaxHeaderBytes = 64 * kKiB;  // of all headers together
// Large pieces for sinks and sockets; a connection in use holds one or the other.
constexpr long kTransferBufferBytes = 256 * kKiB;
constexpr long kUploadBufferBytes = 256 * kKiB;
constexpr absl::Duration kTimerSlack = absl::Milliseconds(10);  // libcurl may fire a little early
constexpr absl::Duration kMaxIdle = absl::Seconds(50);          // servers commonly close after a minute

void InitialiseOnce() {
  static const CURLcode result = curl_global_init(CURL_GLOBAL_DEFAULT);
  (void)result;
}

std::string WithoutQuery(std::string_view url) { return std::string(url.substr(0, url.find('?'))); }

// What a failed transfer means for the caller.
absl::StatusCode CodeOf(CURLcode result) {
  switch (result) {
    case CURLE_URL_MALFORMAT:
    case CURLE_UNSUPPORTED_PROTOCOL:
      return absl::StatusCode::kInvalidArgument;
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_SSL_CERTPROBLEM:
      return absl::StatusCode::kFailedPrecondition;
    case CURLE_OUT_OF_MEMORY:
      return absl::StatusCode::kResourceExhausted;
    case CURLE_BAD_FUNCTION_ARGUMENT:
    case CURLE_UNKNOWN_OPTION:
    case CURLE_FAILED_INIT:
      return absl::StatusCode::kInternal;
    default:  // resolving, connecting, sending, receiving, a cut or garbled answer
      return absl::StatusCode::kUnavailable;
  }
}

}  // namespace

std::optional<std::string_view> HttpClientResponse::Find(std::string_view name) const {
  for (const auto& [key, value] : headers) {
    if (key == name) return value;
  }
  return std::nullopt;
}

class HttpClient::Handle {
 public:
  Handle() : curl_(curl_easy_init()) {}
  ~Handle() {
    if (curl_ != nullptr) curl_easy_cleanup(curl_);
  }
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;
  CURL* get() const { return curl_; }

  // Servers that write head and body apart, without TCP_NODELAY, hold the body back until the head is
  // acknowledged, which the kernel delays by 40 ms: with the RADOS Gateway 48 ms a request instead of 3.
  void AcknowledgeAtOnce() const {
    const int one = 1;
    for (const curl_socket_t fd : sockets_) setsockopt(fd, IPPROTO_TCP, TCP_QUICKACK, &one, sizeof(one));
  }

  // libcurl's callbacks: which sockets this handle has open (more than one while it tries addresses).
  static curl_socket_t OpenSocket(void* self, curlsocktype, curl_sockaddr* address) {
    const curl_socket_t fd = socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
    if (fd != CURL_SOCKET_BAD) static_cast<Handle*>(self)->sockets_.push_back(fd);
    return fd;
  }
  static int CloseSocket(void* self, curl_socket_t fd) {
    std::erase(static_cast<Handle*>(self)->sockets_, fd);
    return close(fd);
  }

 private:
  std::vector<curl_socket_t> sockets_;
  CURL* const curl_;  // its cleanup closes the sockets, through CloseSocket
};

// One request on one handle: the state that libcurl's callbacks work on.
class HttpClient::Transfer {
 public:
  Transfer(Handle& handle, const HttpClientOptions& options, const HttpClientRequest& request,
           const HttpBodySink* sink)
      : handle_(handle), curl_(handle.get()), options_(options), request_(request), sink_(sink) {
    for (const std::string_view piece : request.body) body_size_ += piece.size();
  }
  ~Transfer() {
    curl_easy_reset(curl_);  // forgets options, keeps the connection
    curl_slist_free_all(headers_);
  }
  Transfer(const Transfer&) = delete;
  Transfer& operator=(const Transfer&) = delete;

  absl::StatusOr<HttpClientResponse> Run(Clock& clock);
  // After Run(): whether it failed because the server had closed the kept connection just when it was used
  // again, before the whole request was out and with no word of an answer. libcurl sees that by itself when
  // it waits for the answer, but not while it still sends a body.
  bool went_stale() const { return went_stale_; }

 private:
  absl::Status Prepare(absl::Duration left);
  template <typename T>
  void Set(CURLoption option, T value) {
    const CURLcode result = curl_easy_setopt(curl_, option, value);
    if (result != CURLE_OK && setup_ == CURLE_OK) setup_ = result;
  }
  void AddHeader(const std::string& line);

  absl::Status OnHeader(std::string_view line);
  absl::Status OnData(std::string_view data);
  absl::Status Begin();
  size_t OnRead(char* buffer, size_t size);
  bool OnSeek(uint64_t offset);
  size_t Check(absl::Status status, size_t size) {
    if (status.ok()) return size;
    error_ = std::move(status);
    return CURL_WRITEFUNC_ERROR;
  }

  static size_t HeaderCallback(char* data, size_t, size_t size, void* self) {
    auto* transfer = static_cast<Transfer*>(self);
    return transfer->Check(transfer->OnHeader({data, size}), size);
  }
  static size_t WriteCallback(char* data, size_t, size_t size, void* self) {
    auto* transfer = static_cast<Transfer*>(self);
    return transfer->Check(transfer->OnData({data, size}), size);
  }
  static size_t ReadCallback(char* buffer, size_t, size_t size, void* self) {
    return static_cast<Transfer*>(self)->OnRead(buffer, size);
  }
  static int SeekCallback(void* self, curl_off_t offset, int origin) {
    if (origin != SEEK_SET || offset < 0) return CURL_SEEKFUNC_CANTSEEK;
    return static_cast<Transfer*>(self)->OnSeek(static_cast<uint64_t>(offset)) ? CURL_SEEKFUNC_OK
                                                                               : CURL_SEEKFUNC_FAIL;
  }

  Handle& handle_;
  CURL* const curl_;
  const HttpClientOptions& options_;
  const HttpClientRequest& request_;
  const HttpBodySink* const sink_;
  CURLcode setup_ = CURLE_OK;
  curl_slist* headers_ = nullptr;
  HttpClientResponse response_;
  size_t header_bytes_ = 0;
  bool begun_ = false;
  bool went_stale_ = false;
  absl::Status error_;  // what a callback ended the transfer with
  uint64_t body_size_ = 0;
  size_t piece_ = 0;         // the piece of the body that is sent next
  size_t piece_offset_ = 0;  // and from where
  char message_[CURL_ERROR_SIZE] = "";
};

void HttpClient::Transfer::AddHeader(const std::string& line) {
  curl_slist* longer = curl_slist_append(headers_, line.c_str());
  if (longer == nullptr) {
    setup_ = CURLE_OUT_OF_MEMORY;
  } else {
    headers_ = longer;
  }
}

absl::Status HttpClient::Transfer::Prepare(absl::Duration left) {
  Set(CURLOPT_URL, request_.url.c_str());
  Set(CURLOPT_PROTOCOLS_STR, "http,https");
  Set(CURLOPT_PATH_AS_IS, 1L);
  Set(CURLOPT_HTTP_VERSION, long{CURL_HTTP_VERSION_1_1});
  Set(CURLOPT_NOSIGNAL, 1L);
  Set(CURLOPT_FOLLOWLOCATION, 0L);
  Set(CURLOPT_TCP_NODELAY, 1L);
  Set(CURLOPT_TCP_KEEPALIVE, 1L);
  Set(CURLOPT_MAXCONNECTS, 1L);
  Set(CURLOPT_MAXAGE_CONN, static_cast<long>(absl::ToInt64Seconds(kMaxIdle)));
  Set(CURLOPT_BUFFERSIZE, kTransferBufferBytes);
  Set(CURLOPT_ERRORBUFFER, message_);
  Set(CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(absl::ToInt64Milliseconds(options_.connect_timeout)));
  Set(CURLOPT_LOW_SPEED_LIMIT, static_cast<long>(options_.low_speed_bytes));
  Set(CURLOPT_LOW_SPEED_TIME, static_cast<long>(absl::ToInt64Seconds(options_.low_speed_time)));
  if (left != absl::InfiniteDuration()) {
    const int64_t ms = std::clamp<int64_t>(absl::ToInt64Milliseconds(left) + 1, 1, INT32_MAX);
    Set(CURLOPT_TIMEOUT_MS, static_cast<long>(ms));
  }
  if (!options_.ca_file.empty()) Set(CURLOPT_CAINFO, options_.ca_file.c_str());
  if (!options_.use_proxy) Set(CURLOPT_NOPROXY, "*");

  Set(CURLOPT_OPENSOCKETFUNCTION, &Handle::OpenSocket);
  Set(CURLOPT_OPENSOCKETDATA, static_cast<void*>(&handle_));
  Set(CURLOPT_CLOSESOCKETFUNCTION, &Handle::CloseSocket);
  Set(CURLOPT_CLOSESOCKETDATA, static_cast<void*>(&handle_));
  Set(CURLOPT_HEADERFUNCTION, &HeaderCallback);
  Set(CURLOPT_HEADERDATA, static_cast<void*>(this));
  Set(CURLOPT_WRITEFUNCTION, &WriteCallback);
  Set(CURLOPT_WRITEDATA, static_cast<void*>(this));

  for (const auto& [name, value] : request_.headers) {
    if (value.find_first_of("\r\n") != std::string::npos) {
      return absl::InvalidArgumentError(fmt::format("the value of header '{}' holds a line break", name));
    }
    AddHeader(fmt::format("{}: {}", name, value));
  }
  const bool has_body = request_.method == "PUT" || request_.method == "POST";
  if (has_body) {
    AddHeader("Expect:");  // or libcurl waits a second for servers that do not know 100-continue
    Set(CURLOPT_UPLOAD, 1L);
    Set(CURLOPT_UPLOAD_BUFFERSIZE, kUploadBufferBytes);
    Set(CURLOPT_INFILESIZE_LARGE, static_cast<curl_off_t>(body_size_));
    Set(CURLOPT_READFUNCTION, &ReadCallback);
    Set(CURLOPT_READDATA, static_cast<void*>(this));
    Set(CURLOPT_SEEKFUNCTION, &SeekCallback);  // for libcurl's own second try on a stale connection
    Set(CURLOPT_SEEKDATA, static_cast<void*>(this));
  }
  if (request_.method == "HEAD") {
    Set(CURLOPT_NOBODY, 1L);
  } else {
    Set(CURLOPT_CUSTOMREQUEST, request_.method.c_str());
  }
  Set(CURLOPT_HTTPHEADER, headers_);
  if (setup_ == CURLE_OK) return absl::OkStatus();
  return absl::Status(CodeOf(setup_), fmt::format("prepare a request to {}: {}", WithoutQuery(request_.url),
                                                  curl_easy_strerror(setup_)));
}

absl::StatusOr<HttpClientResponse> HttpClient::Transfer::Run(Clock& clock) {
  const absl::Duration left = request_.deadline == absl::InfiniteFuture() ? absl::InfiniteDuration()
                                                                          : request_.deadline - clock.Now();
  const std::string what = fmt::format("{} {}", request_.method, WithoutQuery(request_.url));
  if (left <= absl::ZeroDuration()) {
    return absl::DeadlineExceededError(fmt::format("{}: the deadline passed before it was sent", what));
  }
  RETURN_IF_ERROR(Prepare(left));
  const CURLcode result = curl_easy_perform(curl_);
  if (!error_.ok()) return error_;
  if (result == CURLE_OK) {
    RETURN_IF_ERROR(Begin());  // an answer without a body
    return std::move(response_);
  }
  long new_connections = 0;
  curl_easy_getinfo(curl_, CURLINFO_NUM_CONNECTS, &new_connections);
  went_stale_ = result == CURLE_SEND_ERROR && new_connections == 0 && header_bytes_ == 0;
  const std::string_view why = message_[0] != '\0' ? message_ : curl_easy_strerror(result);
  if (result == CURLE_OPERATION_TIMEDOUT && clock.Now() + kTimerSlack >= request_.deadline) {
    return absl::DeadlineExceededError(fmt::format("{}: the deadline passed: {}", what, why));
  }
  const absl::StatusCode code = CodeOf(result);
  return absl::Status(
      code, fmt::format("{}: {}{}", what, why,
                        code == absl::StatusCode::kFailedPrecondition
                            ? "; if the server's certificate has an authority of its own, name its file"
                            : ""));
}

absl::Status HttpClient::Transfer::OnHeader(std::string_view line) {
  header_bytes_ += line.size();
  if (line.starts_with("HTTP/")) {  // a new answer: what came before was a 100 Continue
    handle_.AcknowledgeAtOnce();
    response_ = HttpClientResponse();
    header_bytes_ = line.size();
    return absl::OkStatus();
  }
  if (header_bytes_ > kMaxHeaderBytes || response_.headers.size() >= kMaxHeaders) {
    return absl::UnavailableError(
        fmt::format("{}: the answer's headers have no end", WithoutQuery(request_.url)));
  }
  const size_t colon = line.find(':');
  if (colon == std::string_view::npos) return absl::OkStatus();
  const auto trim = [](std::string_view text) {
    return std::string(absl::StripAsciiWhitespace(absl::string_view(text.data(), text.size())));
  };
  response_.headers.emplace_back(absl::AsciiStrToLower(trim(line.substr(0, colon))),
                                 trim(line.substr(colon + 1)));
  return absl::OkStatus();
}

absl::Status HttpClient::Transfer::Begin() {
  if (begun_) return absl::OkStatus();
  begun_ = true;
  long status = 0;
  curl_easy_getinfo(curl_, CURLINFO_RESPONSE_CODE, &status);
  response_.status = static_cast<int>(status);
  if (sink_ == nullptr || !response_.ok()) return absl::OkStatus();
  return sink_->begin(response_);
}

absl::Status HttpClient::Transfer::OnData(std::string_view data) {
  RETURN_IF_ERROR(Begin());
  if (sink_ != nullptr && response_.ok()) return sink_->data(data);
  if (data.size() > options_.max_body_bytes - response_.body.size()) {
    return absl::ResourceExhaustedError(fmt::format("{} {}: the answer has more than {}", request_.method,
                                                    WithoutQuery(request_.url),
                                                    FormatSize(options_.max_body_bytes)));
  }
  response_.body.append(data);
  return absl::OkStatus();
}

size_t HttpClient::Transfer::OnRead(char* buffer, size_t size) {
  size_t filled = 0;
  while (filled < size && piece_ < request_.body.size()) {
    const std::string_view rest = request_.body[piece_].substr(piece_offset_);
    const size_t step = std::min(size - filled, rest.size());
    if (step > 0) std::memcpy(buffer + filled, rest.data(), step);
    filled += step;
    piece_offset_ += step;
    if (piece_offset_ == request_.body[piece_].size()) {
      ++piece_;
      piece_offset_ = 0;
    }
  }
  return filled;
}

bool HttpClient::Transfer::OnSeek(uint64_t offset) {
  if (offset > body_size_) return false;
  piece_ = 0;
  while (piece_ < request_.body.size() && offset >= request_.body[piece_].size()) {
    offset -= request_.body[piece_].size();
    ++piece_;
  }
  piece_offset_ = offset;
  return true;
}

HttpClient::HttpClient(HttpClientOptions options, Clock* clock)
    : options_(std::move(options)), clock_(*clock) {
  InitialiseOnce();
}

HttpClient::~HttpClient() = default;

absl::StatusOr<std::unique_ptr<HttpClient::Handle>> HttpClient::Acquire(absl::Time deadline) {
  {
    absl::MutexLock lock(&mutex_);
    const auto has_room = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
      return in_use_ < options_.max_connections;
    };
    if (!mutex_.AwaitWithDeadline(absl::Condition(&has_room), deadline)) {
      return absl::DeadlineExceededError(fmt::format(
          "the deadline passed while all {} connections were in use", options_.max_connections));
    }
    ++in_use_;
    if (!idle_.empty()) {
      std::unique_ptr<Handle> handle = std::move(idle_.back());
      idle_.pop_back();
      return handle;
    }
  }
  return std::make_unique<Handle>();
}

void HttpClient::Release(std::unique_ptr<Handle> handle) {
  absl::MutexLock lock(&mutex_);
  --in_use_;
  if (handle->get() != nullptr) idle_.push_back(std::move(handle));
}

absl::StatusOr<HttpClientResponse> HttpClient::Do(const HttpClientRequest& request,
                                                  const HttpBodySink* sink) {
  ASSIGN_OR_RETURN(std::unique_ptr<Handle> handle, Acquire(request.deadline));
  absl::StatusOr<HttpClientResponse> response = absl::InternalError("make a libcurl handle");
  if (handle->get() != nullptr) {
    bool went_stale = true;
    for (int attempt = 0; went_stale && attempt < 2; ++attempt) {
      Transfer transfer(*handle, options_, request, sink);
      response = transfer.Run(clock_);
      went_stale = transfer.went_stale();  // then libcurl has closed it: the next attempt makes a new one
    }
  }
  Release(std::move(handle));
  return response;
}

}  // namespace aetherfs
