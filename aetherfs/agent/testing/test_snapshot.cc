#include "aetherfs/agent/testing/test_snapshot.h"

#include <sys/stat.h>

#include <algorithm>
#include <functional>

#include "absl/container/flat_hash_map.h"
#include "aetherfs/agent/tree.h"
#include "aetherfs/base/sha256.h"
#include "aetherfs/format/block.h"
#include "aetherfs/os/file.h"
#include "gtest/gtest.h"

namespace aetherfs {
namespace {

constexpr size_t kChunksPerFrame = 3;
constexpr size_t kFramesPerBlock = 4;

void AddParents(TestTree& tree) {
  const TestTree given = tree;
  for (const auto& [path, file] : given) {
    for (std::string up = ParentPath(path); !up.empty(); up = ParentPath(up)) {
      tree.try_emplace(up, TestFile{EntryType::kDirectory, "", 0755, 0});
    }
  }
}

// Packs chunks into frames and blocks and gives each to the fake server.
class Packer {
 public:
  Packer(FakeServerClient& server, const std::string& dataset, Manifest& manifest)
      : server_(server), dataset_(dataset), manifest_(manifest) {}

  uint32_t Add(std::string_view bytes) {
    const Digest digest = Sha256::Of(bytes);
    const auto [known, added] = chunks_.try_emplace(digest, static_cast<uint32_t>(manifest_.chunks.size()));
    if (!added) return known->second;
    manifest_.chunks.push_back({digest, static_cast<uint32_t>(bytes.size()),
                                static_cast<uint32_t>(manifest_.frames.size()),
                                static_cast<uint32_t>(frame_.size())});
    frame_.append(bytes);
    in_frame_.push_back({digest, static_cast<uint32_t>(bytes.size())});
    if (in_frame_.size() == kChunksPerFrame) EndFrame();
    return known->second;
  }

  void Finish() {
    EndFrame();
    EndBlock();
  }

 private:
  void EndFrame() {
    if (frame_.empty()) return;
    const EncodedFrame encoded = FrameEncoder(3).Encode(frame_);
    const std::string& stored = encoded.codec == FrameCodec::kRaw ? frame_ : encoded.stored;
    const uint64_t offset = builder_.AddFrame(encoded.codec, stored, static_cast<uint32_t>(frame_.size()),
                                              std::move(in_frame_));
    manifest_.frames.push_back({static_cast<uint32_t>(manifest_.blocks.size()), offset,
                                static_cast<uint32_t>(stored.size()), static_cast<uint32_t>(frame_.size()),
                                encoded.codec});
    in_frame_.clear();
    frame_.clear();
    if (++frames_in_block_ == kFramesPerBlock) EndBlock();
  }

  void EndBlock() {
    if (builder_.empty()) return;
    std::string block = std::move(builder_).Finish();
    builder_ = BlockBuilder(0);
    frames_in_block_ = 0;
    const Digest digest = Sha256::Of(block);
    manifest_.blocks.push_back({digest, block.size()});
    server_.AddObject(dataset_, block::v1::OBJECT_KIND_BLOCK, digest, std::move(block));
  }

  FakeServerClient& server_;
  const std::string& dataset_;
  Manifest& manifest_;
  absl::flat_hash_map<Digest, uint32_t> chunks_;
  std::string frame_;
  std::vector<BlockBuilder::ChunkInFrame> in_frame_;
  BlockBuilder builder_{0};
  size_t frames_in_block_ = 0;
};

std::string RandomBytes(std::mt19937_64& random, size_t size) {
  std::string bytes(size, '\0');
  for (char& c : bytes) c = static_cast<char>(random() % 7 == 0 ? random() : 'a' + random() % 4);
  return bytes;
}

}  // namespace

TestSnapshot StoreSnapshot(FakeServerClient& server, const std::string& dataset, const TestTree& tree,
                           uint32_t chunk_size) {
  TestTree whole = tree;
  AddParents(whole);
  Manifest manifest;
  Packer packer(server, dataset, manifest);
  for (const auto& [path, file] : whole) {
    Manifest::Entry entry;
    entry.path = path;
    entry.type = file.type;
    entry.mode = file.type == EntryType::kDirectory ? 0755
                 : file.type == EntryType::kSymlink ? 0777
                                                    : file.mode;
    entry.first_ref = static_cast<uint32_t>(manifest.chunk_refs.size());
    if (file.type == EntryType::kSymlink) entry.target = file.contents;
    if (file.type == EntryType::kFile) {
      entry.mtime_ns = file.mtime_ns;
      entry.size = file.contents.size();
      for (size_t at = 0; at < file.contents.size(); at += chunk_size) {
        manifest.chunk_refs.push_back(packer.Add(std::string_view(file.contents).substr(at, chunk_size)));
        ++entry.ref_count;
      }
    }
    manifest.entries.push_back(std::move(entry));
  }
  packer.Finish();
  absl::StatusOr<Manifest> canonical = Canonicalize(std::move(manifest));
  EXPECT_TRUE(canonical.ok()) << canonical.status();
  const std::string bytes = EncodeManifest(*canonical);
  TestSnapshot snapshot{*std::move(canonical), Sha256::Of(bytes)};
  server.AddObject(dataset, block::v1::OBJECT_KIND_MANIFEST, snapshot.digest, EncodeManifestObject(bytes));
  return snapshot;
}

void PrintTo(const TestFile& file, std::ostream* out) {
  *out << "{type " << static_cast<int>(file.type) << ", " << file.contents.size() << " bytes, mode "
       << std::oct << file.mode << std::dec << ", mtime " << file.mtime_ns << "}";
}

TestTree RandomTree(std::mt19937_64& random, size_t files) {
  TestTree tree;
  std::vector<std::string> pieces;
  for (int i = 0; i < 8; ++i) pieces.push_back(RandomBytes(random, 1024));
  std::vector<std::string> directories = {""};
  for (size_t i = 0; i < files; ++i) {
    std::string path = directories[random() % directories.size()];
    path += "f" + std::to_string(i);
    TestFile file;
    file.mode = random() % 3 == 0 ? 0755 : 0640;
    file.mtime_ns = static_cast<int64_t>(random() % 2'000'000'000'000'000'000ULL);
    switch (random() % 10) {
      case 0:
        file = {EntryType::kSymlink, "../somewhere/else", 0777, 0};
        break;
      case 1:
        file = {EntryType::kDirectory, "", 0755, 0};
        directories.push_back(path + "/");
        break;
      case 2:
        break;  // an empty file
      default:
        for (size_t n = random() % 6; n > 0; --n) {
          file.contents += random() % 2 == 0 ? pieces[random() % pieces.size()] : RandomBytes(random, 1024);
        }
        file.contents += RandomBytes(random, random() % 1000);
    }
    tree[path] = file;
  }
  return tree;
}

TestTree Mutated(const TestTree& tree, std::mt19937_64& random) {
  TestTree changed;
  for (const auto& [path, file] : tree) {
    TestFile copy = file;
    switch (file.type == EntryType::kFile ? random() % 8 : 7) {
      case 0:
        continue;
      case 1:
        changed[path + "-renamed"] = copy;
        continue;
      case 2:
        copy.mtime_ns += 1;
        break;
      case 3:
        copy.mode ^= 0100;
        break;
      case 4:
        if (!copy.contents.empty()) copy.contents[random() % copy.contents.size()] ^= 1;
        copy.mtime_ns += 5;
        break;
      case 5:
        copy.contents += RandomBytes(random, 700);
        copy.mtime_ns += 7;
        break;
      default:
        break;
    }
    changed[path] = copy;
  }
  changed["added/new"] = {EntryType::kFile, RandomBytes(random, 3000), 0600, 42};
  return changed;
}

TestTree ReadTree(const std::string& directory) {
  TestTree tree;
  const std::function<void(const std::string&)> read = [&](const std::string& below) {
    const auto names = ListDirectory(JoinPath(directory, below));
    ASSERT_TRUE(names.ok()) << names.status();
    for (const std::string& name : *names) {
      const std::string path = below.empty() ? name : JoinPath(below, name);
      const std::string on_disk = JoinPath(directory, path);
      struct stat status;
      ASSERT_EQ(::lstat(on_disk.c_str(), &status), 0) << on_disk;
      TestFile file;
      file.mode = static_cast<uint16_t>(status.st_mode & 07777);
      file.mtime_ns = 0;
      if (S_ISDIR(status.st_mode)) {
        file.type = EntryType::kDirectory;
        read(path);
      } else if (S_ISLNK(status.st_mode)) {
        file.type = EntryType::kSymlink;
        file.contents = ReadSymlink(on_disk).value_or("?");
      } else {
        file.mtime_ns = status.st_mtim.tv_sec * 1'000'000'000LL + status.st_mtim.tv_nsec;
        file.contents = ReadWholeFile(on_disk, 1 << 30).value_or("?");
      }
      tree[path] = file;
    }
  };
  read("");
  return tree;
}

TestTree Expected(const TestTree& tree, bool read_only) {
  TestTree expected = tree;
  AddParents(expected);
  for (auto& [path, file] : expected) {
    if (file.type != EntryType::kFile) {
      file.mode = file.type == EntryType::kDirectory ? 0755 : 0777;
      file.mtime_ns = 0;
    } else if (read_only) {
      file.mode &= 0555;
    }
  }
  return expected;
}

}  // namespace aetherfs
