#include "aetherfs/agent/publication_queue.h"

#include <pwd.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "aetherfs/base/status.h"
#include "aetherfs/format/record.h"
#include "aetherfs/os/file.h"
#include "aetherfs/telemetry/log.h"
#include "fmt/format.h"

namespace aetherfs {
namespace {

using agent::v1::Publication;

constexpr size_t kNonceSize = 16;

bool IsFinished(const Publication& publication) {
  return publication.state() == Publication::STATE_DONE || publication.state() == Publication::STATE_FAILED;
}

void LogWarningOf(const absl::StatusOr<PublishResult>& result) {
  if (!result.ok() || result->warning.empty()) return;
  LogWarning("publish was not as it should be",
             {{"dataset", result->dataset.str()}, {"warning", result->warning}});
}

// Whether trying again can't help, as the caller's words, files or expectations are what is wrong.
bool IsPermanent(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kNotFound:
    case absl::StatusCode::kAborted:
    case absl::StatusCode::kAlreadyExists:
    case absl::StatusCode::kPermissionDenied:
    case absl::StatusCode::kOutOfRange:
    case absl::StatusCode::kUnimplemented:
      return true;
    default:
      return false;
  }
}

std::string Author() {
  char host[256] = "";
  if (::gethostname(host, sizeof(host) - 1) != 0) host[0] = '\0';
  passwd entry;
  passwd* found = nullptr;
  char buffer[1024];
  const bool known =
      ::getpwuid_r(::geteuid(), &entry, buffer, sizeof(buffer), &found) == 0 && found != nullptr;
  return fmt::format("{}@{}", known ? entry.pw_name : std::to_string(::geteuid()), host);
}

}  // namespace

absl::StatusOr<PublishOptions> ToPublishOptions(const agent::v1::PublishRequest& request) {
  ASSIGN_OR_RETURN(const Reference reference, Reference::Parse(request.reference()));
  if (reference.digest.has_value()) {
    return absl::InvalidArgumentError(fmt::format("'{}' names a digest; a publish makes one: leave it out",
                                                  Printable(request.reference())));
  }
  if (!reference.host.empty()) {
    return absl::InvalidArgumentError(
        fmt::format("'{}' names a server; an agent publishes to its own: leave '{}/' out",
                    Printable(request.reference()), reference.host));
  }
  if (!request.path().starts_with('/')) {
    return absl::InvalidArgumentError(
        fmt::format("the path '{}' must be absolute: the agent has a working directory of its own",
                    Printable(request.path())));
  }
  PublishOptions options;
  options.dataset = reference.dataset;
  if (!reference.tag.empty() || request.tags().empty()) options.tags.push_back(reference.TagOrDefault());
  for (const std::string& tag : request.tags()) {
    RETURN_IF_ERROR(ValidateTag(tag));
    if (std::find(options.tags.begin(), options.tags.end(), tag) == options.tags.end())
      options.tags.push_back(tag);
  }
  options.path = request.path();
  options.message = request.message();
  options.labels = {request.labels().begin(), request.labels().end()};
  options.expect_absent = request.expect_absent();
  if (!request.expect_digest().empty()) {
    if (options.expect_absent) {
      return absl::InvalidArgumentError("a publish can expect no version or a certain one, not both");
    }
    ASSIGN_OR_RETURN(options.expect, Digest::Parse(request.expect_digest()));
  }
  options.make_deltas = !request.no_delta();
  options.author = Author();
  return options;
}

agent::v1::PublishResult ToProto(const PublishResult& result) {
  agent::v1::PublishResult proto;
  proto.set_dataset(result.dataset.str());
  for (const std::string& tag : result.tags) proto.add_tags(tag);
  proto.set_digest(result.digest.ToString());
  proto.set_files(result.files);
  proto.set_bytes(result.bytes);
  proto.set_chunks(result.chunks);
  proto.set_new_chunks(result.new_chunks);
  proto.set_new_bytes(result.new_bytes);
  proto.set_uploaded_bytes(result.uploaded_bytes);
  proto.set_delta_bytes(result.delta_bytes);
  proto.set_seq(result.seq);
  proto.set_unchanged(result.unchanged);
  proto.set_seconds(absl::ToDoubleSeconds(result.elapsed));
  return proto;
}

PublicationQueue::PublicationQueue(Options options, ServerClient* client, ThreadPool* pool,
                                   Scheduler* scheduler, Clock* clock, Random* random,
                                   AgentMetrics* metrics)
    : options_(std::move(options)),
      client_(client),
      pool_(pool),
      scheduler_(scheduler),
      clock_(clock),
      random_(random),
      metrics_(metrics) {}

PublicationQueue::~PublicationQueue() { Stop(); }

std::string PublicationQueue::PathOf(const std::string& id) const {
  return JoinPath(options_.directory, id);
}

absl::Status PublicationQueue::Save(const Record& record) const {
  return WriteFileAtomically(PathOf(record.publication().publication_id()),
                             EncodeRecord(RecordKind::kPublication, record));
}

absl::Status PublicationQueue::Recover() {
  ASSIGN_OR_RETURN(const std::vector<std::string> names, ListDirectory(options_.directory));
  std::vector<std::string> unfinished;
  for (const std::string& name : names) {
    if (name.find('.') != std::string::npos) {  // what an interrupted write left, or what was set aside
      if (!name.ends_with(".unreadable")) RETURN_IF_ERROR(RemoveFile(PathOf(name)));
      continue;
    }
    ASSIGN_OR_RETURN(const std::string bytes, ReadWholeFile(PathOf(name), kMaxRecordSize));
    Record record;
    const absl::Status read = DecodeRecord(RecordKind::kPublication, bytes, &record);
    if (!read.ok() || record.publication().publication_id() != name ||
        record.nonce().size() != kNonceSize) {
      LogError("a recorded publication is unreadable and set aside",
               {{"file", PathOf(name)}, {"error", read}});
      RETURN_IF_ERROR(Rename(PathOf(name), PathOf(name) + ".unreadable"));
      continue;
    }
    if (!IsFinished(record.publication())) {
      record.mutable_publication()->set_state(Publication::STATE_WAITING);
      unfinished.push_back(name);
    }
    absl::MutexLock lock(&mutex_);
    records_[name] = std::move(record);
  }
  for (const std::string& id : unfinished) Start(id);
  return absl::OkStatus();
}

void PublicationQueue::Publish(const agent::v1::PublishRequest& request,
                               std::function<void(absl::StatusOr<PublishResult>)> done) {
  absl::StatusOr<PublishOptions> options = ToPublishOptions(request);
  if (!options.ok()) return done(options.status());
  options->cache_dir = options_.cache_dir;
  {
    absl::MutexLock lock(&mutex_);
    ++running_;
  }
  pool_->Submit([this, options = *std::move(options), done = std::move(done)] {
    absl::StatusOr<PublishResult> result = PublishDirectory(*client_, options, nullptr, &cancelled_);
    LogWarningOf(result);
    metrics_->publications.With({result.ok() ? "done" : "failed"}).Increment();
    done(std::move(result));
    absl::MutexLock lock(&mutex_);
    --running_;
  });
}

absl::StatusOr<std::string> PublicationQueue::Enqueue(const agent::v1::PublishRequest& request) {
  RETURN_IF_ERROR(ToPublishOptions(request).status());
  Record record;
  record.set_nonce(random_->Bytes(kNonceSize));
  const absl::Time now = clock_->Now();
  record.set_created_unix_micros(absl::ToUnixMicros(now));
  {
    absl::MutexLock lock(&mutex_);
    const auto waiting = std::count_if(records_.begin(), records_.end(),
                                       [](const auto& r) { return !IsFinished(r.second.publication()); });
    if (static_cast<size_t>(waiting) >= kMaxWaiting) {
      return absl::ResourceExhaustedError(
          fmt::format("{} publications are waiting to be done already", waiting));
    }
    record.mutable_publication()->set_publication_id(fmt::format(
        "{:016x}-{:04x}-{:08x}", absl::ToUnixMicros(now), next_number_++ & 0xffff, random_->Next() >> 32));
  }
  const std::string id = record.publication().publication_id();
  *record.mutable_publication()->mutable_request() = request;
  record.mutable_publication()->set_state(Publication::STATE_WAITING);
  RETURN_IF_ERROR(Annotate(Save(record), "record the publication"));
  {
    absl::MutexLock lock(&mutex_);
    records_[id] = std::move(record);
  }
  Start(id);
  return id;
}

void PublicationQueue::Start(const std::string& id) {
  {
    absl::MutexLock lock(&mutex_);
    ++running_;
  }
  pool_->Submit([this, id] {
    Attempt(id);
    absl::MutexLock lock(&mutex_);
    --running_;
  });
}

void PublicationQueue::Attempt(const std::string& id) {
  if (cancelled_.load()) return;
  agent::v1::PublishRequest request;
  std::string nonce;
  {
    absl::MutexLock lock(&mutex_);
    Record& record = records_[id];
    record.mutable_publication()->set_state(Publication::STATE_RUNNING);
    record.mutable_publication()->set_attempts(record.publication().attempts() + 1);
    request = record.publication().request();
    nonce = record.nonce();
  }
  absl::StatusOr<PublishOptions> options = ToPublishOptions(request);
  if (!options.ok()) return Ended(id, options.status());
  options->cache_dir = options_.cache_dir;
  options->nonce = nonce;
  const absl::StatusOr<PublishResult> result = PublishDirectory(*client_, *options, nullptr, &cancelled_);
  if (!result.ok() && cancelled_.load()) return;  // the next process goes on
  LogWarningOf(result);
  Ended(id, result);
}

void PublicationQueue::Ended(const std::string& id, const absl::StatusOr<PublishResult>& result) {
  const bool finished = result.ok() || IsPermanent(result.status());
  Record record;
  int attempts = 0;
  {
    absl::MutexLock lock(&mutex_);
    Record& kept = records_[id];
    Publication* publication = kept.mutable_publication();
    attempts = static_cast<int>(publication->attempts());
    publication->set_error(result.ok() ? "" : Describe(result.status()));
    if (result.ok()) *publication->mutable_result() = ToProto(*result);
    publication->set_state(result.ok() ? Publication::STATE_DONE
                           : finished  ? Publication::STATE_FAILED
                                       : Publication::STATE_WAITING);
    if (finished) kept.set_finished_unix_micros(absl::ToUnixMicros(clock_->Now()));
    record = kept;
  }
  metrics_->publications.With({result.ok() ? "done" : finished ? "failed" : "retried"}).Increment();
  const absl::Status saved = Save(record);
  if (!saved.ok()) LogWarning("could not record how a publication stands", {{"id", id}, {"error", saved}});
  if (result.ok()) {
    LogInfo("published", {{"id", id},
                          {"reference", record.publication().request().reference()},
                          {"digest", result->digest.ToString()}});
    return Forget();
  }
  LogWarning(
      finished ? "publication failed for good" : "publication failed and is tried again",
      {{"id", id}, {"reference", record.publication().request().reference()}, {"error", result.status()}});
  if (finished) return Forget();
  const absl::Duration delay =
      options_.retry_initial / 4 +
      BackoffDelay(attempts - 1, options_.retry_initial, options_.retry_most, *random_);
  scheduler_->After(delay, [this, id] {
    if (!cancelled_.load()) Start(id);
  });
}

void PublicationQueue::Forget() {
  std::vector<std::string> forgotten;
  {
    absl::MutexLock lock(&mutex_);
    size_t finished = 0;
    for (auto it = records_.rbegin(); it != records_.rend(); ++it) {
      if (IsFinished(it->second.publication()) && ++finished > kMaxFinished) forgotten.push_back(it->first);
    }
    for (const std::string& id : forgotten) records_.erase(id);
  }
  for (const std::string& id : forgotten) RemoveFile(PathOf(id)).IgnoreError();
}

absl::StatusOr<Publication> PublicationQueue::Get(const std::string& id) const {
  absl::MutexLock lock(&mutex_);
  const auto found = records_.find(id);
  if (found == records_.end()) {
    return absl::NotFoundError(
        fmt::format("there is no publication '{}' (the newest {} finished ones are remembered)",
                    Printable(id), kMaxFinished));
  }
  return found->second.publication();
}

std::vector<Publication> PublicationQueue::List() const {
  absl::MutexLock lock(&mutex_);
  std::vector<Publication> list;
  for (auto it = records_.rbegin(); it != records_.rend(); ++it) list.push_back(it->second.publication());
  return list;
}

bool PublicationQueue::AwaitIdle(absl::Time deadline) const {
  absl::MutexLock lock(&mutex_);
  const auto is_idle = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return running_ == 0 && std::all_of(records_.begin(), records_.end(),
                                        [](const auto& r) { return IsFinished(r.second.publication()); });
  };
  const auto is_over = [&]()
                           ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return is_idle() || cancelled_.load(); };
  mutex_.AwaitWithDeadline(absl::Condition(&is_over), deadline);
  return is_idle();
}

void PublicationQueue::Stop() {
  absl::MutexLock lock(&mutex_);
  cancelled_ = true;
  const auto idle = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return running_ == 0; };
  mutex_.Await(absl::Condition(&idle));
}

}  // namespace aetherfs
