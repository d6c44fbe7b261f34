#include <deque>
#include <memory>
#include <optional>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "aetherfs/base/status.h"
#include "aetherfs/cli/command.h"
#include "aetherfs/cli/text.h"
#include "aetherfs/client/subscriber.h"
#include "fmt/format.h"

namespace aetherfs {
namespace {

// What subscribers tell, on its way to the thread that prints. At most kMaxWaiting events wait while stdout
// is slow; then the oldest are lost, which a watcher of versions can bear better than growth. Thread-safe.
class UpdateQueue {
 public:
  static constexpr size_t kMaxWaiting = 10'000;

  struct Event {
    size_t reference = 0;
    std::optional<TagUpdate> update;
    absl::Status trouble;
  };

  void Push(Event event) {
    absl::MutexLock lock(&mutex_);
    if (events_.size() == kMaxWaiting) events_.pop_front();
    events_.push_back(std::move(event));
  }
  void Stop() {
    absl::MutexLock lock(&mutex_);
    stopped_ = true;
  }
  // Blocks. Nullopt once stopped.
  std::optional<Event> Pop() {
    absl::MutexLock lock(&mutex_);
    const auto ready = [this]()
                           ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return stopped_ || !events_.empty(); };
    mutex_.Await(absl::Condition(&ready));
    if (stopped_) return std::nullopt;
    Event event = std::move(events_.front());
    events_.pop_front();
    return event;
  }

 private:
  absl::Mutex mutex_;
  std::deque<Event> events_ ABSL_GUARDED_BY(mutex_);
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;
};

class WatchCommand : public CliCommand {
 public:
  std::string_view name() const override { return "watch"; }
  std::string_view summary() const override {
    return "print one line per version: what stands, then each new one, until stopped";
  }
  std::string_view examples() const override {
    return "  aetherfs watch maxmind/city maxmind/asn:stable\n"
           "  aetherfs watch maxmind/city --new --count 1   # waits for the next one\n"
           "  aetherfs watch maxmind/city -o json | while read -r line; do …; done\n";
  }
  void Declare(OptionSet& options) override {
    options.AddPositional("REF", &references_, "a tag to watch");
    options.AddInt("count", &count_, {0, 1'000'000'000}, "stop after so many lines; 0: never")
        .ValueName("N");
    options.Add("new", &only_new_, "no line for what stands already");
  }

  absl::Status Run(CliContext& context) override {
    context.SetSubject(JoinWords(references_, " "));
    RETURN_IF_ERROR(Parse());
    const auto queue = std::make_shared<UpdateQueue>();
    const Interrupt::Registration stop =
        context.environment().interrupt->OnTrigger([queue] { queue->Stop(); });
    std::vector<std::unique_ptr<Subscriber>> subscribers;
    for (size_t i = 0; i < watched_.size(); ++i) {
      ASSIGN_OR_RETURN(ServerClient * server,
                       context.Server(watched_[i].reference.host, kTransferPatience));
      subscribers.push_back(std::make_unique<Subscriber>(
          server, watched_[i].reference.dataset, watched_[i].reference.TagOrDefault(),
          [queue, i](const TagUpdate& update) { queue->Push({i, update, absl::OkStatus()}); },
          [queue, i](const absl::Status& status) { queue->Push({i, std::nullopt, status}); }));
    }
    uint64_t printed = 0;
    while (const std::optional<UpdateQueue::Event> event = queue->Pop()) {
      Watched& watched = watched_[event->reference];
      if (!event->trouble.ok()) TellTrouble(context, watched, event->trouble);
      if (!event->update) continue;
      if (Print(context, watched, *event->update)) {
        RETURN_IF_ERROR(context.Flush());
        if (++printed == count_) return absl::OkStatus();
      }
    }
    return absl::CancelledError("interrupted");
  }

 private:
  struct Watched {
    Reference reference;
    bool known = false;            // whether the server told what stands
    std::optional<Digest> digest;  // what it told last
    bool troubled = false;
  };

  absl::Status Parse() {
    for (const std::string& text : references_) {
      Watched watched;
      ASSIGN_OR_RETURN(watched.reference, ParseReference(text));
      if (watched.reference.digest) {
        return absl::InvalidArgumentError(
            fmt::format("'{}' is one version for ever; a tag is what can be watched", Printable(text)));
      }
      watched_.push_back(std::move(watched));
    }
    return absl::OkStatus();
  }

  // Once per trouble, not once per attempt.
  static void TellTrouble(CliContext& context, Watched& watched, const absl::Status& status) {
    if (std::exchange(watched.troubled, true)) return;
    context.Note(
        fmt::format("{}: {}; trying again", watched.reference.ToString(), TerminalText(Message(status))));
  }

  // Whether a line was printed.
  bool Print(CliContext& context, Watched& watched, const TagUpdate& update) const {
    const std::string reference = watched.reference.ToString();
    if (std::exchange(watched.troubled, false)) context.Note(reference + ": connected again");
    const bool first = !std::exchange(watched.known, true);
    if (!first && update.digest == watched.digest) return false;
    watched.digest = update.digest;
    if (!update.digest) {
      context.Note(reference + (first ? ": does not exist yet; waiting" : ": deleted; waiting"));
      return false;
    }
    if (first && only_new_) {
      context.Note(
          fmt::format("{}: {} stands; waiting for a newer one", reference, update.digest->ToString()));
      return false;
    }
    const std::string time = TimeTextMillis(context.environment().clock->Now());
    if (context.json()) {
      context.PrintJson({{"time", time},
                         {"reference", reference},
                         {"digest", update.digest->ToString()},
                         {"seq", update.seq}});
    } else {
      context.out() << time << ' ' << reference << ' ' << update.digest->ToString() << '\n';
    }
    return true;
  }

  std::vector<std::string> references_;
  uint64_t count_ = 0;
  bool only_new_ = false;
  std::vector<Watched> watched_;
};

}  // namespace

std::unique_ptr<CliCommand> MakeWatchCommand() { return std::make_unique<WatchCommand>(); }

}  // namespace aetherfs
