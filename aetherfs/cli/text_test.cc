#include "aetherfs/cli/text.h"

#include <sstream>

#include "gtest/gtest.h"

namespace aetherfs {
namespace {

TEST(TextTest, TableAlignsWordsLeftAndNumbersRight) {
  Table table({{"NAME"}, {"SIZE", true}, {"NOTE"}});
  table.AddRow({"a", "5 B", "x"});
  table.AddRow({"größer", "1.5 MiB", ""});
  std::ostringstream out;
  table.Print(out);
  EXPECT_EQ(out.str(),
            "NAME       SIZE  NOTE\n"
            "a           5 B  x\n"
            "größer  1.5 MiB\n");
}

TEST(TextTest, TableWithoutRowsPrintsNothing) {
  std::ostringstream out;
  Table({{"NAME"}}).Print(out);
  EXPECT_EQ(out.str(), "");
}

TEST(TextTest, FieldsAreAlignedAndEmptyOnesLeftOut) {
  FieldList fields;
  fields.Add("digest", "sha256:00");
  fields.Add("message", "");
  fields.Add("by", "me");
  std::ostringstream out;
  fields.Print(out);
  EXPECT_EQ(out.str(), "digest  sha256:00\nby      me\n");
}

TEST(TextTest, ControlCharactersNeverReachTheTerminal) {
  EXPECT_EQ(TerminalText("a\x1b[31mb\n"), "a\\x1b[31mb\\x0a");
  EXPECT_EQ(TerminalText("\xc2\x9bX"), "\\xc2\\x9bX");
  EXPECT_EQ(TerminalText("\xff"), "\\xff");
  EXPECT_EQ(TerminalText("Zürich/城市"), "Zürich/城市");
}

TEST(TextTest, TimesAreUtc) {
  EXPECT_EQ(UnixMicrosText(0), "-");
  EXPECT_EQ(UnixMicrosText(1'800'000'000'123'456), "2027-01-15T08:00:00Z");
  EXPECT_EQ(TimeTextMillis(absl::FromUnixMicros(1'800'000'000'123'456)), "2027-01-15T08:00:00.123Z");
}

TEST(TextTest, CountsAgreeWithTheirNoun) {
  EXPECT_EQ(CountOf(1, "file"), "1 file");
  EXPECT_EQ(CountOf(0, "file"), "0 files");
  EXPECT_EQ(JoinWords({"a", "b"}, ", "), "a, b");
  EXPECT_EQ(JoinWords({}, ", "), "");
}

}  // namespace
}  // namespace aetherfs
