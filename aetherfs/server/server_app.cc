#include "aetherfs/server/server_app.h"

#include <fmt/format.h>
#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server_builder.h>
#include <pthread.h>

#include <algorithm>
#include <array>
#include <mutex>
#include <utility>

#include "absl/strings/escaping.h"
#include "aetherfs/base/status.h"
#include "aetherfs/cluster/grpc_peer.h"
#include "aetherfs/format/record.h"
#include "aetherfs/object/metered_object_store.h"
#include "aetherfs/object/probe.h"
#include "aetherfs/object/retrying_object_store.h"
#include "aetherfs/rpc/channel.h"
#include "aetherfs/telemetry/log.h"

namespace aetherfs {
namespace {

constexpr absl::Duration kMaxTick = absl::Milliseconds(250);
constexpr size_t kServerIdSize = 16;
constexpr absl::Duration kStallCheckInterval = absl::Seconds(5);

// gRPC's plugins belong to the process, not to a server.
void InitGrpcPlugins() {
  static std::once_flag once;
  std::call_once(once, [] {
    grpc::EnableDefaultHealthCheckService(true);
    grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  });
}

// "HOST:PORT" with the port that was bound.
std::string BoundAddress(const std::string& listen, int port) {
  const size_t colon = listen.rfind(':');
  return fmt::format("{}:{}", listen.substr(0, colon), port);
}

}  // namespace

ServerApp::Cluster::Cluster(PeerList peers, const ServerConfig& config, MetricsRegistry& registry,
                            Clock* clock, Random* random)
    : metrics(registry),
      membership(std::move(peers), config.advertise, absl::BytesToHexString(random->Bytes(kServerIdSize)),
                 {HostResolver::System(),
                  [](const std::string& address) { return std::make_shared<GrpcPeer>(address); }, clock,
                  random, &metrics}),
      announcer(&membership, clock, &metrics) {}

std::unique_ptr<ServerApp::Cluster> ServerApp::MakeCluster(const ServerConfig& config,
                                                           MetricsRegistry& registry, Clock* clock,
                                                           Random* random) {
  absl::StatusOr<PeerList> peers = ParsePeerList(config.peers);  // was checked before
  if (!peers.ok() || peers->empty()) return nullptr;
  return std::make_unique<Cluster>(*std::move(peers), config, registry, clock, random);
}

ServerApp::ServerApp(const ServerConfig& config, std::shared_ptr<ObjectStore> store, Clock* clock,
                     Random* random)
    : clock_(*clock),
      random_(*random),
      poll_interval_(config.poll_interval),
      metrics_(registry_),
      bare_store_(std::move(store)),
      // From below: the store, every attempt measured, failed attempts made again.
      store_(std::make_shared<RetryingObjectStore>(
          std::make_shared<MeteredObjectStore>(bare_store_, &metrics_, clock), RetryOptions{}, clock,
          random)),
      cluster_(MakeCluster(config, registry_, clock, random)) {
  data_ = std::make_unique<ThreadPool>("data", kDataThreads, kMaxQueuedTasks);
  control_ = std::make_unique<ThreadPool>("control", kControlThreads, kMaxQueuedTasks);
  hash_ = std::make_unique<HashPool>(kHashThreads);

  // Parts: memory in front of the peers in front of the store.
  store_parts_ = std::make_unique<StorePartSource>(store_.get(), data_.get());
  PartSource* below_memory = store_parts_.get();
  if (cluster_ != nullptr) {
    peer_parts_ = std::make_unique<PeerPartSource>(&cluster_->membership, below_memory, Alarms::System(), clock,
                                                   &cluster_->metrics);
    below_memory = peer_parts_.get();
  }
  parts_ = std::make_unique<MemoryPartCache>(below_memory, config.cache_memory, clock);

  catalog_ = std::make_unique<SnapshotCatalog>(store_.get(), data_.get());
  DatasetHub::Environment hub{store_.get(), control_.get(), clock, random, &metrics_, nullptr};
  if (cluster_ != nullptr) {
    hub.appended = [cluster = cluster_.get()](const DatasetName& dataset,
                                              const record::v1::JournalEntry& entry) {
      cluster->announcer.Announce(dataset.str(), EncodeRecord(RecordKind::kJournalEntry, entry));
    };
  }
  hub_ = std::make_unique<DatasetHub>(hub, config.poll_interval);

  context_.clock = clock;
  context_.random = random;
  context_.store = store_.get();
  context_.control = control_.get();
  context_.data = data_.get();
  context_.hash = hash_.get();
  context_.upload_budget = &upload_budget_;
  context_.store_parts = store_parts_.get();
  context_.parts = parts_.get();
  context_.cluster = cluster_ == nullptr ? nullptr : &cluster_->membership;
  context_.catalog = catalog_.get();
  context_.hub = hub_.get();
  context_.metrics = &metrics_;
  context_.gate = &gate_;
  dataset_service_ = std::make_unique<DatasetService>(&context_);
  block_service_ = std::make_unique<BlockService>(&context_);
  if (cluster_ != nullptr) {
    peer_service_ = std::make_unique<PeerService>(&context_, &cluster_->membership, &cluster_->metrics);
  }
  scrape_hook_ = std::make_unique<MetricsRegistry::ScrapeHook>(registry_, [this] { RefreshGauges(); });
}

absl::StatusOr<std::unique_ptr<ServerApp>> ServerApp::Start(const ServerConfig& config,
                                                            std::shared_ptr<ObjectStore> store,
                                                            Clock* clock, Random* random) {
  RETURN_IF_ERROR(CheckServerConfig(config));
  std::unique_ptr<ServerApp> app(new ServerApp(config, std::move(store), clock, random));
  app->health_.SetUnmet("serving", "starting");
  app->health_.SetUnmet("store", "the object store has not answered yet");
  RETURN_IF_ERROR(app->StartHttp(config));
  app->Probe();
  RETURN_IF_ERROR(app->StartGrpc(config));
  if (app->cluster_ != nullptr) app->cluster_->membership.Start();
  app->ticker_ = std::thread([raw = app.get()] { raw->Tick(); });
  app->health_.SetMet("serving");
  return app;
}

absl::Status ServerApp::StartGrpc(const ServerConfig& config) {
  InitGrpcPlugins();
  grpc::ServerBuilder builder;
  ServerTransportOptions transport;
  transport.max_connection_age = config.max_connection_age;
  ApplyServerTransport(transport, builder);
  int port = 0;
  // As for HTTP: no host is every address.
  const std::string listen = config.listen.starts_with(':') ? "[::]" + config.listen : config.listen;
  builder.AddListeningPort(listen, grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(dataset_service_.get());
  builder.RegisterService(block_service_.get());
  if (peer_service_ != nullptr) builder.RegisterService(peer_service_.get());
  grpc_ = builder.BuildAndStart();
  if (grpc_ == nullptr || port == 0) {
    return absl::UnavailableError(fmt::format(
        "--listen: cannot listen on {}: is another server there, is it an address of this machine?",
        config.listen));
  }
  address_ = BoundAddress(listen, port);
  return absl::OkStatus();
}

absl::Status ServerApp::StartHttp(const ServerConfig& config) {
  if (config.http_listen.empty()) return absl::OkStatus();
  HttpServerOptions options;
  options.listen = config.http_listen;
  RegisterStandardEndpoints(options.routes, &health_, &registry_);
  // Ready, yet perhaps for reads only: that is worth a line.
  HttpRoute& ready = options.routes["/readyz"];
  ready.handler = [this, base = ready.handler](const HttpRequest& request) {
    HttpResponse response = base(request);
    const absl::Status gate = gate_.status();
    if (!gate.ok() && response.content_type.starts_with("text/plain")) {
      response.body += fmt::format("publishes are refused: {}\n", Describe(gate));
    }
    return response;
  };
  absl::StatusOr<std::unique_ptr<HttpServer>> http = HttpServer::Start(std::move(options));
  if (!http.ok()) return Annotate(http.status(), "--http-listen");
  http_ = *std::move(http);
  return absl::OkStatus();
}

// Not through the retries: they could make a second write of what should be one.
void ServerApp::Probe() {
  const absl::Status fit = ProbeCreateIfAbsent(*bare_store_, random_, clock_.Now() + kProbeTimeout);
  metrics_.store_fit.Set(fit.ok() ? 1 : 0);
  if (fit.ok()) {
    LogInfo("the store is fit for publishing");
  } else {
    LogWarning("publishes are refused", {{"error", fit}});
  }
  // The store answered, though not as it must.
  if (fit.ok() || absl::IsFailedPrecondition(fit)) health_.SetMet("store");
  gate_.Set(
      fit.ok() ? fit
               : Annotate(fit, "publishes are refused: the store was not seen to honour create-if-absent"));
  absl::MutexLock lock(&mutex_);
  probing_ = false;
  next_probe_ = fit.ok() ? absl::InfiniteFuture() : clock_.Now() + kProbeInterval;
}

void ServerApp::Tick() {
  pthread_setname_np(pthread_self(), "ticker");
  const absl::Duration pause = std::clamp(poll_interval_ / 8, absl::Milliseconds(5), kMaxTick);
  absl::Time next_stall_check = clock_.Now();
  for (;;) {
    bool probe = false;
    {
      absl::MutexLock lock(&mutex_);
      if (mutex_.AwaitWithTimeout(absl::Condition(&stopping_), pause)) return;
      probe = !probing_ && clock_.Now() >= next_probe_;
      if (probe) probing_ = true;
    }
    if (probe) control_->Submit([this] { Probe(); });
    hub_->Poll();
    if (clock_.Now() >= next_stall_check) {
      block_service_->EndStalledDownloads();
      next_stall_check = clock_.Now() + kStallCheckInterval;
    }
  }
}

void ServerApp::RefreshGauges() {
  static constexpr std::array<const char*, kPartOrigins> kLevels = {"memory", "disk", "peer", "store"};
  const auto set = [this](const char* name, const char* help, uint64_t value) {
    registry_.AddGauge(name, help).Only().Set(static_cast<double>(value));
  };
  // Counters elsewhere, mirrored: a counter may only be increased, by what has come since.
  const auto mirror = [](const Counter& counter, uint64_t value) {
    counter.Increment(std::max(0.0, static_cast<double>(value) - counter.value()));
  };
  const auto count = [this, &mirror](const char* name, const char* help, uint64_t value) {
    mirror(registry_.AddCounter(name, help).Only(), value);
  };
  const MemoryPartCache::Stats cache = parts_->stats();
  count("aetherfs_cache_hits_total", "parts found in memory", cache.hits);
  count("aetherfs_cache_misses_total", "parts not found in memory", cache.misses);
  count("aetherfs_cache_collapsed_total", "misses that joined a fetch under way", cache.collapsed);
  count("aetherfs_cache_hit_bytes_total", "bytes found in memory", cache.hit_bytes);
  count("aetherfs_cache_fetched_bytes_total", "bytes fetched into memory", cache.fetched_bytes);
  count("aetherfs_cache_failures_total", "fetches that failed", cache.failures);
  count("aetherfs_cache_evictions_total", "parts dropped to make room", cache.evictions);
  set("aetherfs_cache_kept_bytes", "bytes kept in memory", cache.kept_bytes);
  set("aetherfs_cache_used_bytes", "bytes kept, being read or reserved", cache.used_bytes);
  set("aetherfs_cache_budget_bytes", "bytes that the cache may use", parts_->budget_bytes());
  set("aetherfs_cache_waiting", "misses that wait for room", cache.waiting);
  for (size_t level = 0; level < kPartOrigins; ++level) {
    mirror(registry_.AddCounter("aetherfs_parts_total", "parts given, by where they came from", {"level"})
               .With({kLevels[level]}),
           cache.given_parts[level]);
    mirror(registry_
               .AddCounter("aetherfs_part_bytes_total", "bytes of parts given, by where they came from",
                           {"level"})
               .With({kLevels[level]}),
           cache.given_bytes[level]);
  }
  const StorePartSource::Stats store = store_parts_->stats();
  count("aetherfs_store_read_bytes_total", "bytes of parts read from the object store", store.bytes);
  count("aetherfs_store_unique_read_bytes_total", "the same, each part once", store.unique_bytes);
  set("aetherfs_server_subscribers", "subscriptions open", hub_->subscribers());
  set("aetherfs_server_datasets", "datasets followed", hub_->lines());
  set("aetherfs_server_upload_bytes", "bytes of uploads under way", upload_budget_.used());
  set("aetherfs_server_uploads_waiting", "uploads that wait for memory", upload_budget_.waiting());
  set("aetherfs_server_control_queued", "tasks waiting in the control pool", control_->queued());
  set("aetherfs_server_data_queued", "tasks waiting in the data pool", data_->queued());
}

void ServerApp::Shutdown(absl::Duration drain) {
  if (std::exchange(shut_down_, true)) return;
  health_.SetUnmet("serving", "shutting down");
  if (grpc_ != nullptr) {
    if (auto* health = grpc_->GetHealthCheckService()) health->Shutdown();
    hub_->EndSubscriptions(absl::UnavailableError("this server is shutting down: use another one"));
    grpc_->Shutdown(absl::ToChronoTime(absl::Now() + drain));
    grpc_->Wait();
  }
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  if (ticker_.joinable()) ticker_.join();
  if (http_ != nullptr) http_->Stop();
}

ServerApp::~ServerApp() {
  Shutdown(absl::ZeroDuration());
  grpc_.reset();
  http_.reset();
  scrape_hook_.reset();
  if (cluster_ != nullptr) cluster_->announcer.Stop();
  if (cluster_ != nullptr) cluster_->membership.Stop();
  if (peer_parts_ != nullptr) peer_parts_->Stop();
  // Their tasks use what is destroyed after them; the later ones take tasks from the earlier ones.
  hash_.reset();
  control_.reset();
  data_.reset();
}

}  // namespace aetherfs
