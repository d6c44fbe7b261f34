#include "aetherfs/object/retrying_object_store.h"

#include <memory>
#include <string>
#include <vector>

#include "aetherfs/base/status.h"
#include "aetherfs/base/testing/fake_clock.h"
#include "aetherfs/object/memory/memory_object_store.h"
#include "aetherfs/object/retry_after.h"
#include "aetherfs/object/testing/faulty_object_store.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace aetherfs {
namespace {

using absl::StatusCode;
using enum ObjectOperation;

constexpr absl::Time kNever = absl::InfiniteFuture();

// Jitter is always the whole of its range.
class LargestRandom : public Random {
 public:
  uint64_t Next() override { return UINT64_MAX; }
};

class RetryingObjectStoreTest : public testing::Test {
 protected:
  RetryingObjectStoreTest() { EXPECT_TRUE(memory_->Put("k", {"0123456789"}, {}).ok()); }

  // What the sink was handed, piece by piece, and the result.
  std::pair<std::string, absl::StatusOr<ObjectInfo>> Get(std::optional<ByteRange> range = std::nullopt) {
    std::string content;
    absl::StatusOr<ObjectInfo> info =
        retrying_.Get("k", {.range = range, .deadline = deadline_}, [&](std::string_view data) {
          content.append(data);
          return absl::OkStatus();
        });
    return {content, info};
  }

  FakeClock clock_;
  LargestRandom random_;
  absl::Time deadline_ = kNever;
  std::shared_ptr<MemoryObjectStore> memory_ = std::make_shared<MemoryObjectStore>(&clock_);
  std::shared_ptr<FaultyObjectStore> faulty_ = std::make_shared<FaultyObjectStore>(memory_);
  RetryingObjectStore retrying_{faulty_,
                                {.max_attempts = 4,
                                 .initial_backoff = absl::Seconds(1),
                                 .max_backoff = absl::Seconds(3),
                                 .max_elapsed = absl::Seconds(60)},
                                &clock_,
                                &random_};
};

TEST_F(RetryingObjectStoreTest, EveryCallIsMadeAgainWhileTheStoreIsUnavailable) {
  for (const ObjectOperation operation : {kGet, kPut, kHead, kList, kRemove}) {
    faulty_->Inject({.operation = operation, .count = 2, .error = absl::UnavailableError("away")});
  }
  EXPECT_EQ(Get().first, "0123456789");
  EXPECT_TRUE(retrying_.Put("l", {"x"}, {}).ok());
  EXPECT_EQ(retrying_.Head("k", kNever)->size, 10u);
  EXPECT_EQ(retrying_.List({})->objects.size(), 2u);
  EXPECT_TRUE(retrying_.Remove("l", kNever).ok());
  for (const ObjectOperation operation : {kGet, kPut, kHead, kList, kRemove}) {
    EXPECT_EQ(faulty_->calls(operation), 3) << ObjectOperationName(operation);
  }
}

TEST_F(RetryingObjectStoreTest, WaitsLongerEachTimeUpToABound) {
  faulty_->SetOutage(absl::UnavailableError("away"));
  const absl::Status status = retrying_.Remove("k", kNever);
  EXPECT_EQ(status.code(), StatusCode::kUnavailable);
  EXPECT_THAT(Describe(status), testing::HasSubstr("after 4 attempts"));
  EXPECT_EQ(faulty_->calls(kRemove), 4);
  EXPECT_NEAR(absl::ToDoubleSeconds(clock_.slept()), 1 + 2 + 3, 0.001);
}

TEST_F(RetryingObjectStoreTest, WaitsAsLongAsTheServerWishes) {
  absl::Status slow_down = absl::UnavailableError("slow down");
  SetRetryAfter(slow_down, absl::Seconds(17));
  faulty_->Inject({.operation = kPut, .error = Annotate(slow_down, "context")});
  EXPECT_TRUE(retrying_.Put("l", {"x"}, {}).ok());
  EXPECT_EQ(clock_.slept(), absl::Seconds(17));
}

TEST_F(RetryingObjectStoreTest, DoesNotWaitForWhatComesBehindTheDeadline) {
  absl::Status slow_down = absl::UnavailableError("slow down");
  SetRetryAfter(slow_down, absl::Seconds(17));
  faulty_->SetOutage(slow_down);
  EXPECT_EQ(retrying_.Remove("k", clock_.Now() + absl::Seconds(10)).code(), StatusCode::kUnavailable);
  EXPECT_EQ(clock_.slept(), absl::ZeroDuration());
  SetRetryAfter(slow_down, absl::Seconds(61));  // more than max_elapsed
  faulty_->SetOutage(slow_down);
  EXPECT_EQ(retrying_.Remove("k", kNever).code(), StatusCode::kUnavailable);
  EXPECT_EQ(clock_.slept(), absl::ZeroDuration());
  EXPECT_EQ(faulty_->calls(kRemove), 2);
}

TEST_F(RetryingObjectStoreTest, WhatCannotSucceedIsNotTriedAgain) {
  for (const StatusCode code :
       {StatusCode::kNotFound, StatusCode::kPermissionDenied, StatusCode::kUnauthenticated,
        StatusCode::kInvalidArgument, StatusCode::kFailedPrecondition, StatusCode::kResourceExhausted,
        StatusCode::kAlreadyExists, StatusCode::kDeadlineExceeded, StatusCode::kInternal}) {
    faulty_->ResetCounts();
    faulty_->SetOutage(absl::Status(code, "no"));
    EXPECT_EQ(retrying_.Put("l", {"x"}, {}).code(), code);
    EXPECT_EQ(Get().second.status().code(), code);
    EXPECT_EQ(faulty_->total_calls(), 2) << code;
  }
  faulty_->SetOutage(absl::DataLossError("wrong digest"));
  faulty_->ResetCounts();
  EXPECT_EQ(retrying_.Put("l", {"x"}, {}).code(), StatusCode::kDataLoss);
  EXPECT_EQ(faulty_->total_calls(), 1);
}

TEST_F(RetryingObjectStoreTest, AGetThatBreaksOffGoesOnBehindWhatTheSinkHas) {
  faulty_->Inject({.operation = kGet, .truncate_at = 3});
  faulty_->Inject({.operation = kGet, .error = absl::DataLossError("garbled"), .truncate_at = 4});
  const auto [content, info] = Get();
  EXPECT_EQ(content, "0123456789");
  EXPECT_EQ(info->size, 10u);
  EXPECT_EQ(faulty_->calls(kGet), 3);
  EXPECT_EQ(faulty_->calls(kHead), 1);  // once, for the size
}

TEST_F(RetryingObjectStoreTest, ARangeThatBreaksOffGoesOnWithinTheRange) {
  faulty_->Inject({.operation = kGet, .count = 2, .truncate_at = 2});
  const auto [content, info] = Get(ByteRange{1, 7});
  EXPECT_EQ(content, "1234567");
  EXPECT_EQ(info->size, 10u);
  EXPECT_EQ(faulty_->calls(kHead), 0);
}

TEST_F(RetryingObjectStoreTest, AGetCutBehindItsLastByteIsDone) {
  faulty_->Inject({.operation = kGet, .truncate_at = 10});
  auto [content, info] = Get();
  EXPECT_EQ(content, "0123456789");
  EXPECT_EQ(info->size, 10u);
  faulty_->Inject({.operation = kGet, .truncate_at = 4});
  std::tie(content, info) = Get(ByteRange{3, 4});
  EXPECT_EQ(content, "3456");
  EXPECT_EQ(info->size, 10u);
  EXPECT_EQ(faulty_->calls(kGet), 2);
}

TEST_F(RetryingObjectStoreTest, TheSinksOwnErrorIsNotRetried) {
  int calls = 0;
  const absl::StatusOr<ObjectInfo> info = retrying_.Get("k", {}, [&](std::string_view) {
    ++calls;
    return absl::UnavailableError("the sink's");
  });
  EXPECT_EQ(info.status(), absl::UnavailableError("the sink's"));
  EXPECT_EQ(calls, 1);
  EXPECT_EQ(faulty_->calls(kGet), 1);
}

TEST_F(RetryingObjectStoreTest, AnObjectThatIsReplacedWhileItIsReadIsDataLoss) {
  // Cut after 6 bytes, then smaller than that; and then gone.
  for (const bool removed : {false, true}) {
    ASSERT_TRUE(memory_->Put("k", {"0123456789"}, {}).ok());
    faulty_->Inject({.operation = kGet, .truncate_at = 6});
    std::string content;
    const absl::StatusOr<ObjectInfo> info = retrying_.Get("k", {}, [&](std::string_view data) {
      content.append(data);
      return removed ? memory_->Remove("k", kNever) : memory_->Put("k", {"short"}, {});
    });
    EXPECT_EQ(info.status().code(), StatusCode::kDataLoss) << Describe(info.status());
    EXPECT_EQ(content, "012345");
  }
}

TEST_F(RetryingObjectStoreTest, APutWhoseAnswerWasLostSeesItsOwnObject) {
  faulty_->Inject({.operation = kPut, .error = absl::UnavailableError("cut"), .done = true});
  EXPECT_EQ(retrying_.Put("l", {"mine"}, {.if_absent = true}).code(), StatusCode::kAlreadyExists);
  EXPECT_EQ(*ReadObject(*memory_, "l", 10), "mine");
  faulty_->Inject({.operation = kPut, .error = absl::UnavailableError("cut"), .done = true});
  EXPECT_TRUE(retrying_.Put("l", {"replaced"}, {}).ok());
}

}  // namespace
}  // namespace aetherfs
