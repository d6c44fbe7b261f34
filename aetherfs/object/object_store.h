#ifndef AETHERFS_OBJECT_OBJECT_STORE_H_
#define AETHERFS_OBJECT_OBJECT_STORE_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "aetherfs/base/byte_range.h"
#include "aetherfs/base/digest.h"

namespace aetherfs {

// Receives the bytes of a Get, in order, as they arrive; they are valid only during the call. An error
// ends the Get, which returns it.
using ByteSink = absl::FunctionRef<absl::Status(std::string_view)>;

struct GetOptions {
  // Absent: the whole object. A range that ends behind the object is OUT_OF_RANGE; an empty one is
  // INVALID_ARGUMENT.
  std::optional<ByteRange> range = std::nullopt;
  absl::Time deadline = absl::InfiniteFuture();
};

struct PutOptions {
  // The object is created only if there is none of that name (`If-None-Match: *`); otherwise
  // ALREADY_EXISTS. The store picks one winner among any number of concurrent writers.
  bool if_absent = false;
  // SHA-256 of the body if the caller knows it; the store may check it and refuse with DATA_LOSS.
  std::optional<Digest> sha256 = std::nullopt;
  absl::Time deadline = absl::InfiniteFuture();
};

struct ObjectInfo {
  uint64_t size = 0;
};

struct ListOptions {
  std::string prefix = {};
  // Only keys behind this one, in the order of their bytes. Empty: all.
  std::string start_after = {};
  size_t limit = 1000;
  absl::Time deadline = absl::InfiniteFuture();
};

struct ListedObject {
  std::string key;
  uint64_t size = 0;
};

struct ListResult {
  std::vector<ListedObject> objects;  // ascending by key
  bool more = false;                  // there are further keys behind the last one
};

// Where durable state lies: named, immutable byte strings. The one noun of storage; what else is to be
// said about it (retries, metrics, faults) is a decorator around it, one file each.
//
// Keys are 1 to 1,024 bytes of `[A-Za-z0-9!_.*'()%@=+/-]`, with no empty, "." or ".." component
// (ValidateKey); others are INVALID_ARGUMENT everywhere.
//
// Thread-safe. Calls block the calling thread until done or until the deadline (DEADLINE_EXCEEDED).
// A put that failed with anything but INVALID_ARGUMENT or ALREADY_EXISTS may or may not have happened.
// A put that was acknowledged is durable and visible to every later call of any process.
//
// Errors: NOT_FOUND (no such object), ALREADY_EXISTS, OUT_OF_RANGE, DATA_LOSS (the bytes that came are not
// those that are stored: short bodies, failed checksums), UNAVAILABLE and DEADLINE_EXCEEDED (try again),
// RESOURCE_EXHAUSTED (full), PERMISSION_DENIED and UNAUTHENTICATED, INVALID_ARGUMENT, and
// FAILED_PRECONDITION for a store that is set up wrongly (no such bucket).
class ObjectStore {
 public:
  virtual ~ObjectStore() = default;

  // Hands the object's bytes to `sink`. The sink has seen nothing if NOT_FOUND or OUT_OF_RANGE is
  // returned; after another error it may have seen a part. The result tells the size of the whole object.
  virtual absl::StatusOr<ObjectInfo> Get(std::string_view key, const GetOptions& options,
                                         ByteSink sink) = 0;
  // Stores the concatenation of `pieces` under `key`, whole or not at all. Without if_absent it replaces.
  virtual absl::Status Put(std::string_view key, const std::vector<std::string_view>& pieces,
                           const PutOptions& options) = 0;
  virtual absl::StatusOr<ObjectInfo> Head(std::string_view key, absl::Time deadline) = 0;
  virtual absl::StatusOr<ListResult> List(const ListOptions& options) = 0;
  // OK also if there is no such object.
  virtual absl::Status Remove(std::string_view key, absl::Time deadline) = 0;
};

absl::Status ValidateKey(std::string_view key);

// The whole object, or RESOURCE_EXHAUSTED if it has more than `max_size` bytes.
absl::StatusOr<std::string> ReadObject(ObjectStore& store, std::string_view key, uint64_t max_size,
                                       absl::Time deadline = absl::InfiniteFuture());

// Calls `visit` for every key with `prefix` behind `start_after`, page by page, until it returns false.
absl::Status ListAll(ObjectStore& store, ListOptions options,
                     absl::FunctionRef<bool(const ListedObject&)> visit);

}  // namespace aetherfs

#endif  // AETHERFS_OBJECT_OBJECT_STORE_H_
