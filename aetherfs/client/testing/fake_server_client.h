#ifndef AETHERFS_CLIENT_TESTING_FAKE_SERVER_CLIENT_H_
#define AETHERFS_CLIENT_TESTING_FAKE_SERVER_CLIENT_H_

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "aetherfs/base/digest.h"
#include "aetherfs/client/server_client.h"

namespace aetherfs {

// A server in memory: datasets with blocks, manifests, deltas, tags and a journal, as the .proto files
// describe them. It checks what a server checks: digests of uploads, that a published manifest and its
// blocks exist and are not condemned, expectations, nonces. Failures and bad bytes come on command.
//
// Nothing is retried and nothing waits: a scripted failure reaches the caller at once. Subscription events
// are delivered one after the other by one thread of the fake's own. Thread-safe. Streams must be destroyed
// before the fake.
class FakeServerClient : public ServerClient {
 public:
  enum class Method {
    kLookup,
    kListTags,
    kListDatasets,
    kHistory,
    kPublish,
    kUpdateTags,
    kGetSettings,
    kUpdateSettings,
    kLookupObjects,
    kUpload,
    kDownload,
    kSubscribe
  };

  FakeServerClient();
  ~FakeServerClient() override;

  // --- What goes wrong on command.

  // The next `times` calls of `method` fail with `status`, before they do anything.
  void FailNext(Method method, absl::Status status, int times = 1);
  // While away, every call fails with UNAVAILABLE; open streams end so.
  void SetAway(bool away);
  // While stale, answers say that the store could not be asked.
  void SetStale(bool stale, int64_t age_millis = 1000);
  // The next `times` downloads of the object get one flipped bit in their last byte; those with
  // bypass_cache only if `also_around_caches`.
  void CorruptDownloads(const Digest& object, int times, bool also_around_caches = false);
  // Called before an upload is stored or a download is answered, outside of any lock: a test may block in
  // it, or kill the caller's work. Null: nothing is called.
  void SetTransferHook(std::function<void(Method, const Digest&)> hook);
  // Ends every open subscription stream with `status`.
  void BreakStreams(const absl::Status& status);

  // --- The world behind the servers' backs.

  // The block, manifest or delta is gone, as after a lost store. False if there was none.
  bool RemoveObject(const std::string& dataset, const Digest& digest);
  // As garbage collection does it: a journal entry that condemns the blocks and begins a new epoch.
  void Condemn(const std::string& dataset, const std::vector<Digest>& blocks);
  // Stores without checks or counting: for tests that need no publisher. `object` is a block, a delta or a
  // manifest object as it would be uploaded.
  void AddObject(const std::string& dataset, block::v1::ObjectKind kind, const Digest& digest,
                 std::string object);
  // Points the tag at the manifest, which must be there, by a journal entry. Returns its seq.
  uint64_t SetTag(const std::string& dataset, const std::string& tag, const Digest& digest);

  // --- What was seen.

  int Calls(Method method) const;
  uint64_t uploaded_bytes() const { return uploaded_bytes_.load(); }  // stored anew
  uint64_t downloaded_bytes() const { return downloaded_bytes_.load(); }
  int bypassing_downloads() const { return bypassing_downloads_.load(); }
  std::vector<Digest> Blocks(const std::string& dataset) const;
  std::optional<std::string> Object(const std::string& dataset, const Digest& digest) const;
  std::optional<Digest> TagDigest(const std::string& dataset, const std::string& tag) const;
  // What the last accepted publish said.
  dataset::v1::PublishRequest last_publish() const;
  size_t open_streams() const;

  // --- ServerClient.

  absl::StatusOr<dataset::v1::LookupResponse> Lookup(const dataset::v1::LookupRequest& request) override;
  absl::StatusOr<dataset::v1::ListTagsResponse> ListTags(
      const dataset::v1::ListTagsRequest& request) override;
  absl::StatusOr<dataset::v1::ListDatasetsResponse> ListDatasets(
      const dataset::v1::ListDatasetsRequest& request) override;
  absl::StatusOr<dataset::v1::HistoryResponse> History(const dataset::v1::HistoryRequest& request) override;
  absl::StatusOr<dataset::v1::PublishResponse> Publish(const dataset::v1::PublishRequest& request) override;
  absl::StatusOr<dataset::v1::UpdateTagsResponse> UpdateTags(
      const dataset::v1::UpdateTagsRequest& request) override;
  absl::StatusOr<dataset::v1::GetSettingsResponse> GetSettings(
      const dataset::v1::GetSettingsRequest& request) override;
  absl::StatusOr<dataset::v1::UpdateSettingsResponse> UpdateSettings(
      const dataset::v1::UpdateSettingsRequest& request) override;
  absl::StatusOr<block::v1::LookupResponse> LookupObjects(const block::v1::LookupRequest& request) override;
  absl::StatusOr<block::v1::UploadResponse> Upload(const block::v1::UploadHeader& header,
                                                   std::string_view object) override;
  absl::Status Download(const block::v1::DownloadRequest& request,
                        absl::FunctionRef<absl::Status(std::string_view)> sink) override;
  std::unique_ptr<SubscribeStream> Subscribe(
      const dataset::v1::SubscribeRequest& request,
      std::function<void(const dataset::v1::SubscribeResponse&)> event,
      std::function<void(const absl::Status&)> done) override;
  void Cancel() override;
  bool connected() const override;

 private:
  class Stream;
  struct StreamState;
  struct Dataset {
    std::map<Digest, std::shared_ptr<const std::string>> blocks;
    std::map<Digest, std::shared_ptr<const std::string>> manifests;
    std::map<Digest, std::shared_ptr<const std::string>> deltas;  // and parts of deltas
    std::map<std::string, dataset::v1::Tag> tags;
    std::vector<dataset::v1::Change> changes;  // changes[i].seq() == i + 1
    std::map<std::string, uint64_t> nonces;    // of accepted entries
    std::map<std::string, std::string> settings;
    std::set<Digest> condemned;
    uint64_t epoch = 0;
    uint64_t seq() const { return changes.size(); }
  };
  struct Failure {
    absl::Status status;
    int times = 0;
  };
  struct Corruption {
    int times = 0;
    bool also_around_caches = false;
  };

  // Counts the call; the scripted failure, if any.
  absl::Status Begin(Method method);
  absl::Status BeginLocked(Method method) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  const Dataset* Find(const std::string& name) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void FillFreshness(dataset::v1::Freshness* freshness) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<dataset::v1::Snapshot> SnapshotOf(const Dataset& dataset, const Digest& digest) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  static std::map<Digest, std::shared_ptr<const std::string>> Dataset::* ObjectsOf(
      block::v1::ObjectKind kind);
  static void FillDeltas(const Dataset& dataset, dataset::v1::LookupResponse* response);
  static absl::Status CheckDeltas(const Dataset& dataset, const dataset::v1::PublishRequest& request);
  absl::Status CheckBlocks(const Dataset& dataset, const Digest& digest) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  dataset::v1::Change& Append(const std::string& name, Dataset& dataset)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Tells the streams of `name` of its newest change.
  void Announce(const std::string& name, const Dataset& dataset) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  dataset::v1::SubscribeResponse StateOf(const std::string& name,
                                         const std::vector<std::string>& tags) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Deliver(std::function<void()> task) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void RunDeliveries();

  mutable absl::Mutex mutex_;
  std::map<std::string, Dataset> datasets_ ABSL_GUARDED_BY(mutex_);
  std::map<Method, Failure> failures_ ABSL_GUARDED_BY(mutex_);
  std::map<Method, int> calls_ ABSL_GUARDED_BY(mutex_);
  std::map<Digest, Corruption> corruptions_ ABSL_GUARDED_BY(mutex_);
  std::function<void(Method, const Digest&)> hook_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::weak_ptr<StreamState>> streams_ ABSL_GUARDED_BY(mutex_);
  dataset::v1::PublishRequest last_publish_ ABSL_GUARDED_BY(mutex_);
  bool away_ ABSL_GUARDED_BY(mutex_) = false;
  bool cancelled_ ABSL_GUARDED_BY(mutex_) = false;
  bool stale_ ABSL_GUARDED_BY(mutex_) = false;
  int64_t age_millis_ ABSL_GUARDED_BY(mutex_) = 0;
  std::deque<std::function<void()>> deliveries_ ABSL_GUARDED_BY(mutex_);
  bool ending_ ABSL_GUARDED_BY(mutex_) = false;

  std::atomic<uint64_t> uploaded_bytes_{0};
  std::atomic<uint64_t> downloaded_bytes_{0};
  std::atomic<int> bypassing_downloads_{0};
  std::thread deliverer_;
};

}  // namespace aetherfs

#endif  // AETHERFS_CLIENT_TESTING_FAKE_SERVER_CLIENT_H_
