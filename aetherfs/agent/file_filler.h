#ifndef AETHERFS_AGENT_FILE_FILLER_H_
#define AETHERFS_AGENT_FILE_FILLER_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "aetherfs/agent/materializer.h"
#include "aetherfs/agent/tree.h"

namespace aetherfs {

// Fills files of a tree with chunks that come in any order, each wherever it belongs.
//
// A file of one chunk is written under its name at once; its mtime, set last, says that it is whole. A file
// of several is filled in the work directory, under its entry's number, and renamed when it has all of
// them; so a file under its name with the right size, mode and mtime is whole, whenever the process dies.
// Every place is filled once, however often its chunk comes. Nothing is synced.
//
// The caller has checked the bytes, made the directories, and made sure that nothing is there under the
// files' names. Thread-safe but for AdoptParts. Blocks. Keeps at most kMaxOpenParts files open.
class FileFiller {
 public:
  static constexpr size_t kMaxOpenParts = 96;

  // `files`: entries of the manifest that are files with bytes in them. All references must outlive the
  // filler.
  FileFiller(const Manifest& manifest, Tree& tree, int work_fd, const MaterializeOptions& options,
             const std::vector<uint32_t>& files);

  // Takes over what an earlier attempt left in the work directory: what is right counts, also elsewhere.
  absl::Status AdoptParts(const std::atomic<bool>* cancelled);

  absl::Status Place(uint32_t chunk, std::string_view bytes);

  // Chunks that are still needed somewhere, ascending.
  std::vector<uint32_t> MissingChunks() const;
  uint64_t incomplete_files() const { return incomplete_.load(); }

 private:
  struct File {
    uint32_t entry = 0;
    std::atomic<uint32_t> missing{0};  // places
    std::atomic<bool> sized{false};
  };
  struct Spot {
    uint32_t file = 0;  // index into files_
    uint32_t ref = 0;   // index into the manifest's chunk_refs
    uint64_t offset = 0;
  };

  absl::Status Fill(const Spot& place, std::string_view bytes);
  absl::Status WriteWhole(uint32_t entry, std::string_view bytes);
  absl::StatusOr<FdCache::Handle> OpenPart(uint32_t file);
  absl::Status CountPlace(uint32_t file);
  absl::Status Complete(uint32_t file);
  absl::Status AdoptPart(uint32_t file, class CheckBatch& batch);
  absl::Status SetAttributes(int fd, uint32_t entry) const;

  const Manifest& manifest_;
  Tree& tree_;
  const int work_fd_;
  const MaterializeOptions& options_;
  const size_t file_count_;
  std::unique_ptr<File[]> files_;
  std::vector<Spot> places_;                     // grouped by chunk
  std::vector<uint32_t> first_place_;            // by chunk, and the end
  std::unique_ptr<std::atomic<bool>[]> filled_;  // by ref
  std::atomic<uint64_t> incomplete_;
  FdCache parts_{kMaxOpenParts};
};

}  // namespace aetherfs

#endif  // AETHERFS_AGENT_FILE_FILLER_H_
