#ifndef AETHERFS_APP_PROCESS_SETUP_H_
#define AETHERFS_APP_PROCESS_SETUP_H_

#include <malloc.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <thread>

#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace aetherfs {

// What every program does first. Debian builds absl so that its mutexes keep a graph of lock orders behind
// one global lock, in releases too; programs that are not built for finding bugs do without.
//
// gRPC writes to stderr in a form of its own, what is no error of this process too; our own errors say what
// a user needs. GRPC_VERBOSITY=ERROR brings it back.
inline void SetUpProcess() {
  ::setenv("GRPC_VERBOSITY", "NONE", /*overwrite=*/0);
#ifdef NDEBUG
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
#endif
}

// The first thread of a process that waits for a mutex makes absl measure the processor's clock: for 3 ms,
// and up to 255 ms if the machine is busy, in which all who want that mutex wait. So one waits at the
// start, for a mutex of its own, while others still connect.
inline void LetMutexesMeasureTheClock() {
  sigset_t all;
  sigset_t before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);  // signals are for others
  std::thread([] {
    absl::Mutex mutex;
    constexpr bool kNever = false;
    absl::MutexLock lock(&mutex);
    mutex.AwaitWithTimeout(absl::Condition(&kNever), absl::Microseconds(1));
  }).detach();
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

// For programs that move bulk data. As it comes, malloc gives what a received message took back to the
// system and faults it in again for the next one, which made a tenth of the time of a pull; and it keeps
// eight heaps a core, which made a quarter of its memory.
inline void SetUpTransferProcess() {
  SetUpProcess();
  constexpr int kMaxHeaps = 4;
  ::mallopt(M_MMAP_THRESHOLD, 4 << 20);
  ::mallopt(M_TRIM_THRESHOLD, 32 << 20);
  ::mallopt(M_ARENA_MAX, std::clamp(static_cast<int>(::sysconf(_SC_NPROCESSORS_ONLN)), 1, kMaxHeaps));
  LetMutexesMeasureTheClock();
}

}  // namespace aetherfs

#endif  // AETHERFS_APP_PROCESS_SETUP_H_
