#include "aetherfs/object/testing/conformance.h"

#include <algorithm>
#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "absl/synchronization/barrier.h"
#include "absl/time/clock.h"
#include "aetherfs/base/quantity.h"
#include "aetherfs/base/sha256.h"
#include "aetherfs/base/status.h"
#include "fmt/format.h"
#include "gmock/gmock.h"

namespace aetherfs {
namespace {

using absl::StatusCode;
using testing::ElementsAre;
using testing::ElementsAreArray;
using testing::IsEmpty;

constexpr absl::Time kNever = absl::InfiniteFuture();

absl::StatusOr<std::string> GetRange(ObjectStore& store, std::string_view key, uint64_t offset,
                                     uint64_t size) {
  std::string content;
  const GetOptions options = {.range = ByteRange{offset, size}};
  const absl::StatusOr<ObjectInfo> info = store.Get(key, options, [&](std::string_view data) {
    content.append(data);
    return absl::OkStatus();
  });
  if (!info.ok()) {
    EXPECT_THAT(content, IsEmpty()) << "bytes came with " << Describe(info.status());
    return info.status();
  }
  return content;
}

std::vector<std::string> Keys(const ListResult& page) {
  std::vector<std::string> keys;
  for (const ListedObject& object : page.objects) keys.push_back(object.key);
  return keys;
}

std::vector<std::string> AllKeys(ObjectStore& store, ListOptions options) {
  std::vector<std::string> keys;
  const absl::Status status = ListAll(store, std::move(options), [&](const ListedObject& object) {
    keys.push_back(object.key);
    return true;
  });
  EXPECT_TRUE(status.ok()) << Describe(status);
  return keys;
}

#define EXPECT_OK(expression)                                         \
  do {                                                                \
    const absl::Status expect_ok_status = (expression);               \
    EXPECT_TRUE(expect_ok_status.ok()) << Describe(expect_ok_status); \
  } while (false)
#define ASSERT_OK(expression)                                         \
  do {                                                                \
    const absl::Status assert_ok_status = (expression);               \
    ASSERT_TRUE(assert_ok_status.ok()) << Describe(assert_ok_status); \
  } while (false)

TEST_P(ObjectStoreConformanceTest, WhatWasPutIsGot) {
  ASSERT_OK(store().Put("a/b", {"hello ", "", "world"}, {}));
  const absl::StatusOr<std::string> content = ReadObject(store(), "a/b", 100);
  ASSERT_OK(content.status());
  EXPECT_EQ(*content, "hello world");
  const absl::StatusOr<ObjectInfo> info = store().Head("a/b", kNever);
  ASSERT_OK(info.status());
  EXPECT_EQ(info->size, 11u);
}

TEST_P(ObjectStoreConformanceTest, MissingIsNotFound) {
  ASSERT_OK(store().Put("there/is", {"one"}, {}));
  for (const std::string key : {"missing", "there", "there/is-not", "there/is/nothing/below"}) {
    EXPECT_EQ(ReadObject(store(), key, 100).status().code(), StatusCode::kNotFound) << key;
    EXPECT_EQ(store().Head(key, kNever).status().code(), StatusCode::kNotFound) << key;
    EXPECT_EQ(GetRange(store(), key, 0, 1).status().code(), StatusCode::kNotFound) << key;
  }
}

TEST_P(ObjectStoreConformanceTest, EmptyObjectsAreObjects) {
  ASSERT_OK(store().Put("empty", {}, {.if_absent = true}));
  EXPECT_EQ(*ReadObject(store(), "empty", 0), "");
  EXPECT_EQ(store().Head("empty", kNever)->size, 0u);
  EXPECT_EQ(GetRange(store(), "empty", 0, 1).status().code(), StatusCode::kOutOfRange);
  EXPECT_EQ(store().Put("empty", {}, {.if_absent = true}).code(), StatusCode::kAlreadyExists);
}

TEST_P(ObjectStoreConformanceTest, RangesAreExact) {
  const std::string body = PatternBytes(700'001, 1);
  ASSERT_OK(store().Put("k", {body}, {.sha256 = Sha256::Of(body)}));
  for (const auto& [offset, size] : std::vector<std::pair<uint64_t, uint64_t>>{{0, 1},
                                                                               {0, body.size()},
                                                                               {1, 3},
                                                                               {262'143, 2},
                                                                               {262'144, 262'144},
                                                                               {700'000, 1},
                                                                               {5, 699'996}}) {
    const absl::StatusOr<std::string> content = GetRange(store(), "k", offset, size);
    ASSERT_OK(content.status());
    EXPECT_TRUE(*content == body.substr(offset, size)) << offset << "+" << size;
  }
  const auto ignore = [](std::string_view) { return absl::OkStatus(); };
  EXPECT_EQ(store().Get("k", {.range = ByteRange{10, 20}}, ignore)->size, body.size());
}

TEST_P(ObjectStoreConformanceTest, RangesBehindTheEndAreOutOfRange) {
  ASSERT_OK(store().Put("k", {"0123456789"}, {}));
  EXPECT_EQ(GetRange(store(), "k", 9, 2).status().code(), StatusCode::kOutOfRange);
  EXPECT_EQ(GetRange(store(), "k", 10, 1).status().code(), StatusCode::kOutOfRange);
  EXPECT_EQ(GetRange(store(), "k", 1'000'000, 5).status().code(), StatusCode::kOutOfRange);
  EXPECT_EQ(GetRange(store(), "k", 0, 0).status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(GetRange(store(), "k", UINT64_MAX, 2).status().code(), StatusCode::kInvalidArgument);
}

TEST_P(ObjectStoreConformanceTest, LargeObjectsComeBackWhole) {
  const std::string body = PatternBytes(8 * kMiB, 2);
  const std::string_view view = body;
  ASSERT_OK(store().Put("large", {view.substr(0, 1), view.substr(1, 5'000'000), view.substr(5'000'001)},
                        {.if_absent = true, .sha256 = Sha256::Of(body)}));
  const absl::StatusOr<std::string> content = ReadObject(store(), "large", body.size());
  ASSERT_OK(content.status());
  EXPECT_TRUE(*content == body);
}

TEST_P(ObjectStoreConformanceTest, TheSinksErrorEndsTheGet) {
  ASSERT_OK(store().Put("k", {PatternBytes(3 * kMiB, 3)}, {}));
  int calls = 0;
  const absl::StatusOr<ObjectInfo> info = store().Get("k", {}, [&](std::string_view) {
    ++calls;
    return absl::UnavailableError("the sink is full");
  });
  EXPECT_EQ(info.status(), absl::UnavailableError("the sink is full"));
  EXPECT_EQ(calls, 1);
  EXPECT_EQ(store().Head("k", kNever)->size, 3 * kMiB);  // the store goes on
}

TEST_P(ObjectStoreConformanceTest, PutReplacesAndPutIfAbsentDoesNot) {
  ASSERT_OK(store().Put("k", {"one"}, {.if_absent = true}));
  EXPECT_EQ(store().Put("k", {"two"}, {.if_absent = true}).code(), StatusCode::kAlreadyExists);
  EXPECT_EQ(*ReadObject(store(), "k", 10), "one");
  ASSERT_OK(store().Put("k", {"three"}, {}));
  EXPECT_EQ(*ReadObject(store(), "k", 10), "three");
}

TEST_P(ObjectStoreConformanceTest, OneOfManyConcurrentWritersWins) {
  constexpr int kWriters = 16;
  for (int round = 0; round < 4; ++round) {
    const std::string key = fmt::format("race/{}/entry", round);
    absl::Barrier* barrier = new absl::Barrier(kWriters);
    std::atomic<int> winners = 0;
    std::string winner;
    std::vector<absl::Status> losses(kWriters);
    std::vector<std::thread> threads;
    for (int i = 0; i < kWriters; ++i) {
      threads.emplace_back([&, i] {
        const std::string body = fmt::format("writer {}", i);
        if (barrier->Block()) delete barrier;
        const absl::Status status = store().Put(key, {body}, {.if_absent = true});
        if (!status.ok()) {
          losses[static_cast<size_t>(i)] = status;
        } else if (winners.fetch_add(1) == 0) {
          winner = body;
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(winners, 1);
    EXPECT_EQ(*ReadObject(store(), key, 100), winner);
    for (const absl::Status& loss : losses) {
      EXPECT_TRUE(loss.ok() || absl::IsAlreadyExists(loss) ||
                  (absl::IsUnavailable(loss) && GetParam().loser_may_be_unavailable))
          << Describe(loss);
    }
  }
}

TEST_P(ObjectStoreConformanceTest, RemovedIsGoneAndMayBePutAgain) {
  ASSERT_OK(store().Put("a/k", {"one"}, {}));
  ASSERT_OK(store().Put("a/l", {"two"}, {}));
  EXPECT_OK(store().Remove("a/k", kNever));
  EXPECT_EQ(store().Head("a/k", kNever).status().code(), StatusCode::kNotFound);
  EXPECT_OK(store().Remove("a/k", kNever));
  EXPECT_OK(store().Remove("never/was", kNever));
  EXPECT_THAT(AllKeys(store(), {}), ElementsAre("a/l"));
  EXPECT_OK(store().Put("a/k", {"three"}, {.if_absent = true}));
  EXPECT_EQ(*ReadObject(store(), "a/k", 10), "three");
}

TEST_P(ObjectStoreConformanceTest, ListsInTheOrderOfBytesOfWholeKeys) {
  // In byte order; '-' and '.' come before '/', digits and letters behind it.
  const std::vector<std::string> keys = {
      "A/z", "a-b/c", "a-b0",  "a.b", "a/0",    "a/00/1", "a/00=", "a/b/c", "a/b/d", "a0",
      "b",   "c!/d",  "c%2Fd", "c'd", "c(d)*e", "c+d",    "c@d",   "c_d",   "d/e/f", "d/e0"};
  ASSERT_TRUE(std::is_sorted(keys.begin(), keys.end()));
  for (auto key = keys.rbegin(); key != keys.rend(); ++key) {
    ASSERT_OK(store().Put(*key, {*key}, {.if_absent = true}));
  }
  EXPECT_THAT(AllKeys(store(), {}), ElementsAreArray(keys));
  for (size_t limit : {1u, 2u, 3u, 7u, 19u, 20u}) {
    EXPECT_THAT(AllKeys(store(), {.prefix = "", .start_after = "", .limit = limit}), ElementsAreArray(keys))
        << limit;
  }
  for (size_t i = 0; i < keys.size(); ++i) {
    EXPECT_THAT(AllKeys(store(), {.prefix = "", .start_after = keys[i], .limit = 6}),
                ElementsAreArray(keys.begin() + static_cast<ptrdiff_t>(i) + 1, keys.end()))
        << keys[i];
    EXPECT_EQ(*ReadObject(store(), keys[i], 100), keys[i]);
  }
  EXPECT_EQ(store().List({})->objects[9].size, 2u);
}

TEST_P(ObjectStoreConformanceTest, ListsByPrefixAndFromAnyKeyOn) {
  for (const std::string key : {"j/00000001", "j/00000002", "j/00000010", "ja", "k/x", "k/y/z", "i"}) {
    ASSERT_OK(store().Put(key, {"."}, {}));
  }
  EXPECT_THAT(AllKeys(store(), {.prefix = "j/"}), ElementsAre("j/00000001", "j/00000002", "j/00000010"));
  EXPECT_THAT(AllKeys(store(), {.prefix = "j"}),
              ElementsAre("j/00000001", "j/00000002", "j/00000010", "ja"));
  EXPECT_THAT(AllKeys(store(), {.prefix = "j/0000000"}), ElementsAre("j/00000001", "j/00000002"));
  EXPECT_THAT(AllKeys(store(), {.prefix = "j/", .start_after = "j/00000002"}), ElementsAre("j/00000010"));
  EXPECT_THAT(AllKeys(store(), {.prefix = "j/", .start_after = "j/000000021"}), ElementsAre("j/00000010"));
  EXPECT_THAT(AllKeys(store(), {.prefix = "j/", .start_after = "a"}),
              ElementsAre("j/00000001", "j/00000002", "j/00000010"));
  EXPECT_THAT(AllKeys(store(), {.prefix = "j/", .start_after = "jz"}), IsEmpty());
  EXPECT_THAT(AllKeys(store(), {.prefix = "k/y/"}), ElementsAre("k/y/z"));
  EXPECT_THAT(AllKeys(store(), {.prefix = "missing/"}), IsEmpty());
  EXPECT_THAT(AllKeys(store(), {.prefix = "k/x/"}), IsEmpty());
  EXPECT_THAT(AllKeys(store(), {.prefix = "", .start_after = "k"}), ElementsAre("k/x", "k/y/z"));
}

TEST_P(ObjectStoreConformanceTest, PagesSayWhetherThereIsMore) {
  for (int i = 0; i < 5; ++i) ASSERT_OK(store().Put(fmt::format("p/{}", i), {""}, {}));
  const absl::StatusOr<ListResult> full = store().List({.prefix = "p/", .start_after = "", .limit = 3});
  ASSERT_OK(full.status());
  EXPECT_THAT(Keys(*full), ElementsAre("p/0", "p/1", "p/2"));
  EXPECT_TRUE(full->more);
  const absl::StatusOr<ListResult> last = store().List({.prefix = "p/", .start_after = "p/2", .limit = 2});
  ASSERT_OK(last.status());
  EXPECT_THAT(Keys(*last), ElementsAre("p/3", "p/4"));
  EXPECT_FALSE(last->more);
  EXPECT_EQ(store().List({.prefix = "p/", .start_after = "", .limit = 0}).status().code(),
            StatusCode::kInvalidArgument);
}

TEST_P(ObjectStoreConformanceTest, OddKeysAreKept) {
  std::vector<std::string> keys = {"%2F",
                                   "%252F",
                                   "%40acme%2Fgeo/journal/00000000000000000001",
                                   "!_.*'()%@=+-/x",
                                   "...",
                                   "a..b",
                                   "a+b=c",
                                   "x/" + std::string(255, 'n')};
  std::string deep;  // 4 × 201 bytes
  for (int i = 0; i < 4; ++i) deep += std::string(200, static_cast<char>('p' + i)) + "/";
  keys.push_back(deep + "k");
  std::sort(keys.begin(), keys.end());
  for (const std::string& key : keys) {
    ASSERT_OK(store().Put(key, {key}, {.if_absent = true}));
    EXPECT_EQ(store().Put(key, {key}, {.if_absent = true}).code(), StatusCode::kAlreadyExists) << key;
    EXPECT_EQ(*ReadObject(store(), key, 2000), key);
  }
  EXPECT_THAT(AllKeys(store(), {.prefix = "", .start_after = "", .limit = 2}), ElementsAreArray(keys));
  for (const std::string& key : keys) EXPECT_OK(store().Remove(key, kNever));
  EXPECT_THAT(AllKeys(store(), {}), IsEmpty());
}

TEST_P(ObjectStoreConformanceTest, BadKeysAreRefusedEverywhere) {
  const auto ignore = [](std::string_view) { return absl::OkStatus(); };
  for (const std::string key : {"", "/a", "a/", "a//b", "../a", "a/./b", "a b", "a#b", "a?b", "\xc3\xa4"}) {
    EXPECT_EQ(store().Put(key, {""}, {}).code(), StatusCode::kInvalidArgument) << key;
    EXPECT_EQ(store().Get(key, {}, ignore).status().code(), StatusCode::kInvalidArgument) << key;
    EXPECT_EQ(store().Head(key, kNever).status().code(), StatusCode::kInvalidArgument) << key;
    EXPECT_EQ(store().Remove(key, kNever).code(), StatusCode::kInvalidArgument) << key;
  }
}

TEST_P(ObjectStoreConformanceTest, AKeyBelowAnObjectIsStoredOrClearlyRefused) {
  const StatusCode wanted = GetParam().keys_may_nest ? StatusCode::kOk : StatusCode::kFailedPrecondition;
  ASSERT_OK(store().Put("object", {"x"}, {}));
  ASSERT_OK(store().Put("directory/x", {"x"}, {}));
  EXPECT_EQ(store().Put("object/below", {"y"}, {}).code(), wanted);
  EXPECT_EQ(store().Put("object/far/below", {"y"}, {.if_absent = true}).code(), wanted);
  EXPECT_EQ(store().Put("directory", {"y"}, {}).code(), wanted);
  EXPECT_OK(store().Remove("directory", kNever));
  EXPECT_EQ(store().Put("directory", {"y"}, {.if_absent = true}).code(), wanted);
  EXPECT_EQ(*ReadObject(store(), "object", 10), "x");
  EXPECT_EQ(*ReadObject(store(), "directory/x", 10), "x");
}

TEST_P(ObjectStoreConformanceTest, APassedDeadlineEndsEveryCallAndChangesNothing) {
  ASSERT_OK(store().Put("k", {"x"}, {}));
  const absl::Time past = absl::Now() - absl::Seconds(1);
  const auto ignore = [](std::string_view) { return absl::OkStatus(); };
  EXPECT_EQ(store().Get("k", {.deadline = past}, ignore).status().code(), StatusCode::kDeadlineExceeded);
  EXPECT_EQ(store().Put("l", {"y"}, {.deadline = past}).code(), StatusCode::kDeadlineExceeded);
  EXPECT_EQ(store().Head("k", past).status().code(), StatusCode::kDeadlineExceeded);
  EXPECT_EQ(store().List({.prefix = "", .deadline = past}).status().code(), StatusCode::kDeadlineExceeded);
  EXPECT_EQ(store().Remove("k", past).code(), StatusCode::kDeadlineExceeded);
  EXPECT_THAT(AllKeys(store(), {}), ElementsAre("k"));
  EXPECT_EQ(*ReadObject(store(), "k", 10, absl::Now() + absl::Minutes(1)), "x");
}

TEST_P(ObjectStoreConformanceTest, AWrongDigestIsRefusedWhereItIsChecked) {
  const absl::Status status = store().Put("k", {"body"}, {.sha256 = Sha256::Of("other")});
  if (GetParam().checks_sha256) {
    EXPECT_EQ(status.code(), StatusCode::kDataLoss) << Describe(status);
    EXPECT_EQ(store().Head("k", kNever).status().code(), StatusCode::kNotFound);
  } else {
    EXPECT_OK(status);
  }
  EXPECT_OK(store().Put("l", {"bo", "dy"}, {.sha256 = Sha256::Of("body")}));
}

TEST_P(ObjectStoreConformanceTest, ReadersSeeOldOrNewWhileAnObjectIsReplaced) {
  const std::string old_body(100'000, 'o'), new_body(200'000, 'n');
  ASSERT_OK(store().Put("k", {old_body}, {}));
  std::atomic<bool> stop = false;
  std::thread writer([&] {
    for (int i = 0; i < 20; ++i) EXPECT_OK(store().Put("k", {i % 2 == 0 ? new_body : old_body}, {}));
    stop = true;
  });
  while (!stop) {
    const absl::StatusOr<std::string> content = ReadObject(store(), "k", kMiB);
    EXPECT_TRUE(content.ok() && (*content == old_body || *content == new_body))
        << Describe(content.status());
  }
  writer.join();
}

}  // namespace

std::string ConformanceCaseName(const testing::TestParamInfo<ConformanceCase>& info) {
  return info.param.name;
}

std::string PatternBytes(size_t size, uint64_t seed) {
  std::string bytes(size, '\0');
  uint64_t state = seed * 0x9E3779B97F4A7C15 + 1;
  for (char& byte : bytes) {
    state = state * 6364136223846793005 + 1442695040888963407;
    byte = static_cast<char>(state >> 56);
  }
  return bytes;
}

}  // namespace aetherfs
