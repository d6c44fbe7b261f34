#ifndef AETHERFS_FORMAT_MANIFEST_H_
#define AETHERFS_FORMAT_MANIFEST_H_

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "aetherfs/base/digest.h"

namespace aetherfs {

enum class EntryType : uint8_t { kFile = 0, kDirectory = 1, kSymlink = 2 };
enum class FrameCodec : uint8_t { kRaw = 0, kZstd = 1 };

// The canonical description of a snapshot: every file, the chunks it is made of, and where in which
// blocks the chunks lie. A plain value. One content laid out in one way has exactly one encoding, whose
// SHA-256 is the snapshot's digest. The format is docs/formats/manifest.md.
//
// A *canonical* manifest keeps these invariants, which Decode checks and Encode requires:
//   - entries are in ComparePaths order, each path once and valid (ValidatePath), each behind an entry of
//     type directory for its parent, if it has one;
//   - an entry's size is the sum of its chunks' sizes; only files have chunks, only symlinks a target;
//   - blocks are in order of their first use by `chunk_refs`, every one used; frames are sorted by (block,
//     offset), every one used, and do not overlap; chunks are sorted by (frame, offset), every one used,
//     and do not overlap;
//   - every chunk lies within its frame, every frame within its block; no digest occurs twice in `chunks`
//     or `blocks`; sizes are within kMaxChunkSize, kMaxFrameSize, kMaxBlockSize.
struct Manifest {
  struct Block {
    Digest digest;
    uint64_t size = 0;
    friend bool operator==(const Block&, const Block&) = default;
  };
  struct Frame {
    uint32_t block = 0;        // index into blocks
    uint64_t offset = 0;       // in the block
    uint32_t stored_size = 0;  // as it lies there
    uint32_t raw_size = 0;     // decompressed
    FrameCodec codec = FrameCodec::kRaw;
    friend bool operator==(const Frame&, const Frame&) = default;
  };
  struct Chunk {
    Digest digest;
    uint32_t size = 0;
    uint32_t frame = 0;   // index into frames
    uint32_t offset = 0;  // in the decompressed frame
    friend bool operator==(const Chunk&, const Chunk&) = default;
  };
  struct Entry {
    std::string path;
    EntryType type = EntryType::kFile;
    uint16_t mode = 0;       // permission bits, 0777 at most; 0755 for directories, 0777 for symlinks
    int64_t mtime_ns = 0;    // since the epoch; 0 unless a file
    uint64_t size = 0;       // of a file
    std::string target;      // of a symlink
    uint32_t first_ref = 0;  // its chunks are chunk_refs[first_ref … first_ref + ref_count)
    uint32_t ref_count = 0;
    friend bool operator==(const Entry&, const Entry&) = default;
  };

  std::vector<Block> blocks;
  std::vector<Frame> frames;
  std::vector<Chunk> chunks;
  std::vector<Entry> entries;
  std::vector<uint32_t> chunk_refs;  // indices into chunks, grouped by entry in the order of entries

  std::span<const uint32_t> RefsOf(const Entry& entry) const {
    return std::span(chunk_refs).subspan(entry.first_ref, entry.ref_count);
  }
  // Regular files, and the sum of their sizes.
  uint64_t FileCount() const;
  uint64_t TotalBytes() const;

  friend bool operator==(const Manifest&, const Manifest&) = default;
};

inline constexpr uint32_t kMaxChunkSize = 256 * 1024;
inline constexpr uint32_t kMaxFrameSize = 256 * 1024;  // decompressed; stored never larger
inline constexpr uint64_t kMaxBlockSize = 64 * 1024 * 1024;
inline constexpr size_t kMaxPathSize = 4096;
inline constexpr size_t kMaxManifestSize = 512 * 1024 * 1024;  // canonical bytes
inline constexpr size_t kMaxEntries = 16 * 1024 * 1024;

// Orders paths component by component (as if '/' sorted before every other byte): a directory comes right
// before what it holds. Negative, zero or positive.
int ComparePaths(std::string_view a, std::string_view b);

// OK if `path` is relative, clean UTF-8 of at most kMaxPathSize bytes with components of at most 255: no
// empty, "." or ".." component, no NUL, no leading or trailing slash. Otherwise INVALID_ARGUMENT, naming
// it.
absl::Status ValidatePath(std::string_view path);

// Brings a manifest whose references are right into canonical order: sorts the entries, drops blocks,
// frames and chunks that nothing uses, merges chunks that occur twice (the first in order of use stays) and
// renumbers. INVALID_ARGUMENT, naming the entry, if a path is invalid, occurs twice or has no parent.
absl::StatusOr<Manifest> Canonicalize(Manifest manifest);

// The canonical bytes. The manifest must be canonical.
std::string EncodeManifest(const Manifest& manifest);
// DATA_LOSS, saying what is wrong, for anything that EncodeManifest would not have written.
absl::StatusOr<Manifest> DecodeManifest(std::string_view canonical);

// Where the canonical bytes have the chunks' digests, one after the other, and how large the chunks are.
// DATA_LOSS if it can't be told; nothing behind the digests is looked at, nor they themselves.
struct DigestColumn {
  size_t offset = 0;
  std::vector<uint32_t> chunk_sizes;
};
absl::StatusOr<DigestColumn> FindDigestColumn(std::string_view canonical);

// A manifest as it is stored and sent: an envelope with the canonical bytes, compressed if that helps.
std::string EncodeManifestObject(std::string_view canonical);
// The canonical bytes. DATA_LOSS if malformed or if their digest is not `expected`.
absl::StatusOr<std::string> DecodeManifestObject(std::string_view object, const Digest& expected);

}  // namespace aetherfs

#endif  // AETHERFS_FORMAT_MANIFEST_H_
