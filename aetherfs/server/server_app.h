#ifndef AETHERFS_SERVER_SERVER_APP_H_
#define AETHERFS_SERVER_SERVER_APP_H_

#include <grpcpp/server.h>

#include <memory>
#include <string>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "aetherfs/base/clock.h"
#include "aetherfs/base/random.h"
#include "aetherfs/base/thread_pool.h"
#include "aetherfs/cluster/announcer.h"
#include "aetherfs/cluster/membership.h"
#include "aetherfs/cluster/peer_part_source.h"
#include "aetherfs/object/object_store.h"
#include "aetherfs/server/block_service.h"
#include "aetherfs/server/dataset_hub.h"
#include "aetherfs/server/dataset_service.h"
#include "aetherfs/server/peer_service.h"
#include "aetherfs/server/server_config.h"
#include "aetherfs/server/server_context.h"
#include "aetherfs/telemetry/health.h"
#include "aetherfs/telemetry/http_server.h"
#include "aetherfs/telemetry/metrics.h"

namespace aetherfs {

// A whole server over a bare object store: Start() is the one place that shows what stands on what.
// Thread-safe, but for Shutdown(), which is called once.
class ServerApp {
 public:
  // Threads of the pools (docs/threading.md).
  static constexpr int kControlThreads = 16;
  static constexpr int kDataThreads = 32;
  static constexpr int kHashThreads = 2;
  static constexpr size_t kMaxQueuedTasks = 16'384;

  static constexpr absl::Duration kProbeTimeout = absl::Seconds(3);
  // A store that did not answer, or was not fit, is looked at again after this.
  static constexpr absl::Duration kProbeInterval = absl::Seconds(5);

  // Serves when it returns. A store that is away or not fit is no error: publishes are refused until it is
  // there and fit. Errors are about the addresses.
  static absl::StatusOr<std::unique_ptr<ServerApp>> Start(const ServerConfig& config,
                                                          std::shared_ptr<ObjectStore> store,
                                                          Clock* clock = Clock::System(),
                                                          Random* random = Random::System());
  // Shutdown() with no time to drain, if it has not been called.
  ~ServerApp();
  ServerApp(const ServerApp&) = delete;
  ServerApp& operator=(const ServerApp&) = delete;

  // "127.0.0.1:7400": what was bound.
  const std::string& address() const { return address_; }
  std::string http_address() const { return http_ == nullptr ? "" : http_->address(); }

  // Not ready from now on; subscriptions end, so that their readers go elsewhere; what else runs has
  // `drain` to end and is cancelled then. Blocks until all is over.
  void Shutdown(absl::Duration drain);

  MetricsRegistry& metrics() { return registry_; }
  const ServerContext& context() const { return context_; }

 private:
  // What a server that has peers needs in addition.
  struct Cluster {
    Cluster(PeerList peers, const ServerConfig& config, MetricsRegistry& registry, Clock* clock,
            Random* random);
    ClusterMetrics metrics;
    Membership membership;
    Announcer announcer;
  };
  static std::unique_ptr<Cluster> MakeCluster(const ServerConfig& config, MetricsRegistry& registry,
                                              Clock* clock, Random* random);

  ServerApp(const ServerConfig& config, std::shared_ptr<ObjectStore> store, Clock* clock, Random* random);

  absl::Status StartGrpc(const ServerConfig& config);
  absl::Status StartHttp(const ServerConfig& config);
  void Probe();
  void Tick();
  void RefreshGauges();

  // Destroyed from the last to the first: what serves goes before what it uses.
  Clock& clock_;
  Random& random_;
  const absl::Duration poll_interval_;
  MetricsRegistry registry_;
  ServerMetrics metrics_;
  Health health_;
  PublishGate gate_;
  const std::shared_ptr<ObjectStore> bare_store_;
  const std::shared_ptr<ObjectStore> store_;  // retrying, metered
  UploadBudget upload_budget_;
  ServerContext context_;
  const std::unique_ptr<Cluster> cluster_;  // null: this server is alone
  std::unique_ptr<StorePartSource> store_parts_;
  std::unique_ptr<PeerPartSource> peer_parts_;
  std::unique_ptr<MemoryPartCache> parts_;
  std::unique_ptr<SnapshotCatalog> catalog_;
  std::unique_ptr<DatasetHub> hub_;
  std::unique_ptr<DatasetService> dataset_service_;
  std::unique_ptr<BlockService> block_service_;
  std::unique_ptr<PeerService> peer_service_;
  std::unique_ptr<ThreadPool> data_;
  std::unique_ptr<ThreadPool> control_;
  std::unique_ptr<HashPool> hash_;
  std::unique_ptr<MetricsRegistry::ScrapeHook> scrape_hook_;
  std::unique_ptr<grpc::Server> grpc_;
  std::unique_ptr<HttpServer> http_;
  std::string address_;
  bool shut_down_ = false;

  absl::Mutex mutex_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  bool probing_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Time next_probe_ ABSL_GUARDED_BY(mutex_) = absl::InfiniteFuture();
  std::thread ticker_;
};

}  // namespace aetherfs

#endif  // AETHERFS_SERVER_SERVER_APP_H_
