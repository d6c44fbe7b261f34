#include "aetherfs/cluster/announcer.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "aetherfs/telemetry/log.h"

namespace aetherfs {

Announcer::Announcer(ClusterViewSource* view, Clock* clock, ClusterMetrics* metrics)
    : view_(*view), clock_(*clock), metrics_(*metrics) {}

Announcer::~Announcer() { Stop(); }

void Announcer::Announce(const std::string& dataset, std::string entry) {
  if (entry.size() > kMaxBatchBytes) return;
  peer::v1::Announcement announcement;
  announcement.set_dataset(dataset);
  announcement.set_entry(std::move(entry));
  const ClusterViewPtr view = view_.view();
  std::vector<std::string> idle;
  {
    absl::MutexLock lock(&mutex_);
    if (stopping_) return;
    absl::erase_if(lines_, [&view](const auto& line) {
      return !line.second.sending &&
             std::none_of(view->members.begin(), view->members.end(),
                          [&line](const ClusterMember& member) { return member.address == line.first; });
    });
    for (const ClusterMember& member : view->members) {
      if (member.peer == nullptr) continue;
      Line& line = lines_[member.address];
      line.peer = member.peer;
      if (line.pending.size() >= kMaxPending) {
        line.pending.pop_front();
        metrics_.announcements_lost.Increment();
      }
      line.pending.push_back(announcement);
      if (!std::exchange(line.sending, true)) {
        ++sending_;
        idle.push_back(member.address);
      }
    }
  }
  for (const std::string& address : idle) Send(address);
}

void Announcer::Send(const std::string& address) {
  peer::v1::AnnounceRequest request;
  std::shared_ptr<Peer> peer;
  {
    absl::MutexLock lock(&mutex_);
    Line& line = lines_[address];
    size_t bytes = 0;
    while (!line.pending.empty() && request.announcements_size() < static_cast<int>(kMaxBatch)) {
      bytes += line.pending.front().entry().size();
      if (request.announcements_size() > 0 && bytes > kMaxBatchBytes) break;
      *request.add_announcements() = std::move(line.pending.front());
      line.pending.pop_front();
    }
    peer = line.peer;
  }
  const auto entries = static_cast<size_t>(request.announcements_size());
  metrics_.announcements_sent.Increment(static_cast<double>(entries));
  peer->Announce(request, clock_.Now() + kTimeout, [this, address, entries](const absl::Status& status) {
    OnSent(address, entries, status);
  });
}

void Announcer::OnSent(const std::string& address, size_t entries, const absl::Status& status) {
  if (!status.ok()) {
    metrics_.announcements_lost.Increment(static_cast<double>(entries));
    LogDebug("a peer was not told of journal entries", {{"peer", address}, {"error", status}});
  }
  {
    absl::MutexLock lock(&mutex_);
    Line& line = lines_[address];
    if (stopping_ || line.pending.empty()) {
      line.sending = false;
      --sending_;
      return;
    }
  }
  Send(address);
}

void Announcer::Stop() {
  absl::MutexLock lock(&mutex_);
  stopping_ = true;
  const auto none = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return sending_ == 0; };
  mutex_.Await(absl::Condition(&none));
}

}  // namespace aetherfs
