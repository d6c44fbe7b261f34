// How gRPC hands a call from one thread to the next, for builds with ThreadSanitizer only.
//
// Debian's libgrpc is not built with ThreadSanitizer, and what takes an operation from the thread that
// starts it to the one that runs its callback are atomics, which the sanitizer does not see: everything
// that a reactor wrote before StartRead and reads in OnReadDone would be reported as a race. Both ends know
// the operation's tag. These definitions stand in front of the library's and of the headers', and say of
// the tag that it was released and acquired; that is all that they add.

#include <dlfcn.h>
#include <grpc/grpc.h>
#include <sanitizer/tsan_interface.h>

// The headers' own functions, which are private there, by the names that the linker knows them by.
#define AETHERFS_STATIC_RUN(kind) "_ZN4grpc8internal" kind "9StaticRunEP29grpc_completion_queue_functori"
#define AETHERFS_RUN(kind) "_ZN4grpc8internal" kind "3RunEb"

void RunWithSuccess(grpc_completion_queue_functor*, bool) __asm__(AETHERFS_RUN("22CallbackWithSuccessTag"));
void RunWithStatus(grpc_completion_queue_functor*, bool) __asm__(AETHERFS_RUN("21CallbackWithStatusTag"));
void StaticRunWithSuccess(grpc_completion_queue_functor*,
                          int) __asm__(AETHERFS_STATIC_RUN("22CallbackWithSuccessTag"));
void StaticRunWithStatus(grpc_completion_queue_functor*,
                         int) __asm__(AETHERFS_STATIC_RUN("21CallbackWithStatusTag"));

// A program that has no callbacks does not have these.
#pragma weak RunWithSuccess
#pragma weak RunWithStatus

void StaticRunWithSuccess(grpc_completion_queue_functor* tag, int ok) {
  __tsan_acquire(tag);
  RunWithSuccess(tag, ok != 0);
}

void StaticRunWithStatus(grpc_completion_queue_functor* tag, int ok) {
  __tsan_acquire(tag);
  RunWithStatus(tag, ok != 0);
}

extern "C" grpc_call_error grpc_call_start_batch(grpc_call* call, const grpc_op* ops, size_t count,
                                                 void* tag, void* reserved) {
  static const auto next =
      reinterpret_cast<decltype(&grpc_call_start_batch)>(dlsym(RTLD_NEXT, "grpc_call_start_batch"));
  __tsan_release(tag);
  return next(call, ops, count, tag, reserved);
}
