#include "aetherfs/telemetry/process_metrics.h"

#include <dirent.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cinttypes>
#include <cstdio>
#include <ctime>
#include <memory>

#include "aetherfs/telemetry/version.h"

namespace aetherfs {
namespace {

struct CloseFile {
  void operator()(std::FILE* file) const { std::fclose(file); }
};
using File = std::unique_ptr<std::FILE, CloseFile>;

double ResidentBytes() {
  const File file(std::fopen("/proc/self/statm", "re"));
  uint64_t total_pages = 0, resident_pages = 0;
  if (file == nullptr ||
      std::fscanf(file.get(), "%" SCNu64 " %" SCNu64, &total_pages, &resident_pages) != 2)
    return 0;
  return static_cast<double>(resident_pages) * static_cast<double>(sysconf(_SC_PAGESIZE));
}

double OpenFds() {
  DIR* directory = opendir("/proc/self/fd");
  if (directory == nullptr) return 0;
  double count = -1;  // the directory's own
  while (const dirent* entry = readdir(directory)) {
    if (entry->d_name[0] != '.') ++count;
  }
  closedir(directory);
  return count;
}

double CpuSeconds() {
  rusage usage = {};
  if (getrusage(RUSAGE_SELF, &usage) != 0) return 0;
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) / 1e6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

// Since the epoch. Field 22 of /proc/self/stat counts clock ticks since boot; the command's name, in
// parentheses before it, may hold anything.
double StartTime() {
  const File file(std::fopen("/proc/self/stat", "re"));
  char text[1024] = {};
  if (file == nullptr || std::fread(text, 1, sizeof(text) - 1, file.get()) == 0) return 0;
  const char* at = text;
  for (const char* c = text; *c != 0; ++c) {
    if (*c == ')') at = c + 1;
  }
  uint64_t ticks = 0;
  // Fields 3 to 21 are skipped.
  if (std::sscanf(at,
                  " %*c %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %" SCNu64,
                  &ticks) != 1) {
    return 0;
  }
  timespec now = {}, since_boot = {};
  clock_gettime(CLOCK_REALTIME, &now);
  clock_gettime(CLOCK_BOOTTIME, &since_boot);
  const auto seconds = [](const timespec& t) {
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) / 1e9;
  };
  return seconds(now) - seconds(since_boot) +
         static_cast<double>(ticks) / static_cast<double>(sysconf(_SC_CLK_TCK));
}

}  // namespace

ProcessMetrics::ProcessMetrics(MetricsRegistry& registry)
    : resident_memory_bytes_(
          registry.AddGauge("aetherfs_process_resident_memory_bytes", "Memory of this process in RAM.")
              .Only()),
      open_fds_(registry.AddGauge("aetherfs_process_open_fds", "Open file descriptors.").Only()),
      cpu_seconds_(
          registry.AddCounter("aetherfs_process_cpu_seconds_total", "Processor time used, user and system.")
              .Only()) {
  registry.AddGauge("aetherfs_process_start_time_seconds", "When this process started, since the epoch.")
      .Only()
      .Set(StartTime());
  registry.AddGauge("aetherfs_build_info", "Always 1; the labels say what runs.", {"version", "revision"})
      .With({std::string(Version()), std::string(Revision())})
      .Set(1);
}

void ProcessMetrics::Refresh() {
  resident_memory_bytes_.Set(ResidentBytes());
  open_fds_.Set(OpenFds());
  const double cpu_seconds = CpuSeconds();
  if (cpu_seconds > counted_cpu_seconds_) {
    cpu_seconds_.Increment(cpu_seconds - counted_cpu_seconds_);
    counted_cpu_seconds_ = cpu_seconds;
  }
}

}  // namespace aetherfs
