// The conformance suite against a real S3 server, named by the environment:
//   AETHERFS_TEST_S3_ENDPOINT, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY      (scripts/rgw prints them)
// Without them it fails: what is not tested must not look tested. Works in a bucket of its own, which it
// makes, and removes with all that is in it.

#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>

#include "aetherfs/base/random.h"
#include "aetherfs/base/status.h"
#include "aetherfs/object/environment.h"
#include "aetherfs/object/open.h"
#include "aetherfs/object/prefix_object_store.h"
#include "aetherfs/object/probe.h"
#include "aetherfs/object/retrying_object_store.h"
#include "aetherfs/object/s3/s3_object_store.h"
#include "aetherfs/object/testing/conformance.h"
#include "fmt/format.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace aetherfs {
namespace {

constexpr absl::Time kNever = absl::InfiniteFuture();

class S3Bucket : public testing::Environment {
 public:
  static S3Bucket& Instance() {
    static auto* bucket = new S3Bucket;  // GoogleTest owns it
    return *bucket;
  }

  S3Options Options() const {
    return {.bucket = name_, .endpoint = endpoint_, .region = "us-east-1", .path_style = true};
  }
  std::unique_ptr<S3ObjectStore> Store(S3Options options) const {
    return *S3ObjectStore::Create(std::move(options),
                                  DefaultCredentials(ProcessEnvironment(), Clock::System()));
  }
  // A part of the bucket that no other test uses.
  std::string NewPrefix() { return fmt::format("t{}", next_prefix_.fetch_add(1)); }

  void SetUp() override {
    const aetherfs::Environment environment = ProcessEnvironment();
    for (const char* name : {"AETHERFS_TEST_S3_ENDPOINT", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}) {
      if (!environment(name).has_value()) {
        std::fprintf(stderr,
                     "%s is not set: start an S3 server (scripts/rgw start DIR) and set what it prints\n",
                     name);
        std::exit(1);
      }
    }
    endpoint_ = *environment("AETHERFS_TEST_S3_ENDPOINT");
    name_ = fmt::format("aetherfs-test-{:016x}", Random::System()->Next());
    const absl::Status status = Store(Options())->CreateBucket(kNever);
    if (!status.ok()) {
      std::fprintf(stderr, "no bucket to test in: %s\n", Describe(status).c_str());
      std::exit(1);
    }
  }

  void TearDown() override {
    const std::unique_ptr<S3ObjectStore> store = Store(Options());
    const absl::Status emptied = ListAll(*store, {}, [&](const ListedObject& object) {
      const absl::Status removed = store->Remove(object.key, kNever);
      EXPECT_TRUE(removed.ok()) << Describe(removed);
      return true;
    });
    EXPECT_TRUE(emptied.ok()) << Describe(emptied);
    const absl::Status removed = store->RemoveBucket(kNever);
    EXPECT_TRUE(removed.ok()) << Describe(removed);
  }

 private:
  std::string endpoint_, name_;
  std::atomic<int> next_prefix_ = 0;
};

const testing::Environment* const kBucket = testing::AddGlobalTestEnvironment(&S3Bucket::Instance());

std::shared_ptr<ObjectStore> MakePlain() {
  S3Bucket& bucket = S3Bucket::Instance();
  return std::make_shared<PrefixObjectStore>(bucket.Store(bucket.Options()), bucket.NewPrefix());
}

std::shared_ptr<ObjectStore> MakeRetrying() { return std::make_shared<RetryingObjectStore>(MakePlain()); }

// Everything of more than 5 MiB, the least that S3 takes, goes in parts.
std::shared_ptr<ObjectStore> MakeMultipart() {
  S3Bucket& bucket = S3Bucket::Instance();
  S3Options options = bucket.Options();
  options.multipart_threshold_bytes = options.multipart_part_bytes = 5 * kMiB;
  return std::make_shared<RetryingObjectStore>(
      std::make_shared<PrefixObjectStore>(bucket.Store(options), bucket.NewPrefix()));
}

INSTANTIATE_TEST_SUITE_P(
    S3, ObjectStoreConformanceTest,
    testing::Values(ConformanceCase{.name = "Plain",
                                    .make = MakePlain,
                                    .checks_sha256 = true,
                                    .loser_may_be_unavailable = true},
                    ConformanceCase{.name = "Retrying", .make = MakeRetrying, .checks_sha256 = true},
                    ConformanceCase{.name = "Multipart", .make = MakeMultipart, .checks_sha256 = true}),
    ConformanceCaseName);

TEST(S3ServerTest, HonoursCreateIfAbsent) {
  S3Bucket& bucket = S3Bucket::Instance();
  const absl::Status status = ProbeCreateIfAbsent(*bucket.Store(bucket.Options()), *Random::System());
  EXPECT_TRUE(status.ok()) << Describe(status);
}

TEST(S3ServerTest, AMissingBucketIsFailedPrecondition) {
  S3Options options = S3Bucket::Instance().Options();
  options.bucket = "aetherfs-no-such-bucket";
  const auto store = S3Bucket::Instance().Store(options);
  EXPECT_EQ(ReadObject(*store, "k", 10).status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(store->Put("k", {"x"}, {}).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(store->List({}).status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST(S3ServerTest, AWrongSecretIsPermissionDenied) {
  const S3Bucket& bucket = S3Bucket::Instance();
  const auto store = *S3ObjectStore::Create(
      bucket.Options(),
      std::make_shared<StaticCredentials>(Credentials{
          .access_key_id = *ProcessEnvironment()("AWS_ACCESS_KEY_ID"), .secret_access_key = "wrong"}));
  const absl::Status status = store->List({}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kPermissionDenied) << Describe(status);
  EXPECT_THAT(Describe(status), testing::HasSubstr("SignatureDoesNotMatch"));
}

TEST(S3ServerTest, OpensByUrl) {
  S3Bucket& bucket = S3Bucket::Instance();
  const S3Options options = bucket.Options();
  const auto store =
      OpenObjectStore(fmt::format("s3://{}/{}/nested?endpoint={}&region=us-east-1&path-style=true",
                                  options.bucket, bucket.NewPrefix(), options.endpoint));
  ASSERT_TRUE(store.ok()) << Describe(store.status());
  ASSERT_TRUE((*store)->Put("k", {"x"}, {.if_absent = true}).ok());
  EXPECT_EQ(*ReadObject(**store, "k", 10), "x");
  EXPECT_EQ((*store)->List({})->objects.size(), 1u);
}

TEST(S3ServerTest, MoreThanAThousandObjectsAreListed) {
  const std::shared_ptr<ObjectStore> store = MakeRetrying();
  for (int i = 0; i < 1010; ++i) {
    ASSERT_TRUE(store->Put(fmt::format("j/{:020}", i), {}, {}).ok());
  }
  int seen = 0;
  ASSERT_TRUE(ListAll(*store, {.prefix = "j/", .start_after = "", .limit = 5000}, [&](const ListedObject&) {
                ++seen;
                return true;
              }).ok());
  EXPECT_EQ(seen, 1010);
}

}  // namespace
}  // namespace aetherfs
