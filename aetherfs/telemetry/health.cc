#include "aetherfs/telemetry/health.h"

#include "aetherfs/telemetry/json_text.h"
#include "aetherfs/telemetry/version.h"
#include "fmt/format.h"

namespace aetherfs {
namespace {

constexpr char kJsonType[] = "application/json";
constexpr char kMetricsType[] = "text/plain; version=0.0.4; charset=utf-8";
constexpr int kOk = 200;
constexpr int kServiceUnavailable = 503;

bool WantsJson(const HttpRequest& request) {
  return request.Header("accept").find(kJsonType) != std::string_view::npos;
}

HttpResponse AnswerHealth(const Health& health) {
  HttpResponse response;
  response.body = "ok\n";
  if (!health.IsAlive()) {
    response.status = kServiceUnavailable;
    response.body = health.DeathReason() + "\n";
  }
  return response;
}

HttpResponse AnswerReadiness(const Health& health, bool json) {
  HttpResponse response;
  std::string text, list;
  size_t unmet = 0;
  const std::vector<Health::Condition> conditions = health.Conditions();
  for (const Health::Condition& condition : conditions) {
    if (condition.met) continue;
    if (++unmet > kMaxShownConditions) continue;
    text += fmt::format("{}: {}\n", condition.name, condition.reason);
    list += fmt::format(R"({}{{"condition":{},"reason":{}}})", unmet > 1 ? "," : "",
                        JsonString(condition.name), JsonString(condition.reason));
  }
  if (unmet > kMaxShownConditions) text += fmt::format("and {} more\n", unmet - kMaxShownConditions);
  response.status = unmet == 0 ? kOk : kServiceUnavailable;
  if (json) {
    response.content_type = kJsonType;
    response.body = fmt::format("{{\"ready\":{},\"conditions\":{},\"unmet\":{},\"not_met\":[{}]}}\n",
                                unmet == 0, conditions.size(), unmet, list);
  } else {
    response.body = unmet == 0 ? "ready\n" : "not ready\n" + text;
  }
  return response;
}

HttpResponse AnswerVersion(bool json) {
  HttpResponse response;
  response.body = VersionText() + "\n";
  if (json) {
    response.content_type = kJsonType;
    response.body =
        fmt::format("{{\"version\":{},\"revision\":{}}}\n", JsonString(Version()), JsonString(Revision()));
  }
  return response;
}

}  // namespace

void Health::SetUnmet(std::string_view name, std::string_view reason) {
  absl::MutexLock lock(&mutex_);
  conditions_.insert_or_assign(std::string(name), Condition{std::string(name), false, std::string(reason)});
}

void Health::SetMet(std::string_view name) {
  absl::MutexLock lock(&mutex_);
  conditions_.insert_or_assign(std::string(name), Condition{std::string(name), true, ""});
}

void Health::Remove(std::string_view name) {
  absl::MutexLock lock(&mutex_);
  if (const auto found = conditions_.find(name); found != conditions_.end()) conditions_.erase(found);
}

bool Health::IsReady() const {
  absl::MutexLock lock(&mutex_);
  for (const auto& [name, condition] : conditions_) {
    if (!condition.met) return false;
  }
  return true;
}

std::vector<Health::Condition> Health::Conditions() const {
  absl::MutexLock lock(&mutex_);
  std::vector<Condition> conditions;
  conditions.reserve(conditions_.size());
  for (const auto& [name, condition] : conditions_) conditions.push_back(condition);
  return conditions;
}

void Health::SetDead(std::string_view reason) {
  absl::MutexLock lock(&mutex_);
  if (alive_) death_reason_ = reason;
  alive_ = false;
}

bool Health::IsAlive() const {
  absl::MutexLock lock(&mutex_);
  return alive_;
}

std::string Health::DeathReason() const {
  absl::MutexLock lock(&mutex_);
  return death_reason_;
}

void RegisterStandardEndpoints(HttpRoutes& routes, const Health* health, MetricsRegistry* metrics) {
  routes["/healthz"].handler = [health](const HttpRequest&) { return AnswerHealth(*health); };
  routes["/readyz"].handler = [health](const HttpRequest& request) {
    return AnswerReadiness(*health, WantsJson(request));
  };
  routes["/version"].handler = [](const HttpRequest& request) { return AnswerVersion(WantsJson(request)); };
  routes["/metrics"].handler = [metrics](const HttpRequest&) {
    HttpResponse response;
    response.content_type = kMetricsType;
    response.body = metrics->Scrape();
    return response;
  };
}

}  // namespace aetherfs
