#include "aetherfs/object/memory/memory_object_store.h"

#include <algorithm>
#include <utility>

#include "aetherfs/base/sha256.h"
#include "aetherfs/base/status.h"
#include "aetherfs/object/object_checks.h"
#include "fmt/format.h"

namespace aetherfs {
namespace {

constexpr size_t kPieceBytes = 1 * kMiB;  // how much a sink gets at once

}  // namespace

absl::StatusOr<MemoryObjectStore::Content> MemoryObjectStore::Find(std::string_view key) {
  absl::MutexLock lock(&mutex_);
  const auto found = objects_.find(key);
  if (found == objects_.end()) return NoSuchObject(key);
  return found->second;
}

absl::StatusOr<ObjectInfo> MemoryObjectStore::Get(std::string_view key, const GetOptions& options,
                                                  ByteSink sink) {
  RETURN_IF_ERROR(ValidateKey(key));
  RETURN_IF_ERROR(CheckRange(key, options.range));
  RETURN_IF_ERROR(CheckDeadline(clock_, options.deadline, "get", key));
  ASSIGN_OR_RETURN(const Content content, Find(key));
  ASSIGN_OR_RETURN(const ByteRange range, ResolveRange(key, options.range, content->size()));
  std::string_view rest = std::string_view(*content).substr(range.offset, range.size);
  while (!rest.empty()) {
    const std::string_view piece = rest.substr(0, kPieceBytes);
    RETURN_IF_ERROR(sink(piece));
    rest.remove_prefix(piece.size());
    if (!rest.empty()) RETURN_IF_ERROR(CheckDeadline(clock_, options.deadline, "get", key));
  }
  return ObjectInfo{.size = content->size()};
}

absl::Status MemoryObjectStore::Put(std::string_view key, const std::vector<std::string_view>& pieces,
                                    const PutOptions& options) {
  RETURN_IF_ERROR(ValidateKey(key));
  RETURN_IF_ERROR(CheckDeadline(clock_, options.deadline, "put", key));
  auto content = std::make_shared<std::string>();
  size_t size = 0;
  for (const std::string_view piece : pieces) size += piece.size();
  content->reserve(size);
  for (const std::string_view piece : pieces) content->append(piece);
  if (options.sha256.has_value() && Sha256::Of(*content) != *options.sha256) {
    return absl::DataLossError(fmt::format("put '{}': the body's SHA-256 is not {} as the caller said",
                                           Printable(key), options.sha256->Hex()));
  }

  Content replaced;  // freed after the lock
  absl::MutexLock lock(&mutex_);
  const auto found = objects_.find(key);
  if (found != objects_.end() && options.if_absent) return ObjectExists(key);
  const uint64_t freed = found == objects_.end() ? 0 : found->second->size();
  if (content->size() > capacity_bytes_ - (used_bytes_ - freed)) {
    return absl::ResourceExhaustedError(
        fmt::format("put '{}': {} more do not fit into the memory store's {}", Printable(key),
                    FormatSize(content->size()), FormatSize(capacity_bytes_)));
  }
  used_bytes_ += content->size() - freed;
  if (found == objects_.end()) {
    objects_.emplace(key, std::move(content));
  } else {
    replaced = std::exchange(found->second, std::move(content));
  }
  return absl::OkStatus();
}

absl::StatusOr<ObjectInfo> MemoryObjectStore::Head(std::string_view key, absl::Time deadline) {
  RETURN_IF_ERROR(ValidateKey(key));
  RETURN_IF_ERROR(CheckDeadline(clock_, deadline, "head", key));
  ASSIGN_OR_RETURN(const Content content, Find(key));
  return ObjectInfo{.size = content->size()};
}

absl::StatusOr<ListResult> MemoryObjectStore::List(const ListOptions& options) {
  RETURN_IF_ERROR(CheckDeadline(clock_, options.deadline, "list", options.prefix));
  if (options.limit == 0) return absl::InvalidArgumentError("list: a page of 0 objects was asked for");
  ListResult result;
  absl::MutexLock lock(&mutex_);
  auto at = options.start_after < options.prefix ? objects_.lower_bound(options.prefix)
                                                 : objects_.upper_bound(options.start_after);
  for (; at != objects_.end() && at->first.starts_with(options.prefix); ++at) {
    if (result.objects.size() == options.limit) {
      result.more = true;
      break;
    }
    result.objects.push_back({.key = at->first, .size = at->second->size()});
  }
  return result;
}

absl::Status MemoryObjectStore::Remove(std::string_view key, absl::Time deadline) {
  RETURN_IF_ERROR(ValidateKey(key));
  RETURN_IF_ERROR(CheckDeadline(clock_, deadline, "remove", key));
  Content removed;  // freed after the lock
  absl::MutexLock lock(&mutex_);
  const auto found = objects_.find(key);
  if (found == objects_.end()) return absl::OkStatus();
  removed = std::move(found->second);
  used_bytes_ -= removed->size();
  objects_.erase(found);
  return absl::OkStatus();
}

}  // namespace aetherfs
