// Many consumers of one version at once, without their disks:
//   bench-consumers HOST:PORT,… REFERENCE CONSUMERS CONNECTIONS
// Each does what an agent does for a version of which it has nothing: it asks for the version, fetches its
// manifest and every chunk, and checks each against its SHA-256; then it forgets the bytes. Each is a
// client of its own, with connections of its own, CONNECTIONS of them fetching at the same time. Prints
// "half" once half of all bytes have come, and in the end one line of JSON. Fails if any consumer does.

#include <fmt/format.h>

#include <atomic>
#include <charconv>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <numeric>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "aetherfs/app/process_setup.h"
#include "aetherfs/base/digest.h"
#include "aetherfs/base/status.h"
#include "aetherfs/client/fetcher.h"
#include "aetherfs/client/server_client.h"

namespace aetherfs {
namespace {

struct Arguments {
  std::vector<std::string> servers;
  Reference reference;
  int consumers = 0;
  int connections = 0;
};

// How far all of them together have come. Thread-safe.
class Progress {
 public:
  explicit Progress(int consumers) : consumers_(static_cast<uint64_t>(consumers)) {}

  void Add(uint64_t bytes, uint64_t of_each) {
    const uint64_t before = bytes_.fetch_add(bytes);
    const uint64_t half = of_each * consumers_ / 2;
    if (before < half && before + bytes >= half) {
      std::puts("half");
      std::fflush(stdout);
    }
  }
  uint64_t bytes() const { return bytes_.load(); }

 private:
  const uint64_t consumers_;
  std::atomic<uint64_t> bytes_{0};
};

absl::Status Consume(const Arguments& arguments, Progress& progress, TransferStats& stats) {
  ServerClientOptions options;
  options.servers = arguments.servers;
  ASSIGN_OR_RETURN(const std::unique_ptr<ServerClient> client, ServerClient::Create(options));
  dataset::v1::LookupRequest lookup;
  lookup.set_dataset(arguments.reference.dataset.str());
  lookup.set_tag(arguments.reference.TagOrDefault());
  ASSIGN_OR_RETURN(const dataset::v1::LookupResponse found, client->Lookup(lookup));
  ASSIGN_OR_RETURN(const Digest digest, Digest::Parse(found.snapshot().digest()));
  Fetcher fetcher(client.get(), {.parallelism = arguments.connections});
  ASSIGN_OR_RETURN(const std::string canonical,
                   fetcher.FetchManifest(arguments.reference.dataset, digest, &stats));
  ASSIGN_OR_RETURN(const Manifest manifest, DecodeManifest(canonical));
  std::vector<uint32_t> all(manifest.chunks.size());
  std::iota(all.begin(), all.end(), 0U);
  uint64_t total = 0;
  for (const Manifest::Chunk& chunk : manifest.chunks) total += chunk.size;
  return fetcher.FetchChunks(
      arguments.reference.dataset, manifest, all,
      [&](uint32_t, std::string_view bytes) {
        progress.Add(bytes.size(), total);
        return absl::OkStatus();
      },
      &stats);
}

int Run(const Arguments& arguments) {
  Progress progress(arguments.consumers);
  TransferStats stats;
  std::atomic<int> failed{0};
  std::vector<std::thread> threads;
  const absl::Time begin = absl::Now();
  for (int i = 0; i < arguments.consumers; ++i) {
    threads.emplace_back([&] {
      if (const absl::Status status = Consume(arguments, progress, stats); !status.ok()) {
        failed.fetch_add(1);
        fmt::print(stderr, "a consumer failed: {}\n", Message(status));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  fmt::print(
      R"({{"seconds":{},"bytes":{},"downloaded_bytes":{},"requests":{},"integrity_failures":{},"failed":{}}})",
      absl::ToDoubleSeconds(absl::Now() - begin), progress.bytes(), stats.downloaded_bytes.load(),
      stats.requests.load(), stats.integrity_failures.load(), failed.load());
  fmt::print("\n");
  return failed.load() == 0 ? 0 : 1;
}

bool ParseCount(std::string_view text, int* count) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *count);
  return error == std::errc() && end == text.data() + text.size() && *count > 0;
}

}  // namespace
}  // namespace aetherfs

int main(int argc, char** argv) {
  aetherfs::SetUpTransferProcess();
  aetherfs::Arguments arguments;
  if (argc == 5) {
    arguments.servers = absl::StrSplit(argv[1], ',');
    const absl::StatusOr<aetherfs::Reference> reference = aetherfs::Reference::Parse(argv[2]);
    if (reference.ok() && aetherfs::ParseCount(argv[3], &arguments.consumers) &&
        aetherfs::ParseCount(argv[4], &arguments.connections)) {
      arguments.reference = *reference;
      return aetherfs::Run(arguments);
    }
  }
  std::fprintf(stderr, "usage: bench-consumers HOST:PORT,... REFERENCE CONSUMERS CONNECTIONS\n");
  return 2;
}
