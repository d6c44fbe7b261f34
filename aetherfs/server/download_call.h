#ifndef AETHERFS_SERVER_DOWNLOAD_CALL_H_
#define AETHERFS_SERVER_DOWNLOAD_CALL_H_

#include <grpcpp/server_context.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include <memory>

#include "absl/container/flat_hash_map.h"

#include "aetherfs/server/server_context.h"

namespace aetherfs {

inline constexpr size_t kMaxDownloadRanges = 65'536;
// A reader that takes no message for this long loses its stream: it can ask for the rest later.
inline constexpr absl::Duration kDownloadStall = absl::Seconds(60);

// A download as the registry knows it.
class StallableDownload {
 public:
  virtual ~StallableDownload() = default;
  // When the message under way was handed over; infinite future if none is.
  virtual absl::Time waiting_since() = 0;
  virtual void Cancel() = 0;
};

// The downloads under way. Thread-safe.
class DownloadRegistry {
 public:
  void Add(std::shared_ptr<StallableDownload> download);
  void Remove(StallableDownload* download);
  // Cancels those that have stood still since kDownloadStall before `now`; returns how many.
  size_t EndStalled(absl::Time now);

 private:
  absl::Mutex mutex_;
  absl::flat_hash_map<StallableDownload*, std::shared_ptr<StallableDownload>> downloads_
      ABSL_GUARDED_BY(mutex_);
};

// BlockAPI.Download: parts come from the cache, and their bytes go to gRPC as slices that keep them alive.
// At most two parts are held, the one that is being sent and the next. Owns itself until gRPC is done.
grpc::ServerWriteReactor<grpc::ByteBuffer>* StartDownloadCall(const ServerContext& server,
                                                              std::shared_ptr<DownloadRegistry> registry,
                                                              grpc::CallbackServerContext* context,
                                                              const grpc::ByteBuffer& request);

}  // namespace aetherfs

#endif  // AETHERFS_SERVER_DOWNLOAD_CALL_H_
