#include "aetherfs/journal/journal.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <functional>
#include <string>
#include <thread>

#include "aetherfs/base/status.h"
#include "aetherfs/base/testing/fake_clock.h"
#include "aetherfs/format/record.h"
#include "aetherfs/object/file/file_object_store.h"
#include "aetherfs/object/memory/memory_object_store.h"

namespace aetherfs {
namespace {

using ::testing::HasSubstr;

// Counts requests and lets a test act before and after each.
class ScriptedStore : public ObjectStore {
 public:
  explicit ScriptedStore(ObjectStore* base) : base_(base) {}

  std::atomic<int> gets = 0, puts = 0, lists = 0;
  std::function<void(std::string_view key)> before_get;
  std::function<void()> after_list;
  // What a put answers instead; nullopt: let it through. `done` puts it, for answers that get lost.
  std::function<std::optional<absl::Status>(std::string_view key,
                                            const std::function<absl::Status()>& done)>
      on_put;

  absl::StatusOr<ObjectInfo> Get(std::string_view key, const GetOptions& options, ByteSink sink) override {
    ++gets;
    if (before_get) before_get(key);
    return base_->Get(key, options, sink);
  }
  absl::Status Put(std::string_view key, const std::vector<std::string_view>& pieces,
                   const PutOptions& options) override {
    ++puts;
    const auto done = [&] { return base_->Put(key, pieces, options); };
    if (on_put) {
      if (const auto answer = on_put(key, done)) return *answer;
    }
    return done();
  }
  absl::StatusOr<ObjectInfo> Head(std::string_view key, absl::Time deadline) override {
    return base_->Head(key, deadline);
  }
  absl::StatusOr<ListResult> List(const ListOptions& options) override {
    ++lists;
    absl::StatusOr<ListResult> result = base_->List(options);
    if (after_list) after_list();
    return result;
  }
  absl::Status Remove(std::string_view key, absl::Time deadline) override {
    return base_->Remove(key, deadline);
  }

 private:
  ObjectStore* const base_;
};

DatasetName Name() { return *DatasetName::Parse("a/b"); }

std::string NonceOf(uint64_t id) {
  std::string nonce(16, '\7');
  for (size_t i = 0; i < 8; ++i) nonce[i] = static_cast<char>(id >> (8 * i));
  return nonce;
}

record::v1::JournalEntry PublishEntry(uint8_t seed, const std::string& tag = "latest") {
  record::v1::JournalEntry entry;
  entry.mutable_publish()->mutable_snapshot()->set_digest(std::string(32, static_cast<char>(seed)));
  entry.mutable_publish()->add_tags(tag);
  return entry;
}

Journal::Propose Always(uint8_t seed = 1, const std::string& tag = "latest") {
  return [=](const DatasetState&) { return std::optional(PublishEntry(seed, tag)); };
}

class JournalTest : public ::testing::Test {
 protected:
  std::unique_ptr<Journal> Open(ObjectStore* store = nullptr) {
    return std::make_unique<Journal>(Name(), store != nullptr ? store : &memory_, &pool_, &clock_,
                                     Random::System());
  }
  // Appends `count` entries that others wrote, and waits until their checkpoints are there.
  void Fill(uint64_t count) {
    ThreadPool pool("fill", 1);
    Journal journal(Name(), &memory_, &pool, &clock_, Random::System());
    for (uint64_t i = 1; i <= count; ++i) {
      ASSERT_TRUE(journal.Append(NonceOf(1'000'000 + i), kForever, Always(static_cast<uint8_t>(i))).ok());
    }
  }
  // The same, put there without a journal: for many.
  void FillDirectly(uint64_t count) {
    DatasetState state;
    for (uint64_t seq = 1; seq <= count; ++seq) {
      record::v1::JournalEntry entry = PublishEntry(static_cast<uint8_t>(seq));
      entry.set_seq(seq);
      entry.set_nonce(NonceOf(1'000'000 + seq));
      ASSERT_TRUE(state.Apply(entry).ok());
      const std::string bytes = EncodeRecord(RecordKind::kJournalEntry, entry);
      ASSERT_TRUE(memory_.Put(JournalKey(Name(), seq), {bytes}, {}).ok());
      const bool kept = seq + Journal::kKeptCheckpoints * Journal::kCheckpointInterval > count;
      if (seq % Journal::kCheckpointInterval != 0 || !kept) continue;
      const std::string checkpoint = EncodeRecord(RecordKind::kCheckpoint, state.ToCheckpoint());
      ASSERT_TRUE(memory_.Put(CheckpointKey(Name(), seq), {checkpoint}, {}).ok());
    }
  }
  void Corrupt(const std::string& key) { ASSERT_TRUE(memory_.Put(key, {"garbage"}, {}).ok()); }
  std::vector<uint64_t> Checkpoints() {
    std::vector<uint64_t> seqs;
    ListOptions options;
    options.prefix = "datasets/a%2Fb/checkpoints/";
    EXPECT_TRUE(ListAll(memory_, options, [&](const ListedObject& object) {
                  seqs.push_back(std::stoull(object.key.substr(options.prefix.size())));
                  return true;
                }).ok());
    return seqs;
  }

  const absl::Time kForever = absl::InfiniteFuture();
  FakeClock clock_;
  MemoryObjectStore memory_;
  ThreadPool pool_{"journal-test", 32};
};

TEST_F(JournalTest, KeysAreAsDocumented) {
  const Digest digest = *Digest::ParseHex(std::string(64, 'a'));
  EXPECT_EQ(CatalogKey(Name()), "catalog/a%2Fb");
  EXPECT_EQ(JournalKey(Name(), 7), "datasets/a%2Fb/journal/00000000000000000007");
  EXPECT_EQ(CheckpointKey(Name(), 32), "datasets/a%2Fb/checkpoints/00000000000000000032");
  EXPECT_EQ(ManifestKey(Name(), digest), "datasets/a%2Fb/manifests/" + std::string(64, 'a'));
  EXPECT_EQ(BlockKey(Name(), digest), "datasets/a%2Fb/blocks/" + std::string(64, 'a'));
}

TEST_F(JournalTest, DatasetWithoutEntriesIsAViewThatDoesNotExist) {
  const auto journal = Open();
  EXPECT_EQ(journal->view(), nullptr);
  const auto view = journal->Refresh(kForever);
  ASSERT_TRUE(view.ok()) << view.status();
  EXPECT_FALSE((*view)->state->exists());
  EXPECT_EQ((*view)->confirmed, clock_.Now());
  EXPECT_EQ(journal->History(0, 10, kForever)->size(), 0u);
}

TEST_F(JournalTest, AppendIsSeenByOthersAndListedInTheCatalog) {
  const auto writer = Open();
  const auto reader = Open();
  ASSERT_TRUE(reader->Refresh(kForever).ok());
  const auto appended = writer->Append(NonceOf(1), kForever, Always(5));
  ASSERT_TRUE(appended.ok()) << appended.status();
  EXPECT_EQ(appended->seq, 1u);
  EXPECT_TRUE(appended->written);
  EXPECT_EQ(writer->view()->state->seq, 1u);
  ASSERT_TRUE(reader->Refresh(kForever).ok());
  EXPECT_EQ(*reader->view()->state, *writer->view()->state);
  EXPECT_EQ(reader->view()->recent.size(), 1u);
  EXPECT_TRUE(memory_.Head(CatalogKey(Name()), kForever).ok());
}

TEST_F(JournalTest, FollowingCostsOneGetAndAppendingToWhatIsKnownOnePut) {
  Fill(40);
  ScriptedStore store(&memory_);
  const auto journal = Open(&store);
  ASSERT_TRUE(journal->Refresh(kForever).ok());
  store.gets = store.lists = 0;
  ASSERT_TRUE(journal->Refresh(kForever).ok());
  EXPECT_EQ(store.gets, 1);
  EXPECT_EQ(store.lists, 0);
  ASSERT_TRUE(journal->Append(NonceOf(1), kForever, Always()).ok());
  EXPECT_EQ(store.gets, 1);
  EXPECT_EQ(store.puts, 1);
}

TEST_F(JournalTest, ReadingOnThroughManyEntriesKeepsThemAll) {
  const auto reader = Open();
  ASSERT_TRUE(reader->Refresh(kForever).ok());
  Fill(400);
  const auto view = reader->Refresh(kForever);
  ASSERT_TRUE(view.ok());
  EXPECT_EQ((*view)->state->seq, 400u);
  ASSERT_EQ((*view)->recent.size(), Journal::kRecentEntries);
  EXPECT_EQ((*view)->recent.back()->seq(), 400u);
  EXPECT_EQ((*view)->recent.front()->seq(), 400u - Journal::kRecentEntries + 1);
}

TEST_F(JournalTest, CheckpointsComeEvery32EntriesAndOldOnesGo) {
  Fill(320);
  EXPECT_THAT(Checkpoints(), ::testing::ElementsAre(224, 256, 288, 320));
}

// Round trips one after the other: LIST; GET of the checkpoint with LIST; the GETs of the tail, which are
// all under way at the same time as far as the parallelism goes.
TEST_F(JournalTest, ColdStartOf10000EntriesTakesAtMostFourRoundTrips) {
  FillDirectly(10'015);
  ScriptedStore store(&memory_);
  absl::Mutex mutex;
  int started = 0;
  constexpr int kTail = 10'015 - 9'984;
  constexpr int kTogether = std::min<int>(kTail, Journal::kReadParallelism);
  store.before_get = [&](std::string_view key) {
    if (key.find("/journal/") == key.npos) return;
    absl::MutexLock lock(&mutex);
    ++started;
    const auto together = [&] { return started >= kTogether; };
    ASSERT_TRUE(mutex.AwaitWithTimeout(absl::Condition(&together), absl::Seconds(20)));
  };
  const auto journal = Open(&store);
  const auto view = journal->Refresh(kForever);
  ASSERT_TRUE(view.ok()) << view.status();
  EXPECT_EQ((*view)->state->seq, 10'015u);
  EXPECT_EQ(store.lists, 2);
  EXPECT_EQ(store.gets, 1 + kTail);
  const int round_trips = 2 + (kTail + kTogether - 1) / kTogether;
  EXPECT_LE(round_trips, 4);
}

TEST_F(JournalTest, CorruptCheckpointFallsBackToAnOlderOne) {
  Fill(130);
  Corrupt(CheckpointKey(Name(), 128));
  ScriptedStore store(&memory_);
  const auto view = Open(&store)->Refresh(kForever);
  ASSERT_TRUE(view.ok()) << view.status();
  EXPECT_EQ((*view)->state->seq, 130u);
  EXPECT_EQ(store.gets, 2 + 34);
}

TEST_F(JournalTest, WithAllCheckpointsCorruptTheWholeJournalIsRead) {
  Fill(130);
  for (uint64_t seq : Checkpoints()) Corrupt(CheckpointKey(Name(), seq));
  const auto view = Open()->Refresh(kForever);
  ASSERT_TRUE(view.ok()) << view.status();
  EXPECT_EQ((*view)->state->seq, 130u);
}

TEST_F(JournalTest, CheckpointsRemovedUnderAReaderAreListedAgain) {
  Fill(64);
  ScriptedStore store(&memory_);
  bool raced = false;
  store.after_list = [&] {
    if (std::exchange(raced, true)) return;
    Fill(32 * 6);
    EXPECT_FALSE(memory_.Head(CheckpointKey(Name(), 64), absl::InfiniteFuture()).ok());
  };
  const auto view = Open(&store)->Refresh(kForever);
  ASSERT_TRUE(view.ok()) << view.status();
  EXPECT_EQ((*view)->state->seq, 32u * 6);
}

TEST_F(JournalTest, CorruptEntryIsDataLossAndWhatWasSeenStays) {
  Fill(3);
  const auto journal = Open();
  ASSERT_TRUE(journal->Refresh(kForever).ok());
  Corrupt(JournalKey(Name(), 4));
  const auto view = journal->Refresh(kForever);
  EXPECT_EQ(view.status().code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(Message(view.status())), HasSubstr("a/b"));
  EXPECT_EQ(journal->view()->state->seq, 3u);
}

TEST_F(JournalTest, ProposalThatWantsNothingWritesNothing) {
  Fill(3);
  const auto journal = Open();
  const auto nothing = [](const DatasetState&) { return std::optional<record::v1::JournalEntry>(); };
  const auto appended = journal->Append(NonceOf(1), kForever, nothing);
  ASSERT_TRUE(appended.ok());
  EXPECT_FALSE(appended->written);
  EXPECT_EQ(appended->seq, 3u);
}

TEST_F(JournalTest, RefusalIsDecidedOnTheNewestStateOnly) {
  const auto journal = Open();
  ASSERT_TRUE(journal->Refresh(kForever).ok());
  Fill(2);  // unseen so far
  const auto appended = journal->Append(
      NonceOf(1), kForever,
      [](const DatasetState& state) -> absl::StatusOr<std::optional<record::v1::JournalEntry>> {
        if (state.seq < 2) return absl::AbortedError("too early");
        return std::optional(PublishEntry(9));
      });
  ASSERT_TRUE(appended.ok()) << appended.status();
  EXPECT_EQ(appended->seq, 3u);
  const auto refused =
      journal->Append(NonceOf(2), kForever,
                      [](const DatasetState&) -> absl::StatusOr<std::optional<record::v1::JournalEntry>> {
                        return absl::AbortedError("never");
                      });
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kAborted);
}

TEST_F(JournalTest, WriterThatIsBehindReadsOnAndProposesAgain) {
  const auto journal = Open();
  ASSERT_TRUE(journal->Refresh(kForever).ok());
  Fill(40);
  std::vector<uint64_t> seen;
  const auto appended = journal->Append(NonceOf(1), kForever, [&](const DatasetState& state) {
    seen.push_back(state.seq);
    return std::optional(PublishEntry(1));
  });
  ASSERT_TRUE(appended.ok());
  EXPECT_EQ(appended->seq, 41u);
  EXPECT_THAT(seen, ::testing::ElementsAre(0, 40));
}

TEST_F(JournalTest, SameNonceAgainIsTheSameEntry) {
  const auto first = Open();
  const auto second = Open();
  ASSERT_TRUE(second->Refresh(kForever).ok());
  ASSERT_EQ(first->Append(NonceOf(1), kForever, Always())->seq, 1u);
  ASSERT_EQ(first->Append(NonceOf(2), kForever, Always())->seq, 2u);
  for (Journal* journal : {first.get(), second.get()}) {
    const auto again = journal->Append(NonceOf(1), kForever, Always());
    ASSERT_TRUE(again.ok());
    EXPECT_EQ(again->seq, 1u);
    EXPECT_TRUE(again->written);
    EXPECT_EQ(journal->view()->state->seq, 2u);
  }
}

TEST_F(JournalTest, WriterWhoseAnswerWasLostRecognisesItsOwnEntry) {
  ScriptedStore store(&memory_);
  int lost = 0;
  store.on_put = [&](std::string_view key,
                     const std::function<absl::Status()>& done) -> std::optional<absl::Status> {
    if (key.find("/journal/") == key.npos || lost++ > 0) return std::nullopt;
    EXPECT_TRUE(done().ok());
    return absl::UnavailableError("connection reset");
  };
  const auto journal = Open(&store);
  const auto appended = journal->Append(NonceOf(1), kForever, Always());
  ASSERT_TRUE(appended.ok()) << appended.status();
  EXPECT_EQ(appended->seq, 1u);
  EXPECT_TRUE(appended->written);
  EXPECT_EQ(journal->Refresh(kForever).value()->state->seq, 1u);
}

TEST_F(JournalTest, WriterWhosePutFailedWritesOnceMore) {
  ScriptedStore store(&memory_);
  int failed = 0;
  store.on_put = [&](std::string_view key,
                     const std::function<absl::Status()>&) -> std::optional<absl::Status> {
    if (key.find("/journal/") == key.npos || failed++ > 1) return std::nullopt;
    return absl::UnavailableError("connection refused");
  };
  const auto appended = Open(&store)->Append(NonceOf(1), kForever, Always());
  ASSERT_TRUE(appended.ok()) << appended.status();
  EXPECT_EQ(appended->seq, 1u);
}

TEST_F(JournalTest, StoreThatIsAwayOrRefusesIsReportedAsItIs) {
  for (const absl::StatusCode code : {absl::StatusCode::kUnavailable, absl::StatusCode::kPermissionDenied,
                                      absl::StatusCode::kResourceExhausted}) {
    ScriptedStore store(&memory_);
    store.on_put = [&](std::string_view, const std::function<absl::Status()>&) {
      return std::optional(absl::Status(code, "no"));
    };
    const auto appended = Open(&store)->Append(NonceOf(1), kForever, Always());
    EXPECT_EQ(appended.status().code(), code);
    EXPECT_THAT(std::string(Message(appended.status())), HasSubstr("a/b"));
  }
}

TEST_F(JournalTest, HistoryIsNewestFirstFromMemoryAndFromTheStore) {
  Fill(330);
  const auto journal = Open();  // knows the entries behind the newest checkpoint only
  ASSERT_TRUE(journal->Refresh(kForever).ok());
  const auto seqs = [&](uint64_t before, size_t limit) {
    std::vector<uint64_t> result;
    const auto entries = journal->History(before, limit, kForever);
    EXPECT_TRUE(entries.ok());
    for (const JournalEntryPtr& entry : *entries) result.push_back(entry->seq());
    return result;
  };
  EXPECT_THAT(seqs(0, 3), ::testing::ElementsAre(330, 329, 328));
  EXPECT_THAT(seqs(323, 4), ::testing::ElementsAre(322, 321, 320, 319));
  EXPECT_THAT(seqs(3, 10), ::testing::ElementsAre(2, 1));
  EXPECT_THAT(seqs(1, 10), ::testing::ElementsAre());
  EXPECT_THAT(seqs(9999, 1), ::testing::ElementsAre(330));
  EXPECT_EQ(seqs(0, 5000).size(), 330u);
}

TEST_F(JournalTest, ConcurrentRefreshesAreCollapsed) {
  Fill(1);
  ScriptedStore store(&memory_);
  const auto journal = Open(&store);
  ASSERT_TRUE(journal->Refresh(kForever).ok());
  absl::Mutex mutex;
  bool open = false;
  store.gets = 0;
  store.before_get = [&](std::string_view) {
    absl::MutexLock lock(&mutex);
    mutex.Await(absl::Condition(&open));
  };
  std::vector<std::thread> threads;
  for (int i = 0; i < 20; ++i) threads.emplace_back([&] { EXPECT_TRUE(journal->Refresh(kForever).ok()); });
  {
    absl::MutexLock lock(&mutex);
    open = true;
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_LE(store.gets, 20);
  EXPECT_GE(store.gets, 1);
}

// Writers with journals of their own, as in processes of their own; every put may fail before or after it
// happened. Nothing acknowledged is lost, nothing is there twice, all agree.
void ManyWriters(ObjectStore& store, bool faults) {
  constexpr int kWriters = 6;
  constexpr int kAppends = 25;
  ThreadPool pool("writers", 8);
  std::atomic<uint64_t> acknowledged = 0;
  std::vector<std::unique_ptr<ScriptedStore>> stores;
  std::vector<std::unique_ptr<Journal>> journals;
  for (int w = 0; w < kWriters; ++w) {
    stores.push_back(std::make_unique<ScriptedStore>(&store));
    if (faults) {
      stores.back()->on_put = [](std::string_view,
                                 const std::function<absl::Status()>& done) -> std::optional<absl::Status> {
        const uint64_t dice = Random::System()->Below(6);
        if (dice == 0) return absl::UnavailableError("before");
        if (dice == 1) {
          (void)done();
          return absl::DeadlineExceededError("after");
        }
        return std::nullopt;
      };
    }
    journals.push_back(
        std::make_unique<Journal>(Name(), stores.back().get(), &pool, Clock::System(), Random::System()));
  }
  std::vector<std::thread> threads;
  for (uint64_t w = 0; w < kWriters; ++w) {
    threads.emplace_back([&, w] {
      for (uint64_t i = 0; i < kAppends; ++i) {
        const std::string tag = "w" + std::to_string(w) + "." + std::to_string(i);
        for (;;) {
          const auto appended =
              journals[w]->Append(NonceOf(w << 32 | i), absl::InfiniteFuture(), Always(1, tag));
          if (appended.ok()) break;
          ASSERT_TRUE(IsTransient(appended.status())) << appended.status();
        }
        ++acknowledged;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(acknowledged, static_cast<uint64_t>(kWriters * kAppends));

  Journal fresh(Name(), &store, &pool, Clock::System(), Random::System());
  const auto view = fresh.Refresh(absl::InfiniteFuture());
  ASSERT_TRUE(view.ok()) << view.status();
  EXPECT_EQ((*view)->state->seq, acknowledged);
  EXPECT_EQ((*view)->state->tags.size(), acknowledged);
  for (const auto& journal : journals) {
    ASSERT_TRUE(journal->Refresh(absl::InfiniteFuture()).ok());
    EXPECT_EQ(*journal->view()->state, *(*view)->state);
  }
}

TEST(JournalPropertyTest, ManyWritersLoseNothingAndAgreeInMemory) {
  MemoryObjectStore store;
  ManyWriters(store, false);
}

TEST(JournalPropertyTest, ManyWritersLoseNothingThoughAnswersAreLost) {
  MemoryObjectStore store;
  ManyWriters(store, true);
}

TEST(JournalPropertyTest, ManyWritersLoseNothingOnFiles) {
  std::string directory = (std::filesystem::temp_directory_path() / "aetherfs-journal-XXXXXX").string();
  ASSERT_NE(mkdtemp(directory.data()), nullptr);
  {
    auto store = FileObjectStore::Open(directory);
    ASSERT_TRUE(store.ok()) << store.status();
    ManyWriters(**store, true);
  }
  std::filesystem::remove_all(directory);
}

}  // namespace
}  // namespace aetherfs
