#include <random>

#include "aetherfs/base/quantity.h"
#include "aetherfs/base/random.h"
#include "aetherfs/base/sha256.h"
#include "aetherfs/base/sha256_lanes.h"
#include "aetherfs/base/status.h"
#include "aetherfs/base/testing/fake_clock.h"
#include "aetherfs/base/thread_pool.h"
#include "aetherfs/base/utf8.h"
#include "gtest/gtest.h"

namespace aetherfs {
namespace {

TEST(DigestTest, ParsesItsOwnTextAndNothingElse) {
  const Digest digest = Sha256::Of("abc");
  EXPECT_EQ(digest.Hex(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(*Digest::Parse(digest.ToString()), digest);
  EXPECT_EQ(*Digest::FromBytes(digest.bytes()), digest);
  for (const std::string& text : {std::string(), digest.Hex(), "sha256:" + digest.Hex().substr(1),
                                  digest.ToString() + "0", "sha256:" + std::string(64, 'g')}) {
    EXPECT_EQ(Digest::Parse(text).status().code(), absl::StatusCode::kInvalidArgument) << text;
  }
}

// Messages side by side come out as they do one by one, whatever their lengths and however they are cut.
TEST(Sha256Test, ManyAtOnceEqualsOneByOne) {
  std::mt19937_64 random(7);
  std::string data(1 << 18, '\0');
  for (char& c : data) c = static_cast<char>(random());
  for (int round = 0; round < 200; ++round) {
    const size_t count = random() % 40;
    std::vector<Sha256> hashes(count);
    std::vector<std::string> whole(count);
    for (int piece = 0; piece < 3; ++piece) {
      std::vector<Sha256*> pointers;
      std::vector<std::string_view> pieces;
      for (size_t i = 0; i < count; ++i) {
        const size_t size = random() % (i % 3 == 0 ? 130 : 5000);
        pieces.push_back(std::string_view(data).substr(random() % (data.size() - size), size));
        pointers.push_back(&hashes[i]);
        whole[i].append(pieces.back());
      }
      Sha256UpdateMany(pointers, pieces);
    }
    for (size_t i = 0; i < count; ++i) ASSERT_EQ(hashes[i].Finish(), Sha256::Of(whole[i]));
  }
}

// Every kernel that this processor can run gives what OpenSSL gives.
TEST(Sha256Test, EveryKernelComputesTheStandardCompression) {
  std::vector<Sha256LaneKernel> kernels;
  if (__builtin_cpu_supports("avx2")) kernels.push_back({8, &Sha256CompressAvx2});
  if (__builtin_cpu_supports("avx512f")) kernels.push_back({16, &Sha256CompressAvx512});
  for (const Sha256LaneKernel& kernel : kernels) {
    std::vector<std::string> messages(kernel.lanes);
    std::vector<SHA256_CTX> contexts(kernel.lanes);
    std::vector<uint32_t*> states;
    std::vector<const uint8_t*> data;
    for (size_t i = 0; i < kernel.lanes; ++i) {
      messages[i] = std::string(5 * 64, static_cast<char>('a' + i));
      SHA256_Init(&contexts[i]);
      states.push_back(contexts[i].h);
      data.push_back(reinterpret_cast<const uint8_t*>(messages[i].data()));
    }
    kernel.compress(states.data(), data.data(), 5);
    for (size_t i = 0; i < kernel.lanes; ++i) {
      SHA256_CTX expected;
      SHA256_Init(&expected);
      SHA256_Update(&expected, messages[i].data(), messages[i].size());
      for (int word = 0; word < 8; ++word) ASSERT_EQ(contexts[i].h[word], expected.h[word]);
    }
  }
}

TEST(Utf8Test, AcceptsWellFormedAndRefusesTheRest) {
  for (const char* good : {"", "abc", "\xc3\xa4", "\xe2\x82\xac", "\xf0\x9f\x98\x80", "\xf4\x8f\xbf\xbf"}) {
    EXPECT_TRUE(IsUtf8(good)) << good;
  }
  for (const char* bad :
       {"\x80", "\xc0\x80", "\xc1\xbf", "\xe0\x80\x80", "\xed\xa0\x80", "\xf0\x80\x80\x80",
        "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xc3", "\xe2\x82", "a\xff"}) {
    EXPECT_FALSE(IsUtf8(bad));
  }
  EXPECT_EQ(Printable("a\xff\n\xc3\xa4"), "a\\xff\\x0a\xc3\xa4");
}

TEST(QuantityTest, SizesAndTimes) {
  EXPECT_EQ(*ParseSize("64MiB"), 64 * kMiB);
  EXPECT_EQ(*ParseSize("1.5GiB"), 3 * kGiB / 2);
  EXPECT_EQ(*ParseSize("0"), 0u);
  EXPECT_EQ(*ParseSize("10kB"), 10000u);
  for (const char* bad : {"", "MiB", "-1", "1 MiB", "1mib", "1e3", "99999999TiB", "nan", "inf"}) {
    EXPECT_FALSE(ParseSize(bad).ok()) << bad;
  }
  EXPECT_EQ(*ParseDuration("1m30s"), absl::Seconds(90));
  EXPECT_EQ(*ParseDuration("0"), absl::ZeroDuration());
  for (const char* bad : {"", "30", "-1s", "inf", "x"}) EXPECT_FALSE(ParseDuration(bad).ok()) << bad;
  EXPECT_EQ(FormatSize(3565158), "3.4 MiB");
  EXPECT_EQ(FormatSize(1023), "1023 B");
  EXPECT_EQ(FormatElapsed(absl::Seconds(65)), "1m05s");
  EXPECT_EQ(FormatElapsed(absl::Nanoseconds(1'847'693'013)), "1.8s");
  EXPECT_EQ(FormatElapsed(absl::Microseconds(999'400)), "999ms");
  EXPECT_EQ(FormatElapsed(absl::Microseconds(999'700)), "1.0s");
  EXPECT_EQ(FormatElapsed(absl::Milliseconds(59'940)), "59.9s");
  EXPECT_EQ(FormatElapsed(absl::Milliseconds(59'960)), "1m00s");
}

TEST(StatusTest, AnnotateKeepsCodeAndPayload) {
  absl::Status status = absl::UnavailableError("down");
  status.SetPayload("k", absl::Cord("v"));
  const absl::Status annotated = Annotate(status, "asking");
  EXPECT_EQ(annotated.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(Message(annotated), "asking: down");
  EXPECT_TRUE(annotated.GetPayload("k").has_value());
  EXPECT_TRUE(Annotate(absl::OkStatus(), "x").ok());
}

TEST(ThreadPoolTest, ParallelForRunsEachOnceAlsoFromWithinAndWithABusyPool) {
  ThreadPool pool("test", 2);
  std::atomic<int> runs{0};
  pool.ParallelFor(10, 4, [&](size_t) { pool.ParallelFor(10, 4, [&](size_t) { ++runs; }); });
  EXPECT_EQ(runs, 100);
}

TEST(ThreadPoolTest, EndRunsWhatIsQueuedAndAFullQueueRefuses) {
  std::atomic<int> runs{0};
  {
    absl::Mutex gate;
    gate.Lock();
    ThreadPool pool("test", 1, 2);
    pool.Submit([&] {
      absl::MutexLock wait(&gate);
      ++runs;
    });
    while (pool.queued() > 0) {
    }
    EXPECT_TRUE(pool.TrySubmit([&] { ++runs; }));
    EXPECT_TRUE(pool.TrySubmit([&] { ++runs; }));
    EXPECT_FALSE(pool.TrySubmit([&] { ++runs; }));
    gate.Unlock();
  }
  EXPECT_EQ(runs, 3);
}

TEST(BackoffTest, GrowsUpToTheLimitAndIsNeverNegative) {
  for (int attempt = 0; attempt < 100; ++attempt) {
    const absl::Duration delay =
        BackoffDelay(attempt, absl::Milliseconds(100), absl::Seconds(10), *Random::System());
    EXPECT_GE(delay, absl::ZeroDuration());
    EXPECT_LE(delay, absl::Seconds(10));
    if (attempt == 0) {
      EXPECT_LE(delay, absl::Milliseconds(100));
    }
  }
}

TEST(FakeClockTest, SleepingMovesItOn) {
  FakeClock clock;
  const absl::Time start = clock.Now();
  clock.SleepFor(absl::Seconds(3));
  EXPECT_EQ(clock.Now() - start, absl::Seconds(3));
  EXPECT_EQ(clock.slept(), absl::Seconds(3));
}

}  // namespace
}  // namespace aetherfs
