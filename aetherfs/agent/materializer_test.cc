#include "aetherfs/agent/materializer.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <random>

#include "aetherfs/agent/glob.h"
#include "aetherfs/agent/plan.h"
#include "aetherfs/agent/testing/test_snapshot.h"
#include "aetherfs/agent/tree.h"
#include "aetherfs/os/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace aetherfs {

namespace {

using ::testing::HasSubstr;

class MaterializerTest : public ::testing::Test {
 protected:
  std::string Dir(const std::string& name) { return JoinPath(temporary_.path(), name); }

  absl::StatusOr<MaterializeResult> Make(const TestSnapshot& snapshot, const std::string& directory,
                                         const std::vector<LocalSource>& sources = {},
                                         MaterializeOptions options = {},
                                         const std::atomic<bool>* cancelled = nullptr) {
    options.durable = durable_;
    stats_.downloaded_bytes = 0;
    stats_.verified_bytes = 0;
    stats_.integrity_failures = 0;
    return Materialize(fetcher_, dataset_, snapshot.manifest, directory, sources, options, &stats_,
                       cancelled);
  }

  TemporaryDirectory temporary_ = *TemporaryDirectory::Create("materializer");
  FakeServerClient server_;
  Fetcher fetcher_{&server_};
  const DatasetName dataset_ = *DatasetName::Parse("test/data");
  TransferStats stats_;
  bool durable_ = false;  // syncing is slow on some disks
};

TEST_F(MaterializerTest, DirectoryHoldsExactlyTheSnapshot) {
  std::mt19937_64 random(1);
  const TestTree tree = RandomTree(random, 60);
  const TestSnapshot snapshot = StoreSnapshot(server_, "test/data", tree);
  durable_ = true;
  const auto result = Make(snapshot, Dir("out"));
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(ReadTree(Dir("out")), Expected(tree, false));
  EXPECT_EQ(result->files, snapshot.manifest.FileCount());
  EXPECT_EQ(result->bytes, snapshot.manifest.TotalBytes());
  const auto differences = VerifyDirectory(Dir("out"), snapshot.manifest, false);
  ASSERT_TRUE(differences.ok());
  EXPECT_TRUE(differences->empty());
}

TEST_F(MaterializerTest, ReadOnlyFilesHaveNoWriteBits) {
  const TestTree tree = {{"d/a", {EntryType::kFile, "text", 0755}},
                         {"b", {EntryType::kFile, std::string(5000, 'x'), 0664}}};
  const TestSnapshot snapshot = StoreSnapshot(server_, "test/data", tree);
  ASSERT_TRUE(Make(snapshot, Dir("out"), {}, {.read_only = true}).ok());
  EXPECT_EQ(ReadTree(Dir("out")), Expected(tree, true));
  EXPECT_TRUE(VerifyDirectory(Dir("out"), snapshot.manifest, true)->empty());
  EXPECT_EQ(VerifyDirectory(Dir("out"), snapshot.manifest, false)->size(), 2);
}

TEST_F(MaterializerTest, UnchangedFilesAreLinkedAndOnlyTheRestIsFetched) {
  std::mt19937_64 random(2);
  TestTree tree;
  for (int i = 0; i < 20; ++i)
    tree["f" + std::to_string(i)] = {EntryType::kFile, std::string(3000, char('a' + i))};
  const TestSnapshot before = StoreSnapshot(server_, "test/data", tree);
  ASSERT_TRUE(Make(before, Dir("v1"), {}, {.read_only = true}).ok());
  tree["f3"].contents = std::string(700, 'Z');
  tree["f3"].mtime_ns += 1;
  tree["renamed"] = tree["f4"];
  tree.erase("f4");
  const TestSnapshot after = StoreSnapshot(server_, "test/data", tree);
  const std::vector<LocalSource> sources = {{Dir("v1"), &before.manifest, true}};
  const MaterializePlan plan = PlanMaterialize(after.manifest, sources, {.read_only = true});
  EXPECT_EQ(plan.links.size(), 19);
  EXPECT_EQ(plan.fetches.size(), 1);
  EXPECT_TRUE(plan.copies.empty());
  EXPECT_EQ(plan.new_disk_bytes, 4096);
  const auto result = Make(after, Dir("v2"), sources, {.read_only = true});
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(ReadTree(Dir("v2")), Expected(tree, true));
  EXPECT_EQ(stats_.verified_bytes, 700);
  EXPECT_EQ(result->reused_bytes, result->bytes - 700);
  struct stat a, b;
  ASSERT_EQ(::stat(Dir("v1/f4").c_str(), &a), 0);
  ASSERT_EQ(::stat(Dir("v2/renamed").c_str(), &b), 0);
  EXPECT_EQ(a.st_ino, b.st_ino);
}

TEST_F(MaterializerTest, FileWhoseAttributesNoLongerMatchIsNotLinked) {
  const TestTree tree = {{"a", {EntryType::kFile, std::string(4000, 'a')}}};
  const TestSnapshot snapshot = StoreSnapshot(server_, "test/data", tree);
  ASSERT_TRUE(Make(snapshot, Dir("v1"), {}, {.read_only = true}).ok());
  const timespec touched[2] = {{1, 0}, {1, 0}};
  ASSERT_EQ(::utimensat(AT_FDCWD, Dir("v1/a").c_str(), touched, 0), 0);
  const auto result =
      Make(snapshot, Dir("v2"), {{Dir("v1"), &snapshot.manifest, true}}, {.read_only = true});
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(ReadTree(Dir("v2")), Expected(tree, true));
  EXPECT_EQ(stats_.downloaded_bytes, 0);  // its bytes were still right, and copied
  struct stat a, b;
  ASSERT_EQ(::stat(Dir("v1/a").c_str(), &a), 0);
  ASSERT_EQ(::stat(Dir("v2/a").c_str(), &b), 0);
  EXPECT_NE(a.st_ino, b.st_ino);
}

TEST_F(MaterializerTest, SourceThatRottedIsFetchedInstead) {
  const TestTree tree = {{"a", {EntryType::kFile, std::string(4000, 'a')}}};
  const TestSnapshot before = StoreSnapshot(server_, "test/data", tree);
  ASSERT_TRUE(Make(before, Dir("v1")).ok());
  TestTree changed = tree;
  changed["a"].contents += "more";
  const TestSnapshot after = StoreSnapshot(server_, "test/data", changed);
  std::ofstream(Dir("v1/a"), std::ios::in | std::ios::out).seekp(1500).put('b');
  for (const bool may_link : {true, false}) {
    const std::string out = Dir(may_link ? "v2" : "v3");
    const auto result = Make(after, out, {{Dir("v1"), &before.manifest, may_link}});
    ASSERT_TRUE(result.ok()) << result.status();
    EXPECT_EQ(ReadTree(out), Expected(changed, false));
  }
}

TEST_F(MaterializerTest, MissingSourceIsNoError) {
  const TestTree tree = {{"a", {EntryType::kFile, std::string(4000, 'a')}}};
  const TestSnapshot snapshot = StoreSnapshot(server_, "test/data", tree);
  const auto result = Make(snapshot, Dir("out"), {{Dir("gone"), &snapshot.manifest, true}});
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(ReadTree(Dir("out")), Expected(tree, false));
}

TEST_F(MaterializerTest, FilterLimitsWhatIsThere) {
  const TestTree tree = {{"a/x.csv", {EntryType::kFile, "x"}},
                         {"a/y.txt", {EntryType::kFile, "y"}},
                         {"b", {EntryType::kFile, "b"}}};
  const TestSnapshot snapshot = StoreSnapshot(server_, "test/data", tree);
  const auto result = Make(snapshot, Dir("out"), {}, {.include = {"a"}, .exclude = {"**/*.txt"}});
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->files, 1);
  EXPECT_EQ(ReadTree(Dir("out")), Expected({{"a/x.csv", {EntryType::kFile, "x"}}}, false));
}

TEST_F(MaterializerTest, NamesThatTheSnapshotDoesNotHaveAreRemoved) {
  const TestTree tree = {
      {"a/x", {EntryType::kFile, "x"}}, {"b", {EntryType::kFile, "b"}}, {"c", {EntryType::kSymlink, "t"}}};
  const TestSnapshot snapshot = StoreSnapshot(server_, "test/data", tree);
  ASSERT_TRUE(MakeDirectories(Dir("out/stray/deep")).ok());
  ASSERT_TRUE(MakeDirectories(Dir("out/b/x")).ok());   // a directory where a file belongs
  ASSERT_EQ(::symlink("/", Dir("out/a").c_str()), 0);  // a way out where a directory belongs
  ASSERT_EQ(::symlink("wrong", Dir("out/c").c_str()), 0);
  std::ofstream(Dir("out/file")) << "stray";
  const auto result = Make(snapshot, Dir("out"));
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(ReadTree(Dir("out")), Expected(tree, false));
  EXPECT_FALSE(Exists("/x"));
}

TEST_F(MaterializerTest, ManifestMayUseTheWorkDirectorysName) {
  const TestTree tree = {{".aetherfs-work/boot", {EntryType::kFile, "mine"}},
                         {".aetherfs-work.1", {EntryType::kFile, "too"}}};
  const TestSnapshot snapshot = StoreSnapshot(server_, "test/data", tree);
  for (int round = 0; round < 2; ++round) {
    const auto result = Make(snapshot, Dir("out"));
    ASSERT_TRUE(result.ok()) << result.status();
    EXPECT_EQ(ReadTree(Dir("out")), Expected(tree, false));
  }
}

TEST_F(MaterializerTest, BytesThatAreWrongEverywhereAreDataLoss) {
  const TestSnapshot snapshot =
      StoreSnapshot(server_, "test/data", {{"a", {EntryType::kFile, std::string(900, 'q') + "1"}}});
  server_.CorruptDownloads(snapshot.manifest.blocks[0].digest, 100, true);
  const auto result = Make(snapshot, Dir("out"));
  EXPECT_TRUE(absl::IsDataLoss(result.status())) << result.status();
  EXPECT_GT(stats_.integrity_failures, 0);
}

TEST_F(MaterializerTest, PlanThatDoesNotFitTheDiskFailsBeforeTheFirstByte) {
  TestSnapshot snapshot = StoreSnapshot(server_, "test/data", {{"a", {EntryType::kFile, "tiny"}}});
  snapshot.manifest.entries[0].size = uint64_t{1} << 60;
  const auto result = Make(snapshot, Dir("out"));
  EXPECT_TRUE(absl::IsResourceExhausted(result.status())) << result.status();
  EXPECT_THAT(std::string(result.status().message()), HasSubstr("free"));
  EXPECT_EQ(stats_.downloaded_bytes, 0);
}

TEST_F(MaterializerTest, AnInterruptedAttemptIsContinued) {
  std::mt19937_64 random(7);
  const TestTree tree = RandomTree(random, 80);
  const TestSnapshot snapshot = StoreSnapshot(server_, "test/data", tree);
  ASSERT_TRUE(Make(snapshot, Dir("whole")).ok());
  const uint64_t all = stats_.verified_bytes;
  for (int round = 0; round < 20; ++round) {
    const std::string out = Dir("out" + std::to_string(round));
    std::atomic<bool> cancelled{false};
    std::atomic<int> countdown{static_cast<int>(random() % 12)};
    server_.SetTransferHook([&](FakeServerClient::Method, const Digest&) {
      if (countdown.fetch_sub(1) == 0) cancelled = true;
    });
    const auto interrupted = Make(snapshot, out, {}, {.parallelism = 2}, &cancelled);
    server_.SetTransferHook(nullptr);
    const uint64_t first = stats_.verified_bytes;
    if (interrupted.ok()) continue;
    EXPECT_TRUE(absl::IsCancelled(interrupted.status())) << interrupted.status();
    const auto result = Make(snapshot, out);
    ASSERT_TRUE(result.ok()) << result.status();
    EXPECT_EQ(ReadTree(out), Expected(tree, false));
    EXPECT_LE(first + stats_.verified_bytes, all + 4 * 3 * 1024) << "what was staged was fetched again";
  }
}

TEST_F(MaterializerTest, AfterAPowerFailureWhatIsThereIsReadAgain) {
  const TestTree tree = {{"a", {EntryType::kFile, std::string(900, 'a')}},
                         {"b", {EntryType::kFile, std::string(800, 'b')}}};
  const TestSnapshot snapshot = StoreSnapshot(server_, "test/data", tree);
  ASSERT_TRUE(Make(snapshot, Dir("out")).ok());
  // As a crash leaves it that lost a file's bytes but not its name.
  ASSERT_TRUE(MakeDirectories(Dir("out/.aetherfs-work")).ok());
  std::ofstream(Dir("out/.aetherfs-work/boot")) << "some other boot";
  struct stat status;
  ASSERT_EQ(::stat(Dir("out/a").c_str(), &status), 0);
  std::ofstream(Dir("out/a"), std::ios::in | std::ios::out).seekp(10).put('\0');
  const timespec times[2] = {status.st_atim, status.st_mtim};
  ASSERT_EQ(::utimensat(AT_FDCWD, Dir("out/a").c_str(), times, 0), 0);
  const auto result = Make(snapshot, Dir("out"));
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(ReadTree(Dir("out")), Expected(tree, false));
  EXPECT_EQ(result->reused_bytes, 800);
}

// Random trees, from random sources of which some rotted, are always exactly right; nothing is fetched that
// an intact source has.
TEST_F(MaterializerTest, AnySourcesYieldTheSnapshot) {
  for (uint64_t seed = 0; seed < 25; ++seed) {
    std::mt19937_64 random(seed);
    const TestTree first = RandomTree(random, 40);
    const TestTree second = Mutated(first, random);
    const TestTree third = Mutated(second, random);
    const TestSnapshot snapshots[3] = {StoreSnapshot(server_, "test/data", first),
                                       StoreSnapshot(server_, "test/data", second),
                                       StoreSnapshot(server_, "test/data", third)};
    const bool read_only = random() % 2 == 0;
    const MaterializeOptions options{.read_only = read_only,
                                     .parallelism = 1 + static_cast<int>(random() % 3)};
    const std::string base = Dir("seed" + std::to_string(seed));
    std::vector<LocalSource> sources;
    bool rotted = false;
    for (int i = 0; i < 2; ++i) {
      const std::string directory = base + "-source" + std::to_string(i);
      ASSERT_TRUE(Make(snapshots[i], directory, {}, options).ok());
      sources.push_back({directory, &snapshots[i].manifest, random() % 2 == 0});
      if (random() % 2 == 0) continue;
      rotted = true;
      for (const auto& [path, file] : i == 0 ? first : second) {
        if (file.type != EntryType::kFile || random() % 3 != 0) continue;
        const std::string victim = JoinPath(directory, path);
        ASSERT_EQ(::chmod(victim.c_str(), 0700), 0);
        std::ofstream(victim, std::ios::trunc) << "rot";
      }
    }
    const MaterializePlan plan = PlanMaterialize(snapshots[2].manifest, sources, options);
    const auto result = Make(snapshots[2], base + "-out", sources, options);
    ASSERT_TRUE(result.ok()) << "seed " << seed << ": " << result.status();
    EXPECT_EQ(ReadTree(base + "-out"), Expected(third, read_only)) << "seed " << seed;
    if (!rotted) {
      uint64_t planned = 0;
      for (const uint32_t chunk : plan.fetches) planned += snapshots[2].manifest.chunks[chunk].size;
      EXPECT_EQ(stats_.verified_bytes, planned) << "seed " << seed;
    }
  }
}

TEST_F(MaterializerTest, VeryDeepTreesNeedFewDescriptors) {
  std::string path;
  for (int i = 0; i < 600; ++i) path += "d/";
  const TestTree tree = {{path + "leaf", {EntryType::kFile, "deep"}}};
  const TestSnapshot snapshot = StoreSnapshot(server_, "test/data", tree);
  const auto result = Make(snapshot, Dir("out"));
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_TRUE(VerifyDirectory(Dir("out"), snapshot.manifest, false)->empty());
}

TEST_F(MaterializerTest, VerifyNamesEveryDifference) {
  TestTree tree;
  for (const char* name : {"gone", "longer", "mode", "rot", "kind"}) {
    tree[name] = {EntryType::kFile, std::string(3000, name[0])};
  }
  tree["link"] = {EntryType::kSymlink, "there"};
  tree["dir/inner"] = {EntryType::kFile, "i"};
  const TestSnapshot snapshot = StoreSnapshot(server_, "test/data", tree);
  ASSERT_TRUE(Make(snapshot, Dir("out")).ok());
  ASSERT_TRUE(RemoveFile(Dir("out/gone")).ok());
  std::ofstream(Dir("out/longer"), std::ios::app) << "x";
  ASSERT_EQ(::chmod(Dir("out/mode").c_str(), 0755), 0);
  std::ofstream(Dir("out/rot"), std::ios::in | std::ios::out).seekp(2500).put('!');
  ASSERT_TRUE(RemoveFile(Dir("out/kind")).ok());
  ASSERT_TRUE(MakeDirectories(Dir("out/kind")).ok());
  ASSERT_TRUE(ReplaceSymlink("elsewhere", Dir("out/link")).ok());
  std::ofstream(Dir("out/dir/extra")) << "x";
  const auto differences = VerifyDirectory(Dir("out"), snapshot.manifest, false);
  ASSERT_TRUE(differences.ok()) << differences.status();
  std::map<std::string, std::string> found;
  for (const Difference& difference : *differences) found[difference.path] = difference.what;
  const std::map<std::string, std::string> expected = {
      {"gone", "missing"},
      {"longer", "3001 bytes, not 3000"},
      {"mode", "mode 0755, not 0644"},
      {"rot", "contents differ in the 952 bytes from 2048 on"},
      {"kind", "not a regular file"},
      {"link", "does not point at there"},
      {"dir/extra", "not in the snapshot"},
  };
  EXPECT_EQ(found, expected);
}

}  // namespace
}  // namespace aetherfs
