#ifndef AETHERFS_CLI_PROGRESS_H_
#define AETHERFS_CLI_PROGRESS_H_

#include <array>
#include <cstdint>
#include <functional>
#include <ostream>
#include <string>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace aetherfs {

// How far something is, in bytes.
struct ProgressSample {
  std::string label;  // "reading"
  uint64_t done = 0;
  uint64_t total = 0;  // 0: not known
  std::string detail;  // put at the end, if there is room
};

// The rate over the last few samples. Not thread-safe. Pure: time comes in.
class RateMeter {
 public:
  // Samples must come in order of time.
  void Add(absl::Time time, uint64_t done);
  // Bytes a second; 0 while it is not known.
  double BytesPerSecond() const;

 private:
  static constexpr size_t kSamples = 32;  // about three seconds at ten a second
  struct Sample {
    absl::Time time;
    uint64_t done = 0;
  };
  std::array<Sample, kSamples> samples_{};
  size_t count_ = 0;
};

// One line of at most `width` columns: label, bar, share, sizes, rate, time left, detail. Pure.
std::string RenderProgress(const ProgressSample& sample, double bytes_per_second, absl::Duration elapsed,
                           size_t width);

// Keeps a line on a terminal up to date from a thread of its own while it lives, and clears it at the end.
// Does nothing at all, and makes no thread, if it is not to be shown. Nobody else may write to the stream
// meanwhile. `sample` is called in that thread.
class ProgressLine {
 public:
  struct Options {
    bool shown = false;
    size_t width = 80;
    absl::Duration interval =
        absl::Milliseconds(100);  // also before the first drawing: quick work shows none
  };
  ProgressLine(std::ostream* out, const Options& options, std::function<ProgressSample()> sample);
  ~ProgressLine();

  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;

 private:
  void Run();

  std::ostream* const out_;
  const Options options_;
  const std::function<ProgressSample()> sample_;
  absl::Mutex mutex_;
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace aetherfs

#endif  // AETHERFS_CLI_PROGRESS_H_
