#include "aetherfs/client/subscriber.h"

#include <algorithm>
#include <map>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "aetherfs/base/status.h"

namespace aetherfs {
namespace {

constexpr absl::Duration kFirstBackoff = absl::Milliseconds(100);
constexpr absl::Duration kLongestBackoff = absl::Seconds(10);

// Runs functions at their time, one after the other, in one thread for the whole process, which is started
// when it is first needed and lives for ever. Thread-safe.
class Timer {
 public:
  static Timer& Get() {
    static Timer* const timer = new Timer;  // never destroyed: its thread may run until the process ends
    return *timer;
  }

  void RunAfter(absl::Duration delay, std::function<void()> function) {
    absl::MutexLock lock(&mutex_);
    if (!started_) {
      started_ = true;
      std::thread([this] { Run(); }).detach();
    }
    waiting_.emplace(absl::Now() + delay, std::move(function));
    ++version_;
  }

 private:
  void Run() {
    while (true) {
      std::function<void()> function;
      {
        absl::MutexLock lock(&mutex_);
        while (waiting_.empty() || waiting_.begin()->first > absl::Now()) {
          const uint64_t seen = version_;
          const auto changed = [this, seen]()
                                   ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return version_ != seen; };
          mutex_.AwaitWithDeadline(absl::Condition(&changed),
                                   waiting_.empty() ? absl::InfiniteFuture() : waiting_.begin()->first);
        }
        function = std::move(waiting_.begin()->second);
        waiting_.erase(waiting_.begin());
      }
      function();
    }
  }

  absl::Mutex mutex_;
  std::multimap<absl::Time, std::function<void()>> waiting_ ABSL_GUARDED_BY(mutex_);
  uint64_t version_ ABSL_GUARDED_BY(mutex_) = 0;
  bool started_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace

// The streams of a subscriber follow each other and never overlap: the next one is opened by the timer,
// which closes the one before first. So `last_seq_` and the callbacks are touched by one thread at a time.
class Subscriber::Impl : public std::enable_shared_from_this<Subscriber::Impl> {
 public:
  Impl(ServerClient* client, DatasetName dataset, std::string tag,
       std::function<void(const TagUpdate&)> update, std::function<void(const absl::Status&)> trouble)
      : client_(client),
        dataset_(std::move(dataset)),
        tag_(std::move(tag)),
        update_(std::move(update)),
        trouble_(std::move(trouble)) {}

  // Opens the next stream, unless closed.
  void Connect() {
    std::unique_ptr<ServerClient::SubscribeStream> last;
    {
      absl::MutexLock lock(&mutex_);
      // The stream before may end before it is even here.
      const auto opened = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return !opening_; };
      mutex_.Await(absl::Condition(&opened));
      if (closed_) return;
      opening_ = true;
      last = std::move(stream_);
    }
    last.reset();
    // Always from the state on, which one tag makes small: so every connection says how things stand, also
    // when nothing has changed. What was seen already is recognised by its seq.
    dataset::v1::SubscribeRequest request;
    request.set_dataset(dataset_.str());
    request.add_tags(tag_);
    auto stream = client_->Subscribe(
        request,
        [self = shared_from_this()](const dataset::v1::SubscribeResponse& response) {
          self->OnEvent(response);
        },
        [self = shared_from_this()](const absl::Status& status) { self->OnDone(status); });
    absl::MutexLock lock(&mutex_);
    stream_ = std::move(stream);
    opening_ = false;
  }

  // Afterwards no callback runs or will run.
  void Close() {
    std::unique_ptr<ServerClient::SubscribeStream> stream;
    {
      absl::MutexLock lock(&mutex_);
      closed_ = true;
      const auto opened = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return !opening_; };
      mutex_.Await(absl::Condition(&opened));
      stream = std::move(stream_);
    }
  }

 private:
  void OnEvent(const dataset::v1::SubscribeResponse& response) {
    {
      absl::MutexLock lock(&mutex_);
      if (closed_) return;
      failures_ = 0;
    }
    if (response.has_state()) {
      OnState(response.state());
    } else if (response.has_change()) {
      OnChange(response.change());
    }
  }

  void OnState(const dataset::v1::DatasetState& state) {
    // A server that has not read as far as another one knows less than we do.
    if (state.seq() < last_seq_ && (!state.absent() || state.freshness().stale())) return;
    TagUpdate update;
    update.seq = last_seq_ = state.seq();
    update.stale = state.freshness().stale();
    update.confirmed = absl::Now() - absl::Milliseconds(state.freshness().age_millis());
    for (const dataset::v1::Tag& tag : state.tags()) {
      if (tag.name() == tag_ && !SetDigest(tag.snapshot().digest(), &update)) return;
    }
    update_(update);
  }

  void OnChange(const dataset::v1::Change& change) {
    if (change.seq() <= last_seq_) return;
    last_seq_ = change.seq();
    TagUpdate update;
    update.seq = change.seq();
    update.confirmed = absl::Now();
    bool mine = false;
    if (change.has_publication()) {
      const auto& tags = change.publication().tags();
      mine = std::find(tags.begin(), tags.end(), tag_) != tags.end();
      if (mine && !SetDigest(change.publication().snapshot().digest(), &update)) return;
      update.published = true;
      update.offers = OffersFrom(change.publication().deltas());
    } else if (change.has_tag_change()) {
      for (const dataset::v1::TagMove& move : change.tag_change().moves()) {
        if (move.tag() != tag_) continue;
        mine = true;
        if (!SetDigest(move.snapshot().digest(), &update)) return;
      }
      const auto& deleted = change.tag_change().deleted();
      mine = mine || std::find(deleted.begin(), deleted.end(), tag_) != deleted.end();
    }
    if (mine) update_(update);
  }

  // False, and trouble told, if the server sent no digest.
  bool SetDigest(const std::string& text, TagUpdate* update) {
    auto digest = Digest::Parse(text);
    if (digest.ok()) {
      update->digest = *digest;
      return true;
    }
    trouble_(Annotate(digest.status(), "a server sent a malformed snapshot"));
    return false;
  }

  void OnDone(const absl::Status& status) {
    int failures;
    {
      absl::MutexLock lock(&mutex_);
      if (closed_) return;
      failures = failures_++;
    }
    if (!status.ok()) trouble_(status);
    Timer::Get().RunAfter(BackoffDelay(failures, kFirstBackoff, kLongestBackoff, *Random::System()),
                          [weak = weak_from_this()] {
                            if (const auto self = weak.lock()) self->Connect();
                          });
  }

  ServerClient* const client_;
  const DatasetName dataset_;
  const std::string tag_;
  const std::function<void(const TagUpdate&)> update_;
  const std::function<void(const absl::Status&)> trouble_;
  uint64_t last_seq_ = 0;  // of the events' thread

  absl::Mutex mutex_;
  std::unique_ptr<ServerClient::SubscribeStream> stream_ ABSL_GUARDED_BY(mutex_);
  bool opening_ ABSL_GUARDED_BY(mutex_) = false;
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
  int failures_ ABSL_GUARDED_BY(mutex_) = 0;
};

Subscriber::Subscriber(ServerClient* client, DatasetName dataset, std::string tag,
                       std::function<void(const TagUpdate&)> update,
                       std::function<void(const absl::Status&)> trouble)
    : impl_(std::make_shared<Impl>(client, std::move(dataset), std::move(tag), std::move(update),
                                   std::move(trouble))) {
  impl_->Connect();
}

Subscriber::~Subscriber() { impl_->Close(); }

}  // namespace aetherfs
