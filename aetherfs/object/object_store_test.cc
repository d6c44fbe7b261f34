#include "aetherfs/object/object_store.h"

#include <string>
#include <vector>

#include "aetherfs/object/memory/memory_object_store.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace aetherfs {
namespace {

TEST(ValidateKeyTest, TakesWhatTheLayoutUses) {
  for (const std::string key :
       {"a", "catalog/maxmind%2Fcity", "datasets/%40acme%2Fx/journal/00000000000000000001", "a/.../b",
        "a..b", "!_.*'()%@=+-", "x/.hidden"}) {
    EXPECT_TRUE(ValidateKey(key).ok()) << key;
  }
  EXPECT_TRUE(ValidateKey(std::string(1024, 'k')).ok());
}

TEST(ValidateKeyTest, RefusesWhatSomeStoreCouldMisread) {
  for (const std::string key : {"", "/a", "a/", "a//b", ".", "..", "a/./b", "a/..", "../a", "a b", "a#b",
                                "a?b", "a&b", "a\\b", "a~b", "\xc3\xa4"}) {
    EXPECT_EQ(ValidateKey(key).code(), absl::StatusCode::kInvalidArgument) << key;
  }
  EXPECT_EQ(ValidateKey(std::string(1025, 'k')).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ValidateKey(std::string_view("a\0b", 3)).code(), absl::StatusCode::kInvalidArgument);
}

TEST(ReadObjectTest, RefusesMoreThanTheCallerAllows) {
  MemoryObjectStore store;
  ASSERT_TRUE(store.Put("k", {"hello"}, {}).ok());
  EXPECT_EQ(*ReadObject(store, "k", 5), "hello");
  EXPECT_EQ(ReadObject(store, "k", 4).status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(ReadObject(store, "missing", 4).status().code(), absl::StatusCode::kNotFound);
}

TEST(ListAllTest, VisitsEveryPageInOrderUntilToldToStop) {
  MemoryObjectStore store;
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(store.Put("p/" + std::to_string(i), {""}, {}).ok());
  ASSERT_TRUE(store.Put("q", {""}, {}).ok());
  std::vector<std::string> seen;
  const auto remember = [&](const ListedObject& object) {
    seen.push_back(object.key);
    return object.key != "p/7";
  };
  ASSERT_TRUE(ListAll(store, {.prefix = "p/", .start_after = "p/2", .limit = 2}, remember).ok());
  EXPECT_THAT(seen, testing::ElementsAre("p/3", "p/4", "p/5", "p/6", "p/7"));
}

// A store that answers every page with the same one.
class LoopingStore : public MemoryObjectStore {
 public:
  absl::StatusOr<ListResult> List(const ListOptions&) override {
    return ListResult{.objects = {{.key = "a", .size = 0}}, .more = true};
  }
};

TEST(ListAllTest, EndsWithAnErrorIfPagesLeadNowhere) {
  LoopingStore store;
  const absl::Status status = ListAll(store, {}, [](const ListedObject&) { return true; });
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
}

TEST(MemoryObjectStoreTest, RefusesWhatExceedsItsCapacityAndKeepsWhatItHas) {
  MemoryObjectStore store(Clock::System(), 10);
  ASSERT_TRUE(store.Put("a", {"12345678"}, {}).ok());
  EXPECT_EQ(store.Put("b", {"123"}, {}).code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(store.Put("a", {"1234567890"}, {}).ok());
  ASSERT_TRUE(store.Remove("a", absl::InfiniteFuture()).ok());
  EXPECT_TRUE(store.Put("b", {"123"}, {}).ok());
}

}  // namespace
}  // namespace aetherfs
