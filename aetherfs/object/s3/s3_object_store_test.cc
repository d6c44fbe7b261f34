// S3ObjectStore and its HTTP client against a scripted server: what real servers do too seldom to wait for.
// The contract itself is tested against a real one (s3_conformance.cc).

#include "aetherfs/object/s3/s3_object_store.h"

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "aetherfs/base/random.h"
#include "aetherfs/base/sha256.h"
#include "aetherfs/base/status.h"
#include "aetherfs/base/testing/fake_clock.h"
#include "aetherfs/object/retry_after.h"
#include "aetherfs/object/retrying_object_store.h"
#include "aetherfs/object/testing/http_server.h"
#include "fmt/format.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace aetherfs {
namespace {

using absl::StatusCode;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Key;
using testing::Not;
using Reply = TestHttpServer::Reply;
using Replies = TestHttpServer::Replies;
using Request = TestHttpServer::Request;

constexpr absl::Time kNever = absl::InfiniteFuture();

std::string ErrorBody(const std::string& code) {
  return fmt::format("<Error><Code>{}</Code><Message>words</Message></Error>", code);
}

Reply Partial(std::string body, std::string content_range) {
  return {.status = 206, .headers = {{"Content-Range", std::move(content_range)}}, .body = std::move(body)};
}

std::unique_ptr<S3ObjectStore> StoreAt(const TestHttpServer& server, S3Options options = {},
                                       Credentials credentials = {"id", "secret"}) {
  options.bucket = "bucket";
  options.endpoint = server.url();
  options.path_style = true;
  auto store = S3ObjectStore::Create(std::move(options),
                                     std::make_shared<StaticCredentials>(std::move(credentials)));
  EXPECT_TRUE(store.ok()) << Describe(store.status());
  return *std::move(store);
}

absl::StatusOr<std::string> GetRange(ObjectStore& store, std::optional<ByteRange> range,
                                     absl::Time deadline = kNever) {
  std::string content;
  const auto info = store.Get("k", {.range = range, .deadline = deadline}, [&](std::string_view data) {
    content.append(data);
    return absl::OkStatus();
  });
  if (!info.ok()) return info.status();
  return content;
}

TEST(S3ObjectStoreTest, SignsWhatItSends) {
  TestHttpServer server(Replies{{.status = 200}});
  const auto store = StoreAt(server, {}, {"id", "secret", "token"});
  ASSERT_TRUE(store->Put("a%2Fb/c+d=(e)", {"bo", "dy"}, {.if_absent = true}).ok());
  const std::vector<Request> requests = server.requests();
  ASSERT_EQ(requests.size(), 1u);
  Request request = requests[0];
  EXPECT_EQ(request.method, "PUT");
  EXPECT_EQ(request.target, "/bucket/a%252Fb/c%2Bd%3D%28e%29");
  EXPECT_EQ(request.body, "body");
  EXPECT_EQ(request.headers["host"], server.authority());
  EXPECT_EQ(request.headers["if-none-match"], "*");
  EXPECT_EQ(request.headers["x-amz-security-token"], "token");
  EXPECT_EQ(request.headers["x-amz-content-sha256"], Sha256::Of("body").Hex());
  EXPECT_THAT(request.headers, Not(Contains(Key("expect"))));
  EXPECT_THAT(request.headers, Not(Contains(Key("transfer-encoding"))));
  const std::string authorization = request.headers["authorization"];
  EXPECT_THAT(authorization, HasSubstr("SignedHeaders=host;if-none-match;x-amz-content-sha256;x-amz-date;"
                                       "x-amz-security-token,"));
  // The signature fits what arrived.
  RequestToSign arrived = {.method = request.method,
                           .path = request.target,
                           .query = "",
                           .headers = {},
                           .payload_sha256 = request.headers["x-amz-content-sha256"]};
  for (const char* name :
       {"host", "if-none-match", "x-amz-content-sha256", "x-amz-date", "x-amz-security-token"}) {
    arrived.headers.emplace_back(name, request.headers[name]);
  }
  absl::Time time;
  ASSERT_TRUE(absl::ParseTime("%E4Y%m%dT%H%M%SZ", request.headers["x-amz-date"], &time, nullptr));
  EXPECT_EQ(authorization, SignV4(arrived, {"id", "secret", "us-east-1"}, time).authorization);
}

TEST(S3ObjectStoreTest, VirtualHostsAreAddressedByName) {
  S3Options options = {.bucket = "bucket", .endpoint = "https://s3.example.com:443/", .path_style = false};
  const auto store =
      *S3ObjectStore::Create(options, std::make_shared<StaticCredentials>(Credentials{"id", "secret"}));
  // Nobody has that name; the message shows what was asked.
  const absl::Status status = store->Head("k", absl::Now() - absl::Seconds(1)).status();
  EXPECT_THAT(Describe(status), HasSubstr("https://bucket.s3.example.com/k"));
}

TEST(S3ObjectStoreTest, ConnectionsAreReused) {
  TestHttpServer server(Replies{{.status = 404, .body = ErrorBody("NoSuchKey")}, {.status = 200}});
  const auto store = StoreAt(server);
  for (int i = 0; i < 5; ++i) (void)GetRange(*store, std::nullopt);
  EXPECT_TRUE(store->Put("k", {"x"}, {}).ok());
  EXPECT_EQ(server.connections(), 1);
  EXPECT_EQ(server.requests().size(), 6u);
}

TEST(S3ObjectStoreTest, NoMoreConnectionsThanAllowed) {
  absl::Notification first_in, release;
  TestHttpServer server([&](const Request& request) {
    if (request.method == "GET") {
      first_in.Notify();
      release.WaitForNotification();
    }
    return Reply{.status = 200};
  });
  const auto store = StoreAt(server, {.http = {.max_connections = 1}});
  std::thread holder([&] { EXPECT_TRUE(GetRange(*store, std::nullopt).ok()); });
  first_in.WaitForNotification();
  const absl::Status status = store->Put("k", {}, {.deadline = absl::Now() + absl::Milliseconds(20)});
  EXPECT_EQ(status.code(), StatusCode::kDeadlineExceeded) << Describe(status);
  release.Notify();
  holder.join();
  EXPECT_TRUE(store->Put("k", {}, {}).ok());
  EXPECT_EQ(server.connections(), 1);
}

TEST(S3ObjectStoreTest, AConnectionThatWentStaleIsReplacedAndTheBodySentAgain) {
  TestHttpServer server(Replies{{.status = 200, .close = true}, {.status = 200}});
  const auto store = StoreAt(server);
  const std::string body(300'000, 'x');
  EXPECT_TRUE(store->Put("k", {body, "1"}, {}).ok());
  EXPECT_TRUE(store->Put("k", {body, "2"}, {}).ok());
  EXPECT_EQ(server.requests().back().body, body + "2");
  EXPECT_EQ(server.connections(), 2);
}

TEST(S3ObjectStoreTest, AConnectionThatIsClosedWhileABodyIsSentIsReplacedAndTheBodySentAgain) {
  // More than the sockets' buffers hold, so that the client is still sending when it notices.
  const std::string body(16'000'000, 'x');
  for (int round = 0; round < 5; ++round) {
    TestHttpServer server(Replies{{.status = 200, .close_on_next = true}, {.status = 200}});
    const auto store = StoreAt(server);
    ASSERT_TRUE(store->Put("k", {"1"}, {}).ok());
    const absl::Status again = store->Put("k", {body, "2"}, {});
    ASSERT_TRUE(again.ok()) << Describe(again);
    ASSERT_EQ(server.requests().size(), 2u);
    EXPECT_TRUE(server.requests().back().body == body + "2");
    EXPECT_EQ(server.connections(), 2);
  }
}

TEST(S3ObjectStoreTest, ARangeMustBeWhatWasAskedFor) {
  struct Row {
    Reply reply;
    StatusCode wanted;
  };
  const Row rows[] = {
      {Partial("234", "bytes 2-4/10"), StatusCode::kOk},
      {Partial("34567", "bytes 3-7/10"), StatusCode::kDataLoss},
      {Partial("23", "bytes 2-3/4"), StatusCode::kOutOfRange},
      {Partial("2", "bytes 2-2/10"), StatusCode::kDataLoss},
      {Partial("234", "bytes 2-4/*"), StatusCode::kDataLoss},
      {Partial("23", "bytes 2-4/10"), StatusCode::kDataLoss},
      {Partial("2345", "bytes 2-4/10"), StatusCode::kDataLoss},
      {{.status = 206, .body = "234"}, StatusCode::kDataLoss},
      {{.status = 200, .body = "0123456789"}, StatusCode::kFailedPrecondition},
      {{.status = 416, .body = ErrorBody("InvalidRange")}, StatusCode::kOutOfRange},
  };
  for (const Row& row : rows) {
    TestHttpServer server(Replies{row.reply});
    const absl::StatusOr<std::string> content = GetRange(*StoreAt(server), ByteRange{2, 3});
    EXPECT_EQ(content.status().code(), row.wanted) << Describe(content.status());
    if (content.ok()) {
      EXPECT_EQ(*content, "234");
    }
    EXPECT_EQ(server.requests()[0].headers["range"], "bytes=2-4");
  }
}

TEST(S3ObjectStoreTest, ABodyThatIsCutIsUnavailable) {
  TestHttpServer server(
      Replies{{.status = 200, .body = "01234", .content_length = 10, .close = true}, {.hang_up = true}});
  const auto store = StoreAt(server);
  EXPECT_EQ(GetRange(*store, std::nullopt).status().code(), StatusCode::kUnavailable);
  EXPECT_EQ(GetRange(*store, std::nullopt).status().code(), StatusCode::kUnavailable);
}

TEST(S3ObjectStoreTest, ASlowBodyEndsAtTheDeadline) {
  TestHttpServer server(Replies{{.status = 200, .body = std::string(1000, 'x'), .stall_at = 10}});
  const auto begin = absl::Now();
  const absl::Status status =
      GetRange(*StoreAt(server), std::nullopt, begin + absl::Milliseconds(50)).status();
  EXPECT_EQ(status.code(), StatusCode::kDeadlineExceeded) << Describe(status);
  EXPECT_LT(absl::Now() - begin, absl::Seconds(10));
}

TEST(S3ObjectStoreTest, ATransferThatStandsStillIsGivenUpWithoutADeadlineToo) {
  TestHttpServer server(Replies{{.status = 200, .body = std::string(1000, 'x'), .stall_at = 10}});
  const auto store = StoreAt(server, {.http = {.low_speed_time = absl::Seconds(1)}});  // libcurl's least
  EXPECT_EQ(GetRange(*store, std::nullopt).status().code(), StatusCode::kUnavailable);
}

TEST(S3ObjectStoreTest, NobodyThereIsUnavailable) {
  std::unique_ptr<S3ObjectStore> store;
  {
    TestHttpServer server(Replies{{.status = 200}});
    store = StoreAt(server);
  }
  EXPECT_EQ(store->Put("k", {"x"}, {}).code(), StatusCode::kUnavailable);
}

TEST(S3ObjectStoreTest, RedirectsAreNotFollowed) {
  TestHttpServer elsewhere(Replies{{.status = 200, .body = "stolen"}});
  TestHttpServer server(Replies{
      {.status = 301,
       .headers = {{"Location", elsewhere.url() + "/bucket/k"}, {"x-amz-bucket-region", "eu-west-1"}},
       .body = ErrorBody("PermanentRedirect")}});
  const absl::Status status = GetRange(*StoreAt(server), std::nullopt).status();
  EXPECT_EQ(status.code(), StatusCode::kFailedPrecondition);
  EXPECT_THAT(Describe(status), HasSubstr("region=eu-west-1"));
  EXPECT_TRUE(elsewhere.requests().empty());
}

TEST(S3ObjectStoreTest, EndlessAnswersAreCutOff) {
  TestHttpServer server(Replies{{.status = 500, .body = std::string(100'000, 'x')},
                                {.status = 500, .headers = {{"x-junk", std::string(90'000, 'x')}}}});
  const auto store = StoreAt(server, {.http = {.max_body_bytes = 1000}});
  EXPECT_EQ(store->Put("k", {}, {}).code(), StatusCode::kResourceExhausted);
  EXPECT_EQ(store->Put("k", {}, {}).code(), StatusCode::kUnavailable);
}

TEST(S3ObjectStoreTest, RetriesHonourRetryAfterAndResumeCutBodies) {
  TestHttpServer cutting([&, call = 0](const Request& request) mutable {
    switch (call++) {
      case 0:
        return Reply{.status = 503, .headers = {{"Retry-After", "9"}}, .body = ErrorBody("SlowDown")};
      case 1: {
        Reply reply = Partial("012", "bytes 0-9/20");
        reply.content_length = 10;
        reply.close = true;
        return reply;
      }
      default:
        EXPECT_EQ(request.headers.at("range"), "bytes=3-9");
        return Partial("3456789", "bytes 3-9/20");
    }
  });
  FakeClock clock;
  RetryingObjectStore store(StoreAt(cutting), {.initial_backoff = absl::ZeroDuration()}, &clock);
  const absl::StatusOr<std::string> content = GetRange(store, ByteRange{0, 10});
  ASSERT_TRUE(content.ok()) << Describe(content.status());
  EXPECT_EQ(*content, "0123456789");
  EXPECT_EQ(clock.slept(), absl::Seconds(9));
  EXPECT_EQ(cutting.requests().size(), 3u);
}

TEST(S3ObjectStoreTest, ExpiredCredentialsAreFetchedAnew) {
  int fetched = 0;
  const auto credentials = std::make_shared<CachingCredentials>(
      [&](absl::Time) { return Credentials{fmt::format("id{}", ++fetched), "secret", "token"}; },
      Clock::System());
  TestHttpServer server(Replies{{.status = 400, .body = ErrorBody("ExpiredToken")}, {.status = 200}});
  auto s3 = S3ObjectStore::Create({.bucket = "bucket", .endpoint = server.url(), .path_style = true},
                                  credentials);
  RetryingObjectStore store(*std::move(s3), {.initial_backoff = absl::ZeroDuration()});
  EXPECT_TRUE(store.Put("k", {"x"}, {}).ok());
  EXPECT_THAT(server.requests()[0].headers["authorization"], HasSubstr("Credential=id1/"));
  EXPECT_THAT(server.requests()[1].headers["authorization"], HasSubstr("Credential=id2/"));
}

TEST(S3ObjectStoreTest, ListsSkipWhatIsNotOursAndRefuseWhatIsOutOfOrder) {
  const auto page = [](const std::vector<std::string>& keys, bool more) {
    std::string body = fmt::format("<ListBucketResult><IsTruncated>{}</IsTruncated>", more);
    for (const std::string& key : keys) {
      body += fmt::format("<Contents><Key>{}</Key><Size>1</Size></Contents>", key);
    }
    return Reply{.status = 200, .body = body + "</ListBucketResult>"};
  };
  TestHttpServer server(Replies{page({"no key", "nor/"}, true), page({"o", "p q", "r"}, false),
                                page({"b", "a"}, false), page({}, true)});
  const auto store = StoreAt(server);
  const absl::StatusOr<ListResult> listed = store->List({.prefix = "", .start_after = "a+b", .limit = 10});
  ASSERT_TRUE(listed.ok()) << Describe(listed.status());
  ASSERT_EQ(listed->objects.size(), 2u);
  EXPECT_EQ(listed->objects[1].key, "r");
  EXPECT_EQ(server.requests()[0].target,
            "/bucket?encoding-type=url&list-type=2&max-keys=10&start-after=a%2Bb");
  EXPECT_THAT(server.requests()[1].target, HasSubstr("start-after=nor%2F"));
  EXPECT_EQ(store->List({}).status().code(), StatusCode::kFailedPrecondition);
  EXPECT_EQ(store->List({}).status().code(), StatusCode::kDataLoss);
}

// A server's part of one multipart upload.
class MultipartServer {
 public:
  Reply Answer(const Request& request) {
    log.push_back(request.method + " " + request.target.substr(request.target.find('?') + 1));
    if (request.method == "HEAD") return {.status = 404};
    if (request.method == "DELETE") return {.status = 204};
    if (request.method == "PUT") {
      parts.push_back(request.body);
      return {.status = part_status, .headers = {{"ETag", "\"e\""}}};
    }
    if (request.target.ends_with("?uploads=")) {
      return {
          .body =
              "<InitiateMultipartUploadResult><UploadId>u/1</UploadId></InitiateMultipartUploadResult>"};
    }
    return {.body = completion};
  }
  std::vector<std::string> log, parts;
  int part_status = 200;
  std::string completion = "<CompleteMultipartUploadResult/>";
};

class S3MultipartTest : public testing::Test {
 protected:
  absl::Status Put(PutOptions options) {
    return StoreAt(server_, {.multipart_threshold_bytes = 9, .multipart_part_bytes = 4})
        ->Put("k", {"012", "", "3456789", "ab"}, options);
  }
  MultipartServer script_;
  TestHttpServer server_{[this](const Request& request) { return script_.Answer(request); }};
};

TEST_F(S3MultipartTest, LargeObjectsGoInParts) {
  ASSERT_TRUE(Put({.if_absent = true, .sha256 = Sha256::Of("0123456789ab")}).ok());
  EXPECT_THAT(script_.parts, ElementsAre("0123", "4567", "89ab"));
  EXPECT_THAT(script_.log, ElementsAre("HEAD /bucket/k", "POST uploads=", "PUT partNumber=1&uploadId=u%2F1",
                                       "PUT partNumber=2&uploadId=u%2F1", "PUT partNumber=3&uploadId=u%2F1",
                                       "POST uploadId=u%2F1"));
  EXPECT_EQ(server_.requests().back().headers["if-none-match"], "*");
}

TEST_F(S3MultipartTest, AFailedPartAbortsTheUpload) {
  script_.part_status = 503;
  EXPECT_EQ(Put({}).code(), StatusCode::kUnavailable);
  EXPECT_THAT(script_.log,
              ElementsAre("POST uploads=", "PUT partNumber=1&uploadId=u%2F1", "DELETE uploadId=u%2F1"));
}

TEST_F(S3MultipartTest, ACompletionThatFailsBehindA200IsAnError) {
  script_.completion = ErrorBody("InternalError");
  EXPECT_EQ(Put({}).code(), StatusCode::kUnavailable);
  EXPECT_EQ(script_.log.back(), "DELETE uploadId=u%2F1");
}

TEST_F(S3MultipartTest, AWrongDigestIsRefusedBeforeAnythingIsSent) {
  EXPECT_EQ(Put({.sha256 = Sha256::Of("other")}).code(), StatusCode::kDataLoss);
  EXPECT_TRUE(script_.log.empty());
}

}  // namespace
}  // namespace aetherfs
