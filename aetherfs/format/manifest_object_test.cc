#include "aetherfs/base/sha256.h"
#include "aetherfs/base/status.h"
#include "aetherfs/format/codec.h"
#include "aetherfs/format/manifest.h"
#include "aetherfs/format/testing/samples.h"
#include "gmock/gmock.h"

namespace aetherfs {
namespace {

using ::testing::HasSubstr;

constexpr size_t kHeaderSize = 16;

void ExpectMalformed(std::string_view object, const Digest& expected, const std::string& problem) {
  const auto decoded = DecodeManifestObject(object, expected);
  EXPECT_EQ(decoded.status().code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(Message(decoded.status())), HasSubstr(problem));
}

std::string WithRawSize(std::string object, uint64_t size) {
  Writer writer;
  writer.Fixed64(size);
  return object.replace(8, 8, writer.bytes());
}

TEST(ManifestObjectTest, AnyBytesComeBack) {
  SeededSequence random(1);
  for (const std::string& canonical :
       {std::string(), std::string("x"), std::string(3000000, 'x'), random.Bytes(100000), random.Bytes(7),
        random.Bytes(1500000) + std::string(5000000, 'y'), EncodeManifest(SampleManifest())}) {
    const std::string object = EncodeManifestObject(canonical);
    EXPECT_LE(object.size(), canonical.size() + kHeaderSize);
    const auto decoded = DecodeManifestObject(object, Sha256::Of(canonical));
    ASSERT_TRUE(decoded.ok()) << decoded.status();
    EXPECT_EQ(*decoded, canonical);
  }
}

TEST(ManifestObjectTest, OtherBytesThanExpectedAreDataLoss) {
  const std::string object = EncodeManifestObject("one");
  ExpectMalformed(object, Sha256::Of("other"), "has the digest sha256:7692c3ad3540bb80");
}

TEST(ManifestObjectTest, EveryPrefixIsRefused) {
  const std::string canonical = std::string(1000, 'x') + SeededSequence(3).Bytes(100);
  const std::string object = EncodeManifestObject(canonical);
  for (size_t size = 0; size < object.size(); ++size) {
    ExpectMalformed(object.substr(0, size), Sha256::Of(canonical), "");
  }
}

TEST(ManifestObjectTest, ASizeThatIsALieIsRefusedWithoutMakingRoomForIt) {
  const std::string canonical(1000, 'x');
  const Digest digest = Sha256::Of(canonical);
  const std::string object = EncodeManifestObject(canonical);
  ExpectMalformed(WithRawSize(object, kMaxManifestSize), digest, "shorter than its header says");
  ExpectMalformed(WithRawSize(object, kMaxManifestSize + 1), digest, "larger than a manifest can be");
  ExpectMalformed(WithRawSize(object, UINT64_MAX), digest, "larger than a manifest can be");
  ExpectMalformed(WithRawSize(object, 999), digest, "longer than its header says");
  ExpectMalformed(WithRawSize(object, 0), digest, "");
}

TEST(ManifestObjectTest, MalformedHeadersAndTailsAreRefused) {
  const std::string canonical(1000, 'x');
  const Digest digest = Sha256::Of(canonical);
  const std::string object = EncodeManifestObject(canonical);
  const auto with = [&](size_t at, char byte) {
    std::string changed = object;
    changed[at] = byte;
    return changed;
  };
  ExpectMalformed(with(0, 'X'), digest, "does not begin as one");
  ExpectMalformed(with(4, 2), digest, "version");
  ExpectMalformed(with(5, 2), digest, "codec");
  ExpectMalformed(with(5, 0), digest, "another size");
  ExpectMalformed(with(6, 1), digest, "reserved");
  ExpectMalformed(with(kHeaderSize, 0), digest, "");
  ExpectMalformed(object + "x", digest, "left over");
}

TEST(ManifestObjectTest, AWindowLargerThanAllowedIsRefused) {
  // A zstd frame header that asks for a window of 1 GiB.
  std::string object = EncodeManifestObject(std::string(1000, 'x')).substr(0, kHeaderSize);
  object += std::string("\x28\xb5\x2f\xfd\x00\xa0\x01\x00\x00", 9);
  ExpectMalformed(object, Digest(), "requires too much memory");
}

}  // namespace
}  // namespace aetherfs
