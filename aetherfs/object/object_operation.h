#ifndef AETHERFS_OBJECT_OBJECT_OPERATION_H_
#define AETHERFS_OBJECT_OBJECT_OPERATION_H_

#include <string_view>

namespace aetherfs {

// The methods of ObjectStore, for decorators that tell them apart.
enum class ObjectOperation { kGet, kPut, kHead, kList, kRemove };

// "get", "put", "head", "list", "remove": the label of metrics.
constexpr std::string_view ObjectOperationName(ObjectOperation operation) {
  constexpr std::string_view kNames[] = {"get", "put", "head", "list", "remove"};
  return kNames[static_cast<int>(operation)];
}

}  // namespace aetherfs

#endif  // AETHERFS_OBJECT_OBJECT_OPERATION_H_
