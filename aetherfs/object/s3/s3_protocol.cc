#include "aetherfs/object/s3/s3_protocol.h"

#include <curl/curl.h>

#include <algorithm>
#include <charconv>
#include <sstream>

#include "aetherfs/base/status.h"
#include "aetherfs/object/retry_after.h"
#include "fmt/format.h"
#include "pugixml.hpp"

namespace aetherfs {
namespace {

constexpr size_t kMaxErrorBytes = 64 * kKiB;
constexpr size_t kMaxListedKeys = 10'000;  // S3 never gives more than 1,000
constexpr absl::Duration kMaxRetryAfter = absl::Hours(1);

std::optional<uint64_t> ParseNumber(std::string_view text) {
  uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (text.empty() || error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

// Undoes encoding-type=url. A '+' stays: our keys hold no blanks, and servers differ about '+'.
std::string UrlDecode(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    unsigned int byte = 0;
    if (text[i] == '%' && i + 2 < text.size() &&
        std::from_chars(text.data() + i + 1, text.data() + i + 3, byte, 16).ptr == text.data() + i + 3) {
      out += static_cast<char>(byte);
      i += 2;
    } else {
      out += text[i];
    }
  }
  return out;
}

// What a code means if the HTTP status alone does not say it.
std::optional<absl::StatusCode> CodeOfS3Code(std::string_view code) {
  struct Row {
    std::string_view s3;
    absl::StatusCode status;
  };
  static constexpr Row kRows[] = {
      {"NoSuchKey", absl::StatusCode::kNotFound},
      {"NoSuchUpload", absl::StatusCode::kUnavailable},
      {"NoSuchBucket", absl::StatusCode::kFailedPrecondition},
      {"RequestTimeout", absl::StatusCode::kUnavailable},
      {"IncompleteBody", absl::StatusCode::kUnavailable},
      {"SlowDown", absl::StatusCode::kUnavailable},
      {"ServiceUnavailable", absl::StatusCode::kUnavailable},
      {"InternalError", absl::StatusCode::kUnavailable},
      {"OperationAborted", absl::StatusCode::kUnavailable},
      {"ConditionalRequestConflict", absl::StatusCode::kUnavailable},
      {"ExpiredToken", absl::StatusCode::kUnavailable},
      {"PreconditionFailed", absl::StatusCode::kAlreadyExists},
      {"XAmzContentSHA256Mismatch", absl::StatusCode::kDataLoss},
      {"BadDigest", absl::StatusCode::kDataLoss},
      {"AuthorizationHeaderMalformed", absl::StatusCode::kFailedPrecondition},
      {"NotImplemented", absl::StatusCode::kFailedPrecondition},
      {"QuotaExceeded", absl::StatusCode::kResourceExhausted},
      {"XMinioStorageFull", absl::StatusCode::kResourceExhausted},
  };
  const Row* row =
      std::find_if(std::begin(kRows), std::end(kRows), [&](const Row& r) { return r.s3 == code; });
  if (row == std::end(kRows)) return std::nullopt;
  return row->status;
}

absl::StatusCode CodeOfHttpStatus(int status, bool has_body) {
  switch (status) {
    case 401:
      return absl::StatusCode::kUnauthenticated;
    case 403:
      return absl::StatusCode::kPermissionDenied;
    case 404:
      // Without a word, as HEAD has it, the object is missing; in other words than S3's it is no S3 server.
      return has_body ? absl::StatusCode::kFailedPrecondition : absl::StatusCode::kNotFound;
    case 412:
      return absl::StatusCode::kAlreadyExists;
    case 416:
      return absl::StatusCode::kOutOfRange;
    case 307:  // a new bucket's name is not yet known everywhere
    case 408:
    case 409:
    case 425:
    case 429:
      return absl::StatusCode::kUnavailable;
    case 301:
    case 302:
    case 308:
    case 405:
    case 501:
      return absl::StatusCode::kFailedPrecondition;
    case 507:
      return absl::StatusCode::kResourceExhausted;
    default:
      if (status >= 500) return absl::StatusCode::kUnavailable;
      return status >= 400 ? absl::StatusCode::kInvalidArgument : absl::StatusCode::kUnavailable;
  }
}

std::string Advice(int status, const S3Error& error, const HttpClientResponse& response) {
  if (error.code == "NoSuchBucket") return "; create the bucket or correct its name";
  if (error.code == "RequestTimeTooSkewed") return "; set this machine's clock";
  if (error.code == "SignatureDoesNotMatch" || error.code == "InvalidAccessKeyId") {
    return "; check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY";
  }
  std::string region = error.region;
  if (const auto header = response.Find("x-amz-bucket-region")) region = *header;
  if ((status == 301 || error.code == "AuthorizationHeaderMalformed") && !region.empty()) {
    return fmt::format("; the bucket is in region '{}': say region={}", Printable(region),
                       Printable(region));
  }
  if (status == 301 || status == 308) return "; check endpoint and region";
  return "";
}

}  // namespace

S3Error ParseS3Error(std::string_view body) {
  S3Error error;
  pugi::xml_document document;
  if (body.size() > kMaxErrorBytes || !document.load_buffer(body.data(), body.size())) return error;
  const pugi::xml_node node = document.child("Error");
  error.code = node.child_value("Code");
  error.message = node.child_value("Message");
  error.region = node.child_value("Region");
  return error;
}

bool SaysCredentialsExpired(const HttpClientResponse& response) {
  return !response.ok() && ParseS3Error(response.body).code == "ExpiredToken";
}

absl::Status S3ErrorStatus(const HttpClientResponse& response, std::string_view what, absl::Time now) {
  const S3Error error = ParseS3Error(response.body);
  const absl::StatusCode code =
      CodeOfS3Code(error.code).value_or(CodeOfHttpStatus(response.status, !response.body.empty()));
  std::string said = Printable(error.code);
  if (!error.message.empty())
    said += fmt::format("{}{}", said.empty() ? "" : ": ", Printable(error.message));
  if (said.empty()) said = Printable(response.body);
  absl::Status status(
      code, fmt::format("{}: the server answered {}{}{}{}", what, response.status, said.empty() ? "" : " ",
                        said, Advice(response.status, error, response)));
  if (code == absl::StatusCode::kUnavailable) {
    if (const auto header = response.Find("retry-after")) {
      if (const auto wait = ParseRetryAfter(*header, now)) SetRetryAfter(status, *wait);
    }
  }
  return status;
}

std::optional<ContentRange> ParseContentRange(std::string_view value) {
  constexpr std::string_view kUnit = "bytes ";
  const size_t dash = value.find('-'), slash = value.find('/');
  if (!value.starts_with(kUnit) || dash == std::string_view::npos || slash == std::string_view::npos ||
      slash < dash) {
    return std::nullopt;
  }
  const auto first = ParseNumber(value.substr(kUnit.size(), dash - kUnit.size()));
  const auto last = ParseNumber(value.substr(dash + 1, slash - dash - 1));
  const auto size = ParseNumber(value.substr(slash + 1));
  if (!first || !last || !size || *last < *first || *last >= *size) return std::nullopt;
  return ContentRange{.range = {.offset = *first, .size = *last - *first + 1}, .object_size = *size};
}

std::optional<absl::Duration> ParseRetryAfter(std::string_view value, absl::Time now) {
  absl::Duration wait;
  if (const auto seconds = ParseNumber(value)) {
    wait = absl::Seconds(static_cast<int64_t>(std::min<uint64_t>(*seconds, 86400)));
  } else {
    const time_t date = curl_getdate(std::string(value).c_str(), nullptr);
    if (date < 0) return std::nullopt;
    wait = absl::FromTimeT(date) - now;
  }
  return std::clamp(wait, absl::ZeroDuration(), kMaxRetryAfter);
}

absl::StatusOr<ListResult> ParseListing(std::string_view body) {
  pugi::xml_document document;
  const pugi::xml_parse_result parsed = document.load_buffer(body.data(), body.size());
  const pugi::xml_node root = document.child("ListBucketResult");
  if (!parsed || !root) {
    return absl::DataLossError(fmt::format("'{}' is no ListBucketResult", Printable(body.substr(0, 80))));
  }
  const bool encoded = std::string_view(root.child_value("EncodingType")) == "url";
  ListResult result;
  result.more = std::string_view(root.child_value("IsTruncated")) == "true";
  for (const pugi::xml_node object : root.children("Contents")) {
    if (result.objects.size() == kMaxListedKeys) return absl::DataLossError("the page has no end");
    const std::string_view key = object.child_value("Key");
    const auto size = ParseNumber(object.child_value("Size"));
    if (key.empty() || !size.has_value()) return absl::DataLossError("an entry has no key or no size");
    result.objects.push_back({.key = encoded ? UrlDecode(key) : std::string(key), .size = *size});
  }
  return result;
}

absl::StatusOr<std::string> ParseUploadId(std::string_view body) {
  pugi::xml_document document;
  const pugi::xml_parse_result parsed = document.load_buffer(body.data(), body.size());
  std::string id = document.child("InitiateMultipartUploadResult").child_value("UploadId");
  if (!parsed || id.empty()) return absl::DataLossError("the answer holds no upload id");
  return id;
}

std::string CompleteMultipartBody(const std::vector<std::string>& etags) {
  pugi::xml_document document;
  pugi::xml_node root = document.append_child("CompleteMultipartUpload");
  int number = 0;
  for (const std::string& etag : etags) {
    pugi::xml_node part = root.append_child("Part");
    part.append_child("PartNumber").text().set(++number);
    part.append_child("ETag").text().set(etag.c_str());
  }
  std::ostringstream out;
  document.save(out, "", pugi::format_raw | pugi::format_no_declaration);
  return out.str();
}

absl::Status CheckCompleteMultipart(const HttpClientResponse& response, std::string_view what,
                                    absl::Time now) {
  if (!response.ok()) return S3ErrorStatus(response, what, now);
  pugi::xml_document document;
  if (document.load_buffer(response.body.data(), response.body.size()) &&
      document.child("CompleteMultipartUploadResult")) {
    return absl::OkStatus();
  }
  HttpClientResponse error = response;  // a 200 that turned into an error on the way
  error.status = 500;
  return S3ErrorStatus(error, what, now);
}

}  // namespace aetherfs
