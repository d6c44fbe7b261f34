#include "aetherfs/cache/part_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <xxhash.h>

#include <fstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "aetherfs/cache/part_files.h"
#include "aetherfs/format/codec.h"
#include "aetherfs/format/testing/samples.h"

namespace aetherfs {
namespace {

using ::testing::HasSubstr;
using ::testing::UnorderedElementsAre;

PartFileHeader SampleHeader() {
  return {{"datasets/geo/city/blocks/0123", 2}, 2 * kPartSize + 7, XXH3_64bits("content", 7)};
}

TEST(PartFileTest, HeaderIsReadAsItWasWritten) {
  std::string bytes = EncodePartFileHeader(SampleHeader());
  EXPECT_EQ(bytes.size(), PartFileHeaderSize(SampleHeader().key));
  bytes += "content";
  const auto decoded = DecodePartFileHeader(bytes);
  ASSERT_TRUE(decoded.ok()) << decoded.status();
  EXPECT_EQ(decoded->header, SampleHeader());
  EXPECT_EQ(decoded->header.part_size(), 7u);
  EXPECT_EQ(bytes.substr(decoded->size), "content");
}

TEST(PartFileTest, HeadersAreAsLongAsIsSaid) {
  for (const size_t size : {size_t{1}, size_t{127}, size_t{128}, kMaxPartFileKey}) {
    const PartFileHeader header{{std::string(size, 'k'), 0}, 1, 0};
    const std::string bytes = EncodePartFileHeader(header);
    EXPECT_EQ(bytes.size(), PartFileHeaderSize(header.key));
    EXPECT_GE(bytes.size(), kMinPartFileHeader);
    EXPECT_LE(bytes.size(), kMaxPartFileHeader);
    EXPECT_TRUE(DecodePartFileHeader(bytes).ok()) << size;
  }
  EXPECT_EQ(PartFileHeaderSize({"k", 0}), kMinPartFileHeader);
  EXPECT_EQ(PartFileHeaderSize({std::string(kMaxPartFileKey, 'k'), 0}), kMaxPartFileHeader);
}

TEST(PartFileTest, AnyFlippedByteOfAHeaderIsFoundOut) {
  const std::string good = EncodePartFileHeader(SampleHeader());
  for (size_t i = 0; i < good.size(); ++i) {
    std::string bad = good;
    bad[i] = static_cast<char>(bad[i] ^ 0x20);
    EXPECT_EQ(DecodePartFileHeader(bad).status().code(), absl::StatusCode::kDataLoss) << i;
    EXPECT_FALSE(DecodePartFileHeader(std::string_view(good).substr(0, i)).ok()) << i;
  }
}

TEST(PartFileTest, GoldenFileIsReadAndWrittenAsItWas) {
  const std::string bytes = EncodePartFileHeader(SampleHeader()) + "content";
  WriteSample("compat/v1/part-file", bytes);
  const std::string golden = ReadSample("compat/v1/part-file");
  EXPECT_TRUE(golden == bytes);
  const auto decoded = DecodePartFileHeader(golden);
  ASSERT_TRUE(decoded.ok()) << decoded.status();
  EXPECT_EQ(decoded->header, SampleHeader());
  EXPECT_EQ(decoded->header.checksum, XXH3_64bits(golden.data() + decoded->size, 7));
  EXPECT_EQ(PartFileId::Of(decoded->header.key).Hex(), "996eae3d2f798672dd6578b55b9ed04d")
      << "files keep their names over releases";
}

// A header with the size of the key, and a checksum that holds, as they are given.
std::string Sealed(std::string_view magic, uint64_t object_size, uint64_t index, uint64_t key_size,
                   std::string_view key) {
  Writer writer;
  writer.Bytes(magic);
  writer.Fixed64(object_size);
  writer.Fixed64(index);
  writer.Fixed64(0);
  writer.Varint(key_size);
  writer.Bytes(key);
  writer.Fixed64(XXH3_64bits(writer.bytes().data(), writer.size()));
  return std::move(writer).Take();
}

TEST(PartFileTest, MalformedHeadersAreRefusedForWhatIsWrongWithThem) {
  constexpr std::string_view kMagic("AFSP\1\0\0\0", 8);
  const std::string good = EncodePartFileHeader(SampleHeader());
  const struct {
    const char* name;
    const char* problem;
    std::string bytes;
  } cases[] = {
      {"ok-sample", "", good + "content"},
      {"ok-header-only", "", Sealed(kMagic, 1, 0, 1, "k")},
      {"ok-largest-object", "", Sealed(kMagic, ~uint64_t{0}, ~uint64_t{0} / kPartSize, 1, "k")},
      {"nothing", "cut short", ""},
      {"other-magic", "no file of a part", Sealed(std::string_view("AFSC\1\0\0\0", 8), 1, 0, 1, "k")},
      {"version-2", "version", Sealed(std::string_view("AFSP\2\0\0\0", 8), 1, 0, 1, "k")},
      {"reserved-bytes", "reserved", Sealed(std::string_view("AFSP\1\0\1\0", 8), 1, 0, 1, "k")},
      {"cut-short", "cut short", good.substr(0, good.size() - 1)},
      {"checksum", "checksum", good.substr(0, good.size() - 1) + "\xff"},
      {"object-of-0-bytes", "no such part", Sealed(kMagic, 0, 0, 1, "k")},
      {"part-behind-the-end", "no such part", Sealed(kMagic, kPartSize, 1, 1, "k")},
      {"part-of-2^64", "no such part", Sealed(kMagic, kPartSize, ~uint64_t{0}, 1, "k")},
      {"key-empty", "too long", Sealed(kMagic, 1, 0, 0, "")},
      {"key-too-long", "too long", Sealed(kMagic, 1, 0, 1025, std::string(1025, 'k'))},
      {"key-of-2^64", "too long", Sealed(kMagic, 1, 0, ~uint64_t{0}, "k")},
      {"key-longer-than-the-rest", "cut short", Sealed(kMagic, 1, 0, 100, "k")},
  };
  for (const auto& c : cases) {
    WriteSample(std::string("corpus/part-file/") + c.name, c.bytes);
    EXPECT_THAT(std::string(DecodePartFileHeader(c.bytes).status().message()), HasSubstr(c.problem))
        << c.name;
  }
  const auto samples = ReadSamples("corpus/part-file");
  EXPECT_GE(samples.size(), std::size(cases));
  for (const auto& [name, bytes] : samples) {
    EXPECT_EQ(DecodePartFileHeader(bytes).ok(), name.starts_with("ok-")) << name;
  }
}

class DirectoryPartFilesTest : public ::testing::Test {
 protected:
  std::string PathOf(const PartFileId& id) const {
    return JoinPath(directory_.path(), "cache/v1/" + id.Hex().substr(0, 2) + "/" + id.Hex());
  }
  static std::vector<std::pair<std::string, uint64_t>> Scan(PartFiles& files) {
    std::vector<std::pair<std::string, uint64_t>> found;
    EXPECT_TRUE(files
                    .Scan([&](const PartFiles::Found& file) {
                      found.emplace_back(file.id.Hex(), file.size);
                      return true;
                    })
                    .ok());
    return found;
  }

  const TemporaryDirectory directory_ = *TemporaryDirectory::Create("part-files");
  const std::string root_ = JoinPath(directory_.path(), "cache");
  const PartFileId id_ = PartFileId::Of({"an object", 3});
};

TEST_F(DirectoryPartFilesTest, WhatIsWrittenIsReadFoundAndRemoved) {
  const auto files = DirectoryPartFiles::Open(root_);
  ASSERT_TRUE(files.ok()) << files.status();
  std::string head(4, '\0'), body(10, '\0');
  EXPECT_TRUE(absl::IsNotFound((*files)->Read(id_, std::span<char>(head), std::span<char>(body)).status()));
  ASSERT_TRUE((*files)->Write(id_, "head", "body").ok());
  const auto read = (*files)->Read(id_, std::span<char>(head), std::span<char>(body));
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(*read, 8u);
  EXPECT_EQ(head, "head");
  EXPECT_EQ(body.substr(0, 4), "body");
  EXPECT_THAT(Scan(**files), UnorderedElementsAre(std::pair(id_.Hex(), uint64_t{8})));
  ASSERT_TRUE((*files)->Remove(id_).ok());
  EXPECT_TRUE((*files)->Remove(id_).ok());
  EXPECT_TRUE(Scan(**files).empty());
}

TEST_F(DirectoryPartFilesTest, ForeignFilesStayAndUnfinishedOnesGo) {
  std::vector<std::string> foreign;
  {
    const auto files = DirectoryPartFiles::Open(root_);
    ASSERT_TRUE(files.ok()) << files.status();
    ASSERT_TRUE((*files)->Write(id_, "head", "body").ok());
    const std::string folder = ParentPath(PathOf(id_));
    std::string capitals = id_.Hex();
    for (char& c : capitals) c = static_cast<char>(c >= 'a' ? c - 'a' + 'A' : c);
    foreign = {JoinPath(root_, "README"), JoinPath(folder, "x"), JoinPath(folder, capitals),
               JoinPath(folder, id_.Hex() + ".tmp"), JoinPath(root_, "v1/" + id_.Hex())};
    foreign.push_back(JoinPath(root_, (id_.Hex().starts_with("00") ? "v1/01/" : "v1/00/") + id_.Hex()));
    for (const std::string& path : foreign) std::ofstream(path) << "x";
    std::ofstream(JoinPath(root_, "v1/unfinished")) << "half a pa";
    ASSERT_EQ(mkdir(JoinPath(folder, std::string(32, '0').replace(0, 2, id_.Hex(), 0, 2)).c_str(), 0700),
              0);
  }
  const auto files = DirectoryPartFiles::Open(root_);
  ASSERT_TRUE(files.ok()) << files.status();
  EXPECT_THAT(Scan(**files), UnorderedElementsAre(std::pair(id_.Hex(), uint64_t{8})));
  for (const std::string& path : foreign) EXPECT_TRUE(Exists(path)) << path;
  EXPECT_FALSE(Exists(JoinPath(root_, "v1/unfinished")));
}

TEST_F(DirectoryPartFilesTest, DirectoryIsForOneAtATime) {
  auto files = DirectoryPartFiles::Open(root_);
  ASSERT_TRUE(files.ok()) << files.status();
  EXPECT_EQ(DirectoryPartFiles::Open(root_).status().code(), absl::StatusCode::kFailedPrecondition);
  files->reset();
  EXPECT_TRUE(DirectoryPartFiles::Open(root_).ok());
}

TEST_F(DirectoryPartFilesTest, FileInPlaceOfTheDirectoryIsAnError) {
  std::ofstream(root_) << "x";
  const auto files = DirectoryPartFiles::Open(root_);
  EXPECT_FALSE(files.ok());
  EXPECT_THAT(std::string(files.status().message()), HasSubstr(root_));
}

TEST_F(DirectoryPartFilesTest, WriteThatFailsLeavesNothing) {
  const auto files = DirectoryPartFiles::Open(root_);
  ASSERT_TRUE(files.ok()) << files.status();
  ASSERT_TRUE(RemoveTree(ParentPath(PathOf(id_))).ok());
  EXPECT_FALSE((*files)->Write(id_, "head", "body").ok());
  EXPECT_FALSE(Exists(JoinPath(root_, "v1/unfinished")));
}

}  // namespace
}  // namespace aetherfs
