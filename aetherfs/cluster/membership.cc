#include "aetherfs/cluster/membership.h"

#include <fmt/format.h>
#include <pthread.h>

#include <algorithm>
#include <utility>

#include "aetherfs/base/status.h"
#include "aetherfs/telemetry/log.h"

namespace aetherfs {
namespace {

bool SameAddresses(const std::vector<ClusterMember>& a, const std::vector<ClusterMember>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const ClusterMember& x, const ClusterMember& y) {
    return x.address == y.address && x.protocol == y.protocol && x.peer == y.peer;
  });
}

}  // namespace

Membership::Membership(PeerList list, std::string advertise, std::string server_id,
                       const Environment& environment)
    : list_(std::move(list)),
      advertise_(std::move(advertise)),
      server_id_(std::move(server_id)),
      environment_(environment),
      view_(std::make_shared<const ClusterView>()) {}

Membership::~Membership() { Stop(); }

void Membership::Start() {
  thread_ = std::thread([this] { Run(); });
}

void Membership::Run() {
  pthread_setname_np(pthread_self(), "membership");
  for (;;) {
    const absl::Time next = Tick();
    absl::MutexLock lock(&mutex_);
    const auto woken = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return stopping_ || due_; };
    mutex_.AwaitWithTimeout(absl::Condition(&woken), next - environment_.clock->Now());
    due_ = false;
    if (stopping_) return;
  }
}

void Membership::Stop() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  if (thread_.joinable()) thread_.join();
  absl::MutexLock lock(&mutex_);
  const auto none = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return checking_ == 0; };
  mutex_.Await(absl::Condition(&none));
}

absl::Time Membership::Tick() {
  const absl::Time now = environment_.clock->Now();
  bool resolve;
  {
    absl::MutexLock lock(&mutex_);
    resolve = now >= next_resolve_;
  }
  if (resolve) Resolve();

  std::vector<std::pair<std::string, std::shared_ptr<Peer>>> due;
  {
    absl::MutexLock lock(&mutex_);
    for (auto& [address, member] : members_) {
      if (member.self || member.checking || stopping_ || member.next_check > now) continue;
      member.checking = true;
      ++checking_;
      due.emplace_back(address, member.peer);
    }
  }
  for (const auto& [address, peer] : due) StartCheck(address, peer);

  absl::MutexLock lock(&mutex_);
  absl::Time next = next_resolve_;
  for (const auto& [address, member] : members_) {
    if (!member.self && !member.checking) next = std::min(next, member.next_check);
  }
  return next;
}

void Membership::Resolve() {
  std::vector<std::string> addresses = list_.addresses;
  absl::flat_hash_set<std::string> ips;
  bool known = true;
  const auto look_up = [&](const std::string& host) {
    absl::StatusOr<std::vector<std::string>> found = environment_.resolver->Resolve(host);
    if (found.ok()) {
      ips.insert(found->begin(), found->end());
      return *std::move(found);
    }
    known = false;
    LogWarning("a peer's name could not be looked up", {{"host", host}, {"error", found.status()}});
    return std::vector<std::string>();
  };
  if (!list_.dns_name.empty()) {
    for (const std::string& ip : look_up(list_.dns_name)) addresses.push_back(JoinHostPort(ip, list_.dns_port));
  } else {
    for (const std::string& address : list_.addresses) look_up(HostOf(address));
  }

  absl::MutexLock lock(&mutex_);
  resolved_ = environment_.clock->Now();
  next_resolve_ = resolved_ + kResolveInterval;
  if (known) {
    ips_ = std::move(ips);
  } else {
    ips_.insert(ips.begin(), ips.end());  // what was known may still be right
    if (!list_.dns_name.empty()) return;
  }
  for (const std::string& address : addresses) {
    Member& member = members_[address];
    if (member.peer != nullptr || member.self) continue;
    if (address == advertise_) {
      member.self = true;
    } else {
      member.peer = environment_.connect(address);
    }
  }
  absl::erase_if(members_, [&](const auto& entry) {
    if (std::find(addresses.begin(), addresses.end(), entry.first) != addresses.end()) return false;
    environment_.metrics->peer_healthy.With({entry.first}).Set(0);
    return true;
  });
  UpdateView();
}

void Membership::StartCheck(const std::string& address, const std::shared_ptr<Peer>& peer) {
  peer->Check(environment_.clock->Now() + kCheckTimeout,
              [this, address, peer](const absl::Status& status) { OnChecked(address, peer, status); });
}

void Membership::OnChecked(const std::string& address, const std::shared_ptr<Peer>& peer,
                           const absl::Status& status) {
  bool hello = false;
  {
    absl::MutexLock lock(&mutex_);
    const auto it = members_.find(address);
    hello = status.ok() && it != members_.end() && it->second.protocol == 0;
  }
  if (!hello) {
    EndCheck(address, status);
    return;
  }
  peer::v1::HelloRequest request;
  request.set_protocol(kPeerProtocol);
  request.set_server_id(server_id_);
  peer->Hello(request, environment_.clock->Now() + kCheckTimeout,
              [this, address](const absl::StatusOr<peer::v1::HelloResponse>& response) {
                OnHello(address, response);
              });
}

void Membership::OnHello(const std::string& address, const absl::StatusOr<peer::v1::HelloResponse>& hello) {
  absl::Status status = hello.status();
  if (hello.ok() && hello->protocol() == 0) status = absl::DataLossError("it tells no protocol version");
  if (status.ok()) {
    if (hello->ranking() != kRankingVersion) {
      LogWarning("a peer ranks the owners of parts in another way: parts are read more than once",
                 {{"peer", address}});
    }
    absl::MutexLock lock(&mutex_);
    if (const auto it = members_.find(address); it != members_.end()) {
      it->second.protocol = hello->protocol();
      it->second.self = hello->server_id() == server_id_;
    }
  }
  EndCheck(address, status);
}

void Membership::EndCheck(const std::string& address, const absl::Status& status) {
  bool changed = false;
  bool healthy = false;
  {
    absl::MutexLock lock(&mutex_);
    --checking_;
    const auto it = members_.find(address);
    if (it == members_.end()) return;
    Member& member = it->second;
    member.checking = false;
    const bool before = member.healthy;
    if (status.ok()) {
      member.failures = 0;
      ++member.successes;
      member.healthy = member.healthy || member.successes >= (member.failed_before ? kSuccessesToReturn : 1);
    } else {
      member.successes = 0;
      ++member.failures;
      // FAILED_PRECONDITION: it answered, and said that it is not serving.
      if (member.failures >= kFailuresToGo || absl::IsFailedPrecondition(status)) {
        member.healthy = false;
        member.failed_before = true;
        member.protocol = 0;  // it may come back as another version
      }
    }
    const absl::Duration interval = member.healthy ? kCheckInterval : kSearchInterval;
    member.next_check =
        environment_.clock->Now() + interval * 9 / 10 + environment_.random->Jitter(interval / 5);
    due_ = true;
    healthy = member.healthy;
    changed = healthy != before && !member.self;
    if (!member.self) environment_.metrics->peer_healthy.With({address}).Set(healthy ? 1 : 0);
    UpdateView();
  }
  if (!changed) return;
  if (healthy) {
    LogInfo("a peer works", {{"peer", address}});
  } else {
    LogWarning("a peer does not work", {{"peer", address}, {"error", status}});
  }
}

void Membership::UpdateView() {
  std::vector<ClusterMember> members;
  std::vector<ClusterMember> others;
  for (const auto& [address, member] : members_) {
    if (member.self) {
      members.push_back({address, nullptr, kPeerProtocol});
    } else if (member.healthy) {
      members.push_back({address, member.peer, member.protocol});
      others.push_back(members.back());
    }
  }
  if (SameAddresses(members, view_->members)) return;
  const absl::Time now = environment_.clock->Now();
  if (now - changed_ >= kSettleTime) settled_ = view_->members;
  changed_ = now;
  auto view = std::make_shared<ClusterView>();
  view->members = std::move(members);
  // To a server that has just started, the cluster was the others.
  view->previous = settled_.empty() ? std::move(others) : settled_;
  view->previous_until = now + kHandoverTime;
  view_ = std::move(view);
}

ClusterViewPtr Membership::view() const {
  absl::MutexLock lock(&mutex_);
  return view_;
}

void Membership::Suspect(const std::string& address) {
  absl::MutexLock lock(&mutex_);
  const auto it = members_.find(address);
  if (it == members_.end() || !it->second.healthy) return;
  it->second.failures = std::max(it->second.failures, kFailuresToGo - 1);
  it->second.next_check = environment_.clock->Now();
  due_ = true;
}

bool Membership::IsPeerAddress(const std::string& ip) {
  absl::MutexLock lock(&mutex_);
  if (ips_.contains(ip)) return true;
  next_resolve_ = std::min(next_resolve_, resolved_ + kResolveSoon);
  due_ = true;
  return false;
}

}  // namespace aetherfs
