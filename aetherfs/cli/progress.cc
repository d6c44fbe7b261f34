#include "aetherfs/cli/progress.h"

#include <algorithm>

#include "aetherfs/base/quantity.h"
#include "aetherfs/cli/text.h"
#include "fmt/format.h"

namespace aetherfs {
namespace {

constexpr size_t kMinBar = 10;
constexpr size_t kMaxBar = 40;
constexpr std::string_view kClearLine = "\r\x1b[K";

std::string Bar(double share, size_t width) {
  const auto filled = static_cast<size_t>(share * static_cast<double>(width));
  std::string bar = "[";
  bar.append(filled, '=');
  if (filled < width) bar += '>';
  bar.append(width - std::min(width, filled + 1), ' ');
  return bar + "]";
}

}  // namespace

void RateMeter::Add(absl::Time time, uint64_t done) { samples_[count_++ % kSamples] = {time, done}; }

double RateMeter::BytesPerSecond() const {
  if (count_ < 2) return 0;
  const Sample& last = samples_[(count_ - 1) % kSamples];
  const Sample& first = samples_[count_ <= kSamples ? 0 : count_ % kSamples];
  const double seconds = absl::ToDoubleSeconds(last.time - first.time);
  if (seconds <= 0 || last.done < first.done) return 0;
  return static_cast<double>(last.done - first.done) / seconds;
}

std::string RenderProgress(const ProgressSample& sample, double bytes_per_second, absl::Duration elapsed,
                           size_t width) {
  const uint64_t done = sample.total == 0 ? sample.done : std::min(sample.done, sample.total);
  std::string figures;
  if (sample.total > 0) {
    const double share = static_cast<double>(done) / static_cast<double>(sample.total);
    figures = fmt::format("{:3.0f}%  {} of {}", share * 100, FormatSize(done), FormatSize(sample.total));
  } else if (done > 0) {
    figures = FormatSize(done);
  }
  if (bytes_per_second >= 1) {
    figures += fmt::format("  {}/s", FormatSize(static_cast<uint64_t>(bytes_per_second)));
    if (sample.total > done) {
      const double left = static_cast<double>(sample.total - done) / bytes_per_second;
      figures += fmt::format("  {} left", FormatElapsed(absl::Seconds(std::max(1.0, left))));
    }
  } else {
    figures += fmt::format("  {}", FormatElapsed(elapsed));
  }
  std::string line = sample.label;
  const size_t taken = DisplayWidth(line) + 2 + DisplayWidth(figures);
  if (sample.total > 0 && width >= taken + kMinBar + 5) {
    const size_t bar = std::min(kMaxBar, width - taken - 5);
    line += "  " + Bar(static_cast<double>(done) / static_cast<double>(sample.total), bar);
  }
  line += "  " + figures;
  if (!sample.detail.empty() && DisplayWidth(line) + 2 + DisplayWidth(sample.detail) < width) {
    line += "  " + sample.detail;
  }
  // Labels and figures are ASCII, so cutting bytes cuts columns.
  if (DisplayWidth(line) >= width) line.resize(std::min(line.size(), width > 0 ? width - 1 : 0));
  return line;
}

ProgressLine::ProgressLine(std::ostream* out, const Options& options,
                           std::function<ProgressSample()> sample)
    : out_(out), options_(options), sample_(std::move(sample)) {
  if (options_.shown) thread_ = std::thread([this] { Run(); });
}

ProgressLine::~ProgressLine() {
  if (!thread_.joinable()) return;
  {
    absl::MutexLock lock(&mutex_);
    ended_ = true;
  }
  thread_.join();
}

void ProgressLine::Run() {
  RateMeter meter;
  bool drawn = false;
  const absl::Time start = absl::Now();
  for (;;) {
    {
      absl::MutexLock lock(&mutex_);
      if (mutex_.AwaitWithTimeout(absl::Condition(&ended_), options_.interval)) break;
    }
    const ProgressSample sample = sample_();
    const absl::Time now = absl::Now();
    meter.Add(now, sample.done);
    *out_ << kClearLine << RenderProgress(sample, meter.BytesPerSecond(), now - start, options_.width)
          << std::flush;
    drawn = true;
  }
  if (drawn) *out_ << kClearLine << std::flush;
}

}  // namespace aetherfs
