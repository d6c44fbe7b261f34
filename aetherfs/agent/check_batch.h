#ifndef AETHERFS_AGENT_CHECK_BATCH_H_
#define AETHERFS_AGENT_CHECK_BATCH_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "aetherfs/base/digest.h"
#include "aetherfs/format/manifest.h"

namespace aetherfs {

// Gathers chunks that were read from disk and checks them against their digests, many at once, which is
// several times quicker than one by one where the processor hashes in lanes. The manifest must outlive it.
// Not thread-safe. Takes kMaxBytes of memory once used.
class CheckBatch {
 public:
  static constexpr size_t kMaxBytes = 2 * 1024 * 1024;  // eight of the largest chunks
  static constexpr size_t kMaxChunks = 128;

  explicit CheckBatch(const Manifest& manifest) : manifest_(manifest) {}

  // Where the chunk's bytes are to be put, all of them, before the next call; nullptr if the batch is full
  // and must be checked first. `tag` comes back from Check().
  char* Add(uint32_t chunk, uint64_t tag);
  // Takes the last Add() back.
  void DropLast();
  bool empty() const { return items_.empty(); }

  struct Checked {
    uint32_t chunk = 0;
    uint64_t tag = 0;
    bool right = false;      // the bytes have the chunk's digest
    std::string_view bytes;  // valid during the call
  };
  // Hands out everything in the order added and empties the batch; ends early with the first error.
  absl::Status Check(absl::FunctionRef<absl::Status(const Checked&)> done);

 private:
  struct Item {
    uint32_t chunk;
    uint64_t tag;
    size_t offset;
  };
  const Manifest& manifest_;
  std::unique_ptr<char[]> buffer_;
  size_t used_ = 0;
  std::vector<Item> items_;
};

}  // namespace aetherfs

#endif  // AETHERFS_AGENT_CHECK_BATCH_H_
