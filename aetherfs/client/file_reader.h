#ifndef AETHERFS_CLIENT_FILE_READER_H_
#define AETHERFS_CLIENT_FILE_READER_H_

#include <cstdint>
#include <functional>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "aetherfs/client/chunk_batch.h"
#include "aetherfs/client/scanner.h"
#include "aetherfs/format/chunker.h"
#include "aetherfs/os/file.h"

namespace aetherfs {

enum class ReadOutcome { kRead, kChanged };

// Called with a file's path after it was read and before it is looked at again; for tests.
using ReadHook = std::function<void(const std::string& path)>;

// Reads one scanned file and tells whether it stayed the same meanwhile. Its entry is brought up to date
// with what the file was when it was opened. Not thread-safe. kChanged stands for everything that reading
// again may mend: the file changed, vanished, or is something else now.
class FileReader {
 public:
  FileReader(const Scan* scan, const ReadHook* hook) : scan_(scan), hook_(hook) {}

  absl::StatusOr<ReadOutcome> Open(ScannedEntry* entry);
  uint64_t offset() const { return offset_; }
  // Up to `size` of the next bytes; fewer only at the end.
  absl::StatusOr<size_t> Read(char* buffer, size_t size);
  // Whether all was read and is still so.
  absl::StatusOr<ReadOutcome> Close();

 private:
  const Scan* const scan_;
  const ReadHook* const hook_;
  ScannedEntry* entry_ = nullptr;
  UniqueFd fd_;
  uint64_t offset_ = 0;
};

// Reads one small file (`entry`, the scan's `index`) to the end of the batch's used part and cuts it into
// chunks. kChanged, and the batch as before, also if it has grown beyond `room`.
absl::StatusOr<ReadOutcome> ReadSmallFile(FileReader& reader, uint32_t index, ScannedEntry* entry,
                                          size_t room, ChunkBatch& batch);

// Reads one large file into `batch` and the batches that `next` gives when one is full: it takes over the
// full one and returns an empty one, or null if all is to end (kChanged is returned then).
absl::StatusOr<ReadOutcome> ReadLargeFile(FileReader& reader, uint32_t index, ScannedEntry* entry,
                                          ChunkBatch** batch,
                                          absl::FunctionRef<ChunkBatch*(ChunkBatch*)> next);

}  // namespace aetherfs

#endif  // AETHERFS_CLIENT_FILE_READER_H_
