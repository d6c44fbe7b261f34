#ifndef AETHERFS_OBJECT_S3_SIGV4_H_
#define AETHERFS_OBJECT_S3_SIGV4_H_

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/time/time.h"

// AWS Signature Version 4 as S3 wants it: pure functions of their arguments.
// https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html

namespace aetherfs {

// Name and value; names are lower-case.
using Header = std::pair<std::string, std::string>;
using QueryParameter = std::pair<std::string, std::string>;  // unencoded

struct SigningKey {
  std::string access_key_id;
  std::string secret_access_key;
  std::string region;
  std::string service = "s3";
};

struct RequestToSign {
  std::string method;
  std::string path;             // encoded once, exactly as sent
  std::string query;            // as CanonicalQuery() gives it, exactly as sent
  std::vector<Header> headers;  // all are signed; must hold "host"; in any order
  std::string payload_sha256;   // hexadecimal
};

struct Signature {
  std::string canonical_request;
  std::string string_to_sign;
  std::string authorization;  // the header's value
};

// Percent-encodes everything but letters, digits and "-_.~" (and '/' if `keep_slash`).
std::string UriEncode(std::string_view text, bool keep_slash);
// Encoded, sorted and joined: the string for both the URL and the signature.
std::string CanonicalQuery(std::vector<QueryParameter> parameters);
// "20130524T000000Z": the value of x-amz-date, which must be amongst the signed headers.
std::string AmzDate(absl::Time time);

Signature SignV4(const RequestToSign& request, const SigningKey& key, absl::Time time);

}  // namespace aetherfs

#endif  // AETHERFS_OBJECT_S3_SIGV4_H_
