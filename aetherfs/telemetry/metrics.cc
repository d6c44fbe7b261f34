#include "aetherfs/telemetry/metrics.h"

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <sstream>
#include <string_view>

#include "aetherfs/base/status.h"
#include "aetherfs/telemetry/process_metrics.h"
#include "fmt/format.h"

namespace aetherfs {
namespace {

constexpr std::string_view kNamePrefix = "aetherfs_";

[[noreturn]] void EndForBug(const std::string& message) {
  fmt::print(stderr, "bug in the declaration of metrics: {}\n", message);
  std::abort();
}

// Prometheus allows more; this is what we write.
bool IsWord(std::string_view name) {
  return !name.empty() && name[0] >= 'a' && name[0] <= 'z' &&
         std::all_of(name.begin(), name.end(),
                     [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_'; });
}

prometheus::Labels Pair(const std::vector<std::string>& names, const std::vector<std::string>& values) {
  prometheus::Labels labels;
  for (size_t i = 0; i < names.size(); ++i) labels[names[i]] = values[i];
  return labels;
}

}  // namespace

void Counter::Increment(double by) const {
  if (series_ != nullptr) series_->Increment(by);
}
double Counter::value() const { return series_ != nullptr ? series_->Value() : 0; }

void Gauge::Set(double value) const {
  if (series_ != nullptr) series_->Set(value);
}
void Gauge::Add(double by) const {
  if (series_ != nullptr) series_->Increment(by);
}
double Gauge::value() const { return series_ != nullptr ? series_->Value() : 0; }

void Histogram::Observe(double value) const {
  if (series_ != nullptr) series_->Observe(value);
}
uint64_t Histogram::count() const {
  return series_ != nullptr ? series_->Collect().histogram.sample_count : 0;
}

std::vector<double> LatencyBuckets() {
  return {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60};
}

std::vector<double> SizeBuckets() {
  std::vector<double> buckets;
  for (double bytes = 1024; bytes <= 1024.0 * 1024 * 1024; bytes *= 4) buckets.push_back(bytes);
  return buckets;
}

template <typename Metric>
Metric MetricFamily<Metric>::With(const std::vector<std::string>& label_values) {
  if (label_values.size() != labels_) {
    EndForBug(fmt::format("{} label values for {} labels", label_values.size(), labels_));
  }
  std::vector<std::string> values;
  values.reserve(label_values.size());
  // Bounded in length, and valid UTF-8, or no scraper would take the page.
  for (const std::string& value : label_values) values.push_back(Printable(value));
  absl::MutexLock lock(&mutex_);
  if (const auto known = series_.find(values); known != series_.end()) return known->second;
  if (series_.size() >= max_label_sets_) {
    values.assign(labels_, kOverflowLabel);
    if (const auto known = series_.find(values); known != series_.end()) return known->second;
  }
  const Metric made = make_(values);
  series_.emplace(std::move(values), made);
  return made;
}

template class MetricFamily<Counter>;
template class MetricFamily<Gauge>;
template class MetricFamily<Histogram>;

struct MetricsRegistry::State {
  template <typename Metric>
  struct Entry {
    std::vector<std::string> labels;
    std::unique_ptr<MetricFamily<Metric>> family;
  };
  template <typename Metric>
  using Entries = std::map<std::string, Entry<Metric>>;

  prometheus::Registry registry;
  std::unique_ptr<ProcessMetrics> process;

  absl::Mutex mutex;
  Entries<Counter> counters ABSL_GUARDED_BY(mutex);
  Entries<Gauge> gauges ABSL_GUARDED_BY(mutex);
  Entries<Histogram> histograms ABSL_GUARDED_BY(mutex);
  std::vector<const ScrapeHook*> hooks ABSL_GUARDED_BY(mutex);
  bool scraping ABSL_GUARDED_BY(mutex) = false;

  bool NotScraping() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) { return !scraping; }

  // The family `name` among `entries`, made with `make` if it is new.
  template <typename Metric, typename Make>
  MetricFamily<Metric>& FindOrMake(Entries<Metric>& entries, const std::string& name,
                                   const std::vector<std::string>& labels, size_t max_label_sets, Make make)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    if (const auto known = entries.find(name); known != entries.end()) {
      if (known->second.labels != labels) EndForBug(fmt::format("'{}' has other labels already", name));
      return *known->second.family;
    }
    if (!IsWord(name) || name.substr(0, kNamePrefix.size()) != kNamePrefix) {
      EndForBug(fmt::format("'{}' is not a name that begins with {}", name, kNamePrefix));
    }
    if (counters.count(name) + gauges.count(name) + histograms.count(name) > 0) {
      EndForBug(fmt::format("'{}' is of another kind already", name));
    }
    for (const std::string& label : labels) {
      if (!IsWord(label)) EndForBug(fmt::format("'{}': '{}' is not a label's name", name, label));
    }
    Entry<Metric>& entry = entries[name];
    entry.labels = labels;
    entry.family = std::make_unique<MetricFamily<Metric>>(labels.size(), max_label_sets, make());
    return *entry.family;
  }
};

MetricsRegistry::MetricsRegistry() : state_(std::make_unique<State>()) {
  state_->process = std::make_unique<ProcessMetrics>(*this);
}

MetricsRegistry::~MetricsRegistry() = default;

CounterFamily& MetricsRegistry::AddCounter(const std::string& name, const std::string& help,
                                           const std::vector<std::string>& labels, size_t max_label_sets) {
  absl::MutexLock lock(&state_->mutex);
  return state_->FindOrMake<Counter>(state_->counters, name, labels, max_label_sets, [&] {
    auto& family = prometheus::BuildCounter().Name(name).Help(help).Register(state_->registry);
    return [&family, labels](const std::vector<std::string>& values) {
      return Counter(&family.Add(Pair(labels, values)));
    };
  });
}

GaugeFamily& MetricsRegistry::AddGauge(const std::string& name, const std::string& help,
                                       const std::vector<std::string>& labels, size_t max_label_sets) {
  absl::MutexLock lock(&state_->mutex);
  return state_->FindOrMake<Gauge>(state_->gauges, name, labels, max_label_sets, [&] {
    auto& family = prometheus::BuildGauge().Name(name).Help(help).Register(state_->registry);
    return [&family, labels](const std::vector<std::string>& values) {
      return Gauge(&family.Add(Pair(labels, values)));
    };
  });
}

HistogramFamily& MetricsRegistry::AddHistogram(const std::string& name, const std::string& help,
                                               const std::vector<double>& buckets,
                                               const std::vector<std::string>& labels,
                                               size_t max_label_sets) {
  absl::MutexLock lock(&state_->mutex);
  return state_->FindOrMake<Histogram>(state_->histograms, name, labels, max_label_sets, [&] {
    auto& family = prometheus::BuildHistogram().Name(name).Help(help).Register(state_->registry);
    return [&family, labels, buckets](const std::vector<std::string>& values) {
      return Histogram(&family.Add(Pair(labels, values), buckets));
    };
  });
}

MetricsRegistry::ScrapeHook::ScrapeHook(MetricsRegistry& registry, std::function<void()> refresh)
    : registry_(registry), refresh_(std::move(refresh)) {
  absl::MutexLock lock(&registry_.state_->mutex);
  registry_.state_->hooks.push_back(this);
}

MetricsRegistry::ScrapeHook::~ScrapeHook() {
  State& state = *registry_.state_;
  absl::MutexLock lock(&state.mutex);
  state.mutex.Await(
      absl::Condition(+[](State* s) ABSL_NO_THREAD_SAFETY_ANALYSIS { return s->NotScraping(); }, &state));
  state.hooks.erase(std::find(state.hooks.begin(), state.hooks.end(), this));
}

std::string MetricsRegistry::Scrape() {
  State& state = *state_;
  std::vector<const ScrapeHook*> hooks;
  {
    absl::MutexLock lock(&state.mutex);
    state.mutex.Await(
        absl::Condition(+[](State* s) ABSL_NO_THREAD_SAFETY_ANALYSIS { return s->NotScraping(); }, &state));
    state.scraping = true;
    hooks = state.hooks;
  }
  // `scraping` keeps the hooks alive, and other scrapes out, without the lock.
  state.process->Refresh();
  for (const ScrapeHook* hook : hooks) hook->refresh_();
  std::ostringstream out;
  prometheus::TextSerializer().Serialize(out, state.registry.Collect());
  absl::MutexLock lock(&state.mutex);
  state.scraping = false;
  return out.str();
}

}  // namespace aetherfs
