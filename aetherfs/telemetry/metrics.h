#ifndef AETHERFS_TELEMETRY_METRICS_H_
#define AETHERFS_TELEMETRY_METRICS_H_

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/synchronization/mutex.h"

namespace prometheus {
class Counter;
class Gauge;
class Histogram;
}  // namespace prometheus

namespace aetherfs {

// How many label sets one family may have; later ones are counted together, every label "other". Labels
// live as long as the process, and some come from outside.
inline constexpr size_t kMaxLabelSets = 200;
inline constexpr char kOverflowLabel[] = "other";

// Handles of one time series each: cheap values, valid as long as their registry, thread-safe and fast
// (no lock but a histogram's). One that was made by default does nothing.
class Counter {
 public:
  Counter() = default;
  explicit Counter(prometheus::Counter* series) : series_(series) {}
  void Increment(double by = 1) const;  // by >= 0
  double value() const;

 private:
  prometheus::Counter* series_ = nullptr;
};

class Gauge {
 public:
  Gauge() = default;
  explicit Gauge(prometheus::Gauge* series) : series_(series) {}
  void Set(double value) const;
  void Add(double by) const;
  double value() const;

 private:
  prometheus::Gauge* series_ = nullptr;
};

class Histogram {
 public:
  Histogram() = default;
  explicit Histogram(prometheus::Histogram* series) : series_(series) {}
  void Observe(double value) const;
  // How many values it has seen.
  uint64_t count() const;

 private:
  prometheus::Histogram* series_ = nullptr;
};

// 1 ms to 60 s.
std::vector<double> LatencyBuckets();
// 1 KiB to 1 GiB.
std::vector<double> SizeBuckets();

// The time series of one name. Belongs to its registry. Thread-safe.
template <typename Metric>
class MetricFamily {
 public:
  using Maker = std::function<Metric(const std::vector<std::string>& label_values)>;
  MetricFamily(size_t labels, size_t max_label_sets, Maker make)
      : labels_(labels), max_label_sets_(max_label_sets), make_(std::move(make)) {}

  // The series with these values for the family's labels, in their order: exactly as many, or the process
  // ends, for that is a bug. Looks up under a lock: keep the handle where it matters.
  Metric With(const std::vector<std::string>& label_values) ABSL_LOCKS_EXCLUDED(mutex_);
  // The one series of a family without labels.
  Metric Only() { return With({}); }

 private:
  const size_t labels_;
  const size_t max_label_sets_;
  const Maker make_;
  absl::Mutex mutex_;
  absl::flat_hash_map<std::vector<std::string>, Metric> series_ ABSL_GUARDED_BY(mutex_);
};

using CounterFamily = MetricFamily<Counter>;
using GaugeFamily = MetricFamily<Gauge>;
using HistogramFamily = MetricFamily<Histogram>;

// All metrics of a process (one registry each; tests make their own). It brings aetherfs_build_info and
// aetherfs_process_{resident_memory_bytes,cpu_seconds_total,open_fds,start_time_seconds} along. Families
// live as long as the registry; asking for a name again yields the same family. A name that does not begin
// with "aetherfs_", that is no Prometheus name, or that stands for another kind or other labels already
// ends the process with a message: it is a bug that any start of the program shows. Thread-safe.
class MetricsRegistry {
 public:
  MetricsRegistry();
  ~MetricsRegistry();
  MetricsRegistry(const MetricsRegistry&) = delete;
  MetricsRegistry& operator=(const MetricsRegistry&) = delete;

  // Counters end in "_total"; units, seconds and bytes, stand before that.
  CounterFamily& AddCounter(const std::string& name, const std::string& help,
                            const std::vector<std::string>& labels = {},
                            size_t max_label_sets = kMaxLabelSets);
  GaugeFamily& AddGauge(const std::string& name, const std::string& help,
                        const std::vector<std::string>& labels = {}, size_t max_label_sets = kMaxLabelSets);
  HistogramFamily& AddHistogram(const std::string& name, const std::string& help,
                                const std::vector<double>& buckets = LatencyBuckets(),
                                const std::vector<std::string>& labels = {},
                                size_t max_label_sets = kMaxLabelSets);

  // While it lives its function runs before each scrape, to set gauges. Its destruction waits for a scrape
  // that runs. Must not outlive the registry; the function must not destroy it, nor scrape.
  class ScrapeHook {
   public:
    ScrapeHook(MetricsRegistry& registry, std::function<void()> refresh);
    ~ScrapeHook();
    ScrapeHook(const ScrapeHook&) = delete;
    ScrapeHook& operator=(const ScrapeHook&) = delete;

   private:
    friend class MetricsRegistry;
    MetricsRegistry& registry_;
    const std::function<void()> refresh_;
  };

  // Prometheus text format, version 0.0.4. Runs the hooks; one scrape at a time.
  std::string Scrape();

 private:
  struct State;
  const std::unique_ptr<State> state_;
};

}  // namespace aetherfs

#endif  // AETHERFS_TELEMETRY_METRICS_H_
