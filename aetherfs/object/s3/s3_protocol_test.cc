#include "aetherfs/object/s3/s3_protocol.h"

#include <string>
#include <vector>

#include "aetherfs/base/status.h"
#include "aetherfs/object/retry_after.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace aetherfs {
namespace {

using absl::StatusCode;
using testing::HasSubstr;

const absl::Time kNow = absl::FromUnixSeconds(1'800'000'000);

std::string ErrorBody(const std::string& code, const std::string& message = "words") {
  return "<?xml version=\"1.0\"?><Error><Code>" + code + "</Code><Message>" + message +
         "</Message></Error>";
}

absl::Status StatusOf(int status, std::string body,
                      std::vector<std::pair<std::string, std::string>> headers = {}) {
  return S3ErrorStatus({.status = status, .headers = std::move(headers), .body = std::move(body)}, "get k",
                       kNow);
}

TEST(S3ErrorStatusTest, EveryAnswerHasItsCode) {
  struct Row {
    int status;
    std::string code;
    StatusCode wanted;
  };
  const Row rows[] = {
      {404, "NoSuchKey", StatusCode::kNotFound},
      {404, "", StatusCode::kNotFound},
      {404, "NoSuchBucket", StatusCode::kFailedPrecondition},
      {404, "SomethingElse", StatusCode::kFailedPrecondition},
      {412, "PreconditionFailed", StatusCode::kAlreadyExists},
      {412, "", StatusCode::kAlreadyExists},
      {409, "ConditionalRequestConflict", StatusCode::kUnavailable},
      {409, "OperationAborted", StatusCode::kUnavailable},
      {416, "InvalidRange", StatusCode::kOutOfRange},
      {401, "", StatusCode::kUnauthenticated},
      {403, "AccessDenied", StatusCode::kPermissionDenied},
      {403, "SignatureDoesNotMatch", StatusCode::kPermissionDenied},
      {403, "RequestTimeTooSkewed", StatusCode::kPermissionDenied},
      {403, "QuotaExceeded", StatusCode::kResourceExhausted},
      {507, "XMinioStorageFull", StatusCode::kResourceExhausted},
      {400, "RequestTimeout", StatusCode::kUnavailable},
      {400, "ExpiredToken", StatusCode::kUnavailable},
      {400, "IncompleteBody", StatusCode::kUnavailable},
      {400, "XAmzContentSHA256Mismatch", StatusCode::kDataLoss},
      {400, "BadDigest", StatusCode::kDataLoss},
      {400, "AuthorizationHeaderMalformed", StatusCode::kFailedPrecondition},
      {400, "EntityTooLarge", StatusCode::kInvalidArgument},
      {429, "", StatusCode::kUnavailable},
      {500, "InternalError", StatusCode::kUnavailable},
      {502, "", StatusCode::kUnavailable},
      {503, "SlowDown", StatusCode::kUnavailable},
      {504, "", StatusCode::kUnavailable},
      {501, "NotImplemented", StatusCode::kFailedPrecondition},
      {301, "PermanentRedirect", StatusCode::kFailedPrecondition},
      {307, "TemporaryRedirect", StatusCode::kUnavailable},
  };
  for (const Row& row : rows) {
    const absl::Status status = StatusOf(row.status, row.code.empty() ? "" : ErrorBody(row.code));
    EXPECT_EQ(status.code(), row.wanted) << Describe(status);
    EXPECT_THAT(Describe(status), HasSubstr("get k")) << row.status;
    EXPECT_THAT(Describe(status), HasSubstr(row.code));
  }
}

TEST(S3ErrorStatusTest, SaysWhatToDo) {
  EXPECT_THAT(Describe(StatusOf(403, ErrorBody("RequestTimeTooSkewed"))), HasSubstr("clock"));
  EXPECT_THAT(
      Describe(StatusOf(301, ErrorBody("PermanentRedirect"), {{"x-amz-bucket-region", "eu-west-1"}})),
      HasSubstr("region=eu-west-1"));
  EXPECT_THAT(Describe(StatusOf(400,
                                "<Error><Code>AuthorizationHeaderMalformed</Code>"
                                "<Region>eu-west-2</Region></Error>")),
              HasSubstr("region=eu-west-2"));
}

TEST(S3ErrorStatusTest, CarriesTheServersRetryAfter) {
  EXPECT_EQ(GetRetryAfter(StatusOf(503, ErrorBody("SlowDown"), {{"retry-after", "7"}})), absl::Seconds(7));
  EXPECT_EQ(GetRetryAfter(StatusOf(503, "")), std::nullopt);
  EXPECT_EQ(GetRetryAfter(StatusOf(403, "", {{"retry-after", "7"}})), std::nullopt);
}

TEST(S3ErrorStatusTest, StrangeBodiesAreShownCutAndEscaped) {
  const absl::Status html = StatusOf(403, "<html>\x01 proxy says no" + std::string(100'000, 'x'));
  EXPECT_EQ(html.code(), StatusCode::kPermissionDenied);
  EXPECT_THAT(Describe(html), HasSubstr("proxy says no"));
  EXPECT_LT(Describe(html).size(), 400u);
  const absl::Status huge = StatusOf(403, ErrorBody("AccessDenied", std::string(100'000, 'x')));
  EXPECT_LT(Describe(huge).size(), 400u);
  EXPECT_EQ(StatusOf(404, "<html>not here</html>").code(), StatusCode::kFailedPrecondition);
}

TEST(ParseRetryAfterTest, TakesSecondsAndDatesWithinBounds) {
  EXPECT_EQ(ParseRetryAfter("3", kNow), absl::Seconds(3));
  EXPECT_EQ(ParseRetryAfter("0", kNow), absl::ZeroDuration());
  EXPECT_EQ(ParseRetryAfter("999999999999", kNow), absl::Hours(1));
  EXPECT_EQ(ParseRetryAfter("Fri, 15 Jan 2027 08:00:30 GMT", kNow), absl::Seconds(30));
  EXPECT_EQ(ParseRetryAfter("Fri, 24 May 2013 00:00:00 GMT", kNow), absl::ZeroDuration());
  EXPECT_EQ(ParseRetryAfter("soon", kNow), std::nullopt);
  EXPECT_EQ(ParseRetryAfter("-1", kNow), std::nullopt);
}

TEST(ParseContentRangeTest, TakesOnlyWhatIsMeaningful) {
  const auto range = ParseContentRange("bytes 5-9/443");
  ASSERT_TRUE(range.has_value());
  EXPECT_EQ(range->range, (ByteRange{5, 5}));
  EXPECT_EQ(range->object_size, 443u);
  for (const char* bad : {"", "bytes", "bytes 5-9/*", "bytes */443", "bytes 9-5/443", "bytes 5-443/443",
                          "5-9/443", "bytes 5-9", "bytes -9/443", "bytes 5-9/443x",
                          "bytes 99999999999999999999-9/443", "bytes 5/9-443"}) {
    EXPECT_FALSE(ParseContentRange(bad).has_value()) << bad;
  }
}

TEST(ParseListingTest, DecodesKeysWhereTheServerSaysSo) {
  const std::string contents = "<Contents><Key>a%252Fb%2Bc</Key><Size>7</Size></Contents>";
  const auto encoded = ParseListing(
      "<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><EncodingType>url</EncodingType>"
      "<IsTruncated>true</IsTruncated>" +
      contents + "</ListBucketResult>");
  ASSERT_TRUE(encoded.ok());
  EXPECT_EQ(encoded->objects[0].key, "a%2Fb+c");
  EXPECT_EQ(encoded->objects[0].size, 7u);
  EXPECT_TRUE(encoded->more);
  const auto plain =
      ParseListing("<ListBucketResult><IsTruncated>false</IsTruncated>" + contents + "</ListBucketResult>");
  EXPECT_EQ(plain->objects[0].key, "a%252Fb%2Bc");
  EXPECT_FALSE(plain->more);
}

TEST(ParseListingTest, WhatIsNoListingIsDataLoss) {
  for (const char* bad :
       {"", "<html></html>", "<ListBucketResult>", "<ListBucketResult><Contents/></ListBucketResult>",
        "<ListBucketResult><Contents><Key>k</Key></Contents></ListBucketResult>",
        "<ListBucketResult><Contents><Key>k</Key><Size>-1</Size></Contents></ListBucketResult>"}) {
    EXPECT_EQ(ParseListing(bad).status().code(), StatusCode::kDataLoss) << bad;
  }
  std::string endless = "<ListBucketResult>";
  for (int i = 0; i < 10'001; ++i) endless += "<Contents><Key>k</Key><Size>1</Size></Contents>";
  EXPECT_EQ(ParseListing(endless + "</ListBucketResult>").status().code(), StatusCode::kDataLoss);
}

TEST(MultipartTest, EtagsAreEscapedAndA200MayBeAnError) {
  EXPECT_EQ(CompleteMultipartBody({"\"a\"", "<b>"}),
            "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>\"a\"</ETag></Part>"
            "<Part><PartNumber>2</PartNumber><ETag>&lt;b&gt;</ETag></Part></CompleteMultipartUpload>");
  const auto check = [](std::string body) {
    return CheckCompleteMultipart({.status = 200, .headers = {}, .body = std::move(body)}, "put", kNow)
        .code();
  };
  EXPECT_EQ(check("<CompleteMultipartUploadResult/>"), StatusCode::kOk);
  EXPECT_EQ(check(ErrorBody("InternalError")), StatusCode::kUnavailable);
  EXPECT_EQ(check(ErrorBody("PreconditionFailed")), StatusCode::kAlreadyExists);
  EXPECT_EQ(check(""), StatusCode::kUnavailable);
}

}  // namespace
}  // namespace aetherfs
