#include "aetherfs/agent/snapshot_store.h"

#include <unistd.h>

#include <fstream>

#include "aetherfs/base/sha256.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace aetherfs {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class SnapshotStoreTest : public ::testing::Test {
 protected:
  SnapshotKey Key(const std::string& content, const std::string& filter = "") const {
    return {dataset_, Sha256::Of(content), filter};
  }
  void AddSnapshot(const SnapshotKey& key) {
    ASSERT_TRUE(MakeDirectories(store_->StagingPath(key)).ok());
    std::ofstream(JoinPath(store_->StagingPath(key), "file")) << key.Name();
    ASSERT_TRUE(store_->Promote(key).ok());
  }
  std::string ReadThrough(const std::string& path) {
    return ReadWholeFile(JoinPath(store_->LinkPath(path), "file"), 1000).value_or("nothing");
  }

  TemporaryDirectory temporary_ = *TemporaryDirectory::Create("snapshot-store");
  const std::string root_ = JoinPath(temporary_.path(), "root");
  const DatasetName dataset_ = *DatasetName::Parse("maps/city");
  std::unique_ptr<SnapshotStore> store_ = *SnapshotStore::Open(root_);
};

TEST_F(SnapshotStoreTest, SecondAgentIsKeptOff) {
  EXPECT_TRUE(absl::IsFailedPrecondition(SnapshotStore::Open(root_).status()));
  store_.reset();
  EXPECT_TRUE(SnapshotStore::Open(root_).ok());
}

TEST_F(SnapshotStoreTest, ActivationIsARelativeSymlinkThatReadsThrough) {
  AddSnapshot(Key("one"));
  ASSERT_TRUE(store_->Activate("maps/city/latest", Key("one")).ok());
  EXPECT_EQ(ReadThrough("maps/city/latest"), Key("one").Name());
  EXPECT_EQ(*ReadSymlink(store_->LinkPath("maps/city/latest")),
            "../../.aetherfs/snapshots/maps%2Fcity/" + Key("one").Name());
  EXPECT_EQ(store_->ActiveName("maps/city/latest", dataset_), Key("one").Name());
  ASSERT_TRUE(store_->Activate("top", Key("one")).ok());
  EXPECT_EQ(ReadThrough("top"), Key("one").Name());
}

TEST_F(SnapshotStoreTest, WhatIsNoSymlinkIsNotReplaced) {
  AddSnapshot(Key("one"));
  std::ofstream(store_->LinkPath("taken")) << "precious";
  EXPECT_TRUE(absl::IsFailedPrecondition(store_->Activate("taken", Key("one"))));
  EXPECT_TRUE(absl::IsFailedPrecondition(store_->Activate("taken/below", Key("one"))));
  EXPECT_EQ(*ReadWholeFile(store_->LinkPath("taken"), 100), "precious");
}

TEST_F(SnapshotStoreTest, SymlinkOutOfTheRootIsNotFollowed) {
  AddSnapshot(Key("one"));
  const std::string outside = JoinPath(temporary_.path(), "outside");
  ASSERT_TRUE(MakeDirectories(outside).ok());
  ASSERT_EQ(::symlink(outside.c_str(), store_->LinkPath("way").c_str()), 0);
  EXPECT_TRUE(absl::IsFailedPrecondition(store_->Activate("way/out", Key("one"))));
  EXPECT_THAT(*ListDirectory(outside), IsEmpty());
}

TEST_F(SnapshotStoreTest, OnlyWhatStaysOrIsLeasedIsLeft) {
  for (const char* name : {"a", "b", "c"}) {
    AddSnapshot(Key(name));
    ASSERT_TRUE(store_->WriteManifest(dataset_, Key(name).digest, name).ok());
  }
  ASSERT_TRUE(MakeDirectories(store_->StagingPath(Key("d"))).ok());
  std::vector<std::string> kept = {Key("a").Name(), Key("b").Name()};
  std::sort(kept.begin(), kept.end());
  {
    const SnapshotStore::Lease lease = store_->Take(dataset_, Key("b").Name());
    ASSERT_TRUE(
        store_->RemoveExcept("maps%2Fcity", [&](const auto& name) { return name == Key("a").Name(); })
            .ok());
    EXPECT_EQ(store_->Names(dataset_), kept);
    EXPECT_TRUE(store_->ReadManifest(dataset_, Key("b").digest).ok());
    EXPECT_TRUE(absl::IsNotFound(store_->ReadManifest(dataset_, Key("c").digest).status()));
    EXPECT_FALSE(Exists(store_->StagingPath(Key("d"))));
  }
  ASSERT_TRUE(
      store_->RemoveExcept("maps%2Fcity", [&](const auto& name) { return name == Key("a").Name(); }).ok());
  EXPECT_THAT(store_->Names(dataset_), ElementsAre(Key("a").Name()));
  EXPECT_THAT(*ListDirectory(store_->OwnPath("trash")), IsEmpty());
}

TEST_F(SnapshotStoreTest, RottenManifestIsNoManifest) {
  const Digest digest = Sha256::Of("manifest");
  ASSERT_TRUE(store_->WriteManifest(dataset_, digest, "manifest").ok());
  EXPECT_EQ(*store_->ReadManifest(dataset_, digest), "manifest");
  const std::string path = JoinPath(store_->OwnPath("manifests/maps%2Fcity"), digest.Hex());
  std::ofstream(path, std::ios::in | std::ios::out | std::ios::binary).seekp(-1, std::ios::end).put('\x7f');
  EXPECT_FALSE(store_->ReadManifest(dataset_, digest).ok());
}

TEST_F(SnapshotStoreTest, RemovedLinkTakesEmptyDirectoriesAlong) {
  AddSnapshot(Key("one"));
  ASSERT_TRUE(store_->Activate("x/y/z", Key("one")).ok());
  ASSERT_TRUE(store_->Activate("x/other", Key("one")).ok());
  ASSERT_TRUE(store_->RemoveLink("x/y/z", dataset_).ok());
  EXPECT_FALSE(Exists(store_->LinkPath("x/y")));
  EXPECT_EQ(ReadThrough("x/other"), Key("one").Name());
}

TEST_F(SnapshotStoreTest, TrashIsEmptiedAtTheStart) {
  ASSERT_TRUE(MakeDirectories(store_->OwnPath("trash/left/deep")).ok());
  store_.reset();
  store_ = *SnapshotStore::Open(root_);
  EXPECT_THAT(*ListDirectory(store_->OwnPath("trash")), IsEmpty());
}

TEST_F(SnapshotStoreTest, LongestDatasetNameIsAFileName) {
  std::string name = "@" + std::string(64, 's');
  for (int i = 0; i < 4; ++i) name += "/" + std::string(64, 'a');
  const auto dataset = DatasetName::Parse(name);
  ASSERT_TRUE(dataset.ok()) << dataset.status();
  const SnapshotKey key{*dataset, Sha256::Of("x"), "01234567"};
  AddSnapshot(key);
  EXPECT_TRUE(store_->Has(key));
  ASSERT_TRUE(store_->Activate("link", key).ok());
  EXPECT_EQ(store_->ActiveName("link", *dataset), key.Name());
}

}  // namespace
}  // namespace aetherfs
