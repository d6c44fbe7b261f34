// What a hostile or damaged writer might send, kept in tests/corpus: a file whose name begins with "ok-"
// must be read, every other must be refused as DATA_LOSS. Fuzzing starts from there, and what it finds is
// added there. With AETHERFS_WRITE_SAMPLES in the environment, what is made here is written there.

#include <functional>
#include <initializer_list>
#include <optional>

#include "aetherfs/base/sha256.h"
#include "aetherfs/base/status.h"
#include "aetherfs/format/block.h"
#include "aetherfs/format/codec.h"
#include "aetherfs/format/delta.h"
#include "aetherfs/format/manifest.h"
#include "aetherfs/format/manifest_codec.h"
#include "aetherfs/format/record.h"
#include "aetherfs/format/testing/samples.h"
#include "aetherfs/record/v1/record.pb.h"
#include "gmock/gmock.h"

namespace aetherfs {
namespace {

using ::testing::HasSubstr;
using ::testing::SizeIs;

std::string V(std::initializer_list<uint64_t> numbers) {
  Writer writer;
  for (const uint64_t number : numbers) writer.Varint(number);
  return std::move(writer).Take();
}
std::string D(uint64_t n) { return std::string(SampleDigest(n).bytes()); }

// The columns of a manifest of one file "a" with one chunk of 10 bytes; a case changes one of them.
struct RawManifest {
  std::string magic = "AFSM\1";
  std::string counts = V({1, 1});
  std::string blocks = D(1) + V({100, 1});
  std::string frames = V({16, 0, 1, 0});
  std::string chunks = V({0, 10});
  std::string digests = D(2);
  std::string paths = V({0, 1}) + "a";
  std::string attributes = V({0644 << 2});
  std::string mtimes = V({0});
  std::string ref_counts = V({1});
  std::string targets;
  std::string refs = V({0});
  std::string tail;

  std::string Bytes() const {
    return magic + counts + blocks + frames + chunks + digests + paths + attributes + mtimes + ref_counts +
           targets + refs + tail;
  }
};

struct Case {
  std::string name;
  std::string problem;  // a part of the message
  std::string bytes;
};

std::string Raw(const std::function<void(RawManifest&)>& change) {
  RawManifest raw;
  change(raw);
  return raw.Bytes();
}
std::string Changed(const std::function<void(Manifest&)>& change) {
  Manifest manifest = SampleManifest();
  change(manifest);
  return EncodeManifestUnchecked(manifest);
}

std::vector<Case> NumberCases() {
  return {
      {"ok-one-file", "", Raw([](auto&) {})},
      {"ok-sample", "", EncodeManifest(SampleManifest())},
      {"ok-empty", "", EncodeManifest(Manifest())},
      {"nothing", "begin", ""},
      {"magic-only", "cut short", "AFSM"},
      {"other-magic", "begin", Raw([](auto& r) { r.magic = "AFSX\1"; })},
      {"version-2", "its version is 2", Raw([](auto& r) { r.magic = "AFSM\2"; })},
      {"bytes-behind-the-end", "left over", Raw([](auto& r) { r.tail = "x"; })},
      {"billion-blocks", "a count is larger", Raw([](auto& r) { r.counts = V({1000000000, 1}); })},
      {"billion-entries", "a count is larger", Raw([](auto& r) { r.counts = V({1, 1000000000}); })},
      {"count-of-2^64", "a count is larger", Raw([](auto& r) { r.counts = V({1, UINT64_MAX}); })},
      {"count-too-long", "longer than it need be",
       Raw([](auto& r) { r.counts = std::string("\x81\x00\x01", 3); })},
      {"count-beyond-64-bits", "more than 64 bits",
       Raw([](auto& r) { r.counts = std::string(11, '\xff'); })},
      {"block-of-0-bytes", "a block's size", Raw([](auto& r) { r.blocks = D(1) + V({0, 1}); })},
      {"block-too-large", "a block's size",
       Raw([](auto& r) { r.blocks = D(1) + V({kMaxBlockSize + 1, 1}); })},
      {"block-without-frames", "count of frames", Raw([](auto& r) { r.blocks = D(1) + V({100, 0}); })},
      {"million-frames", "more frames", Raw([](auto& r) { r.blocks = D(1) + V({100, 1000000}); })},
      {"frame-gap-overflows", "gap before a frame",
       Raw([](auto& r) { r.frames = V({UINT64_MAX, 0, 1, 0}); })},
      {"frame-behind-its-block", "overlaps", Raw([](auto& r) { r.frames = V({95, 0, 1, 0}); })},
      {"frame-compressed-to-more", "cannot be", Raw([](auto& r) { r.frames = V({16, 11, 1, 0}); })},
      {"frame-compressed-to-the-same", "cannot be", Raw([](auto& r) { r.frames = V({16, 10, 1, 0}); })},
      {"frame-without-chunks", "count of chunks", Raw([](auto& r) { r.frames = V({16, 0, 0, 0}); })},
      {"many-chunks", "more chunks", Raw([](auto& r) { r.frames = V({16, 0, 262144, 0}); })},
      {"frame-too-large", "not 1 to 262144", Raw([](auto& r) {
         r.blocks = D(1) + V({1000000, 1});
         r.frames = V({16, 0, 1, 262140});
       })},
      {"chunk-of-0-bytes", "a chunk's size", Raw([](auto& r) { r.chunks = V({0, 0}); })},
      {"chunk-too-large", "a chunk's size", Raw([](auto& r) { r.chunks = V({0, kMaxChunkSize + 1}); })},
      {"chunk-behind-the-largest-frame", "too large",
       Raw([](auto& r) { r.chunks = V({kMaxFrameSize, 10}); })},
      {"many-refs", "a count is larger", Raw([](auto& r) { r.ref_counts = V({1000}); })},
      {"ref-outside", "out of range", Raw([](auto& r) { r.refs = V({2}); })},
      {"ref-below-zero", "out of range", Raw([](auto& r) { r.refs = V({1}); })},
      {"ref-overflows", "out of range", Raw([](auto& r) { r.refs = V({UINT64_MAX}); })},
      {"chunk-not-used", "is not used", Raw([](auto& r) {
         r.ref_counts = V({0});
         r.refs = "";
       })},
  };
}

std::vector<Case> PathCases() {
  const auto paths = [](std::string bytes) { return Raw([&](auto& r) { r.paths = bytes; }); };
  // Two empty files.
  const auto two = [](std::string bytes) {
    return Raw([&](auto& r) {
      r = {.counts = V({0, 2}),
           .blocks = "",
           .frames = "",
           .chunks = "",
           .digests = "",
           .paths = bytes,
           .attributes = V({0644 << 2, 0644 << 2}),
           .mtimes = V({0, 0}),
           .ref_counts = V({0, 0}),
           .targets = "",
           .refs = "",
           .tail = ""};
    });
  };
  return {
      {"ok-two-empty-files", "", two(V({0, 1}) + "a" + V({1, 1}) + "b")},
      {"path-empty", "is empty", paths(V({0, 0}))},
      {"path-absolute", "empty component", paths(V({0, 2}) + "/a")},
      {"path-dot-dot", "'.' or '..'", paths(V({0, 2}) + "..")},
      {"path-into-parent", "'.' or '..'", paths(V({0, 4}) + "../a")},
      {"path-with-nul", "NUL", paths(V({0, 3}) + std::string("a\0b", 3))},
      {"path-not-utf-8", "UTF-8", paths(V({0, 2}) + "a\xff")},
      {"path-too-long", "too long", paths(V({0, 4097}) + std::string(4097, 'a'))},
      {"path-component-too-long", "255", paths(V({0, 256}) + std::string(256, 'a'))},
      {"path-longer-than-the-rest", "cut short", paths(V({0, 4000}) + "a")},
      {"path-without-parent", "lies in no directory", paths(V({0, 3}) + "a/b")},
      {"path-shares-with-nothing", "shares more", paths(V({1, 1}) + "a")},
      {"path-shares-less", "shares less", two(V({0, 2}) + "aa" + V({0, 2}) + "ab")},
      {"path-below-a-file", "lies in no directory", two(V({0, 1}) + "a" + V({1, 2}) + "/b")},
      {"path-twice", "occurs twice", two(V({0, 1}) + "a" + V({1, 0}))},
      {"path-out-of-order", "is out of order", two(V({0, 1}) + "b" + V({0, 1}) + "a")},
      {"path-before-its-prefix", "is out of order", two(V({0, 2}) + "ab" + V({1, 0}))},
      {"path-splits-utf-8", "UTF-8", two(V({0, 2}) + "\xc3\xa4" + V({1, 1}) + "b")},
      {"type-3", "a type or mode", Raw([](auto& r) { r.attributes = V({3}); })},
      {"mode-setuid", "a mode is out of range", Raw([](auto& r) { r.attributes = V({04755 << 2}); })},
      {"mode-of-a-directory", "a type or mode", Raw([](auto& r) { r.attributes = V({0755 << 2 | 1}); })},
      {"link-with-target-of-5000-bytes", "target is too long",
       Changed([](Manifest& m) { m.entries[8].target = std::string(5000, 'x'); })},
      {"link-with-empty-target", "target is too long",
       Changed([](Manifest& m) { m.entries[8].target = ""; })},
      {"link-as-directory", "'bin/run' lies in no directory", Changed([](Manifest& m) {
         m.entries[0].type = EntryType::kSymlink;
         m.entries[0].target = "/etc";
       })},
      {"blocks-out-of-order", "uses a block before",
       Changed([](Manifest& m) { std::swap(m.chunk_refs[0], m.chunk_refs[4]); })},
      {"chunk-twice", "occurs twice",
       Changed([](Manifest& m) { m.chunks[1].digest = m.chunks[0].digest; })},
      {"block-twice", "occurs twice",
       Changed([](Manifest& m) { m.blocks[1].digest = m.blocks[0].digest; })},
  };
}

// Paths that share 3,900 bytes each: 2 MB that would become gigabytes.
std::string PathBomb() {
  const uint64_t entries = 400000;
  std::string path;
  while (path.size() < 3900) path += std::string(99, 'a') + "/";
  Writer writer;
  writer.Bytes("AFSM\1");
  writer.Varint(0);
  writer.Varint(entries);
  writer.Varint(0);
  writer.Varint(path.size());
  writer.Bytes(path);
  for (uint64_t i = 1; i < entries; ++i) {
    writer.Varint(path.size());
    writer.Varint(1);
    writer.Byte(i % 2 == 0 ? 'b' : 'c');
  }
  return std::move(writer).Take();
}

std::string FixedUpBlock(std::string index) {
  Writer block;
  block.Bytes(std::string_view("AFSB\1\0\0\0", 8));
  block.Fixed64(5);
  const std::string header = block.bytes();
  block.Bytes("0123456789");
  Writer tail;
  tail.Bytes(index);
  tail.Fixed64(26);
  tail.Fixed64(index.size());
  tail.Bytes(Sha256::Of(header + tail.bytes()).bytes().substr(0, 8));
  tail.Bytes("AFSBEND.");
  block.Bytes(tail.bytes());
  return std::move(block).Take();
}

std::vector<Case> BlockCases() {
  const std::string ok = FixedUpBlock(V({1, 0, 1, 10}) + D(1));
  const auto with = [&ok](size_t at, char byte) {
    std::string changed = ok;
    changed[at] = byte;
    return changed;
  };
  return {
      {"ok-one-frame", "", ok},
      {"ok-two-frames", "", FixedUpBlock(V({2, 0, 1, 8}) + D(1) + V({2, 1, 5}) + D(2))},
      {"nothing", "cut short", ""},
      {"no-frame", "holds no frame", FixedUpBlock(V({0}))},
      {"billion-frames", "a count is larger", FixedUpBlock(V({1000000000, 0, 1, 10}) + D(1))},
      {"frame-without-chunks", "holds no chunk", FixedUpBlock(V({1, 0, 0}) + D(1) + "x")},
      {"billion-chunks", "a count is larger", FixedUpBlock(V({1, 0, 1000000000, 10}) + D(1))},
      {"chunk-of-0-bytes", "a chunk's size", FixedUpBlock(V({1, 0, 1, 0}) + D(1))},
      {"chunk-too-large", "a chunk's size", FixedUpBlock(V({1, 0, 1, kMaxChunkSize + 1}) + D(1))},
      {"frame-too-large", "a frame is too large",
       FixedUpBlock(V({1, 10, 2, kMaxChunkSize}) + D(1) + V({1}) + D(2))},
      {"frame-compressed-to-the-same", "no smaller", FixedUpBlock(V({1, 10, 1, 10}) + D(1))},
      {"frames-short-of-the-index", "do not fill it", FixedUpBlock(V({1, 0, 1, 9}) + D(1))},
      {"frames-beyond-the-index", "do not fill it", FixedUpBlock(V({1, 0, 1, 11}) + D(1))},
      {"index-with-more", "left over", FixedUpBlock(V({1, 0, 1, 10}) + D(1) + "x")},
      {"index-too-long-a-number", "longer than it need be",
       FixedUpBlock(std::string("\x81\x00", 2) + V({0, 1, 10}) + D(1))},
      {"other-magic", "does not begin", with(0, 'X')},
      {"version-2", "does not begin", with(4, 2)},
      {"reserved-bytes", "does not begin", with(7, 1)},
      {"other-epoch", "checksum", with(8, 6)},
      {"index-elsewhere", "does not lie", with(ok.size() - 32, 25)},
      {"index-offset-huge", "does not lie", with(ok.size() - 25, '\xff')},
      {"index-size-huge", "does not lie", with(ok.size() - 17, '\xff')},
      {"other-end", "does not end", with(ok.size() - 1, 'x')},
  };
}

template <typename Decode>
void Replay(const std::string& folder, const std::vector<Case>& cases, Decode decode) {
  for (const Case& c : cases) {
    WriteSample("corpus/" + folder + "/" + c.name, c.bytes);
    const absl::Status status = decode(c.bytes);
    EXPECT_EQ(status.ok(), c.name.starts_with("ok-")) << folder << "/" << c.name << ": " << status;
    EXPECT_THAT(std::string(Message(status)), HasSubstr(c.problem)) << folder << "/" << c.name;
  }
  const auto samples = ReadSamples("corpus/" + folder);
  EXPECT_GE(samples.size(), cases.size());
  for (const auto& [name, bytes] : samples) {
    const absl::Status status = decode(bytes);
    EXPECT_EQ(status.code(), name.starts_with("ok-") ? absl::StatusCode::kOk : absl::StatusCode::kDataLoss)
        << folder << "/" << name << ": " << status;
  }
}

TEST(MalformedTest, ManifestsAreRefusedForWhatIsWrongWithThem) {
  std::vector<Case> cases = NumberCases();
  for (Case& c : PathCases()) cases.push_back(std::move(c));
  Replay("manifest", cases, [](std::string_view bytes) { return DecodeManifest(bytes).status(); });
}

TEST(MalformedTest, PathsThatWouldFillTheMemoryAreRefused) {
  const absl::Status status = DecodeManifest(PathBomb()).status();
  EXPECT_THAT(std::string(Message(status)), HasSubstr("too long together"));
}

TEST(MalformedTest, ManifestObjectsAreRefusedForWhatIsWrongWithThem) {
  const std::string canonical = EncodeManifest(SampleManifest());
  const std::string object = EncodeManifestObject(canonical);
  const auto with = [&object](size_t at, char byte) {
    std::string changed = object;
    changed[at] = byte;
    return changed;
  };
  const std::string raw_header("AFSO\1\0\0\0", 8);
  const std::vector<Case> cases = {
      {"ok-zstd", "", object},
      {"ok-raw", "", raw_header + with(0, 'A').substr(8, 8) + canonical},
      {"nothing", "begin", ""},
      {"header-cut-short", "cut short", object.substr(0, 10)},
      {"version-2", "version", with(4, 2)},
      {"codec-2", "codec", with(5, 2)},
      {"raw-of-another-size", "another size", with(5, 0)},
      {"size-beyond-the-limit", "larger than a manifest", with(15, 1)},
      {"size-larger-than-the-payload", "shorter", with(11, 1)},
      {"size-smaller-than-the-payload", "", with(8, 1)},
      {"payload-cut-short", "cut short", object.substr(0, object.size() - 1)},
      {"payload-with-more", "left over", object + "x"},
      {"another-manifest", "has the digest", EncodeManifestObject("another")},
  };
  const Digest digest = Sha256::Of(canonical);
  Replay("manifest-object", cases,
         [&](std::string_view bytes) { return DecodeManifestObject(bytes, digest).status(); });
}

TEST(MalformedTest, BlocksAreRefusedForWhatIsWrongWithThem) {
  Replay("block", BlockCases(), [](std::string_view bytes) { return DecodeBlockIndex(bytes).status(); });
}

// A file of the frame corpus: the codec, the size before compression (4 bytes), and what is stored.
TEST(MalformedTest, FramesAreRefusedForWhatIsWrongWithThem) {
  const std::string raw(300, 'x');
  const std::string zstd = FrameEncoder(3).Encode(raw).stored;
  const auto sample = [](char codec, uint32_t size, const std::string& stored) {
    Writer writer;
    writer.Fixed64(size);
    return codec + writer.bytes().substr(0, 4) + stored;
  };
  const std::vector<Case> cases = {
      {"ok-zstd", "", sample(1, 300, zstd)},
      {"ok-raw", "", sample(0, 300, raw)},
      {"codec-2", "codec", sample(2, 300, zstd)},
      {"raw-of-another-size", "another size", sample(0, 299, raw)},
      {"size-0", "out of range", sample(0, 0, "")},
      {"size-beyond-the-limit", "out of range", sample(1, kMaxFrameSize + 1, zstd)},
      {"zstd-of-less", "shorter", sample(1, 301, zstd)},
      {"zstd-of-more", "", sample(1, 299, zstd)},
      {"zstd-twice", "one whole", sample(1, 600, zstd + zstd)},
      {"zstd-cut-short", "one whole", sample(1, 300, zstd.substr(0, zstd.size() - 1))},
      {"zstd-garbage", "one whole", sample(1, 300, "garbage")},
  };
  FrameDecoder decoder;
  std::string room(kMaxFrameSize, '\0');
  Replay("frame", cases, [&](std::string_view bytes) {
    Reader reader(bytes);
    const auto codec = static_cast<FrameCodec>(reader.Byte());
    uint32_t size = 0;
    for (int i = 0; i < 4; ++i) size |= uint32_t{reader.Byte()} << (8 * i);
    return decoder.Decode(codec, reader.Bytes(reader.remaining()), room.data(), size);
  });
}

// The head of a delta with the table as it is given; a case changes one of them.
struct RawDelta {
  std::string begin = std::string("AFSD\1\0\0\0", 8);
  std::string table = V({0, 0});
  std::string manifest = SeededSequence(1).Bytes(64);  // of two chunks
  std::optional<uint64_t> head_size;
  std::optional<Digest> digest;
  std::optional<uint64_t> table_size;
  std::optional<uint64_t> stored_table_size;
  uint64_t target_size = 64;

  std::string Bytes() const {
    const std::string stored = PatchEncoder().Encode({}, table, 3);
    const std::string patch = PatchEncoder().Encode({}, manifest, 3);
    Writer out;
    out.Bytes(begin);
    const size_t size = kDeltaPreludeSize + 3 * Digest::kSize + 3 * 8 + stored.size() + patch.size();
    out.Fixed64(head_size.value_or(size));
    out.Put(SampleDigest(1));
    out.Put(SampleDigest(2));
    out.Fixed64(table_size.value_or(table.size()));
    out.Fixed64(stored_table_size.value_or(stored.size()));
    out.Fixed64(target_size);
    out.Bytes(stored);
    out.Bytes(patch);
    return out.bytes() + std::string(digest.value_or(Sha256::Of(out.bytes())).bytes());
  }
};

// Numbers of a signed kind.
uint64_t Z(int64_t value) { return ZigZag(value); }

std::vector<Case> DeltaCases() {
  const auto raw = [](const std::function<void(RawDelta&)>& change) {
    RawDelta delta;
    change(delta);
    return delta.Bytes();
  };
  const auto table = [&raw](std::string bytes) { return raw([&](auto& d) { d.table = bytes; }); };
  // One patch: its part, stored size, ranges; then its chunks.
  const auto ranges = [&table](std::string bytes) {
    return table(V({0, 1, 0, 100}) + bytes + V({1, Z(0), 1}));
  };
  const auto chunks = [&table](std::string bytes) { return table(V({0, 1, 0, 100, 0}) + bytes); };
  const std::string patch = V({100, 0, 1, Z(0), 1});  // behind its part's number
  const std::string part = V({1}) + D(3) + V({100});
  return {
      {"ok-no-patch", "", raw([](auto&) {})},
      {"ok-one-patch", "", ranges(V({2, Z(5), Z(10), 100, Z(-1), Z(0), 7}))},
      {"ok-one-part", "", table(part + V({1, 1}) + patch)},
      {"ok-without-digests", "", raw([&](auto& d) {
         d.begin[5] = 1;
         d.table = V({0, 1, 0}) + V({100, 0, 1, Z(0), kMaxDigestsLeftOut});
       })},
      {"too-many-without-digests", "more chunks than", raw([&](auto& d) {
         d.begin[5] = 1;
         d.table = V({0, 1, 0}) + V({100, 0, 1, Z(0), kMaxDigestsLeftOut + 10});
       })},
      {"ok-part-0-and-1", "", table(part + V({2, 0}) + patch + V({1}) + patch)},
      {"nothing", "begin", ""},
      {"magic-only", "version", "AFSD"},
      {"other-magic", "begin", raw([](auto& d) { d.begin[0] = 'X'; })},
      {"version-2", "version", raw([](auto& d) { d.begin[4] = 2; })},
      {"flag-2", "flag", raw([](auto& d) { d.begin[5] = 2; })},
      {"reserved-bytes", "reserved", raw([](auto& d) { d.begin[7] = 1; })},
      {"head-of-no-size", "impossible size", raw([](auto& d) { d.head_size = 0; })},
      {"head-of-2^63", "impossible size", raw([](auto& d) { d.head_size = uint64_t{1} << 63; })},
      {"head-of-less", "another size", raw([](auto& d) { d.head_size = 180; })},
      {"other-digest", "its digest", raw([](auto& d) { d.digest = SampleDigest(9); })},
      {"table-of-no-size", "impossible size", raw([](auto& d) { d.table_size = 0; })},
      {"table-of-more", "shorter", raw([](auto& d) { d.table_size = 3; })},
      {"table-of-less", "", raw([](auto& d) { d.table_size = 1; })},
      {"table-of-2^40", "impossible size", raw([](auto& d) { d.table_size = uint64_t{1} << 40; })},
      {"table-behind-the-end", "cut short", raw([](auto& d) { d.stored_table_size = 10000; })},
      {"table-of-zeros", "impossible size", table(std::string(1 << 20, '\0'))},
      {"table-with-more", "left over", table(V({0, 0, 0}))},
      {"manifest-of-1-gib", "larger than one", raw([](auto& d) { d.target_size = 1 << 30; })},
      {"manifest-of-400-mib", "than its patch can yield", raw([](auto& d) { d.target_size = 400 << 20; })},
      {"billion-parts", "a count is larger", table(V({1000000000, 0}))},
      {"part-of-0-bytes", "a part is empty", table(V({1}) + D(3) + V({0, 0}))},
      {"part-too-large", "a part is empty or too large",
       table(V({1}) + D(3) + V({kMaxDeltaPartSize + 1, 0}))},
      {"part-without-patch", "not used", table(part + V({1, 0}) + patch)},
      {"part-that-there-is-not", "no order", table(V({0, 1, 1}) + patch)},
      {"part-left-out", "not used", table(V({2}) + D(3) + V({100}) + D(4) + V({100}) + V({1, 2}) + patch)},
      {"parts-out-of-order", "no order", table(part + V({2, 1}) + patch + V({0}) + patch)},
      {"part-not-filled", "another size", table(V({1}) + D(3) + V({101, 1, 1}) + patch)},
      {"part-overfull", "behind its part", table(part + V({2, 1}) + patch + V({1}) + patch)},
      {"billion-patches", "a count is larger", table(V({0, 1000000000}))},
      {"patch-of-0-bytes", "a patch is empty", table(V({0, 1, 0, 0, 0, 1, Z(0), 1}))},
      {"patch-too-large", "a patch is empty or too large",
       table(V({0, 1, 0, kMaxDeltaPartSize + 1, 0, 1, Z(0), 1}))},
      {"patch-cut-short", "", table(V({0, 1, 0, 100, 0, 1}))},
      {"billion-ranges", "a count is larger", ranges(V({1000000000}))},
      {"ranges-too-many", "too many base ranges", ranges(V({4097}) + std::string(3 * 4097, '\1'))},
      {"range-in-no-file", "in no file", ranges(V({1, Z(kMaxEntries), Z(0), 1}))},
      {"range-below-file-0", "in no file", ranges(V({1, Z(-1), Z(0), 1}))},
      {"range-of-0-bytes", "range is empty", ranges(V({1, Z(0), Z(0), 0}))},
      {"range-below-0", "lies nowhere", ranges(V({1, Z(0), Z(-1), 1}))},
      {"range-at-2^63", "lies nowhere", ranges(V({1, Z(0), Z(INT64_MIN), 1}))},
      {"range-too-large", "too large", ranges(V({1, Z(0), Z(0), kMaxPatchBase + 1}))},
      {"ranges-too-large", "too large a base", ranges(V({2, Z(0), Z(0), kMaxPatchBase, Z(0), Z(0), 1}))},
      {"no-chunk", "yields nothing", chunks(V({0}) + "xx")},
      {"chunk-run-of-0", "yields nothing", chunks(V({1, Z(0), 0}))},
      {"chunk-run-too-long", "too much", chunks(V({1, Z(0), kMaxPatchTarget + 1}))},
      {"chunk-below-0", "can't be", chunks(V({1, Z(-1), 1}))},
      {"chunk-at-2^32", "can't be", chunks(V({1, Z(UINT32_MAX), 1}))},
      {"chunk-runs-that-are-one", "are one", chunks(V({2, Z(0), 1, Z(0), 1}))},
      {"chunks-without-digests", "more chunks than", chunks(V({1, Z(0), kMaxPatchTarget}))},
  };
}

TEST(MalformedTest, DeltasAreRefusedForWhatIsWrongWithThem) {
  Replay("delta", DeltaCases(), [](std::string_view bytes) { return DecodeDeltaHead(bytes).status(); });
}

// Patches with as many ranges as one may have, of one small file, which compress to nothing.
TEST(MalformedTest, DeltasThatWouldFillTheMemoryAreRefused) {
  RawDelta delta;
  constexpr uint64_t kPatches = 20;
  delta.table = V({0, kPatches});
  for (uint64_t i = 0; i < kPatches; ++i) {
    delta.table += V({0, 1, kMaxPatchRanges});
    for (size_t r = 0; r < kMaxPatchRanges; ++r) delta.table += V({0, 0, 1});
    delta.table += V({1, Z(0), 1});
  }
  ASSERT_LT(delta.Bytes().size(), 1000u);
  const absl::Status status = DecodeDeltaHead(delta.Bytes()).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(Message(status)), HasSubstr("more base ranges than chunks"));
}

TEST(MalformedTest, RecordsAreRefusedForWhatIsWrongWithThem) {
  record::v1::JournalEntry entry;
  entry.set_seq(3);
  entry.set_nonce("0123456789abcdef");
  entry.mutable_tag()->add_deletes("old");
  const std::string ok = EncodeRecord(RecordKind::kJournalEntry, entry);
  const auto sealed = [](std::string bytes) { return bytes + std::string(Sha256::Of(bytes).bytes()); };
  const auto with = [&](size_t at, char byte) {
    std::string changed = ok.substr(0, ok.size() - Digest::kSize);
    changed[at] = byte;
    return sealed(changed);
  };
  const std::string header("AFSR\1\1\0\0", 8);
  const auto payload = [&](const std::string& bytes) {
    Writer writer;
    writer.Fixed64(bytes.size());
    return sealed(header + writer.bytes() + bytes);
  };
  const std::vector<Case> cases = {
      {"ok-journal-entry", "", ok},
      {"ok-empty", "", payload("")},
      {"nothing", "begin", ""},
      {"header-cut-short", "cut short", ok.substr(0, 10)},
      {"other-magic", "begin", with(0, 'X')},
      {"version-2", "its version is 2", with(4, 2)},
      {"checkpoint", "it is a checkpoint", EncodeRecord(RecordKind::kCheckpoint, record::v1::Checkpoint())},
      {"kind-99", "it is a record", with(5, 99)},
      {"reserved-bytes", "reserved", with(6, 1)},
      {"length-huge", "cut short", with(15, '\x7f')},
      {"length-short", "left over", with(8, 1)},
      {"checksum", "checksum", ok.substr(0, ok.size() - 1) + "x"},
      {"payload-garbage", "no such message", payload("\xff\xff\xff")},
      {"payload-field-longer-than-all", "no such message", payload("\x12\x7f")},
      {"payload-not-utf-8", "no such message", payload("\x22\x02\xff\xff")},
  };
  Replay("record", cases, [](std::string_view bytes) {
    record::v1::JournalEntry decoded;
    return DecodeRecord(RecordKind::kJournalEntry, bytes, &decoded);
  });
}

}  // namespace
}  // namespace aetherfs
