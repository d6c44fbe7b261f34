#include "aetherfs/object/testing/faulty_object_store.h"

#include <memory>
#include <string>
#include <thread>

#include "aetherfs/object/memory/memory_object_store.h"
#include "gtest/gtest.h"

namespace aetherfs {
namespace {

using absl::StatusCode;
using enum ObjectOperation;

class FaultyObjectStoreTest : public testing::Test {
 protected:
  std::shared_ptr<MemoryObjectStore> memory_ = std::make_shared<MemoryObjectStore>();
  FaultyObjectStore store_{memory_};
};

TEST_F(FaultyObjectStoreTest, OnlyTheScriptedCallsFail) {
  store_.Inject({.operation = kPut,
                 .key_contains = "journal/",
                 .skip = 1,
                 .every = 2,
                 .count = 2,
                 .error = absl::UnavailableError("scripted")});
  std::string outcome;
  for (int i = 0; i < 6; ++i)
    outcome += store_.Put("journal/" + std::to_string(i), {}, {}).ok() ? 'o' : 'x';
  EXPECT_EQ(outcome, "oxoxoo");
  EXPECT_TRUE(store_.Put("other", {}, {}).ok());
  EXPECT_EQ(store_.calls(kPut), 7);
  EXPECT_FALSE(memory_->Head("journal/1", absl::InfiniteFuture()).ok());
}

TEST_F(FaultyObjectStoreTest, AnAmbiguousPutIsDoneAndFails) {
  store_.Inject({.operation = kPut, .error = absl::DeadlineExceededError("late"), .done = true});
  EXPECT_EQ(store_.Put("k", {"x"}, {}).code(), StatusCode::kDeadlineExceeded);
  EXPECT_EQ(*ReadObject(*memory_, "k", 10), "x");
}

TEST_F(FaultyObjectStoreTest, AFlippedBitGoesUnnoticed) {
  ASSERT_TRUE(store_.Put("k", {"abc"}, {}).ok());
  store_.Inject({.operation = kGet, .flip_bit_at = 1});
  EXPECT_EQ(*ReadObject(store_, "k", 10), "acc");
  EXPECT_EQ(*ReadObject(store_, "k", 10), "abc");
}

TEST_F(FaultyObjectStoreTest, ATruncatedGetFailsAfterItsBytes) {
  ASSERT_TRUE(store_.Put("k", {"abc"}, {}).ok());
  for (const uint64_t at : {0u, 2u, 3u, 9u}) {
    store_.Inject({.operation = kGet, .truncate_at = at});
    std::string got;
    const absl::StatusOr<ObjectInfo> info = store_.Get("k", {}, [&](std::string_view data) {
      got.append(data);
      return absl::OkStatus();
    });
    EXPECT_EQ(info.status().code(), StatusCode::kUnavailable);
    EXPECT_EQ(got, std::string("abc").substr(0, at));
  }
}

TEST_F(FaultyObjectStoreTest, AHeldCallWaitsUntilItIsReleased) {
  absl::Notification reached, release;
  store_.Inject({.operation = kPut, .reached = &reached, .release = &release});
  std::thread writer([&] { EXPECT_TRUE(store_.Put("k", {"x"}, {}).ok()); });
  reached.WaitForNotification();
  EXPECT_FALSE(store_.Head("k", absl::InfiniteFuture()).ok());
  release.Notify();
  writer.join();
  EXPECT_TRUE(store_.Head("k", absl::InfiniteFuture()).ok());
}

TEST_F(FaultyObjectStoreTest, OutagesAndFullStoresEnd) {
  store_.SetFull(true);
  EXPECT_EQ(store_.Put("k", {"x"}, {}).code(), StatusCode::kResourceExhausted);
  EXPECT_TRUE(store_.List({}).ok());
  store_.SetFull(false);
  store_.SetOutage(absl::UnavailableError("away"));
  EXPECT_EQ(store_.List({}).status().code(), StatusCode::kUnavailable);
  store_.SetOutage(absl::OkStatus());
  EXPECT_TRUE(store_.Put("k", {"x"}, {}).ok());
}

}  // namespace
}  // namespace aetherfs
