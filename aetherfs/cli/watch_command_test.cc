#include <thread>

#include "absl/synchronization/notification.h"
#include "aetherfs/cli/testing/cli_runner.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace aetherfs {
namespace {

using testing::HasSubstr;

// Runs `watch` while the test goes on.
class Watching {
 public:
  Watching(CliRunner& cli, std::vector<std::string> args)
      : thread_([this, &cli, args = std::move(args)] { result_ = cli.Run(args); }) {}
  ~Watching() {
    if (thread_.joinable()) thread_.join();
  }
  CliRunner::Result Join() {
    thread_.join();
    return result_;
  }

 private:
  CliRunner::Result result_;
  std::thread thread_;
};

// Waits for `streams` subscriptions to stand; what is published later is new to them.
void WaitForStreams(CliRunner& cli, size_t streams) {
  while (cli.server().open_streams() < streams) std::this_thread::yield();
}

TEST(WatchCommandTest, FirstLineIsWhatStands) {
  CliRunner cli;
  cli.Write("d/f", "x");
  const std::string digest = cli.Publish("a/b", "d");
  EXPECT_EQ(cli.Run({"watch", "a/b", "--count", "1"}).out,
            "2027-01-15T08:00:00.000Z a/b:latest " + digest + "\n");
  EXPECT_EQ(cli.Run({"watch", "a/b", "--count", "1", "-o", "json"}).out,
            "{\"time\":\"2027-01-15T08:00:00.000Z\",\"reference\":\"a/b:latest\",\"digest\":\"" + digest +
                "\",\"seq\":1}\n");
}

TEST(WatchCommandTest, EachNewVersionIsOneLine) {
  CliRunner cli;
  cli.Write("d/f", "one");
  const std::string first = cli.Publish("a/b", "d");
  cli.Write("d/f", "two!");
  const std::string second = cli.Publish("a/other", "d");
  cli.Publish("a/b:elsewhere", "d");
  Watching watching(cli, {"watch", "a/b", "a/new:v1", "--new", "--count", "3"});
  WaitForStreams(cli, 2);
  cli.server().SetTag("a/b", "latest", *Digest::Parse(second));
  cli.server().SetTag("a/b", "latest", *Digest::Parse(second));  // no new version
  cli.server().SetTag("a/b", "latest", *Digest::Parse(first));
  cli.server().SetTag("a/new", "v1", *Digest::Parse(second));
  const CliRunner::Result result = watching.Join();
  EXPECT_EQ(result.status, 0);
  EXPECT_THAT(result.out, HasSubstr(" a/b:latest " + second + "\n"));
  EXPECT_THAT(result.out, HasSubstr(" a/b:latest " + first + "\n"));
  EXPECT_THAT(result.out, HasSubstr(" a/new:v1 " + second + "\n"));
  EXPECT_LT(result.out.find("a/b:latest " + second), result.out.find("a/b:latest " + first));
  EXPECT_THAT(result.err, HasSubstr("a/b:latest: " + first + " stands; waiting for a newer one\n"));
  EXPECT_THAT(result.err, HasSubstr("a/new:v1: does not exist yet; waiting\n"));
}

TEST(WatchCommandTest, InterruptEndsIt) {
  CliRunner cli;
  Watching watching(cli, {"watch", "a/b"});
  WaitForStreams(cli, 1);
  cli.interrupt().Trigger();
  const CliRunner::Result result = watching.Join();
  EXPECT_EQ(result.status, 130);
  EXPECT_EQ(result.out, "");
}

TEST(WatchCommandTest, TroubleIsToldOnceAndTheWatchGoesOn) {
  CliRunner cli;
  cli.Write("d/f", "x");
  cli.Publish("a/b", "d");
  cli.server().FailNext(FakeServerClient::Method::kSubscribe, absl::UnavailableError("no server"));
  const CliRunner::Result result = cli.Run({"watch", "a/b", "--count", "1"});
  EXPECT_EQ(result.status, 0);
  EXPECT_THAT(result.err, HasSubstr("a/b:latest: no server; trying again\n"));
  EXPECT_THAT(result.err, HasSubstr("a/b:latest: connected again\n"));
}

}  // namespace
}  // namespace aetherfs
