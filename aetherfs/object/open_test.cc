#include "aetherfs/object/open.h"

#include <filesystem>
#include <map>
#include <string>

#include "aetherfs/base/random.h"
#include "aetherfs/base/status.h"
#include "aetherfs/object/testing/http_server.h"
#include "fmt/format.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace aetherfs {
namespace {

using testing::HasSubstr;

OpenObjectStoreOptions With(std::map<std::string, std::string> variables) {
  variables.emplace("AWS_ACCESS_KEY_ID", "id");
  variables.emplace("AWS_SECRET_ACCESS_KEY", "secret");
  OpenObjectStoreOptions options;
  options.environment = [variables](const std::string& name) -> std::optional<std::string> {
    const auto found = variables.find(name);
    return found == variables.end() ? std::nullopt : std::optional(found->second);
  };
  return options;
}

TEST(OpenObjectStoreTest, EachMemoryStoreIsItsOwn) {
  const auto one = OpenObjectStore("memory:"), two = OpenObjectStore("memory:");
  ASSERT_TRUE(one.ok() && two.ok());
  ASSERT_TRUE((*one)->Put("k", {"x"}, {}).ok());
  EXPECT_FALSE((*two)->Head("k", absl::InfiniteFuture()).ok());
}

TEST(OpenObjectStoreTest, AFileStoreIsMadeWhereTheUrlSays) {
  const std::string directory =
      fmt::format("{}/aetherfs open {:016x}", testing::TempDir(), Random::System()->Next());
  std::string url = "file://" + directory + "/deep";
  url.replace(url.find(' '), 1, "%20");
  url.replace(url.find(' '), 1, "%20");
  const auto store = OpenObjectStore(url);
  ASSERT_TRUE(store.ok()) << Describe(store.status());
  EXPECT_TRUE((*store)->Put("k", {"x"}, {}).ok());
  EXPECT_TRUE(std::filesystem::exists(directory + "/deep/k"));
  std::filesystem::remove_all(directory);
}

TEST(OpenObjectStoreTest, WhatIsWrongIsNamed) {
  const std::map<std::string, std::string> wrong = {
      {"ftp://host/dir", "kind is unknown"},
      {"", "kind is unknown"},
      {"/var/lib/store", "kind is unknown"},
      {"memory:x", "no options"},
      {"file:relative", "absolute path"},
      {"file://host/dir", "absolute path"},
      {"file:///dir?sync=no", "?sync=no"},
      {"file:///a%2", "hexadecimal"},
      {"file:///a%00b", "hexadecimal"},
      {"s3://bucket/prefix?colour=red", "'colour' is unknown"},
      {"s3://bucket?path-style=maybe", "not true or false"},
      {"s3://bucket?region", "key=value"},
      {"s3://bucket?region=a&region=b", "twice"},
      {"s3://bucket?region=Somewhere%20else", "region"},
      {"s3://bucket?endpoint=localhost:9000", "not an S3 endpoint"},
      {"s3://bucket?endpoint=ftp://x", "not an S3 endpoint"},
      {"s3://b?region=r", "'b' is not the name of a bucket"},
      {"s3:///prefix", "is not the name of a bucket"},
      {"s3://id:secret@bucket/prefix", "no place there"},
      {"s3://bucket/a//b", "empty component"},
      {"s3://bucket/a b", "object key"},
  };
  for (const auto& [url, why] : wrong) {
    const absl::Status status = OpenObjectStore(url, With({})).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << url;
    EXPECT_THAT(Describe(status), HasSubstr(why)) << url;
  }
}

TEST(OpenObjectStoreTest, AnS3StoreAsksWhereUrlAndEnvironmentSay) {
  TestHttpServer server(TestHttpServer::Replies{{.status = 404}});
  const std::string endpoint = server.url();
  const auto asked = [&](const std::string& url, std::map<std::string, std::string> variables) {
    const auto store = OpenObjectStore(url, With(std::move(variables)));
    EXPECT_TRUE(store.ok()) << Describe(store.status());
    if (!store.ok()) return TestHttpServer::Request();
    EXPECT_EQ((*store)->Head("k", absl::InfiniteFuture()).status().code(), absl::StatusCode::kNotFound);
    return server.requests().back();
  };
  auto request = asked("s3://bucket/pre/fix?endpoint=" + endpoint + "&region=mars-1&path-style=true", {});
  EXPECT_EQ(request.target, "/bucket/pre/fix/k");
  EXPECT_THAT(request.headers["authorization"], HasSubstr("/mars-1/s3/"));
  request = asked("s3://bucket", {{"AWS_ENDPOINT_URL", endpoint}, {"AWS_DEFAULT_REGION", "moon-1"}});
  EXPECT_EQ(request.target, "/bucket/k");  // path style unless told otherwise, for an endpoint was named
  EXPECT_THAT(request.headers["authorization"], HasSubstr("/moon-1/s3/"));
  request = asked("s3://bucket/?region=sun-1", {{"AWS_ENDPOINT_URL_S3", endpoint},
                                                {"AWS_ENDPOINT_URL", "http://127.0.0.1:1"},
                                                {"AWS_REGION", "moon-1"}});
  EXPECT_THAT(request.headers["authorization"], HasSubstr("/sun-1/s3/"));
}

}  // namespace
}  // namespace aetherfs
