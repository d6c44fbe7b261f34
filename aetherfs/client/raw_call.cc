#include "aetherfs/client/raw_call.h"

#include <grpc/support/time.h>

#include <cstdint>

#include "absl/time/clock.h"
#include "aetherfs/base/quantity.h"
#include "aetherfs/rpc/rpc_status.h"
#include "fmt/format.h"

namespace aetherfs {

RawCall::RawCall(const std::shared_ptr<grpc::Channel>& channel, const std::string& method,
                 absl::Duration stall_timeout)
    : stall_timeout_(stall_timeout) {
  call_ = grpc::GenericStub(channel).PrepareCall(&context_, method, &queue_);
}

RawCall::~RawCall() {
  if (!finished_) context_.TryCancel();
  queue_.Shutdown();
  void* tag;
  bool ok;
  while (queue_.Next(&tag, &ok)) {
  }
}

void* RawCall::Begin(Operation operation) {
  progress_[operation] = Progress::kPending;
  return reinterpret_cast<void*>(static_cast<intptr_t>(operation));
}

bool RawCall::Await(Operation operation) {
  while (progress_[operation] == Progress::kPending) {
    void* tag;
    bool ok;
    const auto deadline = stalled_ ? absl::ToChronoTime(absl::InfiniteFuture())
                                   : absl::ToChronoTime(absl::Now() + stall_timeout_);
    switch (queue_.AsyncNext(&tag, &ok, deadline)) {
      case grpc::CompletionQueue::GOT_EVENT:
        progress_[static_cast<size_t>(reinterpret_cast<intptr_t>(tag))] =
            ok ? Progress::kDone : Progress::kFailed;
        break;
      case grpc::CompletionQueue::TIMEOUT:
        stalled_ = true;  // what is pending ends now
        context_.TryCancel();
        break;
      case grpc::CompletionQueue::SHUTDOWN:
        return false;
    }
  }
  return progress_[operation] == Progress::kDone;
}

void RawCall::Poll() {
  void* tag;
  bool ok;
  while (queue_.AsyncNext(&tag, &ok, gpr_time_0(GPR_CLOCK_REALTIME)) == grpc::CompletionQueue::GOT_EVENT) {
    progress_[static_cast<size_t>(reinterpret_cast<intptr_t>(tag))] =
        ok ? Progress::kDone : Progress::kFailed;
  }
}

bool RawCall::Start() {
  call_->StartCall(Begin(kStart));
  return Await(kStart);
}

bool RawCall::Write(const grpc::ByteBuffer& message, bool last) {
  if (last) {
    call_->WriteLast(message, grpc::WriteOptions(), Begin(kWrite));
  } else {
    call_->Write(message, Begin(kWrite));
  }
  return Await(kWrite);
}

void RawCall::BeginRead() { call_->Read(&incoming_, Begin(kRead)); }

bool RawCall::HasRead() {
  Poll();
  return progress_[kRead] != Progress::kPending;
}

bool RawCall::AwaitRead(grpc::ByteBuffer* message) {
  if (!Await(kRead)) return false;
  message->Swap(&incoming_);
  return true;
}

absl::Status RawCall::Finish() {
  call_->Finish(&status_, Begin(kFinish));
  Await(kFinish);
  finished_ = true;
  if (stalled_) {
    return absl::DeadlineExceededError(
        fmt::format("the server sent or took nothing for {}", FormatDuration(stall_timeout_)));
  }
  return FromGrpc(status_);
}

}  // namespace aetherfs
