#ifndef AETHERFS_OBJECT_S3_S3_OBJECT_STORE_H_
#define AETHERFS_OBJECT_S3_S3_OBJECT_STORE_H_

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "aetherfs/base/clock.h"
#include "aetherfs/base/quantity.h"
#include "aetherfs/object/object_store.h"
#include "aetherfs/object/s3/credentials.h"
#include "aetherfs/object/s3/http_client.h"
#include "aetherfs/object/s3/sigv4.h"

namespace aetherfs {

struct S3Options {
  std::string bucket = {};
  std::string endpoint = {};  // "http[s]://host[:port][/path]"; empty: AWS's for the region
  std::string region = "us-east-1";
  bool path_style = false;  // http://endpoint/bucket/key rather than http://bucket.endpoint/key
  // Larger objects go in parts. S3 takes 5 GiB at once and parts of 5 MiB at least.
  uint64_t multipart_threshold_bytes = 64 * kMiB;
  uint64_t multipart_part_bytes = 32 * kMiB;
  HttpClientOptions http = {};
};

// Objects in a bucket of any S3 server (docs/s3.md says what it needs of one). Makes each request once:
// RetryingObjectStore around it makes them again.
//
// Every request is signed (Signature Version 4) with the SHA-256 of its body, so the server checks what
// arrives: a body that is not PutOptions::sha256 is DATA_LOSS, and that digest is taken as given, not
// computed again. TLS certificates are verified. Redirects are errors that say where to.
//
// Put with if_absent is one request with `If-None-Match: *`. An object larger than the multipart threshold
// is looked for first (HEAD), and the completing request carries the condition, which some servers ignore:
// for such objects two concurrent writers may both succeed. Journal entries and blocks are smaller. A
// failed multipart upload is aborted as far as the server can be reached.
//
// List leaves out objects of others whose names are no keys, and gives at most 1,000 objects at once.
// Errors: as ObjectStore says; PERMISSION_DENIED carries the server's code and message. Thread-safe;
// blocks on the network; at most S3Options::http.max_connections requests at once, others wait.
class S3ObjectStore : public ObjectStore {
 public:
  // INVALID_ARGUMENT if bucket, endpoint or region cannot be. `clock` must outlive the store.
  static absl::StatusOr<std::unique_ptr<S3ObjectStore>> Create(
      S3Options options, std::shared_ptr<CredentialsProvider> credentials, Clock* clock = Clock::System());

  absl::StatusOr<ObjectInfo> Get(std::string_view key, const GetOptions& options, ByteSink sink) override;
  absl::Status Put(std::string_view key, const std::vector<std::string_view>& pieces,
                   const PutOptions& options) override;
  absl::StatusOr<ObjectInfo> Head(std::string_view key, absl::Time deadline) override;
  absl::StatusOr<ListResult> List(const ListOptions& options) override;
  absl::Status Remove(std::string_view key, absl::Time deadline) override;

  // For tests and setting up. OK if the caller has the bucket already.
  absl::Status CreateBucket(absl::Time deadline);
  absl::Status RemoveBucket(absl::Time deadline);

 private:
  struct Address {  // where the bucket is
    std::string scheme_and_host;
    std::string host;
    std::string path;  // encoded, without '/' at the end
  };
  struct Request {
    std::string method;
    std::string_view key;  // empty: the bucket itself
    std::vector<QueryParameter> query = {};
    std::vector<Header> headers = {};
    std::span<const std::string_view> body = {};
    std::optional<Digest> body_sha256 = std::nullopt;  // absent: there is no body
    absl::Time deadline = absl::InfiniteFuture();
  };

  S3ObjectStore(S3Options options, Address address, std::shared_ptr<CredentialsProvider> credentials,
                Clock* clock);
  static absl::StatusOr<Address> Locate(const S3Options& options);

  // Signs and sends; any complete answer is OK.
  absl::StatusOr<HttpClientResponse> Send(const Request& request, const HttpBodySink* sink = nullptr);
  std::string Name(std::string_view verb, std::string_view key) const;
  absl::Status Failure(const HttpClientResponse& response, std::string_view verb, std::string_view key);

  absl::StatusOr<ListResult> ListPage(const ListOptions& options, const std::string& start_after,
                                      size_t limit);
  absl::Status PutMultipart(std::string_view key, const std::vector<std::string_view>& pieces,
                            uint64_t size, const PutOptions& options);
  absl::StatusOr<std::string> StartUpload(std::string_view key, absl::Time deadline);
  absl::StatusOr<std::vector<std::string>> PutParts(std::string_view key, const std::string& upload_id,
                                                    const std::vector<std::string_view>& pieces,
                                                    uint64_t size, absl::Time deadline);
  absl::Status CompleteUpload(std::string_view key, const std::string& upload_id,
                              const std::vector<std::string>& etags, const PutOptions& options);
  void AbortUpload(std::string_view key, const std::string& upload_id);

  const S3Options options_;
  const Address address_;
  const std::shared_ptr<CredentialsProvider> credentials_;
  Clock& clock_;
  HttpClient http_;
};

}  // namespace aetherfs

#endif  // AETHERFS_OBJECT_S3_S3_OBJECT_STORE_H_
