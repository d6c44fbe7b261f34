#ifndef AETHERFS_CLIENT_TESTING_PUBLISHER_FIXTURE_H_
#define AETHERFS_CLIENT_TESTING_PUBLISHER_FIXTURE_H_

#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "aetherfs/client/publish_job.h"
#include "aetherfs/client/publisher.h"
#include "aetherfs/client/testing/fake_server_client.h"
#include "aetherfs/client/testing/tree.h"
#include "aetherfs/os/file.h"
#include "gtest/gtest.h"

namespace aetherfs {

// A tree on disk and a server in memory, for tests of the publisher.
class PublisherTest : public ::testing::Test {
 protected:
  PublisherTest() {
    options_.dataset = *DatasetName::Parse("geo/city");
    options_.tags = {"latest"};
    options_.path = JoinPath(dir_.path(), "tree");
    options_.cache_dir = JoinPath(dir_.path(), "cache");
    MakeDirectories(options_.path).IgnoreError();
  }

  std::string Tree(const std::string& path) { return JoinPath(options_.path, path); }
  absl::StatusOr<PublishResult> Publish() { return PublishDirectory(client_, options_); }
  absl::StatusOr<PublishResult> PublishWith(ReadHook hook) {
    return PublishJob(&client_, options_, nullptr, nullptr, std::move(hook)).Run();
  }
  // What was published is what is there.
  void ExpectRoundTrip(const Digest& digest) {
    const std::string copy = JoinPath(dir_.path(), "copy");
    RemoveTree(copy).IgnoreError();
    const absl::Status status = PullTree(client_, options_.dataset, digest, copy);
    ASSERT_TRUE(status.ok()) << status;
    EXPECT_EQ(DescribeTree(copy), DescribeTree(options_.path));
  }

  TemporaryDirectory dir_ = *TemporaryDirectory::Create("publisher");
  FakeServerClient client_;
  PublishOptions options_;
};

}  // namespace aetherfs

#endif  // AETHERFS_CLIENT_TESTING_PUBLISHER_FIXTURE_H_
