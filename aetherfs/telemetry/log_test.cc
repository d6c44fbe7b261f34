#include "aetherfs/telemetry/log.h"

#include <thread>
#include <vector>

#include "aetherfs/base/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace aetherfs {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

const absl::Time kTime = absl::FromUnixMillis(1'936'508'949'123);

TEST(LogTest, TextLineHasTimeLevelMessageAndFields) {
  EXPECT_EQ(FormatLogLine(LogFormat::kText, kTime, LogLevel::kWarning, "poll failed",
                          {{"dataset", "maps/city"},
                           {"seq", uint64_t{7}},
                           {"stale", true},
                           {"wait", absl::Milliseconds(1500)},
                           {"error", absl::UnavailableError("no route")}}),
            "2031-05-14T07:09:09.123Z WARNING poll failed dataset=maps/city seq=7 stale=true wait=1.5 "
            "error=\"UNAVAILABLE: no route\"");
}

TEST(LogTest, JsonLineHasTypedFields) {
  EXPECT_EQ(FormatLogLine(LogFormat::kJson, kTime, LogLevel::kInfo, "sa\"id",
                          {{"n", -3}, {"ok", false}, {"text", "7"}, {"rate", 0.25}}),
            R"({"time":"2031-05-14T07:09:09.123Z","level":"info","message":"sa\"id","n":-3,"ok":false,)"
            R"("text":"7","rate":0.25})");
}

TEST(LogTest, ForeignBytesCannotForgeALine) {
  for (const LogFormat format : {LogFormat::kText, LogFormat::kJson}) {
    const std::string line = FormatLogLine(format, kTime, LogLevel::kError, "bad\nname",
                                           {{"path", "a\nb\r\x1b[0m\xff\"=="}, {"empty", ""}});
    EXPECT_THAT(line, Not(HasSubstr("\n")));
    EXPECT_THAT(line, Not(HasSubstr("\r")));
    EXPECT_THAT(line, Not(HasSubstr("\x1b")));
    EXPECT_THAT(line, Not(HasSubstr("\xff")));
    EXPECT_THAT(line, HasSubstr("\\n"));
    EXPECT_THAT(line, HasSubstr("\xEF\xBF\xBD"));
  }
}

TEST(LogTest, LevelsAndFormatsHaveNames) {
  EXPECT_EQ(*ParseLogLevel("debug"), LogLevel::kDebug);
  EXPECT_EQ(*ParseLogLevel("error"), LogLevel::kError);
  EXPECT_THAT(Describe(ParseLogLevel("loud").status()), HasSubstr("'loud' is not a log level"));
  EXPECT_EQ(*ParseLogFormat("json"), LogFormat::kJson);
  EXPECT_THAT(Describe(ParseLogFormat("xml").status()), HasSubstr("'xml' is not a log format"));
}

TEST(LogTest, LinesOfManyThreadsStayWholeAndLowLevelsAreLeftOut) {
  testing::internal::CaptureStderr();
  InitLogging(LogLevel::kInfo, LogFormat::kText);
  EXPECT_FALSE(LogIsOn(LogLevel::kDebug));
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([] {
      for (int i = 0; i < 50; ++i) {
        LogInfo("counted", {{"i", i}, {"end", "here"}});
        LogDebug("unseen");
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  const std::string out = testing::internal::GetCapturedStderr();
  int lines = 0;
  for (size_t begin = 0; begin < out.size(); ++lines) {
    const size_t end = out.find('\n', begin);
    EXPECT_THAT(out.substr(begin, end - begin),
                testing::MatchesRegex(".*Z INFO counted i=[0-9]+ end=here"));
    begin = end + 1;
  }
  EXPECT_EQ(lines, 200);
}

}  // namespace
}  // namespace aetherfs
