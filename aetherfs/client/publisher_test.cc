#include "aetherfs/client/publisher.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <set>

#include "aetherfs/base/status.h"
#include "aetherfs/client/block_uploader.h"
#include "aetherfs/client/publish_job.h"
#include "aetherfs/client/testing/publisher_fixture.h"
#include "aetherfs/os/file.h"
#include "fmt/format.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace aetherfs {
namespace {

using Method = FakeServerClient::Method;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

// While it lives, this thread, and those that it starts, may open only what its user may: a superuser too.
class WithoutSuperuserRights {
 public:
  WithoutSuperuserRights() {
    if (syscall(SYS_capget, &header_, before_) != 0) abort();
    __user_cap_data_struct now[_LINUX_CAPABILITY_U32S_3];
    std::copy(std::begin(before_), std::end(before_), now);
    now[0].effective &= ~((1u << CAP_DAC_OVERRIDE) | (1u << CAP_DAC_READ_SEARCH));
    if (syscall(SYS_capset, &header_, now) != 0) abort();
  }
  ~WithoutSuperuserRights() {
    if (syscall(SYS_capset, &header_, before_) != 0) abort();
  }
  WithoutSuperuserRights(const WithoutSuperuserRights&) = delete;
  WithoutSuperuserRights& operator=(const WithoutSuperuserRights&) = delete;

 private:
  __user_cap_header_struct header_ = {.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  __user_cap_data_struct before_[_LINUX_CAPABILITY_U32S_3] = {};
};

// Makes the very file longer, which every later look at it notices; WriteTestFile makes a new one.
void AppendTo(const std::string& path) {
  std::ofstream file(path, std::ios::app);
  file << "more";
}

TEST_F(PublisherTest, EveryKindOfTreeComesBackByteForByte) {
  for (uint64_t seed = 1; seed <= 4; ++seed) {
    RemoveTree(options_.path).IgnoreError();
    MakeRandomTree(options_.path, seed);
    const auto result = Publish();
    ASSERT_TRUE(result.ok()) << "seed " << seed << ": " << result.status();
    EXPECT_EQ(client_.TagDigest("geo/city", "latest"), result->digest);
    ExpectRoundTrip(result->digest);
  }
}

TEST_F(PublisherTest, LargeFilesAndManyBlocksComeBackByteForByte) {
  WriteTestFile(Tree("big"), RandomBytes(23'000'001, 7));
  WriteTestFile(Tree("text"), RandomText(9'000'000, 8));
  WriteTestFile(Tree("zeros"), std::string(5'000'000, '\0'));
  const auto result = Publish();
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->files, 3u);
  EXPECT_EQ(result->bytes, 37'000'001u);
  EXPECT_GT(client_.Blocks("geo/city").size(), 4u);
  ExpectRoundTrip(result->digest);
}

// A block of one part is one read of the store and one request of a consumer.
TEST_F(PublisherTest, BlocksFitOnePartAndNearlyFillIt) {
  WriteTestFile(Tree("big"), RandomBytes(23'000'001, 7));
  for (int i = 0; i < 3000; ++i) WriteTestFile(Tree(fmt::format("{}", i)), RandomBytes(1000, 100 + i));
  const auto result = Publish();
  ASSERT_TRUE(result.ok()) << result.status();
  size_t not_full = 0;
  for (const Digest& block : client_.Blocks("geo/city")) {
    const size_t size = client_.Object("geo/city", block)->size();
    EXPECT_LE(size, kTargetBlockSize);
    not_full += size < kTargetBlockSize - kMaxFrameSize - 16 * 1024 ? 1 : 0;
  }
  EXPECT_LE(not_full, 1u) << "only the last one is not full";
}

TEST_F(PublisherTest, EmptyDirectoryIsASnapshot) {
  const auto result = Publish();
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->files, 0u);
  EXPECT_THAT(client_.Blocks("geo/city"), IsEmpty());
  ExpectRoundTrip(result->digest);
}

TEST_F(PublisherTest, SingleFileIsASnapshotOfThatFile) {
  WriteTestFile(Tree("only.csv"), "a,b\n");
  options_.path = Tree("only.csv");
  const auto result = Publish();
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->files, 1u);
  const std::string copy = JoinPath(dir_.path(), "copy");
  ASSERT_TRUE(PullTree(client_, options_.dataset, result->digest, copy).ok());
  EXPECT_EQ(ReadWholeFile(JoinPath(copy, "only.csv"), 100).value_or("?"), "a,b\n");
}

TEST_F(PublisherTest, PublishOfSameContentChangesNothing) {
  MakeRandomTree(options_.path, 3);
  const auto first = Publish();
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_FALSE(first->unchanged);
  const uint64_t uploaded = client_.uploaded_bytes();
  // From another machine: no cache at all.
  options_.cache_dir.clear();
  const auto second = Publish();
  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_TRUE(second->unchanged);
  EXPECT_EQ(second->digest, first->digest);
  EXPECT_EQ(second->uploaded_bytes, 0u);
  EXPECT_EQ(second->new_chunks, 0u);
  EXPECT_EQ(second->seq, first->seq);
  EXPECT_EQ(client_.uploaded_bytes(), uploaded);
}

TEST_F(PublisherTest, StatsOfThePublishAreFilledIn) {
  WriteTestFile(Tree("a"), RandomBytes(100'000, 1));
  WriteTestFile(Tree("b"), RandomBytes(100'000, 1));
  const auto result = Publish();
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->bytes, 200'000u);
  EXPECT_EQ(result->new_bytes, 100'000u) << "the second file has the same chunks";
  EXPECT_EQ(result->new_chunks, result->chunks);
  EXPECT_EQ(result->uploaded_bytes, client_.uploaded_bytes());
  EXPECT_EQ(client_.last_publish().stats().uploaded_bytes(), result->uploaded_bytes);
  EXPECT_EQ(client_.last_publish().stats().new_bytes(), 100'000u);
}

TEST_F(PublisherTest, OnlyWhatChangedIsUploaded) {
  WriteTestFile(Tree("same"), RandomBytes(3'000'000, 1));
  WriteTestFile(Tree("other"), "old");
  ASSERT_TRUE(Publish().ok());
  const uint64_t before = client_.uploaded_bytes();
  WriteTestFile(Tree("other"), "new, and longer");
  const auto result = Publish();
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->new_bytes, 15u);
  EXPECT_LT(client_.uploaded_bytes() - before, 8192u);
  ExpectRoundTrip(result->digest);
}

TEST_F(PublisherTest, BytesInsertedInTheMiddleCostLittle) {
  std::string bytes = RandomBytes(4'000'000, 1);
  WriteTestFile(Tree("file"), bytes);
  ASSERT_TRUE(Publish().ok());
  bytes.insert(2'000'000, "inserted");
  WriteTestFile(Tree("file"), bytes);
  const auto result = Publish();
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_LT(result->new_bytes, 2u * 256 * 1024);
  ExpectRoundTrip(result->digest);
}

TEST_F(PublisherTest, BlocksHaveTheSameNamesWhateverTheTiming) {
  MakeRandomTree(options_.path, 11, 50);
  options_.cache_dir.clear();
  ASSERT_TRUE(Publish().ok());
  const auto blocks = client_.Blocks("geo/city");
  for (int round = 0; round < 3; ++round) {
    FakeServerClient other;
    ASSERT_TRUE(PublishDirectory(other, options_).ok());
    EXPECT_EQ(other.Blocks("geo/city"), blocks);
    EXPECT_EQ(other.TagDigest("geo/city", "latest"), client_.TagDigest("geo/city", "latest"));
  }
}

TEST_F(PublisherTest, InterruptedPublishResumesWithoutSendingAgain) {
  WriteTestFile(Tree("big"), RandomBytes(38'000'000, 7));
  client_.FailNext(Method::kPublish, absl::UnavailableError("killed"));
  ASSERT_FALSE(Publish().ok());
  const uint64_t sent = client_.uploaded_bytes();
  ASSERT_GT(sent, 38'000'000u);
  const int uploads = client_.Calls(Method::kUpload);
  const auto result = Publish();
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(client_.uploaded_bytes(), sent);
  EXPECT_EQ(result->uploaded_bytes, 0u);
  EXPECT_LE(client_.Calls(Method::kUpload) - uploads, 1) << "the manifest at most";
  ExpectRoundTrip(result->digest);
}

TEST_F(PublisherTest, HalfSentPublishResumesWithTheOtherHalf) {
  WriteTestFile(Tree("big"), RandomBytes(38'000'000, 7));
  std::atomic<int> uploads{0};
  std::atomic<bool> cancelled{false};
  client_.SetTransferHook([&](Method method, const Digest&) {
    if (method == Method::kUpload && ++uploads == 3) cancelled = true;
  });
  EXPECT_TRUE(absl::IsCancelled(PublishDirectory(client_, options_, nullptr, &cancelled).status()));
  client_.SetTransferHook(nullptr);
  const uint64_t sent = client_.uploaded_bytes();
  ASSERT_GT(sent, 0u);
  const auto result = Publish();
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(client_.uploaded_bytes(), sent + result->uploaded_bytes);
  EXPECT_LT(client_.uploaded_bytes(), 38'500'000u) << "nothing came twice";
  ExpectRoundTrip(result->digest);
}

TEST_F(PublisherTest, FileThatChangesWhileItIsReadIsReadAgain) {
  WriteTestFile(Tree("a"), "first");
  WriteTestFile(Tree("big"), RandomBytes(3'000'000, 1));
  std::set<std::string> changed;
  const auto result = PublishWith([&](const std::string& path) {
    if (!changed.insert(path).second) return;
    WriteTestFile(Tree(path), path == "a" ? "the second" : RandomBytes(2'900'000, 2));
  });
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_THAT(changed, SizeIs(2));
  ExpectRoundTrip(result->digest);
}

TEST_F(PublisherTest, FileThatGrowsFromSmallToLargeIsReadAgain) {
  WriteTestFile(Tree("log"), "line\n");
  bool grown = false;
  const auto result = PublishWith([&](const std::string&) {
    if (!std::exchange(grown, true)) WriteTestFile(Tree("log"), RandomText(5'000'000, 1));
  });
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->bytes, 5'000'000u);
  ExpectRoundTrip(result->digest);
}

TEST_F(PublisherTest, FileThatKeepsChangingFailsByName) {
  WriteTestFile(Tree("sub/restless"), "0");
  int reads = 0;
  const auto result = PublishWith([&](const std::string& path) {
    ++reads;
    AppendTo(Tree(path));
  });
  EXPECT_TRUE(absl::IsAborted(result.status())) << result.status();
  EXPECT_THAT(std::string(Message(result.status())), HasSubstr("sub/restless"));
  EXPECT_EQ(reads, PublishJob::kMaxReads);
  EXPECT_EQ(client_.TagDigest("geo/city", "latest"), std::nullopt);
}

TEST_F(PublisherTest, FileThatVanishesWhileItIsReadFailsByName) {
  WriteTestFile(Tree("a"), "1");
  WriteTestFile(Tree("sub/gone"), "2");
  const auto result = PublishWith([&](const std::string& path) {
    if (path != "sub/gone") return;
    AppendTo(Tree(path));  // what was read is not all of it, so there is a second look
    RemoveFile(Tree(path)).IgnoreError();
  });
  EXPECT_TRUE(absl::IsAborted(result.status())) << result.status();
  EXPECT_THAT(std::string(Message(result.status())), HasSubstr("'sub/gone' vanished"));
  EXPECT_EQ(client_.TagDigest("geo/city", "latest"), std::nullopt);
}

TEST_F(PublisherTest, FileThatVanishesBeforeItIsReadFailsByName) {
  WriteTestFile(Tree("a"), "1");
  WriteTestFile(Tree("sub/gone"), "2");
  options_.cache_dir.clear();  // so that the manifest comes from the server, between scanning and reading
  const auto first = Publish();
  ASSERT_TRUE(first.ok()) << first.status();
  bool removed = false;
  client_.SetTransferHook([&](Method method, const Digest&) {
    if (method == Method::kDownload) removed = RemoveFile(Tree("sub/gone")).ok();
  });
  const auto result = Publish();
  EXPECT_TRUE(removed);
  EXPECT_TRUE(absl::IsAborted(result.status())) << result.status();
  EXPECT_THAT(std::string(Message(result.status())), HasSubstr("'sub/gone' vanished"));
  EXPECT_EQ(client_.TagDigest("geo/city", "latest"), first->digest);
}

TEST_F(PublisherTest, SocketsFifosAndOddNamesAreRefusedByName) {
  ASSERT_EQ(mkfifo(Tree("pipe").c_str(), 0600), 0);
  auto result = Publish();
  EXPECT_TRUE(absl::IsInvalidArgument(result.status())) << result.status();
  EXPECT_THAT(std::string(Message(result.status())), HasSubstr("pipe"));
  RemoveFile(Tree("pipe")).IgnoreError();

  WriteTestFile(Tree("bad\xff name"), "x");
  result = Publish();
  EXPECT_TRUE(absl::IsInvalidArgument(result.status())) << result.status();
  EXPECT_THAT(std::string(Message(result.status())), HasSubstr("bad\\xff name"));
  EXPECT_EQ(client_.Calls(Method::kPublish), 0);
}

TEST_F(PublisherTest, MissingDirectoryIsNotFoundByName) {
  options_.path = Tree("nothing/here");
  const auto result = Publish();
  EXPECT_TRUE(absl::IsNotFound(result.status())) << result.status();
  EXPECT_THAT(std::string(Message(result.status())), HasSubstr("nothing/here"));
  EXPECT_THAT(std::string(Message(result.status())), HasSubstr("; check PATH")) << "no dataset is missing";
}

TEST_F(PublisherTest, UnreadableFileFailsByName) {
  WriteTestFile(Tree("sub/secret"), "x", 0);
  const WithoutSuperuserRights restricted;
  const auto result = Publish();
  EXPECT_TRUE(absl::IsPermissionDenied(result.status())) << result.status();
  EXPECT_THAT(std::string(Message(result.status())), HasSubstr("sub/secret"));
  EXPECT_EQ(client_.TagDigest("geo/city", "latest"), std::nullopt);
}

TEST_F(PublisherTest, UnreadableDirectoryFailsByName) {
  WriteTestFile(Tree("closed/file"), "x");
  ASSERT_EQ(chmod(Tree("closed").c_str(), 0), 0);
  absl::Status status;
  {
    const WithoutSuperuserRights restricted;
    status = Publish().status();
  }
  ASSERT_EQ(chmod(Tree("closed").c_str(), 0755), 0);  // or it can't be removed
  EXPECT_TRUE(absl::IsPermissionDenied(status)) << status;
  EXPECT_THAT(std::string(Message(status)), HasSubstr("closed"));
}

TEST_F(PublisherTest, ExpectationsAreTheServersToDecide) {
  WriteTestFile(Tree("a"), "1");
  options_.expect_absent = true;
  const auto first = Publish();
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_TRUE(absl::IsAborted(Publish().status())) << "also if nothing has changed";
  options_.expect_absent = false;
  options_.expect = first->digest;
  WriteTestFile(Tree("a"), "22");
  EXPECT_TRUE(Publish().ok());
  WriteTestFile(Tree("a"), "333");
  EXPECT_TRUE(absl::IsAborted(Publish().status()));
}

TEST_F(PublisherTest, SeveralTagsMoveInOneEntry) {
  WriteTestFile(Tree("a"), "1");
  options_.tags = {"latest", "v1"};
  const auto result = Publish();
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->seq, 1u);
  EXPECT_EQ(client_.TagDigest("geo/city", "v1"), result->digest);
  options_.tags = {"v2"};
  const auto again = Publish();
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(again->digest, result->digest);
  EXPECT_EQ(again->uploaded_bytes, 0u);
  EXPECT_EQ(again->seq, 2u);
}

TEST_F(PublisherTest, MissingBlockIsUploadedAgain) {
  WriteTestFile(Tree("a"), RandomBytes(50'000, 1));
  const auto first = Publish();
  ASSERT_TRUE(first.ok()) << first.status();
  for (const Digest& block : client_.Blocks("geo/city")) client_.RemoveObject("geo/city", block);
  WriteTestFile(Tree("b"), "more");
  const auto second = Publish();
  ASSERT_TRUE(second.ok()) << second.status();
  ExpectRoundTrip(second->digest);
}

TEST_F(PublisherTest, CondemnedBlocksAreNotReused) {
  WriteTestFile(Tree("a"), RandomBytes(50'000, 1));
  ASSERT_TRUE(Publish().ok());
  const auto condemned = client_.Blocks("geo/city");
  client_.Condemn("geo/city", condemned);
  WriteTestFile(Tree("b"), "more");
  const auto second = Publish();
  ASSERT_TRUE(second.ok()) << second.status();
  for (const Digest& block : condemned) client_.RemoveObject("geo/city", block);
  ExpectRoundTrip(second->digest);
}

TEST_F(PublisherTest, CorruptBaseManifestOnlyCostsBytes) {
  WriteTestFile(Tree("a"), RandomBytes(50'000, 1));
  const auto first = Publish();
  ASSERT_TRUE(first.ok()) << first.status();
  options_.cache_dir.clear();
  client_.CorruptDownloads(first->digest, 100, true);
  WriteTestFile(Tree("b"), "more");
  const auto second = Publish();
  ASSERT_TRUE(second.ok()) << second.status();
  client_.CorruptDownloads(first->digest, 0);
  ExpectRoundTrip(second->digest);
}

TEST_F(PublisherTest, DamagedCachesAreIgnored) {
  MakeRandomTree(options_.path, 5);
  const auto first = Publish();
  ASSERT_TRUE(first.ok()) << first.status();
  for (const char* kind : {"stats", "manifests"}) {
    const std::string directory = JoinPath(options_.cache_dir, kind);
    const auto names = ListDirectory(directory);
    ASSERT_TRUE(names.ok());
    ASSERT_THAT(*names, SizeIs(1)) << kind;
    const std::string path = JoinPath(directory, names->front());
    std::string bytes = *ReadWholeFile(path, 1 << 20);
    bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] ^ 1);
    ASSERT_TRUE(WriteFileAtomically(path, bytes).ok());
    const auto again = Publish();
    ASSERT_TRUE(again.ok()) << again.status();
    EXPECT_EQ(again->digest, first->digest);
    EXPECT_TRUE(again->unchanged);
  }
}

TEST_F(PublisherTest, ServerThatIsAwayIsUnavailable) {
  WriteTestFile(Tree("a"), "1");
  client_.SetAway(true);
  EXPECT_TRUE(absl::IsUnavailable(Publish().status()));
}

TEST_F(PublisherTest, FailingUploadFailsThePublish) {
  WriteTestFile(Tree("big"), RandomBytes(6'000'000, 7));
  client_.FailNext(Method::kUpload, absl::ResourceExhaustedError("the store is full"), 1000);
  const auto result = Publish();
  EXPECT_TRUE(absl::IsResourceExhausted(result.status())) << result.status();
  EXPECT_EQ(client_.Calls(Method::kPublish), 0);
}

TEST_F(PublisherTest, SameNonceMakesOneEntry) {
  WriteTestFile(Tree("a"), "1");
  options_.nonce = "0123456789abcdef";
  const auto first = Publish();
  ASSERT_TRUE(first.ok()) << first.status();
  WriteTestFile(Tree("a"), "22");
  const auto second = Publish();
  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_EQ(second->seq, first->seq);
}

TEST_F(PublisherTest, WrongOptionsAreRefused) {
  options_.tags = {"not a tag"};
  EXPECT_TRUE(absl::IsInvalidArgument(Publish().status()));
  options_.tags.clear();
  EXPECT_TRUE(absl::IsInvalidArgument(Publish().status()));
  options_.tags = {"latest"};
  options_.nonce = "short";
  EXPECT_TRUE(absl::IsInvalidArgument(Publish().status()));
}

TEST_F(PublisherTest, ProgressEndsAtTheTotal) {
  MakeRandomTree(options_.path, 9);
  PublishProgress progress;
  ASSERT_TRUE(PublishDirectory(client_, options_, &progress).ok());
  EXPECT_GT(progress.scanned_files, 0u);
  EXPECT_EQ(progress.processed_bytes.load(), progress.total_bytes.load());
  EXPECT_EQ(progress.uploaded_bytes.load(), client_.uploaded_bytes());
}

}  // namespace
}  // namespace aetherfs
