#include "aetherfs/object/s3/credentials.h"

#include <algorithm>
#include <utility>

#include "aetherfs/base/status.h"
#include "fmt/format.h"

namespace aetherfs {

CachingCredentials::CachingCredentials(CredentialsSource source, Clock* clock)
    : source_(std::move(source)), clock_(*clock) {}

absl::StatusOr<Credentials> CachingCredentials::Get(absl::Time deadline) {
  {
    absl::MutexLock lock(&mutex_);
    const auto valid = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
      return current_.has_value() && clock_.Now() < current_->expiration;
    };
    const auto fresh = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
      return current_.has_value() && clock_.Now() < current_->expiration - kRefreshBefore;
    };
    if (fresh()) return *current_;
    if (valid() && (fetching_ || clock_.Now() < not_before_)) return *current_;
    const auto may_fetch = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return !fetching_; };
    if (!mutex_.AwaitWithDeadline(absl::Condition(&may_fetch), deadline)) {
      return absl::DeadlineExceededError("the deadline passed while credentials were being fetched");
    }
    if (fresh()) return *current_;  // somebody else's fetch, while this call waited
    fetching_ = true;
  }
  absl::StatusOr<Credentials> fetched = source_(deadline);
  absl::MutexLock lock(&mutex_);
  fetching_ = false;
  if (fetched.ok()) {
    current_ = *fetched;
    // Short-lived credentials may be inside the window from the start: not a fetch for every call.
    not_before_ = clock_.Now() + kRetryAfterFailure;
    return fetched;
  }
  if (current_.has_value() && clock_.Now() < current_->expiration) {
    not_before_ = clock_.Now() + kRetryAfterFailure;
    return *current_;
  }
  return fetched;
}

void CachingCredentials::Invalidate(const Credentials& refused) {
  absl::MutexLock lock(&mutex_);
  if (current_.has_value() && *current_ == refused) current_.reset();
}

CredentialsSource EnvironmentCredentials(Environment environment) {
  return [environment = std::move(environment)](absl::Time) -> absl::StatusOr<Credentials> {
    const auto id = environment("AWS_ACCESS_KEY_ID");
    const auto secret = environment("AWS_SECRET_ACCESS_KEY");
    if (!id.has_value() && !secret.has_value()) {
      return absl::NotFoundError("AWS_ACCESS_KEY_ID is not set");
    }
    if (!id.has_value() || !secret.has_value()) {
      return absl::FailedPreconditionError(fmt::format("{} is set but {} is not; set both or none",
                                                       id ? "AWS_ACCESS_KEY_ID" : "AWS_SECRET_ACCESS_KEY",
                                                       id ? "AWS_SECRET_ACCESS_KEY" : "AWS_ACCESS_KEY_ID"));
    }
    return Credentials{.access_key_id = *id,
                       .secret_access_key = *secret,
                       .session_token = environment("AWS_SESSION_TOKEN").value_or("")};
  };
}

CredentialsSource FirstOf(std::vector<CredentialsSource> sources) {
  return [sources = std::move(sources)](absl::Time deadline) -> absl::StatusOr<Credentials> {
    std::string tried;
    for (const CredentialsSource& source : sources) {
      absl::StatusOr<Credentials> credentials = source(deadline);
      if (!absl::IsNotFound(credentials.status())) return credentials;
      tried += fmt::format("{}{}", tried.empty() ? "" : "; ", Message(credentials.status()));
    }
    return absl::UnauthenticatedError(fmt::format(
        "there are no S3 credentials ({}); set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or one of the "
        "others of docs/s3.md",
        tried));
  };
}

std::shared_ptr<CredentialsProvider> DefaultCredentials(Environment environment, Clock* clock) {
  return std::make_shared<CachingCredentials>(
      FirstOf({EnvironmentCredentials(environment), ProfileCredentials(environment, clock),
               WebIdentityCredentials(environment, clock), ContainerCredentials(environment, clock),
               InstanceCredentials(environment, clock)}),
      clock);
}

}  // namespace aetherfs
