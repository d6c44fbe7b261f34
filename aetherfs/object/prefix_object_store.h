#ifndef AETHERFS_OBJECT_PREFIX_OBJECT_STORE_H_
#define AETHERFS_OBJECT_PREFIX_OBJECT_STORE_H_

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "aetherfs/object/object_store.h"

namespace aetherfs {

// The part of a store whose keys begin with "<prefix>/", seen without it. Keys are shorter by as much.
// Thread-safe.
class PrefixObjectStore : public ObjectStore {
 public:
  // `prefix` is a valid key.
  PrefixObjectStore(std::shared_ptr<ObjectStore> store, std::string_view prefix);

  absl::StatusOr<ObjectInfo> Get(std::string_view key, const GetOptions& options, ByteSink sink) override;
  absl::Status Put(std::string_view key, const std::vector<std::string_view>& pieces,
                   const PutOptions& options) override;
  absl::StatusOr<ObjectInfo> Head(std::string_view key, absl::Time deadline) override;
  absl::StatusOr<ListResult> List(const ListOptions& options) override;
  absl::Status Remove(std::string_view key, absl::Time deadline) override;

 private:
  // The whole key, or INVALID_ARGUMENT: a bad key must not become a good one by what is put before it.
  absl::StatusOr<std::string> Whole(std::string_view key) const;

  const std::shared_ptr<ObjectStore> store_;
  const std::string prefix_;  // ends with '/'
};

}  // namespace aetherfs

#endif  // AETHERFS_OBJECT_PREFIX_OBJECT_STORE_H_
