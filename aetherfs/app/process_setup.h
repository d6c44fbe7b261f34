#ifndef AETHERFS_APP_PROCESS_SETUP_H_
#define AETHERFS_APP_PROCESS_SETUP_H_

#include <malloc.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>

#include "absl/synchronization/mutex.h"

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

// For programs that move bulk data and are gone again, or idle for hours. As it comes, malloc gives what a
// received message took back to the system and faults it in again for the next one, which made a tenth of
// the time of a pull; and it keeps eight heaps a core, which made a quarter of its memory.
inline void SetUpTransferProcess() {
  SetUpProcess();
  constexpr int kMaxHeaps = 4;
  ::mallopt(M_MMAP_THRESHOLD, 4 << 20);
  ::mallopt(M_TRIM_THRESHOLD, 32 << 20);
  ::mallopt(M_ARENA_MAX, std::clamp(static_cast<int>(::sysconf(_SC_NPROCESSORS_ONLN)), 1, kMaxHeaps));
}

}  // namespace aetherfs

#endif  // AETHERFS_APP_PROCESS_SETUP_H_
