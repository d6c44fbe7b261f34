// The conformance suite over every kind that needs no server, and over every decorator.

#include <filesystem>
#include <memory>
#include <string>

#include "aetherfs/base/random.h"
#include "aetherfs/object/file/file_object_store.h"
#include "aetherfs/object/memory/memory_object_store.h"
#include "aetherfs/object/metered_object_store.h"
#include "aetherfs/object/prefix_object_store.h"
#include "aetherfs/object/retrying_object_store.h"
#include "aetherfs/object/testing/conformance.h"
#include "aetherfs/object/testing/faulty_object_store.h"
#include "fmt/format.h"
#include "gtest/gtest.h"

namespace aetherfs {
namespace {

std::shared_ptr<ObjectStore> MakeMemory() { return std::make_shared<MemoryObjectStore>(); }

// A file store in a directory of its own, which goes with it.
std::shared_ptr<ObjectStore> MakeFile() {
  struct Owner {
    std::string directory;
    std::unique_ptr<FileObjectStore> store;
    ~Owner() {
      store.reset();
      std::filesystem::remove_all(directory);
    }
  };
  auto owner = std::make_shared<Owner>();
  owner->directory =
      fmt::format("{}/aetherfs-object-{:016x}", testing::TempDir(), Random::System()->Next());
  owner->store = *FileObjectStore::Open(owner->directory);
  return {owner, owner->store.get()};
}

class IgnoringMetrics : public ObjectStoreMetrics {
 public:
  void Observe(ObjectOperation, absl::StatusCode, uint64_t, absl::Duration) override {}
};

std::shared_ptr<ObjectStore> MakeMetered() {
  static IgnoringMetrics metrics;
  return std::make_shared<MeteredObjectStore>(MakeMemory(), &metrics);
}

std::shared_ptr<ObjectStore> MakePrefixed() {
  const std::shared_ptr<ObjectStore> store = MakeMemory();
  for (const char* foreign : {"a", "pre", "pre.fix", "pre0", "z/y"}) {
    EXPECT_TRUE(store->Put(foreign, {"not ours"}, {}).ok());
  }
  return std::make_shared<PrefixObjectStore>(store, "pre");
}

// Every second call fails; the first Gets of the large object after 300,000 bytes. (A Get that goes on
// trusts that the object is not replaced, so the others, which the suite replaces, fail before their first
// byte.)
std::shared_ptr<ObjectStore> MakeRetryingOverFaults() {
  const auto faulty = std::make_shared<FaultyObjectStore>(MakeMemory());
  const absl::Status away = absl::UnavailableError("away");
  faulty->Inject(
      {.operation = ObjectOperation::kGet, .key_contains = "large", .count = 5, .truncate_at = 300'000});
  faulty->Inject({.operation = ObjectOperation::kGet, .skip = 1, .every = 2, .count = -1, .error = away});
  faulty->Inject({.operation = ObjectOperation::kPut, .skip = 1, .every = 2, .count = -1, .error = away});
  faulty->Inject({.operation = ObjectOperation::kHead, .skip = 1, .every = 2, .count = -1, .error = away});
  faulty->Inject({.operation = ObjectOperation::kList, .skip = 1, .every = 2, .count = -1, .error = away});
  return std::make_shared<RetryingObjectStore>(
      faulty, RetryOptions{.max_attempts = 20, .initial_backoff = absl::ZeroDuration()});
}

INSTANTIATE_TEST_SUITE_P(
    Kinds, ObjectStoreConformanceTest,
    testing::Values(ConformanceCase{.name = "Memory", .make = MakeMemory, .checks_sha256 = true},
                    ConformanceCase{.name = "File", .make = MakeFile, .keys_may_nest = false}),
    ConformanceCaseName);

INSTANTIATE_TEST_SUITE_P(
    Decorators, ObjectStoreConformanceTest,
    testing::Values(ConformanceCase{.name = "Metered", .make = MakeMetered, .checks_sha256 = true},
                    ConformanceCase{.name = "Prefixed", .make = MakePrefixed, .checks_sha256 = true},
                    ConformanceCase{.name = "RetryingOverFaults",
                                    .make = MakeRetryingOverFaults,
                                    .checks_sha256 = true},
                    ConformanceCase{.name = "MeteredRetryingFile",
                                    .make =
                                        [] {
                                          static IgnoringMetrics metrics;
                                          return std::make_shared<MeteredObjectStore>(
                                              std::make_shared<RetryingObjectStore>(MakeFile()), &metrics);
                                        },
                                    .keys_may_nest = false}),
    ConformanceCaseName);

}  // namespace
}  // namespace aetherfs
