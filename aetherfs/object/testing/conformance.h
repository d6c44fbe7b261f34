#ifndef AETHERFS_OBJECT_TESTING_CONFORMANCE_H_
#define AETHERFS_OBJECT_TESTING_CONFORMANCE_H_

#include <functional>
#include <memory>
#include <string>

#include "aetherfs/object/object_store.h"
#include "gtest/gtest.h"

namespace aetherfs {

// What every ObjectStore must do, kinds and decorators alike: the contract of object_store.h as tests.
//
//   INSTANTIATE_TEST_SUITE_P(Memory, ObjectStoreConformanceTest,
//                            testing::Values(ConformanceCase{.name = "Plain", .make = …}),
//                            ConformanceCaseName);
struct ConformanceCase {
  std::string name;
  // A store with nothing in it (or a part of one that nobody else uses). Called once per test.
  std::function<std::shared_ptr<ObjectStore>()> make;
  // Refuses a body that is not PutOptions::sha256 with DATA_LOSS.
  bool checks_sha256 = false;
  // A concurrent writer that loses may be told UNAVAILABLE, to try again (S3 says 409).
  bool loser_may_be_unavailable = false;
  // A key may be an object and the beginning of others' names.
  bool keys_may_nest = true;
};

class ObjectStoreConformanceTest : public testing::TestWithParam<ConformanceCase> {
 protected:
  ObjectStore& store() { return *store_; }

 private:
  const std::shared_ptr<ObjectStore> store_ = GetParam().make();
};

std::string ConformanceCaseName(const testing::TestParamInfo<ConformanceCase>& info);

// `size` bytes that look random but are the same for the same seed.
std::string PatternBytes(size_t size, uint64_t seed);

}  // namespace aetherfs

#endif  // AETHERFS_OBJECT_TESTING_CONFORMANCE_H_
