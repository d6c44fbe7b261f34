#ifndef AETHERFS_CLIENT_RAW_CALL_H_
#define AETHERFS_CLIENT_RAW_CALL_H_

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/completion_queue.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/support/byte_buffer.h>

#include <array>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace aetherfs {

// One streaming call of a method whose messages are raw, driven by the thread that calls it: that thread
// polls the call's own completion queue, so bytes do not change threads. Blocks. Not thread-safe, but for
// context()->TryCancel().
//
// There is no limit to how long the call takes as long as it moves: an operation that makes no progress for
// `stall_timeout` ends the call with DEADLINE_EXCEEDED.
class RawCall {
 public:
  RawCall(const std::shared_ptr<grpc::Channel>& channel, const std::string& method,
          absl::Duration stall_timeout);
  // Cancels the call if Finish() was not called, and waits until gRPC is done with it.
  ~RawCall();
  RawCall(const RawCall&) = delete;
  RawCall& operator=(const RawCall&) = delete;

  grpc::ClientContext* context() { return &context_; }

  // False if the call is over; Finish() tells why then.
  bool Start();
  bool Write(const grpc::ByteBuffer& message, bool last = false);

  // Begins to read the next message; then HasRead() tells without waiting whether it is there or the call
  // is over, and AwaitRead() waits and returns it, or false if there is none.
  void BeginRead();
  bool HasRead();
  bool AwaitRead(grpc::ByteBuffer* message);

  absl::Status Finish();

 private:
  enum Operation { kStart, kWrite, kRead, kFinish, kOperations };
  enum class Progress { kIdle, kPending, kDone, kFailed };

  void* Begin(Operation operation);
  // Waits until `operation` is done; whether it succeeded.
  bool Await(Operation operation);
  // Takes what the queue has, without waiting.
  void Poll();

  const absl::Duration stall_timeout_;
  grpc::ClientContext context_;
  grpc::CompletionQueue queue_;
  std::unique_ptr<grpc::GenericClientAsyncReaderWriter> call_;
  std::array<Progress, kOperations> progress_{};
  grpc::ByteBuffer incoming_;
  grpc::Status status_;
  bool finished_ = false;
  bool stalled_ = false;
};

}  // namespace aetherfs

#endif  // AETHERFS_CLIENT_RAW_CALL_H_
