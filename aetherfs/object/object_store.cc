#include "aetherfs/object/object_store.h"

#include <algorithm>
#include <array>

#include "aetherfs/base/quantity.h"
#include "aetherfs/base/status.h"
#include "fmt/format.h"

namespace aetherfs {
namespace {

constexpr size_t kMaxKeySize = 1024;  // what S3 allows

constexpr std::array<bool, 256> kKeyBytes = [] {
  std::array<bool, 256> allowed{};
  for (char c = 'A'; c <= 'Z'; ++c) allowed[static_cast<unsigned char>(c)] = true;
  for (char c = 'a'; c <= 'z'; ++c) allowed[static_cast<unsigned char>(c)] = true;
  for (char c = '0'; c <= '9'; ++c) allowed[static_cast<unsigned char>(c)] = true;
  for (char c : std::string_view("!_.*'()%@=+/-")) allowed[static_cast<unsigned char>(c)] = true;
  return allowed;
}();

absl::Status InvalidKey(std::string_view key, std::string_view why) {
  return absl::InvalidArgumentError(fmt::format("'{}' is not an object key: {}", Printable(key), why));
}

}  // namespace

absl::Status ValidateKey(std::string_view key) {
  if (key.empty()) return InvalidKey(key, "it is empty");
  if (key.size() > kMaxKeySize) {
    return InvalidKey(key, fmt::format("it has {} bytes, {} at most are allowed", key.size(), kMaxKeySize));
  }
  for (const char c : key) {
    if (!kKeyBytes[static_cast<unsigned char>(c)]) {
      return InvalidKey(key, "only letters, digits and !_.*'()%@=+/- are allowed");
    }
  }
  for (size_t begin = 0; begin <= key.size();) {
    const size_t end = std::min(key.find('/', begin), key.size());
    const std::string_view component = key.substr(begin, end - begin);
    if (component.empty()) return InvalidKey(key, "it has an empty component");
    if (component == "." || component == "..") return InvalidKey(key, "it has a component '.' or '..'");
    begin = end + 1;
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> ReadObject(ObjectStore& store, std::string_view key, uint64_t max_size,
                                       absl::Time deadline) {
  std::string content;
  const GetOptions options = {.range = std::nullopt, .deadline = deadline};
  ASSIGN_OR_RETURN(const ObjectInfo info,
                   store.Get(key, options, [&](std::string_view data) -> absl::Status {
                     if (data.size() > max_size - content.size()) {
                       return absl::ResourceExhaustedError(
                           fmt::format("object '{}' has more than the {} that are allowed here",
                                       Printable(key), FormatSize(max_size)));
                     }
                     content.append(data);
                     return absl::OkStatus();
                   }));
  if (content.size() != info.size) {
    return absl::DataLossError(
        fmt::format("object '{}' has {} bytes, {} came", Printable(key), info.size, content.size()));
  }
  return content;
}

absl::Status ListAll(ObjectStore& store, ListOptions options,
                     absl::FunctionRef<bool(const ListedObject&)> visit) {
  while (true) {
    ASSIGN_OR_RETURN(const ListResult page, store.List(options));
    for (const ListedObject& object : page.objects) {
      if (!visit(object)) return absl::OkStatus();
    }
    if (!page.more) return absl::OkStatus();
    if (page.objects.empty() || page.objects.back().key <= options.start_after) {
      return absl::InternalError(fmt::format("list '{}': a page behind '{}' did not lead further",
                                             Printable(options.prefix), Printable(options.start_after)));
    }
    options.start_after = page.objects.back().key;
  }
}

}  // namespace aetherfs
