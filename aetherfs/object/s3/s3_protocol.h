#ifndef AETHERFS_OBJECT_S3_S3_PROTOCOL_H_
#define AETHERFS_OBJECT_S3_S3_PROTOCOL_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "aetherfs/object/object_store.h"
#include "aetherfs/object/s3/http_client.h"

// What S3's answers mean: pure functions of bytes. Nothing in them is trusted.

namespace aetherfs {

struct S3Error {
  std::string code;  // "NoSuchKey", …; empty if the body is no S3 error
  std::string message;
  std::string region;  // the one the server wants, where it says so
};
S3Error ParseS3Error(std::string_view body);

// An answer that is not a success, as the status of `what` ("get 'key' in s3://bucket"). 429, 500, 502,
// 503, 504 and SlowDown are UNAVAILABLE and carry the server's Retry-After (retry_after.h).
absl::Status S3ErrorStatus(const HttpClientResponse& response, std::string_view what, absl::Time now);

// Whether the answer says that the credentials have expired (fetch others and try again).
bool SaysCredentialsExpired(const HttpClientResponse& response);

// "bytes 0-9/443" as a range and the size of the whole; nothing if it is anything else.
struct ContentRange {
  ByteRange range;
  uint64_t object_size = 0;
};
std::optional<ContentRange> ParseContentRange(std::string_view value);

// Seconds or an HTTP date, never negative, at most an hour; nothing if it is neither.
std::optional<absl::Duration> ParseRetryAfter(std::string_view value, absl::Time now);

// A page of ListObjectsV2. Keys are as stored (unescaped), valid or not. DATA_LOSS if it is no such page.
absl::StatusOr<ListResult> ParseListing(std::string_view body);

// The upload id in the answer to CreateMultipartUpload, or DATA_LOSS.
absl::StatusOr<std::string> ParseUploadId(std::string_view body);

// The body of CompleteMultipartUpload for parts 1, 2, … with these ETags.
std::string CompleteMultipartBody(const std::vector<std::string>& etags);
// OK if a 200 answer to CompleteMultipartUpload is really a success: it may be an error.
absl::Status CheckCompleteMultipart(const HttpClientResponse& response, std::string_view what,
                                    absl::Time now);

}  // namespace aetherfs

#endif  // AETHERFS_OBJECT_S3_S3_PROTOCOL_H_
