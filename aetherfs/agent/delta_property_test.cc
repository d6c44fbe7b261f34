// Deltas from end to end, but for the wire: a publisher that makes them, a server in memory that keeps
// them, and updates that use them, over random edit scripts. Whatever happens to a delta or to its base,
// what is made is right to the byte, and a delta that is of no use is counted.

#include <algorithm>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "aetherfs/agent/update.h"
#include "aetherfs/base/sha256.h"
#include "aetherfs/base/status.h"
#include "aetherfs/client/publisher.h"
#include "aetherfs/client/testing/fake_server_client.h"
#include "aetherfs/client/testing/tree.h"
#include "aetherfs/format/delta.h"
#include "aetherfs/os/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace aetherfs {
namespace {

using block::v1::OBJECT_KIND_DELTA;

// Keeps deltas and what publishes announced; changes what is downloaded of them on command.
class DeltaServer : public FakeServerClient {
 public:
  std::string Add(std::string object) {
    const Digest digest = Sha256::Of(object);
    objects_[digest] = std::move(object);
    return digest.ToString();
  }
  const std::string& object(const Digest& digest) const { return objects_.at(digest); }
  std::vector<DeltaOffer> Offers() const { return OffersFrom(announced_); }
  // Null: nothing is changed.
  void Spoil(std::function<void(std::string& object)> spoil) { spoil_ = std::move(spoil); }

  absl::StatusOr<block::v1::UploadResponse> Upload(const block::v1::UploadHeader& header,
                                                   std::string_view object) override {
    if (header.kind() != OBJECT_KIND_DELTA) return FakeServerClient::Upload(header, object);
    if (Add(std::string(object)) != header.digest()) return absl::InvalidArgumentError("another digest");
    return block::v1::UploadResponse();
  }
  absl::Status Download(const block::v1::DownloadRequest& request,
                        absl::FunctionRef<absl::Status(std::string_view)> sink) override {
    if (request.kind() != OBJECT_KIND_DELTA) return FakeServerClient::Download(request, sink);
    const auto found = objects_.find(*Digest::Parse(request.digest()));
    if (found == objects_.end()) return absl::NotFoundError("there is no such delta");
    std::string object = found->second;
    if (spoil_ != nullptr) spoil_(object);
    const auto& range = request.ranges(0);
    if (range.offset() > object.size() || range.size() > object.size() - range.offset()) {
      return absl::OutOfRangeError("a range ends behind the delta");
    }
    return sink(std::string_view(object).substr(range.offset(), range.size()));
  }
  absl::StatusOr<dataset::v1::PublishResponse> Publish(
      const dataset::v1::PublishRequest& request) override {
    announced_.MergeFrom(request.deltas());
    dataset::v1::PublishRequest without = request;  // they are kept here, where they can be spoilt
    without.clear_deltas();
    return FakeServerClient::Publish(without);
  }

 private:
  std::map<Digest, std::string> objects_;
  google::protobuf::RepeatedPtrField<dataset::v1::Delta> announced_;
  std::function<void(std::string&)> spoil_;
};

using Files = std::map<std::string, std::string>;

class EditScript {
 public:
  explicit EditScript(uint64_t seed) : random_(seed) {}
  uint64_t Below(uint64_t bound) { return random_() % bound; }

  Files Begin() {
    static constexpr size_t kSizes[] = {0, 50, 20'000, 150'000, 400'000};
    Files files;
    for (size_t n = 2 + Below(4); n > 0; --n) {
      files["file" + std::to_string(Below(100)) + ".txt"] = AnyBytes(kSizes[Below(std::size(kSizes))]);
    }
    files["always.txt"] = AnyBytes(200'000);
    return files;
  }

  Files Edited(const Files& files) {
    Files edited;
    for (const auto& [path, bytes] : files) {
      const uint64_t kind = path == "always.txt" ? 9 : Below(10);
      if (kind == 0) continue;
      std::string& to = edited[kind == 1 ? "renamed-" + path : path];
      to = bytes;
      for (size_t edits = kind < 4 ? 0 : 1 + Below(3); edits > 0; --edits) EditOnce(to);
    }
    // So that every version is another one.
    edited["always.txt"].insert(Below(edited["always.txt"].size() + 1), AnyBytes(30 + Below(10)));
    return edited;
  }

 private:
  std::string AnyBytes(size_t size) {
    return Below(4) == 0 ? RandomBytes(size, random_()) : RandomText(size, random_());
  }

  void EditOnce(std::string& bytes) {
    const size_t at = Below(bytes.size() + 1);
    const size_t end = at + Below(std::min<size_t>(bytes.size() - at, 20'000) + 1);
    switch (Below(9)) {
      case 0:
        bytes.insert(at, AnyBytes(Below(5000)));
        break;
      case 1:
        bytes.erase(at, end - at);
        break;
      case 2:  // move
        std::rotate(bytes.begin() + static_cast<ptrdiff_t>(at), bytes.begin() + static_cast<ptrdiff_t>(end),
                    bytes.end());
        break;
      case 3:
        for (size_t i = at; i < end; i += 1 + Below(500)) bytes[i] = static_cast<char>(Below(256));
        break;
      case 4: {  // permute records
        constexpr size_t kRecord = 64;
        std::vector<std::string> records;
        for (size_t i = 0; i < bytes.size(); i += kRecord) records.push_back(bytes.substr(i, kRecord));
        std::shuffle(records.begin(), records.end(), random_);
        bytes.clear();
        for (const std::string& record : records) bytes += record;
        break;
      }
      case 5:
        bytes.resize(at);
        break;
      case 6:
        bytes += AnyBytes(Below(50'000));
        break;
      case 7:
        bytes.clear();
        break;
      default:
        bytes.assign(bytes.size(), 'e');  // all equal
    }
  }

  std::mt19937_64 random_;
};

class DeltaPropertyTest : public ::testing::Test {
 protected:
  struct Version {
    Digest digest;
    std::string canonical;
    std::shared_ptr<const Manifest> manifest;
    std::map<std::string, std::string> tree;  // DescribeTree
  };
  struct Received {
    uint64_t bytes = 0;
    uint64_t delta_bytes = 0;
    uint64_t failures = 0;
  };

  // A new world with three versions and the first of them on disk.
  void Begin(uint64_t seed) {
    server_ = std::make_unique<DeltaServer>();
    fetcher_ = std::make_unique<Fetcher>(server_.get());
    versions_.clear();
    ASSERT_TRUE(RemoveTree(Dir("all")).ok());
    EditScript script(seed);
    Files files = script.Begin();
    for (int n = 0; n < 3; ++n) {
      if (n > 0) files = script.Edited(files);
      ASSERT_NO_FATAL_FAILURE(Publish(files));
    }
    offers_ = server_->Offers();
    const auto made = Update(0, {}, nullptr);
    ASSERT_TRUE(made.ok()) << made.status();
    on_disk_ = made_;
  }

  void Publish(const Files& files) {
    const std::string root = Dir("all/published");
    ASSERT_TRUE(RemoveTree(root).ok());
    ASSERT_TRUE(MakeDirectories(root, 0755).ok());
    for (const auto& [path, bytes] : files) WriteTestFile(JoinPath(root, path), bytes);
    PublishOptions options;
    options.dataset = dataset_;
    options.tags = {"latest"};
    options.path = root;
    const auto published = PublishDirectory(*server_, options);
    ASSERT_TRUE(published.ok()) << published.status();
    Version version;
    version.digest = published->digest;
    version.canonical = *fetcher_->FetchManifest(dataset_, version.digest, &ignored_);
    version.manifest = std::make_shared<const Manifest>(*DecodeManifest(version.canonical));
    version.tree = DescribeTree(root);
    versions_.push_back(std::move(version));
  }

  // Makes a version in a new directory, from one on disk if it is given; right to the byte, or it fails.
  absl::StatusOr<Received> Update(size_t to, std::vector<DeltaOffer> offers, const Version* from) {
    made_ = Dir("all/made" + std::to_string(++made_count_));
    UpdateRequest request;
    request.dataset = dataset_;
    request.target = versions_[to].digest;
    if (from != nullptr) {
      request.sources = {{on_disk_, from->manifest.get(), true}};
      request.bases = {{from->digest, from->manifest, 0}};
    }
    request.offers = std::move(offers);
    request.directory = made_;
    request.scratch = [this](const Digest& digest) { return Dir("all/between-" + digest.Hex()); };
    request.options.durable = false;
    RETURN_IF_ERROR(MakeDirectories(made_, 0755));
    TransferStats stats;
    RETURN_IF_ERROR(StageUpdate(*fetcher_, std::move(request), &stats, nullptr).status());
    EXPECT_EQ(DescribeTree(made_), versions_[to].tree);
    return Received{stats.downloaded_bytes.load(), stats.delta_bytes.load(), stats.delta_failures.load()};
  }

  // The offer between two versions that follow each other, if one was worth it.
  const DeltaOffer* OfferTo(size_t to) const {
    for (const DeltaOffer& offer : offers_) {
      if (offer.to == versions_[to].digest) return &offer;
    }
    return nullptr;
  }

  // The same delta with its digests in the head, and its patches behind the head or all in a part.
  DeltaOffer Repacked(const DeltaOffer& offer, bool in_part) {
    const std::string& object = server_->object(offer.digest);
    Delta delta = DecodeDeltaHead(std::string_view(object).substr(0, offer.head_size))->delta;
    std::string patches = object.substr(offer.head_size);
    if (in_part) {
      delta.parts = {{Sha256::Of(patches), patches.size()}};
      for (DeltaPatch& patch : delta.patches) patch.part = 1;
    }
    const std::string head =
        EncodeDeltaHead(delta, VersionOf(offer.from).canonical, VersionOf(offer.to).canonical, false);
    DeltaOffer repacked = offer;
    repacked.head_size = head.size();
    repacked.parts_size = in_part ? patches.size() : 0;
    repacked.size = in_part ? head.size() : head.size() + patches.size();
    repacked.digest = *Digest::Parse(server_->Add(in_part ? head : head + patches));
    if (in_part) server_->Add(std::move(patches));
    return repacked;
  }

  const Version& VersionOf(const Digest& digest) const {
    return *std::find_if(versions_.begin(), versions_.end(),
                         [&](const Version& version) { return version.digest == digest; });
  }
  std::string Dir(const std::string& name) { return JoinPath(temporary_.path(), name); }

  TemporaryDirectory temporary_ = *TemporaryDirectory::Create("delta-property");
  const DatasetName dataset_ = *DatasetName::Parse("test/data");
  TransferStats ignored_;
  std::unique_ptr<DeltaServer> server_;
  std::unique_ptr<Fetcher> fetcher_;
  std::vector<Version> versions_;
  std::vector<DeltaOffer> offers_;
  std::string on_disk_;  // the first version
  std::string made_;
  int made_count_ = 0;
};

TEST_F(DeltaPropertyTest, AnyEditScriptIsFollowedToTheByteForNoMoreThanWithoutDeltas) {
  uint64_t by_deltas = 0;
  uint64_t by_blocks = 0;
  int chains = 0;
  for (uint64_t seed = 0; seed < 6; ++seed) {
    SCOPED_TRACE(seed);
    ASSERT_NO_FATAL_FAILURE(Begin(seed));
    for (const size_t to : {size_t{1}, size_t{2}}) {
      const auto without = Update(to, {}, &versions_[0]);
      ASSERT_TRUE(without.ok()) << without.status();
      const auto full = Update(to, {}, nullptr);
      ASSERT_TRUE(full.ok()) << full.status();
      const auto with = Update(to, offers_, &versions_[0]);
      ASSERT_TRUE(with.ok()) << with.status();
      EXPECT_EQ(with->failures, 0u);
      uint64_t heads = 0;
      for (const DeltaOffer& offer : offers_) heads += offer.head_size;
      EXPECT_LE(with->bytes, (to == 1 ? *without : *full).bytes + heads);
      if (to == 2 && OfferTo(1) != nullptr && OfferTo(2) != nullptr && with->delta_bytes > 0) ++chains;
      by_deltas += with->bytes;
      by_blocks += without->bytes;
    }
  }
  EXPECT_GE(chains, 2);
  EXPECT_LT(by_deltas * 2, by_blocks);  // of what is mostly text, edited here and there
}

TEST_F(DeltaPropertyTest, ChangedBytesOfADeltaAreFoundOut) {
  int failed = 0;
  int tried = 0;
  for (uint64_t seed = 0; seed < 4; ++seed) {
    ASSERT_NO_FATAL_FAILURE(Begin(seed));
    if (OfferTo(1) == nullptr) continue;  // it was not worth one
    const std::vector<DeltaOffer> forms = {*OfferTo(1), Repacked(*OfferTo(1), false),
                                           Repacked(*OfferTo(1), true)};
    EditScript random(seed);
    for (const DeltaOffer& form : forms) {
      server_->Spoil(nullptr);
      const auto whole = Update(1, {form}, &versions_[0]);
      ASSERT_TRUE(whole.ok()) << whole.status();
      EXPECT_EQ(whole->failures, 0u);
      EXPECT_GT(whole->delta_bytes, 0u);
      for (int round = 0; round < 5; ++round) {
        SCOPED_TRACE(testing::Message() << "seed " << seed << " round " << round);
        server_->Spoil([&](std::string& object) {
          char& byte = object[random.Below(object.size())];
          byte = static_cast<char>(byte ^ (1 << random.Below(8)));
        });
        const auto received = Update(1, {form}, &versions_[0]);
        ASSERT_TRUE(received.ok()) << received.status();
        failed += received->failures > 0;
        ++tried;
      }
    }
  }
  EXPECT_GT(tried, 40);
  EXPECT_GE(failed, tried - 3);  // a bit may be one that zstd does not look at
}

TEST_F(DeltaPropertyTest, EveryPieceOfADeltaIsChecked) {
  ASSERT_NO_FATAL_FAILURE(Begin(3));
  ASSERT_NE(OfferTo(1), nullptr);
  const auto flip = [](std::string& object, size_t at) {
    ASSERT_LT(at, object.size());
    object[at] = static_cast<char>(object[at] ^ 0x10);
  };
  const auto is_head = [](const std::string& object) { return object.starts_with("AFSD"); };
  for (const DeltaOffer& form : {*OfferTo(1), Repacked(*OfferTo(1), false), Repacked(*OfferTo(1), true)}) {
    std::map<std::string, std::function<void(std::string&)>> ways;
    const size_t head = form.head_size;
    for (const auto& [what, at] : std::map<std::string, size_t>{{"magic", 0},
                                                                {"flags", 5},
                                                                {"head size", 8},
                                                                {"base", 20},
                                                                {"target", 60},
                                                                {"table size", 80},
                                                                {"table", 115},
                                                                {"manifest", head - 40},
                                                                {"digest", head - 1}}) {
      ways[what] = [&, offset = at](std::string& object) {
        if (is_head(object)) flip(object, offset);
      };
    }
    ways["patch"] = [&](std::string& object) {
      const size_t begin = is_head(object) ? head : 0;
      if (begin < object.size()) flip(object, begin + (object.size() - begin) / 2);
    };
    ways["nothing"] = [](std::string& object) { object.clear(); };
    ways["short"] = [](std::string& object) { object.pop_back(); };
    ways["zeros"] = [](std::string& object) { object.assign(object.size(), '\0'); };
    for (const auto& [what, spoil] : ways) {
      SCOPED_TRACE(what);
      server_->Spoil(spoil);
      const auto received = Update(1, {form}, &versions_[0]);
      ASSERT_TRUE(received.ok()) << received.status();
      EXPECT_GE(received->failures, 1u);
    }
  }
}

TEST_F(DeltaPropertyTest, BaseThatChangedOnDiskIsFoundOut) {
  const std::vector<std::pair<const char*, std::function<void(const std::string&)>>> ways = {
      {"other bytes",
       [](const std::string& path) {
         std::string bytes = *ReadWholeFile(path, 1 << 30);
         for (char& byte : bytes) byte = static_cast<char>(byte ^ 0x55);
         WriteTestFile(path, bytes);
       }},
      {"one other byte",
       [](const std::string& path) {
         std::string bytes = *ReadWholeFile(path, 1 << 30);
         if (!bytes.empty()) bytes[bytes.size() / 2] ^= 1;
         WriteTestFile(path, bytes);
       }},
      {"cut short", [](const std::string& path) { WriteTestFile(path, ""); }},
      {"gone", [](const std::string& path) { ASSERT_TRUE(RemoveFile(path).ok()); }},
  };
  for (const auto& [what, spoil] : ways) {
    uint64_t failed = 0;
    for (uint64_t seed = 0; seed < 4; ++seed) {
      SCOPED_TRACE(testing::Message() << what << ", seed " << seed);
      ASSERT_NO_FATAL_FAILURE(Begin(seed));
      if (OfferTo(1) == nullptr) continue;
      const std::vector<DeltaOffer> forms = {*OfferTo(1), Repacked(*OfferTo(1), false),
                                             Repacked(*OfferTo(1), true)};
      for (const auto& file : std::filesystem::directory_iterator(on_disk_)) {
        ASSERT_NO_FATAL_FAILURE(spoil(file.path()));
      }
      for (const DeltaOffer& form : forms) {
        const auto received = Update(1, {form}, &versions_[0]);
        ASSERT_TRUE(received.ok()) << received.status();
        failed += received->failures;
      }
    }
    // A file that is not there may be one that the subscription leaves out: not always the delta's fault.
    if (std::string_view(what) != "gone") {
      EXPECT_GE(failed, 3u) << what;
    }
  }
}

TEST_F(DeltaPropertyTest, DeltaForAnotherBaseOrTargetIsFoundOut) {
  int tried = 0;
  for (uint64_t seed = 0; seed < 5; ++seed) {
    SCOPED_TRACE(seed);
    ASSERT_NO_FATAL_FAILURE(Begin(seed));
    if (OfferTo(1) == nullptr) continue;
    ++tried;
    const DeltaOffer honest = *OfferTo(1);
    std::vector<DeltaOffer> lies;
    // Offered for what it is not, from or to.
    lies.push_back(honest);
    lies.back().to = versions_[2].digest;
    // The head lies too: made for another base, or for another target.
    const std::string& object = server_->object(honest.digest);
    const auto lie = [&](size_t manifest_of_base, size_t manifest_of_target, bool leave_out) {
      Delta delta = DecodeDeltaHead(std::string_view(object).substr(0, honest.head_size))->delta;
      delta.to = versions_[2].digest;
      DeltaOffer offer = honest;
      offer.to = versions_[2].digest;
      const std::string head = EncodeDeltaHead(delta, versions_[manifest_of_base].canonical,
                                               versions_[manifest_of_target].canonical, leave_out);
      const std::string whole = head + object.substr(honest.head_size);
      offer.head_size = head.size();
      offer.size = whole.size();
      offer.digest = *Digest::Parse(server_->Add(whole));
      lies.push_back(offer);
    };
    lie(1, 2, false);
    lie(0, 1, false);
    lie(0, 1, true);
    // The manifest is right, but the patches are another target's.
    lie(0, 2, false);
    uint64_t failed = 0;
    for (const DeltaOffer& offer : lies) {
      const auto received = Update(2, {offer}, &versions_[0]);
      ASSERT_TRUE(received.ok()) << received.status();
      failed += received->failures > 0;
    }
    EXPECT_GE(failed, lies.size() - 1);  // those patches may have no chunk that is wanted
    // Sizes that lie.
    for (const uint64_t head_size :
         {uint64_t{1}, honest.head_size - 1, honest.head_size + 1, honest.size}) {
      DeltaOffer offer = honest;
      offer.head_size = std::min(head_size, offer.size);
      const auto received = Update(1, {offer}, &versions_[0]);
      ASSERT_TRUE(received.ok()) << received.status();
      EXPECT_EQ(received->failures, 1u) << head_size;
    }
    // With a lie and an honest one the honest one is taken in the end.
    DeltaOffer cheap = honest;
    cheap.digest = Sha256::Of("gone");
    cheap.size = cheap.head_size = 1;
    const auto received = Update(1, {cheap, honest}, &versions_[0]);
    ASSERT_TRUE(received.ok()) << received.status();
    EXPECT_EQ(received->failures, 1u);
    EXPECT_EQ(received->delta_bytes, honest.size);
  }
  EXPECT_GE(tried, 3);
}

}  // namespace
}  // namespace aetherfs
