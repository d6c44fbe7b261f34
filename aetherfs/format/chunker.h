#ifndef AETHERFS_FORMAT_CHUNKER_H_
#define AETHERFS_FORMAT_CHUNKER_H_

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace aetherfs {

struct ChunkerParameters {
  uint32_t min_size = 16 * 1024;      // 32 at least
  uint32_t average_size = 64 * 1024;  // a power of two
  uint32_t max_size = 256 * 1024;
};

// Cuts one file into content-defined chunks: FastCDC with normalised chunking (Xia et al., USENIX ATC 2016,
// and IEEE TPDS 31(9), 2020), gear fingerprints over the last 32 bytes. Where a file is cut depends on its
// bytes alone, never on how they were fed. The algorithm and its table are part of the format
// (docs/formats/chunking.md): another cut would only cost deduplication, never correctness.
//
// Not thread-safe; cheap to make. Pure: no I/O.
class Chunker {
 public:
  explicit Chunker(const ChunkerParameters& parameters = {});

  // The size of the chunk that `data`, the rest of the file as far as it is known, begins with. With
  // `end_of_file` false the answer is 0 if `data` does not tell yet; it always does with max_size bytes or
  // more. With `end_of_file` true it is 0 only for empty data.
  //
  // `data` must begin where the chunk before ended, and grow only at its end until a cut is found.
  size_t NextCut(std::string_view data, bool end_of_file);

 private:
  ChunkerParameters parameters_;
  uint32_t rare_;        // fingerprints below this cut before average_size
  uint32_t frequent_;    // and below this behind it
  size_t searched_ = 0;  // no cut lies before this in the chunk that `data` began with last
};

}  // namespace aetherfs

#endif  // AETHERFS_FORMAT_CHUNKER_H_
