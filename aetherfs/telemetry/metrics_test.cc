#include "aetherfs/telemetry/metrics.h"

#include <thread>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace aetherfs {
namespace {

using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::Not;

TEST(MetricsTest, ScrapeShowsWhatWasCounted) {
  MetricsRegistry registry;
  registry.AddCounter("aetherfs_reads_total", "Reads.", {"kind", "result"})
      .With({"block", "hit"})
      .Increment(3);
  registry.AddGauge("aetherfs_cache_bytes", "Bytes.").Only().Set(42);
  const Histogram seconds = registry.AddHistogram("aetherfs_wait_seconds", "Waits.", {0.1, 1}).Only();
  seconds.Observe(0.05);
  seconds.Observe(5);
  EXPECT_EQ(seconds.count(), 2u);
  const std::string page = registry.Scrape();
  EXPECT_THAT(page, HasSubstr("# TYPE aetherfs_reads_total counter"));
  EXPECT_THAT(page, HasSubstr("aetherfs_reads_total{kind=\"block\",result=\"hit\"} 3"));
  EXPECT_THAT(page, HasSubstr("aetherfs_cache_bytes 42"));
  EXPECT_THAT(page, HasSubstr("aetherfs_wait_seconds_bucket{le=\"0.1\"} 1"));
  EXPECT_THAT(page, HasSubstr("aetherfs_wait_seconds_count 2"));
}

TEST(MetricsTest, ScrapeShowsTheProcess) {
  MetricsRegistry registry;
  const std::string page = registry.Scrape();
  EXPECT_THAT(page, ContainsRegex("aetherfs_process_resident_memory_bytes [1-9]"));
  EXPECT_THAT(page, ContainsRegex("aetherfs_process_open_fds [1-9]"));
  EXPECT_THAT(page, ContainsRegex("aetherfs_process_start_time_seconds [1-9]"));
  EXPECT_THAT(page, HasSubstr("aetherfs_process_cpu_seconds_total "));
  EXPECT_THAT(page, ContainsRegex("aetherfs_build_info\\{.*version=\"[0-9.]+\".*\\} 1"));
}

TEST(MetricsTest, SameNameIsTheSameFamily) {
  MetricsRegistry registry;
  registry.AddCounter("aetherfs_a_total", "A.").Only().Increment();
  registry.AddCounter("aetherfs_a_total", "A.").Only().Increment();
  EXPECT_EQ(registry.AddCounter("aetherfs_a_total", "A.").Only().value(), 2);
}

TEST(MetricsTest, LabelSetsBeyondTheLimitAreCountedTogether) {
  MetricsRegistry registry;
  CounterFamily& family = registry.AddCounter("aetherfs_by_dataset_total", "By dataset.", {"dataset"}, 3);
  for (int i = 0; i < 100; ++i) family.With({"d" + std::to_string(i)}).Increment();
  EXPECT_EQ(family.With({"d1"}).value(), 1);
  EXPECT_EQ(family.With({"d99"}).value(), 97);
  const std::string page = registry.Scrape();
  EXPECT_THAT(page, HasSubstr("aetherfs_by_dataset_total{dataset=\"other\"} 97"));
  EXPECT_THAT(page, Not(HasSubstr("d3")));
}

TEST(MetricsTest, ForeignLabelValuesAreMadeFit) {
  MetricsRegistry registry;
  CounterFamily& family = registry.AddCounter("aetherfs_peer_total", "Peers.", {"peer"});
  family.With({"a\"b\nc\xff"}).Increment();
  family.With({std::string(100000, 'x')}).Increment();
  const std::string page = registry.Scrape();
  EXPECT_LT(page.size(), 5000u);
  EXPECT_THAT(page, Not(HasSubstr("\xff")));
}

TEST(MetricsTest, HooksRunBeforeEachScrapeUntilTheyEnd) {
  MetricsRegistry registry;
  const Gauge gauge = registry.AddGauge("aetherfs_asked", "Asked.").Only();
  {
    const MetricsRegistry::ScrapeHook hook(registry, [&] { gauge.Add(1); });
    registry.Scrape();
    EXPECT_THAT(registry.Scrape(), HasSubstr("aetherfs_asked 2"));
  }
  registry.Scrape();
  EXPECT_EQ(gauge.value(), 2);
}

TEST(MetricsTest, ManyThreadsCountAndScrape) {
  MetricsRegistry registry;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      CounterFamily& family = registry.AddCounter("aetherfs_shared_total", "Shared.", {"n"}, 8);
      for (int i = 0; i < 200; ++i) {
        const MetricsRegistry::ScrapeHook hook(registry, [] {});
        family.With({std::to_string(i % 4)}).Increment();
        if (i % 50 == 0) registry.Scrape();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(registry.AddCounter("aetherfs_shared_total", "Shared.", {"n"}, 8).With({"1"}).value(), 200);
}

TEST(MetricsTest, HandleMadeByDefaultDoesNothing) {
  Counter().Increment();
  Gauge().Set(1);
  Histogram().Observe(1);
  EXPECT_EQ(Counter().value() + Gauge().value(), 0);
}

TEST(MetricsDeathTest, WrongDeclarationsEndTheProcess) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  MetricsRegistry registry;
  registry.AddCounter("aetherfs_a_total", "A.", {"x"});
  EXPECT_DEATH(registry.AddCounter("reads_total", ""),
               "'reads_total' is not a name that begins with aetherfs_");
  EXPECT_DEATH(registry.AddGauge("aetherfs_a_total", ""), "of another kind");
  EXPECT_DEATH(registry.AddCounter("aetherfs_a_total", "", {"y"}), "other labels");
  EXPECT_DEATH(registry.AddCounter("aetherfs_a_total", "", {"x"}).With({}), "0 label values for 1 labels");
}

}  // namespace
}  // namespace aetherfs
