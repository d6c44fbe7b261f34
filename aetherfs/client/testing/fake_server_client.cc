#include "aetherfs/client/testing/fake_server_client.h"

#include <algorithm>
#include <utility>

#include "aetherfs/base/reference.h"
#include "aetherfs/base/sha256.h"
#include "aetherfs/base/status.h"
#include "aetherfs/format/manifest.h"
#include "fmt/format.h"

namespace aetherfs {
namespace {

// The journal's clock: one second an entry.
constexpr int64_t kFirstEntryMicros = 1'800'000'000'000'000;

}  // namespace

// What a stream and the deliverer share. `delivering` is held while a callback runs, so that closing waits.
struct FakeServerClient::StreamState {
  std::string dataset;
  std::vector<std::string> tags;
  std::function<void(const dataset::v1::SubscribeResponse&)> event;
  std::function<void(const absl::Status&)> done;
  absl::Mutex delivering;
  bool closed ABSL_GUARDED_BY(delivering) = false;
  std::atomic<bool> open{true};

  void Event(const dataset::v1::SubscribeResponse& response) {
    absl::MutexLock lock(&delivering);
    if (!closed) event(response);
  }
  void End(const absl::Status& status) {
    absl::MutexLock lock(&delivering);
    if (closed) return;
    closed = true;
    open = false;
    done(status);
  }
};

class FakeServerClient::Stream : public SubscribeStream {
 public:
  explicit Stream(std::shared_ptr<StreamState> state) : state_(std::move(state)) {}
  ~Stream() override {
    absl::MutexLock lock(&state_->delivering);
    state_->closed = true;
    state_->open = false;
  }

 private:
  const std::shared_ptr<StreamState> state_;
};

FakeServerClient::FakeServerClient() : deliverer_([this] { RunDeliveries(); }) {}

FakeServerClient::~FakeServerClient() {
  {
    absl::MutexLock lock(&mutex_);
    ending_ = true;
  }
  deliverer_.join();
}

void FakeServerClient::Deliver(std::function<void()> task) { deliveries_.push_back(std::move(task)); }

void FakeServerClient::RunDeliveries() {
  while (true) {
    std::function<void()> task;
    {
      absl::MutexLock lock(&mutex_);
      const auto ready = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
        return ending_ || !deliveries_.empty();
      };
      mutex_.Await(absl::Condition(&ready));
      if (deliveries_.empty()) return;
      task = std::move(deliveries_.front());
      deliveries_.pop_front();
    }
    task();
  }
}

void FakeServerClient::FailNext(Method method, absl::Status status, int times) {
  absl::MutexLock lock(&mutex_);
  failures_[method] = {std::move(status), times};
}

void FakeServerClient::SetAway(bool away) {
  {
    absl::MutexLock lock(&mutex_);
    away_ = away;
  }
  if (away) BreakStreams(absl::UnavailableError("the fake server is away"));
}

void FakeServerClient::SetStale(bool stale, int64_t age_millis) {
  absl::MutexLock lock(&mutex_);
  stale_ = stale;
  age_millis_ = stale ? age_millis : 0;
}

void FakeServerClient::CorruptDownloads(const Digest& object, int times, bool also_around_caches) {
  absl::MutexLock lock(&mutex_);
  corruptions_[object] = {times, also_around_caches};
}

void FakeServerClient::SetTransferHook(std::function<void(Method, const Digest&)> hook) {
  absl::MutexLock lock(&mutex_);
  hook_ = std::move(hook);
}

void FakeServerClient::BreakStreams(const absl::Status& status) {
  absl::MutexLock lock(&mutex_);
  for (const auto& weak : streams_) {
    if (auto stream = weak.lock()) Deliver([stream, status] { stream->End(status); });
  }
  streams_.clear();
}

bool FakeServerClient::RemoveObject(const std::string& dataset, const Digest& digest) {
  absl::MutexLock lock(&mutex_);
  Dataset& d = datasets_[dataset];
  return d.blocks.erase(digest) + d.manifests.erase(digest) + d.deltas.erase(digest) > 0;
}

void FakeServerClient::Condemn(const std::string& dataset, const std::vector<Digest>& blocks) {
  absl::MutexLock lock(&mutex_);
  Dataset& d = datasets_[dataset];
  d.condemned.insert(blocks.begin(), blocks.end());
  auto* condemnation = Append(dataset, d).mutable_condemnation();
  for (const Digest& block : blocks) condemnation->add_blocks(block.ToString());
  condemnation->set_epoch(++d.epoch);
  Announce(dataset, d);
}

void FakeServerClient::AddObject(const std::string& dataset, block::v1::ObjectKind kind,
                                 const Digest& digest, std::string object) {
  absl::MutexLock lock(&mutex_);
  Dataset& d = datasets_[dataset];
  (d.*ObjectsOf(kind))[digest] = std::make_shared<const std::string>(std::move(object));
}

uint64_t FakeServerClient::SetTag(const std::string& dataset, const std::string& tag,
                                  const Digest& digest) {
  absl::MutexLock lock(&mutex_);
  Dataset& d = datasets_[dataset];
  const auto snapshot = SnapshotOf(d, digest);
  auto& change = Append(dataset, d);
  auto* move = change.mutable_tag_change()->add_moves();
  move->set_tag(tag);
  if (snapshot.ok()) *move->mutable_snapshot() = *snapshot;
  move->mutable_snapshot()->set_digest(digest.ToString());
  auto& stored = d.tags[tag];
  stored.set_name(tag);
  *stored.mutable_snapshot() = move->snapshot();
  stored.set_seq(change.seq());
  stored.set_updated_unix_micros(change.time_unix_micros());
  Announce(dataset, d);
  return d.seq();
}

int FakeServerClient::Calls(Method method) const {
  absl::MutexLock lock(&mutex_);
  const auto found = calls_.find(method);
  return found == calls_.end() ? 0 : found->second;
}

std::vector<Digest> FakeServerClient::Blocks(const std::string& dataset) const {
  absl::MutexLock lock(&mutex_);
  std::vector<Digest> blocks;
  if (const Dataset* d = Find(dataset)) {
    for (const auto& [digest, bytes] : d->blocks) blocks.push_back(digest);
  }
  return blocks;
}

std::optional<std::string> FakeServerClient::Object(const std::string& dataset,
                                                    const Digest& digest) const {
  absl::MutexLock lock(&mutex_);
  const Dataset* d = Find(dataset);
  if (d == nullptr) return std::nullopt;
  if (const auto block = d->blocks.find(digest); block != d->blocks.end()) return *block->second;
  if (const auto m = d->manifests.find(digest); m != d->manifests.end()) return *m->second;
  if (const auto delta = d->deltas.find(digest); delta != d->deltas.end()) return *delta->second;
  return std::nullopt;
}

std::optional<Digest> FakeServerClient::TagDigest(const std::string& dataset,
                                                  const std::string& tag) const {
  absl::MutexLock lock(&mutex_);
  const Dataset* d = Find(dataset);
  if (d == nullptr) return std::nullopt;
  const auto found = d->tags.find(tag);
  if (found == d->tags.end()) return std::nullopt;
  return *Digest::Parse(found->second.snapshot().digest());
}

dataset::v1::PublishRequest FakeServerClient::last_publish() const {
  absl::MutexLock lock(&mutex_);
  return last_publish_;
}

size_t FakeServerClient::open_streams() const {
  absl::MutexLock lock(&mutex_);
  return static_cast<size_t>(std::count_if(streams_.begin(), streams_.end(), [](const auto& weak) {
    const auto stream = weak.lock();
    return stream != nullptr && stream->open;
  }));
}

absl::Status FakeServerClient::Begin(Method method) {
  absl::MutexLock lock(&mutex_);
  return BeginLocked(method);
}

absl::Status FakeServerClient::BeginLocked(Method method) {
  ++calls_[method];
  if (cancelled_) return absl::CancelledError("the client was cancelled");
  if (away_) return absl::UnavailableError("the fake server is away");
  if (const auto found = failures_.find(method); found != failures_.end() && found->second.times > 0) {
    --found->second.times;
    return found->second.status;
  }
  return absl::OkStatus();
}

const FakeServerClient::Dataset* FakeServerClient::Find(const std::string& name) const {
  const auto found = datasets_.find(name);
  return found == datasets_.end() ? nullptr : &found->second;
}

void FakeServerClient::FillFreshness(dataset::v1::Freshness* freshness) const {
  freshness->set_stale(stale_);
  freshness->set_age_millis(age_millis_);
}

absl::StatusOr<dataset::v1::Snapshot> FakeServerClient::SnapshotOf(const Dataset& dataset,
                                                                   const Digest& digest) const {
  const auto found = dataset.manifests.find(digest);
  if (found == dataset.manifests.end()) {
    return absl::NotFoundError(fmt::format("manifest {} was not uploaded", digest.ToString()));
  }
  ASSIGN_OR_RETURN(const std::string canonical, DecodeManifestObject(*found->second, digest));
  ASSIGN_OR_RETURN(const Manifest manifest, DecodeManifest(canonical));
  dataset::v1::Snapshot snapshot;
  snapshot.set_digest(digest.ToString());
  snapshot.set_files(manifest.FileCount());
  snapshot.set_bytes(manifest.TotalBytes());
  snapshot.set_chunks(manifest.chunks.size());
  snapshot.set_blocks(manifest.blocks.size());
  return snapshot;
}

absl::Status FakeServerClient::CheckBlocks(const Dataset& dataset, const Digest& digest) const {
  ASSIGN_OR_RETURN(const std::string canonical,
                   DecodeManifestObject(*dataset.manifests.at(digest), digest));
  ASSIGN_OR_RETURN(const Manifest manifest, DecodeManifest(canonical));
  for (const Manifest::Block& block : manifest.blocks) {
    const auto found = dataset.blocks.find(block.digest);
    if (found == dataset.blocks.end()) {
      return absl::FailedPreconditionError(fmt::format("block {} is missing", block.digest.ToString()));
    }
    if (found->second->size() != block.size) {
      return absl::FailedPreconditionError(
          fmt::format("block {} has another size", block.digest.ToString()));
    }
    if (dataset.condemned.contains(block.digest)) {
      return absl::FailedPreconditionError(fmt::format("block {} is condemned", block.digest.ToString()));
    }
  }
  return absl::OkStatus();
}

dataset::v1::Change& FakeServerClient::Append(const std::string& name, Dataset& dataset) {
  dataset::v1::Change change;
  change.set_seq(dataset.seq() + 1);
  change.set_time_unix_micros(kFirstEntryMicros + static_cast<int64_t>(change.seq()) * 1'000'000);
  dataset.changes.push_back(std::move(change));
  return dataset.changes.back();
}

void FakeServerClient::Announce(const std::string& name, const Dataset& dataset) {
  const dataset::v1::Change& change = dataset.changes.back();
  std::vector<std::string> touched;
  for (const auto& tag : change.publication().tags()) touched.push_back(tag);
  for (const auto& move : change.tag_change().moves()) touched.push_back(move.tag());
  for (const auto& tag : change.tag_change().deleted()) touched.push_back(tag);
  for (const auto& weak : streams_) {
    const auto stream = weak.lock();
    if (stream == nullptr || stream->dataset != name) continue;
    const bool wanted =
        stream->tags.empty() || std::any_of(touched.begin(), touched.end(), [&](const auto& t) {
          return std::find(stream->tags.begin(), stream->tags.end(), t) != stream->tags.end();
        });
    if (!wanted) continue;
    dataset::v1::SubscribeResponse response;
    *response.mutable_change() = change;
    Deliver([stream, response] { stream->Event(response); });
  }
}

dataset::v1::SubscribeResponse FakeServerClient::StateOf(const std::string& name,
                                                         const std::vector<std::string>& tags) const {
  dataset::v1::SubscribeResponse response;
  auto* state = response.mutable_state();
  FillFreshness(state->mutable_freshness());
  const Dataset* d = Find(name);
  if (d == nullptr || d->seq() == 0) {
    state->set_absent(true);
    return response;
  }
  state->set_seq(d->seq());
  for (const auto& [tag, value] : d->tags) {
    if (tags.empty() || std::find(tags.begin(), tags.end(), tag) != tags.end()) *state->add_tags() = value;
  }
  return response;
}

absl::StatusOr<dataset::v1::LookupResponse> FakeServerClient::Lookup(
    const dataset::v1::LookupRequest& request) {
  absl::MutexLock lock(&mutex_);
  RETURN_IF_ERROR(BeginLocked(Method::kLookup));
  const Dataset* d = Find(request.dataset());
  if (d == nullptr || d->seq() == 0) {
    return absl::NotFoundError(fmt::format("there is no dataset {}", request.dataset()));
  }
  dataset::v1::LookupResponse response;
  response.set_seq(d->seq());
  response.set_epoch(d->epoch);
  FillFreshness(response.mutable_freshness());
  if (!request.digest().empty()) {
    ASSIGN_OR_RETURN(const Digest digest, Digest::Parse(request.digest()));
    ASSIGN_OR_RETURN(*response.mutable_snapshot(), SnapshotOf(*d, digest));
    response.set_tag(request.tag());
  } else {
    const std::string tag = request.tag().empty() ? std::string(kDefaultTag) : request.tag();
    const auto found = d->tags.find(tag);
    if (found == d->tags.end()) {
      return absl::NotFoundError(fmt::format("dataset {} has no tag {}", request.dataset(), tag));
    }
    *response.mutable_snapshot() = found->second.snapshot();
    response.set_tag(tag);
  }
  for (auto change = d->changes.rbegin(); change != d->changes.rend(); ++change) {
    if (change->publication().snapshot().digest() == response.snapshot().digest()) {
      *response.mutable_change() = *change;
      break;
    }
  }
  FillDeltas(*d, &response);
  return response;
}

// Nearest to the snapshot first, as a server tells them: its own, those to what they are made from, and so
// on.
void FakeServerClient::FillDeltas(const Dataset& dataset, dataset::v1::LookupResponse* response) {
  std::vector<std::string> reached = {response->snapshot().digest()};
  for (size_t at = 0; at < reached.size(); ++at) {
    for (auto change = dataset.changes.rbegin(); change != dataset.changes.rend(); ++change) {
      if (change->publication().snapshot().digest() != reached[at]) continue;
      for (const dataset::v1::Delta& delta : change->publication().deltas()) {
        if (std::find(reached.begin(), reached.end(), delta.from()) != reached.end()) continue;
        *response->add_deltas() = delta;
        reached.push_back(delta.from());
      }
    }
  }
}

absl::Status FakeServerClient::CheckDeltas(const Dataset& dataset,
                                           const dataset::v1::PublishRequest& request) {
  for (const dataset::v1::Delta& delta : request.deltas()) {
    ASSIGN_OR_RETURN(const Digest digest, Digest::Parse(delta.digest()));
    if (delta.to() != request.digest()) {
      return absl::InvalidArgumentError(fmt::format("delta {} is to another snapshot", delta.digest()));
    }
    const auto found = dataset.deltas.find(digest);
    if (found == dataset.deltas.end() || found->second->size() != delta.size()) {
      return absl::FailedPreconditionError(fmt::format("delta {} is missing", delta.digest()));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<dataset::v1::ListTagsResponse> FakeServerClient::ListTags(
    const dataset::v1::ListTagsRequest& request) {
  absl::MutexLock lock(&mutex_);
  RETURN_IF_ERROR(BeginLocked(Method::kListTags));
  const Dataset* d = Find(request.dataset());
  if (d == nullptr || d->seq() == 0) {
    return absl::NotFoundError(fmt::format("there is no dataset {}", request.dataset()));
  }
  dataset::v1::ListTagsResponse response;
  for (const auto& [name, tag] : d->tags) *response.add_tags() = tag;
  response.set_seq(d->seq());
  response.set_epoch(d->epoch);
  FillFreshness(response.mutable_freshness());
  return response;
}

absl::StatusOr<dataset::v1::ListDatasetsResponse> FakeServerClient::ListDatasets(
    const dataset::v1::ListDatasetsRequest& request) {
  absl::MutexLock lock(&mutex_);
  RETURN_IF_ERROR(BeginLocked(Method::kListDatasets));
  const int limit =
      request.page_size() == 0 ? 1000 : static_cast<int>(std::min(request.page_size(), 1000u));
  dataset::v1::ListDatasetsResponse response;
  FillFreshness(response.mutable_freshness());
  for (const auto& [name, d] : datasets_) {
    if (d.seq() == 0 || name.compare(0, request.prefix().size(), request.prefix()) != 0) continue;
    if (!request.page_token().empty() && name <= request.page_token()) continue;
    if (response.datasets_size() == limit) {
      response.set_next_page_token(response.datasets(limit - 1));
      break;
    }
    response.add_datasets(name);
  }
  return response;
}

absl::StatusOr<dataset::v1::HistoryResponse> FakeServerClient::History(
    const dataset::v1::HistoryRequest& request) {
  absl::MutexLock lock(&mutex_);
  RETURN_IF_ERROR(BeginLocked(Method::kHistory));
  const Dataset* d = Find(request.dataset());
  if (d == nullptr || d->seq() == 0) {
    return absl::NotFoundError(fmt::format("there is no dataset {}", request.dataset()));
  }
  const uint32_t limit = request.limit() == 0 ? 100 : std::min(request.limit(), 1000u);
  dataset::v1::HistoryResponse response;
  uint64_t seq = request.before_seq() == 0 ? d->seq() : std::min(request.before_seq() - 1, d->seq());
  for (; seq > 0 && response.changes_size() < static_cast<int>(limit); --seq) {
    *response.add_changes() = d->changes[seq - 1];
  }
  return response;
}

bool FakeServerClient::connected() const {
  absl::MutexLock lock(&mutex_);
  return !away_;
}

void FakeServerClient::Cancel() {
  {
    absl::MutexLock lock(&mutex_);
    cancelled_ = true;
  }
  BreakStreams(absl::CancelledError("the client was cancelled"));
}

std::unique_ptr<ServerClient::SubscribeStream> FakeServerClient::Subscribe(
    const dataset::v1::SubscribeRequest& request,
    std::function<void(const dataset::v1::SubscribeResponse&)> event,
    std::function<void(const absl::Status&)> done) {
  auto state = std::make_shared<StreamState>();
  state->dataset = request.dataset();
  state->tags.assign(request.tags().begin(), request.tags().end());
  state->event = std::move(event);
  state->done = std::move(done);
  absl::MutexLock lock(&mutex_);
  std::erase_if(streams_, [](const auto& weak) { return weak.expired(); });
  if (absl::Status status = BeginLocked(Method::kSubscribe); !status.ok()) {
    Deliver([state, status] { state->End(status); });
    return std::make_unique<Stream>(state);
  }
  streams_.push_back(state);
  const Dataset* d = Find(request.dataset());
  const uint64_t seq = d == nullptr ? 0 : d->seq();
  if (request.after_seq() == 0 || seq > request.after_seq()) {
    Deliver([state, response = StateOf(state->dataset, state->tags)] { state->Event(response); });
  }
  return std::make_unique<Stream>(state);
}

}  // namespace aetherfs
