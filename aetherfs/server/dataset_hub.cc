#include "aetherfs/server/dataset_hub.h"

#include <fmt/format.h>

#include <algorithm>

#include "aetherfs/base/status.h"
#include "aetherfs/rpc/raw_messages.h"
#include "aetherfs/telemetry/log.h"

namespace aetherfs {

grpc::ByteBuffer DatasetLine::EncodedChange(const record::v1::JournalEntry& entry) {
  absl::MutexLock lock(&mutex_);
  for (const auto& [seq, message] : encoded_) {
    if (seq == entry.seq()) return message;
  }
  dataset::v1::SubscribeResponse response;
  *response.mutable_change() = ChangeFromEntry(entry);
  if (encoded_.size() >= kEncodedKept) encoded_.erase(encoded_.begin());
  encoded_.emplace_back(entry.seq(), SerializeMessage(response));
  return encoded_.back().second;
}

DatasetHub::DatasetHub(const Environment& environment, absl::Duration poll_interval)
    : environment_(environment), poll_interval_(poll_interval) {}

DatasetLinePtr DatasetHub::Open(const DatasetName& name) {
  absl::MutexLock lock(&mutex_);
  DatasetLinePtr& line = lines_[name];
  if (line == nullptr) {
    line = std::make_shared<DatasetLine>(name, environment_.store, environment_.control, environment_.clock,
                                         environment_.random);
  }
  line->last_used_ = environment_.clock->Now();
  DatasetLinePtr result = line;
  if (lines_.size() > kMaxIdle) DropIdle();
  return result;
}

void DatasetHub::DropIdle() {
  // Whoever uses a line holds it; a subscriber does for as long as it lives.
  std::vector<std::pair<absl::Time, DatasetName>> idle;
  for (const auto& [name, line] : lines_) {
    if (line.use_count() == 1) idle.emplace_back(line->last_used_, name);
  }
  // A quarter at a time, so that this is rare.
  const size_t dropped = std::min(idle.size(), kMaxIdle / 4);
  std::partial_sort(idle.begin(), idle.begin() + static_cast<ptrdiff_t>(dropped), idle.end());
  for (size_t i = 0; i < dropped; ++i) lines_.erase(idle[i].second);
}

SeenDataset DatasetHub::Seen(std::shared_ptr<const JournalView> view, bool stale) {
  if (stale) environment_.metrics->stale_answers.Increment();
  const absl::Duration age = environment_.clock->Now() - view->confirmed;
  return {std::move(view), stale, age};
}

void DatasetHub::Refresh(const DatasetLinePtr& line,
                         std::function<void(absl::StatusOr<SeenDataset>)> done) {
  const std::shared_ptr<const JournalView> known = line->view();
  bool start = false;
  bool at_once = false;
  {
    absl::MutexLock lock(&line->mutex_);
    at_once = known != nullptr && environment_.clock->Now() < line->last_failure_ + kFailureHold;
    if (!at_once) {
      line->waiting_.push_back(std::move(done));
      start = !std::exchange(line->refreshing_, true);
    }
  }
  if (at_once) {
    done(Seen(known, /*stale=*/true));
  } else if (start && !environment_.control->TrySubmit([this, line] { RunRefresh(line); })) {
    std::vector<DatasetLine::RefreshDone> waiting;
    {
      absl::MutexLock lock(&line->mutex_);
      line->refreshing_ = false;
      waiting.swap(line->waiting_);
    }
    for (const auto& waiter : waiting)
      waiter(absl::ResourceExhaustedError("too many requests are waiting"));
  }
}

void DatasetHub::RunRefresh(const DatasetLinePtr& line) {
  std::vector<DatasetLine::RefreshDone> waiting;
  {
    absl::MutexLock lock(&line->mutex_);
    waiting.swap(line->waiting_);
  }
  const std::shared_ptr<const JournalView> known = line->view();
  const absl::Duration timeout = known != nullptr ? kRefreshTimeout : kColdStartTimeout;
  const auto refreshed = line->journal().Refresh(environment_.clock->Now() + timeout);
  bool again = false;
  {
    absl::MutexLock lock(&line->mutex_);
    line->last_failure_ = refreshed.ok() ? absl::InfinitePast() : environment_.clock->Now();
    again = !line->waiting_.empty();
    line->refreshing_ = again;
  }
  if (again) environment_.control->Submit([this, line] { RunRefresh(line); });

  if (refreshed.ok()) {
    Notify(line);
    for (const auto& waiter : waiting) waiter(Seen(*refreshed, /*stale=*/false));
    return;
  }
  LogWarning("journal could not be read", {{"dataset", line->name().str()}, {"error", refreshed.status()}});
  for (const auto& waiter : waiting) {
    if (known != nullptr) {
      waiter(Seen(known, /*stale=*/true));
    } else {
      waiter(refreshed.status());
    }
  }
}

absl::StatusOr<Journal::Appended> DatasetHub::Append(const DatasetLinePtr& line, const std::string& nonce,
                                                     absl::Time deadline, const Journal::Propose& propose) {
  absl::StatusOr<Journal::Appended> appended = line->journal().Append(nonce, deadline, propose);
  const ServerMetrics& metrics = *environment_.metrics;
  if (!appended.ok()) {
    (absl::IsAborted(appended.status()) ? metrics.journal_conflicts : metrics.journal_failures).Increment();
  } else {
    (appended->written ? metrics.journal_appends : metrics.journal_unchanged).Increment();
  }
  // Also if it failed: it may have read on, and found what others wrote.
  Notify(line);
  if (appended.ok() && appended->written && environment_.appended) {
    for (const JournalEntryPtr& entry : line->view()->recent) {
      if (entry->seq() == appended->seq) environment_.appended(line->name(), *entry);
    }
  }
  return appended;
}

void DatasetHub::Offer(const DatasetName& name, JournalEntryPtr entry) {
  DatasetLinePtr line;
  {
    absl::MutexLock lock(&mutex_);
    const auto it = lines_.find(name);
    if (it == lines_.end()) return;
    line = it->second;
  }
  const absl::StatusOr<bool> taken = line->journal().Offer(std::move(entry));
  if (taken.ok() && *taken) {
    Notify(line);
    return;
  }
  if (!taken.ok()) {
    LogWarning("a peer told of an entry that does not follow",
               {{"dataset", name.str()}, {"error", taken.status()}});
  }
  Refresh(line, [](const absl::StatusOr<SeenDataset>&) {});
}

void DatasetHub::Notify(const DatasetLinePtr& line) {
  const std::shared_ptr<const JournalView> view = line->view();
  if (view == nullptr) return;
  auto woken = std::make_shared<std::vector<DatasetSubscriberPtr>>();
  {
    absl::MutexLock lock(&line->mutex_);
    if (view->state->seq <= line->notified_seq_) return;
    line->notified_seq_ = view->state->seq;
    woken->reserve(line->subscribers_.size());
    for (const auto& [key, subscriber] : line->subscribers_) woken->push_back(subscriber);
  }
  // The first ones here and now; many take a while, which others should not wait for.
  const auto wake = [woken](size_t batch) {
    const size_t end = std::min(woken->size(), (batch + 1) * kWakeBatch);
    for (size_t i = batch * kWakeBatch; i < end; ++i) (*woken)[i]->Wake();
  };
  const size_t batches = (woken->size() + kWakeBatch - 1) / kWakeBatch;
  if (batches > 0) wake(0);
  if (batches > 1) {
    environment_.control->Submit([this, wake, batches] {
      environment_.control->ParallelFor(batches - 1, kWakeParallelism, [&wake](size_t i) { wake(i + 1); });
    });
  }
}

absl::Status DatasetHub::Subscribe(const DatasetLinePtr& line, DatasetSubscriberPtr subscriber) {
  {
    absl::MutexLock lock(&mutex_);
    if (ended_) return absl::UnavailableError("this server is shutting down: use another one");
    if (subscribers_ >= kMaxSubscribers) {
      return absl::ResourceExhaustedError(
          fmt::format("this server has {} subscribers: use another one", subscribers_));
    }
    ++subscribers_;
  }
  absl::MutexLock lock(&line->mutex_);
  if (line->subscribers_.empty()) {
    // The first poll comes within one interval; the subscriber's own refresh comes before.
    line->next_poll_ = environment_.clock->Now() + environment_.random->Jitter(poll_interval_);
  }
  DatasetSubscriber* const key = subscriber.get();
  line->subscribers_[key] = std::move(subscriber);
  return absl::OkStatus();
}

void DatasetHub::Unsubscribe(const DatasetLinePtr& line, DatasetSubscriber* subscriber) {
  DatasetSubscriberPtr gone;  // destroyed when no lock is held
  {
    absl::MutexLock lock(&line->mutex_);
    const auto it = line->subscribers_.find(subscriber);
    if (it == line->subscribers_.end()) return;
    gone = std::move(it->second);
    line->subscribers_.erase(it);
  }
  absl::MutexLock lock(&mutex_);
  --subscribers_;
}

void DatasetHub::EndSubscriptions(const absl::Status& status) {
  std::vector<DatasetLinePtr> lines;
  {
    absl::MutexLock lock(&mutex_);
    ended_ = true;
    for (const auto& [name, line] : lines_) lines.push_back(line);
  }
  for (const DatasetLinePtr& line : lines) {
    std::vector<DatasetSubscriberPtr> subscribers;
    {
      absl::MutexLock lock(&line->mutex_);
      for (const auto& [key, subscriber] : line->subscribers_) subscribers.push_back(subscriber);
    }
    for (const DatasetSubscriberPtr& subscriber : subscribers) subscriber->End(status);
  }
}

void DatasetHub::Poll() {
  const absl::Time now = environment_.clock->Now();
  std::vector<DatasetLinePtr> lines;
  {
    absl::MutexLock lock(&mutex_);
    lines.reserve(lines_.size());
    for (const auto& [name, line] : lines_) lines.push_back(line);
  }
  for (const DatasetLinePtr& line : lines) {
    {
      absl::MutexLock lock(&line->mutex_);
      if (line->subscribers_.empty() || line->next_poll_ > now) continue;
      // Between 3/4 and 5/4 of the interval.
      line->next_poll_ = now + poll_interval_ * 3 / 4 + environment_.random->Jitter(poll_interval_ / 2);
      if (line->refreshing_) continue;
    }
    environment_.metrics->journal_polls.Increment();
    Refresh(line, [](const absl::StatusOr<SeenDataset>&) {});
  }
}

std::vector<std::string> DatasetHub::KnownDatasets() {
  std::vector<DatasetLinePtr> lines;
  {
    absl::MutexLock lock(&mutex_);
    for (const auto& [name, line] : lines_) lines.push_back(line);
  }
  std::vector<std::string> names;
  for (const DatasetLinePtr& line : lines) {
    const auto view = line->view();
    if (view != nullptr && view->state->exists()) names.push_back(line->name().str());
  }
  std::sort(names.begin(), names.end());
  return names;
}

size_t DatasetHub::subscribers() {
  absl::MutexLock lock(&mutex_);
  return subscribers_;
}

size_t DatasetHub::lines() {
  absl::MutexLock lock(&mutex_);
  return lines_.size();
}

}  // namespace aetherfs
