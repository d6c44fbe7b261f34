// A whole server that keeps parts on disk: what it has after a restart, and what it makes of damage.
#include <gmock/gmock.h>
#include <grpcpp/client_context.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <memory>
#include <string>

#include "absl/time/clock.h"
#include "aetherfs/base/sha256.h"
#include "aetherfs/base/status.h"
#include "aetherfs/block/v1/block.grpc.pb.h"
#include "aetherfs/os/file.h"
#include "aetherfs/rpc/rpc_status.h"
#include "aetherfs/server/testing/in_process_server.h"
#include "aetherfs/server/testing/switchable_store.h"

namespace aetherfs {
namespace {

using ::testing::HasSubstr;

class DiskCacheServerTest : public ::testing::Test {
 protected:
  DiskCacheServerTest() {
    InProcessServer::Options options;
    options.store = store_;
    options.cache_dir = cache_dir_;
    options.cache_disk = kGiB;
    options.cache_memory = 256 * kMiB;  // so that all that is read here may wait to be written
    server_ = std::make_unique<InProcessServer>(options);
  }

  // As it was stored, which is not by way of the server.
  std::string PutBlock(size_t size) {
    std::string bytes(size, '\0');
    for (size_t i = 0; i < size; ++i) bytes[i] = static_cast<char>(i ^ (i >> 8) ^ (i >> 16));
    PutOptions put;
    put.deadline = absl::InfiniteFuture();
    const std::string key = BlockKey(*DatasetName::Parse("a/b"), Sha256::Of(bytes));
    EXPECT_TRUE(store_->memory().Put(key, {bytes}, put).ok());
    return bytes;
  }

  absl::StatusOr<std::string> Download(const std::string& expected, bool bypass = false) {
    block::v1::DownloadRequest request;
    request.set_dataset("a/b");
    request.set_kind(block::v1::OBJECT_KIND_BLOCK);
    request.set_digest(Sha256::Of(expected).ToString());
    request.set_bypass_cache(bypass);
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(60));
    const auto stub = block::v1::BlockAPI::NewStub(server_->channel());
    const auto reader = stub->Download(&context, request);
    std::string bytes;
    block::v1::DownloadResponse response;
    while (reader->Read(&response)) bytes += response.data();
    RETURN_IF_ERROR(FromGrpc(reader->Finish()));
    return bytes;
  }

  // What is to be written is on disk then, and is known again.
  void Restart() {
    server_->Stop();
    server_->Start();
    while (Metric("aetherfs_disk_cache_scanning") != 0) absl::SleepFor(absl::Milliseconds(1));
  }

  // -1 if there is none of that name.
  double Metric(const std::string& name) {
    const std::string page = "\n" + server_->app().metrics().Scrape();
    const size_t at = page.find("\n" + name + " ");
    return at == page.npos ? -1 : std::stod(page.substr(at + name.size() + 2));
  }

  std::filesystem::path OnlyFile() const {
    std::filesystem::path found;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(cache_dir_ + "/v1")) {
      if (!entry.is_regular_file()) continue;
      EXPECT_TRUE(found.empty()) << found << " and " << entry.path();
      found = entry.path();
    }
    return found;
  }

  const TemporaryDirectory directory_ = *TemporaryDirectory::Create("disk-cache-server");
  const std::string cache_dir_ = JoinPath(directory_.path(), "cache");
  const std::shared_ptr<SwitchableStore> store_ = std::make_shared<SwitchableStore>();
  std::unique_ptr<InProcessServer> server_;
};

TEST_F(DiskCacheServerTest, AfterARestartPartsComeFromDiskAlsoWithTheStoreAway) {
  const std::string bytes = PutBlock(3 * kPartSize + 12'345);
  ASSERT_TRUE(Download(bytes).ok());
  EXPECT_EQ(Metric("aetherfs_parts_total{level=\"store\"}"), 4);
  Restart();
  EXPECT_EQ(Metric("aetherfs_disk_cache_parts"), 4);
  store_->SetAway(true);
  const auto downloaded = Download(bytes);
  ASSERT_TRUE(downloaded.ok()) << downloaded.status();
  EXPECT_TRUE(*downloaded == bytes);
  EXPECT_EQ(Metric("aetherfs_store_read_bytes_total"), 0);
  EXPECT_EQ(Metric("aetherfs_parts_total{level=\"disk\"}"), 4);
  EXPECT_EQ(Metric("aetherfs_part_bytes_total{level=\"disk\"}"), static_cast<double>(bytes.size()));
  EXPECT_EQ(Metric("aetherfs_disk_cache_hits_total"), 4);
  EXPECT_EQ(Metric("aetherfs_disk_cache_limit_bytes"), static_cast<double>(kGiB));
  EXPECT_GT(Metric("aetherfs_disk_cache_used_bytes"), static_cast<double>(bytes.size()));
}

TEST_F(DiskCacheServerTest, DamagedFileIsFoundOutAndReadFromTheStoreAgain) {
  const std::string bytes = PutBlock(1'000'000);
  ASSERT_TRUE(Download(bytes).ok());
  server_->Stop();
  std::string file = *ReadWholeFile(OnlyFile(), kGiB);
  file[file.size() / 2] ^= 1;
  ASSERT_TRUE(WriteFileAtomically(OnlyFile(), file).ok());
  server_->Start();
  Restart();
  const auto downloaded = Download(bytes);
  ASSERT_TRUE(downloaded.ok()) << downloaded.status();
  EXPECT_TRUE(*downloaded == bytes);
  EXPECT_EQ(Metric("aetherfs_disk_cache_corrupt_total"), 1);
  EXPECT_EQ(Metric("aetherfs_store_read_bytes_total"), 1'000'000);
  Restart();
  store_->SetAway(true);
  EXPECT_TRUE(Download(bytes).ok()) << "it was made good";
}

TEST_F(DiskCacheServerTest, DownloadAroundTheCachesReplacesWhatIsOnDisk) {
  const std::string bytes = PutBlock(100'000);
  // Wrong bytes of the right size lay in the store when it was read first: nobody but the reader can know.
  const std::string key = BlockKey(*DatasetName::Parse("a/b"), Sha256::Of(bytes));
  PutOptions put;
  put.deadline = absl::InfiniteFuture();
  ASSERT_TRUE(store_->memory().Put(key, {std::string(bytes.size(), 'x')}, put).ok());
  ASSERT_TRUE(Download(bytes).ok());
  Restart();
  ASSERT_TRUE(store_->memory().Put(key, {bytes}, put).ok());
  EXPECT_FALSE(*Download(bytes) == bytes);
  EXPECT_TRUE(*Download(bytes, /*bypass=*/true) == bytes);
  Restart();
  store_->SetAway(true);
  EXPECT_TRUE(*Download(bytes) == bytes);
}

TEST_F(DiskCacheServerTest, SecondServerOnTheDirectoryIsRefused) {
  ServerConfig config;
  config.listen = "127.0.0.1:0";
  config.http_listen = "";
  config.cache_dir = cache_dir_;
  config.cache_disk = kGiB;
  const auto second = ServerApp::Start(config, server_->shared_store());
  EXPECT_EQ(second.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(second.status().message()),
              HasSubstr("--cache-dir: another server uses " + cache_dir_));
}

}  // namespace
}  // namespace aetherfs
