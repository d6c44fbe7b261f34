#include "aetherfs/object/s3/sigv4.h"

#include <string>

#include "aetherfs/base/sha256.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace aetherfs {
namespace {

// The worked examples of "Authenticating Requests: Using the Authorization Header" in the Amazon S3 API
// reference, with its published credentials, date and signatures.
const SigningKey kExampleKey = {.access_key_id = "AKIAIOSFODNN7EXAMPLE",
                                .secret_access_key = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
                                .region = "us-east-1"};
constexpr char kExampleHost[] = "examplebucket.s3.amazonaws.com";

absl::Time ExampleTime() { return absl::FromUnixSeconds(1369353600); }  // 2013-05-24T00:00:00Z

std::string EmptyHash() { return Sha256::Of("").Hex(); }

std::string ExampleAuthorization(std::string_view signed_headers, std::string_view signature) {
  return std::string(
             "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,"
             "SignedHeaders=") +
         std::string(signed_headers) + ",Signature=" + std::string(signature);
}

TEST(SignV4Test, SignsTheDocumentedGetObject) {
  const Signature signature = SignV4({.method = "GET",
                                      .path = "/test.txt",
                                      .query = "",
                                      .headers = {{"host", kExampleHost},
                                                  {"range", "bytes=0-9"},
                                                  {"x-amz-content-sha256", EmptyHash()},
                                                  {"x-amz-date", "20130524T000000Z"}},
                                      .payload_sha256 = EmptyHash()},
                                     kExampleKey, ExampleTime());
  EXPECT_EQ(Sha256::Of(signature.canonical_request).Hex(),
            "7344ae5b7ee6c3e7e6b0fe0640412a37625d1fbfff95c48bbb2dc43964946972");
  EXPECT_EQ(signature.string_to_sign,
            "AWS4-HMAC-SHA256\n20130524T000000Z\n20130524/us-east-1/s3/aws4_request\n"
            "7344ae5b7ee6c3e7e6b0fe0640412a37625d1fbfff95c48bbb2dc43964946972");
  EXPECT_EQ(signature.authorization,
            ExampleAuthorization("host;range;x-amz-content-sha256;x-amz-date",
                                 "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"));
}

TEST(SignV4Test, SignsTheDocumentedPutObject) {
  const std::string hash = Sha256::Of("Welcome to Amazon S3.").Hex();
  EXPECT_EQ(hash, "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072");
  const Signature signature = SignV4({.method = "PUT",
                                      .path = "/" + UriEncode("test$file.text", true),
                                      .query = "",
                                      .headers = {{"x-amz-storage-class", "REDUCED_REDUNDANCY"},
                                                  {"date", "Fri, 24 May 2013 00:00:00 GMT"},
                                                  {"host", kExampleHost},
                                                  {"x-amz-date", "20130524T000000Z"},
                                                  {"x-amz-content-sha256", hash}},
                                      .payload_sha256 = hash},
                                     kExampleKey, ExampleTime());
  EXPECT_EQ(signature.authorization,
            ExampleAuthorization("date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class",
                                 "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"));
}

TEST(SignV4Test, SignsTheDocumentedGetBucketLifecycle) {
  const Signature signature = SignV4({.method = "GET",
                                      .path = "/",
                                      .query = CanonicalQuery({{"lifecycle", ""}}),
                                      .headers = {{"host", kExampleHost},
                                                  {"x-amz-content-sha256", EmptyHash()},
                                                  {"x-amz-date", "20130524T000000Z"}},
                                      .payload_sha256 = EmptyHash()},
                                     kExampleKey, ExampleTime());
  EXPECT_EQ(signature.authorization,
            ExampleAuthorization("host;x-amz-content-sha256;x-amz-date",
                                 "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"));
}

TEST(SignV4Test, SignsTheDocumentedListObjects) {
  const Signature signature = SignV4({.method = "GET",
                                      .path = "/",
                                      .query = CanonicalQuery({{"prefix", "J"}, {"max-keys", "2"}}),
                                      .headers = {{"host", kExampleHost},
                                                  {"x-amz-content-sha256", EmptyHash()},
                                                  {"x-amz-date", "20130524T000000Z"}},
                                      .payload_sha256 = EmptyHash()},
                                     kExampleKey, ExampleTime());
  EXPECT_EQ(signature.authorization,
            ExampleAuthorization("host;x-amz-content-sha256;x-amz-date",
                                 "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"));
}

TEST(UriEncodeTest, EncodesAllButUnreservedBytes) {
  EXPECT_EQ(UriEncode("a/b%2F+ =~-_.\xc3\xa4", true), "a/b%252F%2B%20%3D~-_.%C3%A4");
  EXPECT_EQ(UriEncode("a/b", false), "a%2Fb");
}

TEST(CanonicalQueryTest, SortsAfterEncoding) {
  EXPECT_EQ(CanonicalQuery({{"b", "2"}, {"a", "x y"}, {"a", "x"}, {"uploads", ""}}),
            "a=x&a=x%20y&b=2&uploads=");
  EXPECT_EQ(CanonicalQuery({}), "");
}

}  // namespace
}  // namespace aetherfs
