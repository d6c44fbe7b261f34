#include "aetherfs/cli/change_text.h"

#include <gtest/gtest.h>

#include <string>

namespace aetherfs {
namespace {

TEST(ChangeTextTest, PublicationNamesItsDeltas) {
  dataset::v1::Change change;
  dataset::v1::Publication& publication = *change.mutable_publication();
  publication.add_tags("latest");
  publication.mutable_snapshot()->set_files(2);
  publication.mutable_snapshot()->set_bytes(3400009);
  publication.mutable_stats()->set_new_bytes(2242560);
  EXPECT_EQ(ChangeText(change), "publish latest: 2 files, 3.2 MiB (2.1 MiB new)");
  EXPECT_EQ(ChangeJson(change)["deltas"].dump(), "[]");
  for (const char digit : {'4', '9'}) {
    dataset::v1::Delta& delta = *publication.add_deltas();
    delta.set_digest("sha256:" + std::string(64, 'd'));
    delta.set_from("sha256:" + std::string(64, digit));
    delta.set_size(8294);
    delta.set_head_size(200);
    if (digit == '9') delta.set_parts_size(5'000'000);
  }
  EXPECT_EQ(ChangeText(change),
            "publish latest: 2 files, 3.2 MiB (2.1 MiB new), delta from 444444444444 8.1 KiB, delta from "
            "999999999999 4.8 MiB");
  EXPECT_EQ(ChangeJson(change)["deltas"][0].dump(),
            R"({"digest":"sha256:dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd",)"
            R"("from":"sha256:4444444444444444444444444444444444444444444444444444444444444444",)"
            R"("bytes":8294,"head_bytes":200})");
  EXPECT_EQ(ChangeJson(change)["deltas"][1]["bytes"], 5'008'294) << "with its parts";
}

}  // namespace
}  // namespace aetherfs
