#ifndef AETHERFS_CLIENT_FETCHER_H_
#define AETHERFS_CLIENT_FETCHER_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <span>
#include <string_view>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "aetherfs/base/reference.h"
#include "aetherfs/client/server_client.h"
#include "aetherfs/format/manifest.h"

namespace aetherfs {

// Counts what a transfer moved; may be read by other threads while it runs.
struct TransferStats {
  std::atomic<uint64_t> downloaded_bytes{0};  // payload received: frames, manifests, deltas
  std::atomic<uint64_t> requests{0};
  std::atomic<uint64_t> verified_bytes{0};  // of chunks, after decompression
  std::atomic<uint64_t> integrity_failures{0};
  std::atomic<uint64_t> delta_bytes{0};  // of downloaded_bytes, those of deltas
  std::atomic<uint64_t> delta_failures{
      0};  // deltas, or patches of them, that did not yield what they should
};

// What a fetch will move; pure.
struct FetchPlan {
  struct Request {
    uint32_t block = 0;        // index into the manifest's blocks
    uint32_t first_frame = 0;  // indices into `frames`
    uint32_t frame_count = 0;
    uint64_t bytes = 0;  // as stored, gaps that are read over included
  };
  std::vector<uint32_t> frames;  // indices into the manifest's, ascending
  std::vector<Request> requests;
  uint64_t bytes = 0;
};
// Frames that hold the wanted chunks, neighbours joined (gaps up to kMaxGap are read over), requests of
// about kRequestSize so that several can run at once. `wanted_chunks`: ascending, distinct indices.
FetchPlan PlanFetch(const Manifest& manifest, std::span<const uint32_t> wanted_chunks);

// Fetches and verifies. Blocks; uses `parallelism` threads of its own. Thread-safe.
class Fetcher {
 public:
  struct Options {
    int parallelism = 4;
  };
  explicit Fetcher(ServerClient* client) : Fetcher(client, Options()) {}
  Fetcher(ServerClient* client, Options options) : client_(client), options_(options) {}

  ServerClient* client() const { return client_; }

  // The canonical manifest, verified. Bad or missing bytes are asked for again around the caches.
  absl::StatusOr<std::string> FetchManifest(const DatasetName& dataset, const Digest& digest,
                                            TransferStats* stats);

  // Receives one verified chunk: its index in the manifest and its bytes, which are valid during the call.
  // Called by several threads at once, each wanted chunk exactly once if the fetch succeeds. An error ends
  // the fetch.
  using ChunkSink = std::function<absl::Status(uint32_t chunk, std::string_view bytes)>;

  // Fetches the wanted chunks (ascending, distinct indices) and checks each against its SHA-256 before it
  // is handed on. Bad or missing bytes are asked for again around the caches, then fail with DATA_LOSS
  // naming the block. `cancelled` may be null; when it turns true the fetch ends with CANCELLED.
  absl::Status FetchChunks(const DatasetName& dataset, const Manifest& manifest,
                           std::span<const uint32_t> wanted_chunks, const ChunkSink& sink,
                           TransferStats* stats, const std::atomic<bool>* cancelled = nullptr);

 private:
  ServerClient* const client_;
  const Options options_;
};

}  // namespace aetherfs

#endif  // AETHERFS_CLIENT_FETCHER_H_
