#include "aetherfs/format/manifest_check.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <vector>

#include "aetherfs/base/status.h"
#include "aetherfs/base/utf8.h"
#include "aetherfs/format/paths.h"
#include "fmt/format.h"

namespace aetherfs {
namespace {

template <typename... Args>
absl::Status Wrong(fmt::format_string<Args...> format, Args&&... args) {
  return absl::InvalidArgumentError(fmt::format(format, std::forward<Args>(args)...));
}

// By sorting: a hash table would have to withstand digests that were chosen to collide in it.
template <typename Named>
const Named* FindTwice(const std::vector<Named>& items) {
  struct Key {
    uint64_t prefix;
    const Named* item;
  };
  std::vector<Key> keys;
  keys.reserve(items.size());
  for (const Named& item : items) {
    uint64_t prefix;
    std::memcpy(&prefix, item.digest.data(), sizeof(prefix));
    keys.push_back({prefix, &item});
  }
  std::sort(keys.begin(), keys.end(), [](const Key& a, const Key& b) {
    return a.prefix != b.prefix ? a.prefix < b.prefix : a.item->digest < b.item->digest;
  });
  for (size_t i = 1; i < keys.size(); ++i) {
    if (keys[i - 1].prefix == keys[i].prefix && keys[i - 1].item->digest == keys[i].item->digest) {
      return keys[i].item;
    }
  }
  return nullptr;
}

absl::Status CheckBlocks(const Manifest& manifest) {
  for (const Manifest::Block& block : manifest.blocks) {
    if (block.size == 0 || block.size > kMaxBlockSize) {
      return Wrong("block {} has {} bytes, not 1 to {}", block.digest.Short(), block.size, kMaxBlockSize);
    }
  }
  if (const auto* twice = FindTwice(manifest.blocks)) {
    return Wrong("block {} occurs twice", twice->digest.Short());
  }
  return absl::OkStatus();
}

// Whether `index` may follow `previous` (SIZE_MAX before the first) where each of 0, 1, 2, … has items.
bool Follows(size_t previous, size_t index) { return index == previous || index == previous + 1; }

absl::Status CheckFrames(const Manifest& manifest) {
  size_t block = SIZE_MAX;
  uint64_t end = 0;  // of the frame before, in the same block
  for (size_t i = 0; i < manifest.frames.size(); ++i) {
    const Manifest::Frame& frame = manifest.frames[i];
    if (!Follows(block, frame.block) || frame.block >= manifest.blocks.size()) {
      return Wrong("frame {} is in block {}, which is out of order", i, frame.block);
    }
    if (frame.block != block) end = 0;
    block = frame.block;
    if (frame.raw_size == 0 || frame.raw_size > kMaxFrameSize) {
      return Wrong("frame {} has {} bytes, not 1 to {}", i, frame.raw_size, kMaxFrameSize);
    }
    const bool zstd = frame.codec == FrameCodec::kZstd;
    if ((!zstd && frame.codec != FrameCodec::kRaw) || frame.stored_size == 0 ||
        (zstd ? frame.stored_size >= frame.raw_size : frame.stored_size != frame.raw_size)) {
      return Wrong("frame {} of {} bytes, stored in {} bytes with codec {}, cannot be", i, frame.raw_size,
                   frame.stored_size, static_cast<int>(frame.codec));
    }
    const uint64_t size = manifest.blocks[block].size;
    if (frame.offset < end || frame.offset > size || frame.stored_size > size - frame.offset) {
      return Wrong("frame {} at {} overlaps the one before or the end of its block", i, frame.offset);
    }
    end = frame.offset + frame.stored_size;
  }
  if (block + 1 != manifest.blocks.size()) return Wrong("block {} has no frame", block + 1);
  return absl::OkStatus();
}

absl::Status CheckChunks(const Manifest& manifest) {
  size_t frame = SIZE_MAX;
  uint32_t end = 0;  // of the chunk before, in the same frame
  for (size_t i = 0; i < manifest.chunks.size(); ++i) {
    const Manifest::Chunk& chunk = manifest.chunks[i];
    if (!Follows(frame, chunk.frame) || chunk.frame >= manifest.frames.size()) {
      return Wrong("chunk {} is in frame {}, which is out of order", i, chunk.frame);
    }
    if (chunk.frame != frame) end = 0;
    frame = chunk.frame;
    if (chunk.size == 0 || chunk.size > kMaxChunkSize) {
      return Wrong("chunk {} has {} bytes, not 1 to {}", i, chunk.size, kMaxChunkSize);
    }
    const uint32_t size = manifest.frames[frame].raw_size;
    if (chunk.offset < end || chunk.offset > size || chunk.size > size - chunk.offset) {
      return Wrong("chunk {} at {} overlaps the one before or the end of its frame", i, chunk.offset);
    }
    end = chunk.offset + chunk.size;
  }
  if (frame + 1 != manifest.frames.size()) return Wrong("frame {} has no chunk", frame + 1);
  if (const auto* twice = FindTwice(manifest.chunks)) {
    return Wrong("chunk {} occurs twice", twice->digest.Short());
  }
  return absl::OkStatus();
}

// Follows the paths in their order and knows which directories the last one lies in.
class PathChecker {
 public:
  const char* Problem(const Manifest::Entry& entry) {
    const std::string_view path = entry.path;
    const size_t common = CommonPrefixSize(path, previous_);
    if (const char* problem = PathProblem(path, common)) return problem;
    if (common == path.size() && common == previous_.size()) return "occurs twice";
    if (ComparePaths(previous_, path) >= 0) return "is out of order";
    while (!directories_.empty() && (directories_.back() > common || path[directories_.back()] != '/')) {
      directories_.pop_back();
    }
    const size_t slash = path.rfind('/');
    const size_t parent = slash == std::string_view::npos ? 0 : slash;
    if (parent != (directories_.empty() ? 0 : directories_.back())) return "lies in no directory";
    if (entry.type == EntryType::kDirectory) directories_.push_back(path.size());
    previous_ = path;
    return nullptr;
  }

 private:
  std::string_view previous_;
  std::vector<size_t> directories_;  // the sizes of the paths of those that previous_ lies in, or is
};

const char* AttributeProblem(const Manifest::Entry& entry) {
  switch (entry.type) {
    case EntryType::kFile:
      if (entry.mode > 0777) return "has mode bits beyond 0777";
      return entry.target.empty() ? nullptr : "is a file with a link target";
    case EntryType::kDirectory:
      if (!entry.target.empty()) return "is a directory with a link target";
      if (entry.mode != 0755) return "is a directory with a mode other than 0755";
      break;
    case EntryType::kSymlink:
      if (entry.mode != 0777) return "is a symbolic link with a mode other than 0777";
      if (entry.target.empty() || entry.target.size() > kMaxTargetSize) {
        return "is a symbolic link whose target does not have 1 to 4095 bytes";
      }
      if (entry.target.find('\0') != std::string::npos || !IsUtf8(entry.target)) {
        return "is a symbolic link whose target has a NUL byte or is not UTF-8";
      }
      break;
    default:
      return "has an unknown type";
  }
  if (entry.mtime_ns != 0 || entry.size != 0 || entry.ref_count != 0) {
    return "is no file but has a time, a size or chunks";
  }
  return nullptr;
}

// Follows the chunks in the order of their use.
class UseChecker {
 public:
  explicit UseChecker(const Manifest& manifest) : manifest_(manifest), used_(manifest.chunks.size()) {}

  const char* Problem(const Manifest::Entry& entry) {
    if (entry.first_ref != next_ref_ || entry.ref_count > manifest_.chunk_refs.size() - next_ref_) {
      return "has chunk references that do not follow those of the entry before";
    }
    uint64_t size = 0;
    for (const uint32_t ref : manifest_.RefsOf(entry)) {
      if (ref >= manifest_.chunks.size()) return "refers to a chunk that is not there";
      const Manifest::Chunk& chunk = manifest_.chunks[ref];
      used_[ref] = true;
      size += chunk.size;
      const uint32_t block = manifest_.frames[chunk.frame].block;
      if (block > blocks_) return "uses a block before one that comes earlier in the list";
      if (block == blocks_) ++blocks_;
    }
    next_ref_ += entry.ref_count;
    return size == entry.size ? nullptr : "has a size other than that of its chunks";
  }

  absl::Status AtEnd() const {
    if (next_ref_ != manifest_.chunk_refs.size()) return Wrong("chunk references are left over");
    const auto unused = std::find(used_.begin(), used_.end(), false);
    if (unused != used_.end()) return Wrong("chunk {} is not used", unused - used_.begin());
    return absl::OkStatus();
  }

 private:
  const Manifest& manifest_;
  std::vector<bool> used_;
  size_t next_ref_ = 0;
  uint32_t blocks_ = 0;  // used so far
};

absl::Status CheckEntries(const Manifest& manifest) {
  if (manifest.entries.size() > kMaxEntries) {
    return Wrong("it has {} entries, more than {}", manifest.entries.size(), kMaxEntries);
  }
  PathChecker paths;
  UseChecker use(manifest);
  size_t path_bytes = 0;
  for (const Manifest::Entry& entry : manifest.entries) {
    const char* problem = paths.Problem(entry);
    if (problem == nullptr) problem = AttributeProblem(entry);
    if (problem == nullptr) problem = use.Problem(entry);
    if (problem != nullptr) return Wrong("path '{}' {}", Printable(entry.path), problem);
    path_bytes += entry.path.size();
  }
  if (path_bytes > kMaxPathBytes) {
    return Wrong("its paths have {} bytes together, more than {}", path_bytes, kMaxPathBytes);
  }
  return use.AtEnd();
}

}  // namespace

absl::Status CheckCanonical(const Manifest& manifest) {
  RETURN_IF_ERROR(CheckBlocks(manifest));
  RETURN_IF_ERROR(CheckFrames(manifest));
  RETURN_IF_ERROR(CheckChunks(manifest));
  return CheckEntries(manifest);
}

}  // namespace aetherfs
