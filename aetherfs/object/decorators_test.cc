// MeteredObjectStore, PrefixObjectStore and the probe, beyond what the conformance suite says.

#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "aetherfs/base/status.h"
#include "aetherfs/base/testing/fake_clock.h"
#include "aetherfs/object/memory/memory_object_store.h"
#include "aetherfs/object/metered_object_store.h"
#include "aetherfs/object/prefix_object_store.h"
#include "aetherfs/object/probe.h"
#include "aetherfs/object/retrying_object_store.h"
#include "aetherfs/object/testing/faulty_object_store.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace aetherfs {
namespace {

using absl::StatusCode;
using enum ObjectOperation;
using testing::ElementsAre;

constexpr absl::Time kNever = absl::InfiniteFuture();

class RecordingMetrics : public ObjectStoreMetrics {
 public:
  using Observation = std::tuple<ObjectOperation, StatusCode, uint64_t, absl::Duration>;
  void Observe(ObjectOperation operation, StatusCode code, uint64_t bytes,
               absl::Duration duration) override {
    seen.emplace_back(operation, code, bytes, duration);
  }
  std::vector<Observation> seen;
};

TEST(MeteredObjectStoreTest, ObservesEveryCallOnce) {
  FakeClock clock;
  RecordingMetrics metrics;
  const auto faulty = std::make_shared<FaultyObjectStore>(std::make_shared<MemoryObjectStore>(&clock));
  MeteredObjectStore store(faulty, &metrics, &clock);
  ASSERT_TRUE(store.Put("k", {"0123", "456789"}, {}).ok());
  EXPECT_EQ(store.Put("k", {"x"}, {.if_absent = true}).code(), StatusCode::kAlreadyExists);
  faulty->Inject({.operation = kGet, .truncate_at = 4});
  EXPECT_FALSE(store
                   .Get("k", {},
                        [&](std::string_view) {
                          clock.Advance(absl::Seconds(2));
                          return absl::OkStatus();
                        })
                   .ok());
  EXPECT_TRUE(store.Head("k", kNever).ok());
  EXPECT_TRUE(store.List({}).ok());
  EXPECT_TRUE(store.Remove("k", kNever).ok());
  constexpr absl::Duration kZero = absl::ZeroDuration();
  EXPECT_THAT(metrics.seen, ElementsAre(std::tuple(kPut, StatusCode::kOk, 10, kZero),
                                        std::tuple(kPut, StatusCode::kAlreadyExists, 0, kZero),
                                        std::tuple(kGet, StatusCode::kUnavailable, 4, absl::Seconds(2)),
                                        std::tuple(kHead, StatusCode::kOk, 0, kZero),
                                        std::tuple(kList, StatusCode::kOk, 0, kZero),
                                        std::tuple(kRemove, StatusCode::kOk, 0, kZero)));
}

TEST(PrefixObjectStoreTest, KeysLieBelowThePrefix) {
  const auto memory = std::make_shared<MemoryObjectStore>();
  PrefixObjectStore store(memory, "a/b");
  ASSERT_TRUE(store.Put("k", {"x"}, {}).ok());
  EXPECT_EQ(*ReadObject(*memory, "a/b/k", 10), "x");
  EXPECT_EQ(store.Put("../k", {"x"}, {}).code(), StatusCode::kInvalidArgument);
}

TEST(ProbeTest, AStoreThatHonoursCreateIfAbsentPassesAndIsLeftClean) {
  MemoryObjectStore store;
  const absl::Status status = ProbeCreateIfAbsent(store, *Random::System());
  EXPECT_TRUE(status.ok()) << Describe(status);
  EXPECT_TRUE(store.List({})->objects.empty());
}

// Ignores the condition, as S3 servers do that do not know it.
class UnconditionalStore : public MemoryObjectStore {
 public:
  absl::Status Put(std::string_view key, const std::vector<std::string_view>& pieces,
                   const PutOptions& options) override {
    PutOptions unconditional = options;
    unconditional.if_absent = false;
    return MemoryObjectStore::Put(key, pieces, unconditional);
  }
};

// Refuses the second write, but has written it.
class LyingStore : public MemoryObjectStore {
 public:
  absl::Status Put(std::string_view key, const std::vector<std::string_view>& pieces,
                   const PutOptions& options) override {
    const absl::Status status = MemoryObjectStore::Put(key, pieces, options);
    (void)MemoryObjectStore::Put(key, pieces, {});
    return status;
  }
};

TEST(ProbeTest, AStoreThatDoesNotIsFailedPreconditionWithAdvice) {
  UnconditionalStore unconditional;
  LyingStore lying;
  for (ObjectStore* store :
       {static_cast<ObjectStore*>(&unconditional), static_cast<ObjectStore*>(&lying)}) {
    const absl::Status status = ProbeCreateIfAbsent(*store, *Random::System());
    EXPECT_EQ(status.code(), StatusCode::kFailedPrecondition);
    EXPECT_THAT(Describe(status), testing::HasSubstr("If-None-Match"));
    EXPECT_TRUE(store->List({})->objects.empty());
  }
}

TEST(ProbeTest, AStoreThatIsAwayIsNotCondemned) {
  FaultyObjectStore store(std::make_shared<MemoryObjectStore>());
  store.SetOutage(absl::UnavailableError("away"));
  EXPECT_EQ(ProbeCreateIfAbsent(store, *Random::System()).code(), StatusCode::kUnavailable);
}

TEST(ProbeTest, AFirstWriteWhoseAnswerWasLostDoesNotMatter) {
  const auto faulty = std::make_shared<FaultyObjectStore>(std::make_shared<MemoryObjectStore>());
  faulty->Inject({.operation = kPut, .error = absl::UnavailableError("cut"), .done = true});
  RetryingObjectStore store(faulty, {.initial_backoff = absl::ZeroDuration()});
  const absl::Status status = ProbeCreateIfAbsent(store, *Random::System());
  EXPECT_TRUE(status.ok()) << Describe(status);
}

}  // namespace
}  // namespace aetherfs
