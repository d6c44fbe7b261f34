#include "aetherfs/client/publisher.h"

#include "aetherfs/client/publish_job.h"

namespace aetherfs {

absl::StatusOr<PublishResult> PublishDirectory(ServerClient& client, const PublishOptions& options,
                                               PublishProgress* progress,
                                               const std::atomic<bool>* cancelled) {
  return PublishJob(&client, options, progress, cancelled).Run();
}

}  // namespace aetherfs
