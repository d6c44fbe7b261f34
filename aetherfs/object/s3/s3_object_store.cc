#include "aetherfs/object/s3/s3_object_store.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include "absl/strings/ascii.h"
#include "aetherfs/base/sha256.h"
#include "aetherfs/base/status.h"
#include "aetherfs/object/object_checks.h"
#include "aetherfs/object/s3/s3_protocol.h"
#include "fmt/format.h"

namespace aetherfs {
namespace {

constexpr size_t kMaxPageObjects = 1000;  // S3's own bound
constexpr uint64_t kMaxParts = 10'000;    // S3's own bound
constexpr absl::Duration kAbortTimeout = absl::Seconds(10);

Digest Sha256OfPieces(std::span<const std::string_view> pieces) {
  Sha256 hash;
  for (const std::string_view piece : pieces) hash.Update(piece);
  return hash.Finish();
}

const Digest& EmptySha256() {
  static const Digest digest = Sha256::Of("");
  return digest;
}

std::optional<uint64_t> ContentLength(const HttpClientResponse& response) {
  const auto header = response.Find("content-length");
  uint64_t length = 0;
  if (!header.has_value() || header->empty()) return std::nullopt;
  const auto [end, error] = std::from_chars(header->data(), header->data() + header->size(), length);
  if (error != std::errc() || end != header->data() + header->size()) return std::nullopt;
  return length;
}

// Bytes [offset, offset + size) of the concatenation of `pieces`.
std::vector<std::string_view> Slice(const std::vector<std::string_view>& pieces, uint64_t offset,
                                    uint64_t size) {
  std::vector<std::string_view> slice;
  for (const std::string_view piece : pieces) {
    if (size == 0) break;
    if (offset >= piece.size()) {
      offset -= piece.size();
      continue;
    }
    slice.push_back(piece.substr(offset, size));
    size -= slice.back().size();
    offset = 0;
  }
  return slice;
}

absl::Status ValidateBucket(std::string_view bucket) {
  const bool valid =
      bucket.size() >= 3 && bucket.size() <= 255 &&
      absl::ascii_isalnum(static_cast<unsigned char>(bucket[0])) &&
      bucket.find("..") == std::string_view::npos && std::all_of(bucket.begin(), bucket.end(), [](char c) {
        return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '-' || c == '.' || c == '_';
      });
  if (valid) return absl::OkStatus();
  return absl::InvalidArgumentError(fmt::format(
      "'{}' is not the name of a bucket: 3 letters at least, of a-z, 0-9, '-' and '.'", Printable(bucket)));
}

// Checks an answer to Get against what was asked for, and counts what comes.
class GetAnswer {
 public:
  GetAnswer(const std::string& what, const std::optional<ByteRange>& range, ByteSink sink)
      : what_(what), range_(range), sink_(sink) {}

  absl::Status Begin(const HttpClientResponse& response) {
    const std::optional<uint64_t> length = ContentLength(response);
    if (!range_.has_value()) {
      if (response.status != 200) return Unexpected(response.status);
      expected_ = length;
      return absl::OkStatus();
    }
    if (response.status == 200 && range_->offset == 0 && length == range_->size) {  // all was asked for
      expected_ = object_size_ = length;
      return absl::OkStatus();
    }
    if (response.status != 206) return Unexpected(response.status);
    const auto content_range = ParseContentRange(response.Find("content-range").value_or(""));
    if (!content_range.has_value()) {
      return absl::DataLossError(fmt::format("{}: the answer says not which bytes it holds", what_));
    }
    object_size_ = content_range->object_size;
    if (range_->end() > *object_size_) return ResolveRange(what_, range_, *object_size_).status();
    if (content_range->range != *range_ || (length.has_value() && *length != range_->size)) {
      return absl::DataLossError(fmt::format("{}: {} bytes at {} were asked for, {} at {} came", what_,
                                             range_->size, range_->offset, content_range->range.size,
                                             content_range->range.offset));
    }
    expected_ = range_->size;
    return absl::OkStatus();
  }

  absl::Status Data(std::string_view data) {
    received_ += data.size();
    if (expected_.has_value() && received_ > *expected_) return WrongLength();
    return sink_(data);
  }

  absl::StatusOr<ObjectInfo> End() {
    if (expected_.has_value() && received_ != *expected_) return WrongLength();
    return ObjectInfo{.size = object_size_.value_or(received_)};
  }

 private:
  absl::Status Unexpected(int status) const {
    return absl::FailedPreconditionError(
        fmt::format("{}: the server, or a proxy before it, answered {} to a request {} range", what_,
                    status, range_.has_value() ? "for a" : "without a"));
  }
  absl::Status WrongLength() const {
    return absl::DataLossError(
        fmt::format("{}: {} bytes came, {} were announced", what_, received_, *expected_));
  }

  const std::string& what_;
  const std::optional<ByteRange>& range_;
  ByteSink sink_;
  std::optional<uint64_t> expected_, object_size_;
  uint64_t received_ = 0;
};

}  // namespace

absl::StatusOr<S3ObjectStore::Address> S3ObjectStore::Locate(const S3Options& options) {
  RETURN_IF_ERROR(ValidateBucket(options.bucket));
  if (options.region.empty() ||
      options.region.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-_") != std::string::npos) {
    return absl::InvalidArgumentError(
        fmt::format("'{}' is not the name of a region", Printable(options.region)));
  }
  std::string endpoint = options.endpoint;
  if (endpoint.empty()) endpoint = fmt::format("https://s3.{}.amazonaws.com", options.region);
  while (endpoint.ends_with('/')) endpoint.pop_back();
  const size_t scheme_end = endpoint.find("://");
  const std::string scheme = endpoint.substr(0, scheme_end);
  const size_t host_begin = scheme_end == std::string::npos ? 0 : scheme_end + 3;
  const size_t path_begin = std::min(endpoint.find('/', host_begin), endpoint.size());
  std::string host = endpoint.substr(host_begin, path_begin - host_begin);
  if ((scheme != "http" && scheme != "https") || host.empty() ||
      endpoint.find_first_of("?#@ \\\"'<>") != std::string::npos) {
    return absl::InvalidArgumentError(fmt::format(
        "'{}' is not an S3 endpoint; write it like https://s3.example.com or http://127.0.0.1:9000",
        Printable(endpoint)));
  }
  for (const auto& [default_scheme, port] : {std::pair("http", ":80"), std::pair("https", ":443")}) {
    if (scheme == default_scheme && host.ends_with(port))
      host.resize(host.size() - std::string_view(port).size());
  }
  std::string path = endpoint.substr(path_begin);
  if (options.path_style) {
    path += "/" + UriEncode(options.bucket, /*keep_slash=*/false);
  } else {
    host = fmt::format("{}.{}", options.bucket, host);
  }
  return Address{.scheme_and_host = fmt::format("{}://{}", scheme, host), .host = host, .path = path};
}

absl::StatusOr<std::unique_ptr<S3ObjectStore>> S3ObjectStore::Create(
    S3Options options, std::shared_ptr<CredentialsProvider> credentials, Clock* clock) {
  ASSIGN_OR_RETURN(Address address, Locate(options));
  if (options.multipart_part_bytes == 0 || options.multipart_threshold_bytes == 0) {
    return absl::InvalidArgumentError("an S3 store with parts of 0 bytes");
  }
  return std::unique_ptr<S3ObjectStore>(
      new S3ObjectStore(std::move(options), std::move(address), std::move(credentials), clock));
}

S3ObjectStore::S3ObjectStore(S3Options options, Address address,
                             std::shared_ptr<CredentialsProvider> credentials, Clock* clock)
    : options_(std::move(options)),
      address_(std::move(address)),
      credentials_(std::move(credentials)),
      clock_(*clock),
      http_(options_.http, clock) {}

std::string S3ObjectStore::Name(std::string_view verb, std::string_view key) const {
  return fmt::format("{} s3://{}/{}", verb, options_.bucket, key);
}

absl::Status S3ObjectStore::Failure(const HttpClientResponse& response, std::string_view verb,
                                    std::string_view key) {
  return S3ErrorStatus(response, Name(verb, key), clock_.Now());
}

absl::StatusOr<HttpClientResponse> S3ObjectStore::Send(const Request& request, const HttpBodySink* sink) {
  ASSIGN_OR_RETURN(const Credentials credentials, credentials_->Get(request.deadline));
  const absl::Time now = clock_.Now();
  RequestToSign signing = {.method = request.method,
                           .path = address_.path,
                           .query = CanonicalQuery(request.query),
                           .headers = request.headers,
                           .payload_sha256 = request.body_sha256.value_or(EmptySha256()).Hex()};
  if (!request.key.empty()) signing.path += "/" + UriEncode(request.key, /*keep_slash=*/true);
  if (signing.path.empty()) signing.path = "/";
  signing.headers.emplace_back("host", address_.host);
  signing.headers.emplace_back("x-amz-content-sha256", signing.payload_sha256);
  signing.headers.emplace_back("x-amz-date", AmzDate(now));
  if (!credentials.session_token.empty()) {
    signing.headers.emplace_back("x-amz-security-token", credentials.session_token);
  }
  const Signature signature = SignV4(signing,
                                     {.access_key_id = credentials.access_key_id,
                                      .secret_access_key = credentials.secret_access_key,
                                      .region = options_.region},
                                     now);
  std::string url = address_.scheme_and_host + signing.path;
  if (!signing.query.empty()) url += "?" + signing.query;
  signing.headers.emplace_back("authorization", signature.authorization);
  ASSIGN_OR_RETURN(HttpClientResponse response, http_.Do({.method = request.method,
                                                          .url = std::move(url),
                                                          .headers = std::move(signing.headers),
                                                          .body = request.body,
                                                          .deadline = request.deadline},
                                                         sink));
  if (SaysCredentialsExpired(response)) credentials_->Invalidate(credentials);
  return response;
}

absl::StatusOr<ObjectInfo> S3ObjectStore::Get(std::string_view key, const GetOptions& options,
                                              ByteSink sink) {
  RETURN_IF_ERROR(ValidateKey(key));
  RETURN_IF_ERROR(CheckRange(key, options.range));
  const std::string what = Name("get", key);
  GetAnswer answer(what, options.range, sink);
  const HttpBodySink body = {
      .begin = [&](const HttpClientResponse& response) { return answer.Begin(response); },
      .data = [&](std::string_view data) { return answer.Data(data); }};
  Request request = {.method = "GET", .key = key, .deadline = options.deadline};
  if (options.range.has_value()) {
    request.headers.emplace_back(
        "range", fmt::format("bytes={}-{}", options.range->offset, options.range->end() - 1));
  }
  ASSIGN_OR_RETURN(const HttpClientResponse response, Send(request, &body));
  if (!response.ok()) return Failure(response, "get", key);
  return answer.End();
}

absl::StatusOr<ObjectInfo> S3ObjectStore::Head(std::string_view key, absl::Time deadline) {
  RETURN_IF_ERROR(ValidateKey(key));
  ASSIGN_OR_RETURN(const HttpClientResponse response,
                   Send({.method = "HEAD", .key = key, .deadline = deadline}));
  if (!response.ok()) return Failure(response, "head", key);
  const std::optional<uint64_t> length = ContentLength(response);
  if (!length.has_value()) {
    return absl::DataLossError(fmt::format("{}: the answer says no size", Name("head", key)));
  }
  return ObjectInfo{.size = *length};
}

absl::Status S3ObjectStore::Remove(std::string_view key, absl::Time deadline) {
  RETURN_IF_ERROR(ValidateKey(key));
  ASSIGN_OR_RETURN(const HttpClientResponse response,
                   Send({.method = "DELETE", .key = key, .deadline = deadline}));
  if (response.ok()) return absl::OkStatus();
  const absl::Status status = Failure(response, "remove", key);
  return absl::IsNotFound(status) ? absl::OkStatus() : status;
}

absl::StatusOr<ListResult> S3ObjectStore::ListPage(const ListOptions& options,
                                                   const std::string& start_after, size_t limit) {
  std::vector<QueryParameter> query = {{"list-type", "2"}, {"encoding-type", "url"}};
  query.emplace_back("max-keys", std::to_string(std::min(limit, kMaxPageObjects)));
  if (!options.prefix.empty()) query.emplace_back("prefix", options.prefix);
  if (!start_after.empty()) query.emplace_back("start-after", start_after);
  ASSIGN_OR_RETURN(
      const HttpClientResponse response,
      Send({.method = "GET", .key = "", .query = std::move(query), .deadline = options.deadline}));
  if (!response.ok()) return Failure(response, "list", options.prefix);
  absl::StatusOr<ListResult> page = ParseListing(response.body);
  if (!page.ok()) return Annotate(page.status(), Name("list", options.prefix));
  std::string_view last = start_after;
  for (const ListedObject& object : page->objects) {
    if (object.key <= last || !object.key.starts_with(options.prefix)) {
      return absl::FailedPreconditionError(fmt::format(
          "{}: the server gave '{}' behind '{}'; it must list in the order of bytes, by prefix and "
          "start-after",
          Name("list", options.prefix), Printable(object.key), Printable(last)));
    }
    last = object.key;
  }
  return page;
}

absl::StatusOr<ListResult> S3ObjectStore::List(const ListOptions& options) {
  if (options.limit == 0) return absl::InvalidArgumentError("list: a page of 0 objects was asked for");
  std::string start_after = options.start_after;
  while (true) {
    ASSIGN_OR_RETURN(ListResult page, ListPage(options, start_after, options.limit));
    if (page.more && page.objects.empty()) {
      return absl::DataLossError(
          fmt::format("{}: the server says there is more and gives nothing", Name("list", options.prefix)));
    }
    if (page.more) start_after = page.objects.back().key;
    std::erase_if(page.objects, [](const ListedObject& object) { return !ValidateKey(object.key).ok(); });
    // Only a page that holds nothing but others' objects is passed over here.
    if (!page.objects.empty() || !page.more) return page;
  }
}

absl::Status S3ObjectStore::Put(std::string_view key, const std::vector<std::string_view>& pieces,
                                const PutOptions& options) {
  RETURN_IF_ERROR(ValidateKey(key));
  uint64_t size = 0;
  for (const std::string_view piece : pieces) size += piece.size();
  if (size > options_.multipart_threshold_bytes) return PutMultipart(key, pieces, size, options);
  Request request = {.method = "PUT",
                     .key = key,
                     .body = pieces,
                     .body_sha256 = options.sha256.has_value() ? *options.sha256 : Sha256OfPieces(pieces),
                     .deadline = options.deadline};
  if (options.if_absent) request.headers.emplace_back("if-none-match", "*");
  ASSIGN_OR_RETURN(const HttpClientResponse response, Send(request));
  if (response.ok()) return absl::OkStatus();
  return Failure(response, "put", key);
}

absl::Status S3ObjectStore::PutMultipart(std::string_view key, const std::vector<std::string_view>& pieces,
                                         uint64_t size, const PutOptions& options) {
  if (options.sha256.has_value() && Sha256OfPieces(pieces) != *options.sha256) {
    return absl::DataLossError(
        fmt::format("{}: the body's SHA-256 is not {}", Name("put", key), options.sha256->Hex()));
  }
  if (options.if_absent) {
    const absl::Status found = Head(key, options.deadline).status();
    if (found.ok()) return ObjectExists(key);
    if (!absl::IsNotFound(found)) return found;
  }
  ASSIGN_OR_RETURN(const std::string upload_id, StartUpload(key, options.deadline));
  const absl::StatusOr<std::vector<std::string>> etags =
      PutParts(key, upload_id, pieces, size, options.deadline);
  absl::Status status = etags.status();
  if (status.ok()) status = CompleteUpload(key, upload_id, *etags, options);
  if (!status.ok()) AbortUpload(key, upload_id);
  return status;
}

absl::StatusOr<std::string> S3ObjectStore::StartUpload(std::string_view key, absl::Time deadline) {
  ASSIGN_OR_RETURN(const HttpClientResponse response,
                   Send({.method = "POST", .key = key, .query = {{"uploads", ""}}, .deadline = deadline}));
  if (!response.ok()) return Failure(response, "start a multipart upload of", key);
  absl::StatusOr<std::string> upload_id = ParseUploadId(response.body);
  if (!upload_id.ok()) return Annotate(upload_id.status(), Name("start a multipart upload of", key));
  return upload_id;
}

absl::StatusOr<std::vector<std::string>> S3ObjectStore::PutParts(
    std::string_view key, const std::string& upload_id, const std::vector<std::string_view>& pieces,
    uint64_t size, absl::Time deadline) {
  const uint64_t part_size = std::max(options_.multipart_part_bytes, (size + kMaxParts - 1) / kMaxParts);
  std::vector<std::string> etags;
  for (uint64_t offset = 0; offset < size; offset += part_size) {
    const std::vector<std::string_view> slice = Slice(pieces, offset, std::min(part_size, size - offset));
    ASSIGN_OR_RETURN(
        const HttpClientResponse response,
        Send({.method = "PUT",
              .key = key,
              .query = {{"partNumber", std::to_string(etags.size() + 1)}, {"uploadId", upload_id}},
              .body = slice,
              .body_sha256 = Sha256OfPieces(slice),
              .deadline = deadline}));
    if (!response.ok()) return Failure(response, "put a part of", key);
    etags.emplace_back(response.Find("etag").value_or(""));
    if (etags.back().empty()) {
      return absl::DataLossError(fmt::format("{}: the answer has no ETag", Name("put a part of", key)));
    }
  }
  return etags;
}

absl::Status S3ObjectStore::CompleteUpload(std::string_view key, const std::string& upload_id,
                                           const std::vector<std::string>& etags,
                                           const PutOptions& options) {
  const std::string xml = CompleteMultipartBody(etags);
  const std::string_view body[] = {xml};
  Request request = {.method = "POST",
                     .key = key,
                     .query = {{"uploadId", upload_id}},
                     .headers = {{"content-type", "application/xml"}},
                     .body = body,
                     .body_sha256 = Sha256::Of(xml),
                     .deadline = options.deadline};
  if (options.if_absent) request.headers.emplace_back("if-none-match", "*");
  ASSIGN_OR_RETURN(const HttpClientResponse response, Send(request));
  return CheckCompleteMultipart(response, Name("complete the multipart upload of", key), clock_.Now());
}

void S3ObjectStore::AbortUpload(std::string_view key, const std::string& upload_id) {
  // Parts that stay because the server is away are left to the bucket's lifecycle rules (docs/s3.md).
  (void)Send({.method = "DELETE",
              .key = key,
              .query = {{"uploadId", upload_id}},
              .deadline = clock_.Now() + kAbortTimeout});
}

absl::Status S3ObjectStore::CreateBucket(absl::Time deadline) {
  std::string xml;
  if (options_.endpoint.empty() && options_.region != "us-east-1") {
    xml = fmt::format(
        "<CreateBucketConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">"
        "<LocationConstraint>{}</LocationConstraint></CreateBucketConfiguration>",
        options_.region);
  }
  const std::string_view body[] = {xml};
  ASSIGN_OR_RETURN(const HttpClientResponse response, Send({.method = "PUT",
                                                            .key = "",
                                                            .body = body,
                                                            .body_sha256 = Sha256::Of(xml),
                                                            .deadline = deadline}));
  if (response.ok() || ParseS3Error(response.body).code == "BucketAlreadyOwnedByYou")
    return absl::OkStatus();
  return Failure(response, "create the bucket", "");
}

absl::Status S3ObjectStore::RemoveBucket(absl::Time deadline) {
  ASSIGN_OR_RETURN(const HttpClientResponse response,
                   Send({.method = "DELETE", .key = "", .deadline = deadline}));
  if (response.ok()) return absl::OkStatus();
  return Failure(response, "remove the bucket", "");
}

}  // namespace aetherfs
