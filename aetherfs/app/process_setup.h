#ifndef AETHERFS_APP_PROCESS_SETUP_H_
#define AETHERFS_APP_PROCESS_SETUP_H_

#include "absl/synchronization/mutex.h"

namespace aetherfs {

// What every program does first. Debian builds absl so that its mutexes keep a graph of lock orders behind
// one global lock, in releases too; programs that are not built for finding bugs do without.
inline void SetUpProcess() {
#ifdef NDEBUG
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
#endif
}

}  // namespace aetherfs

#endif  // AETHERFS_APP_PROCESS_SETUP_H_
