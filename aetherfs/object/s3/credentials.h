#ifndef AETHERFS_OBJECT_S3_CREDENTIALS_H_
#define AETHERFS_OBJECT_S3_CREDENTIALS_H_

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "aetherfs/base/clock.h"
#include "aetherfs/object/environment.h"

namespace aetherfs {

struct Credentials {
  std::string access_key_id;
  std::string secret_access_key;
  std::string session_token = {};  // empty for long-lived keys
  absl::Time expiration = absl::InfiniteFuture();

  friend bool operator==(const Credentials&, const Credentials&) = default;
};

// Gives the credentials to sign with, valid now. Thread-safe; may block on files and servers.
class CredentialsProvider {
 public:
  virtual ~CredentialsProvider() = default;
  virtual absl::StatusOr<Credentials> Get(absl::Time deadline) = 0;
  // A server has refused `refused` as expired: do not give them again.
  virtual void Invalidate(const Credentials& refused) {}
};

class StaticCredentials : public CredentialsProvider {
 public:
  explicit StaticCredentials(Credentials credentials) : credentials_(std::move(credentials)) {}
  absl::StatusOr<Credentials> Get(absl::Time) override { return credentials_; }

 private:
  const Credentials credentials_;
};

// Asks once for credentials, wherever they come from. NOT_FOUND: this source is not configured here.
using CredentialsSource = std::function<absl::StatusOr<Credentials>(absl::Time deadline)>;

// Keeps what a source gave until kRefreshBefore its expiration; then the next caller fetches anew, one at
// a time, while the others go on with what there is, as long as that is valid. If fetching fails, what is
// still valid is given on and the source is left alone for kRetryAfterFailure. Thread-safe.
class CachingCredentials : public CredentialsProvider {
 public:
  static constexpr absl::Duration kRefreshBefore = absl::Minutes(5);
  static constexpr absl::Duration kRetryAfterFailure = absl::Seconds(10);

  CachingCredentials(CredentialsSource source, Clock* clock);

  absl::StatusOr<Credentials> Get(absl::Time deadline) override;
  void Invalidate(const Credentials& refused) override;

 private:
  const CredentialsSource source_;
  Clock& clock_;
  absl::Mutex mutex_;
  std::optional<Credentials> current_ ABSL_GUARDED_BY(mutex_);
  bool fetching_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Time not_before_ ABSL_GUARDED_BY(mutex_) = absl::InfinitePast();  // the next fetch
};

// The sources of the usual chain, each apart so that it can be tested. `environment` is read at every call.
CredentialsSource EnvironmentCredentials(Environment environment);
// The profile that AWS_PROFILE names ("default" otherwise) in the shared credentials and config files; it
// may hold keys, or role_arn with web_identity_token_file. A profile named explicitly that is missing or
// needs something else (source_profile, credential_process, SSO) is FAILED_PRECONDITION.
CredentialsSource ProfileCredentials(Environment environment, Clock* clock);
// AWS_ROLE_ARN and AWS_WEB_IDENTITY_TOKEN_FILE: AssumeRoleWithWebIdentity of STS.
CredentialsSource WebIdentityCredentials(Environment environment, Clock* clock);
// AWS_CONTAINER_CREDENTIALS_FULL_URI or _RELATIVE_URI (ECS, EKS Pod Identity).
CredentialsSource ContainerCredentials(Environment environment, Clock* clock);
// EC2's instance metadata, version 2 only. NOT_FOUND if no such service answers.
CredentialsSource InstanceCredentials(Environment environment, Clock* clock);

// The first of the sources that is configured decides; UNAUTHENTICATED, with what was tried, if none is.
CredentialsSource FirstOf(std::vector<CredentialsSource> sources);

// The whole chain, cached: environment, profile, web identity, container, instance. `clock` outlives it.
std::shared_ptr<CredentialsProvider> DefaultCredentials(Environment environment, Clock* clock);

// The profile's `region` in the shared config file, if there is one.
std::optional<std::string> ProfileRegion(const Environment& environment);

}  // namespace aetherfs

#endif  // AETHERFS_OBJECT_S3_CREDENTIALS_H_
