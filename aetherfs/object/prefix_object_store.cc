#include "aetherfs/object/prefix_object_store.h"

#include <utility>

#include "aetherfs/base/status.h"

namespace aetherfs {

PrefixObjectStore::PrefixObjectStore(std::shared_ptr<ObjectStore> store, std::string_view prefix)
    : store_(std::move(store)), prefix_(std::string(prefix) + "/") {}

absl::StatusOr<std::string> PrefixObjectStore::Whole(std::string_view key) const {
  RETURN_IF_ERROR(ValidateKey(key));
  return prefix_ + std::string(key);
}

absl::StatusOr<ObjectInfo> PrefixObjectStore::Get(std::string_view key, const GetOptions& options,
                                                  ByteSink sink) {
  ASSIGN_OR_RETURN(const std::string whole, Whole(key));
  return store_->Get(whole, options, sink);
}

absl::Status PrefixObjectStore::Put(std::string_view key, const std::vector<std::string_view>& pieces,
                                    const PutOptions& options) {
  ASSIGN_OR_RETURN(const std::string whole, Whole(key));
  return store_->Put(whole, pieces, options);
}

absl::StatusOr<ObjectInfo> PrefixObjectStore::Head(std::string_view key, absl::Time deadline) {
  ASSIGN_OR_RETURN(const std::string whole, Whole(key));
  return store_->Head(whole, deadline);
}

absl::StatusOr<ListResult> PrefixObjectStore::List(const ListOptions& options) {
  ListOptions whole = options;
  whole.prefix = prefix_ + options.prefix;
  if (!options.start_after.empty()) whole.start_after = prefix_ + options.start_after;
  ASSIGN_OR_RETURN(ListResult page, store_->List(whole));
  for (ListedObject& object : page.objects) object.key.erase(0, prefix_.size());
  return page;
}

absl::Status PrefixObjectStore::Remove(std::string_view key, absl::Time deadline) {
  ASSIGN_OR_RETURN(const std::string whole, Whole(key));
  return store_->Remove(whole, deadline);
}

}  // namespace aetherfs
