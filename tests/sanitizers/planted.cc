// A sanitizer that sees nothing is worse than none. This program does what it is told: `none` is correct
// and must end with 0 also where absl's mutexes are all that orders two threads; the others have a bug and
// must be caught.

#include <cstdlib>
#include <iostream>
#include <limits>
#include <memory>
#include <string>
#include <string_view>
#include <thread>

#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"

namespace {

// Two threads count together; with `unguarded`, outside of the lock too.
int Count(bool unguarded) {
  constexpr int kRounds = 1000;
  absl::Mutex mutex;
  absl::Notification done;
  int guarded = 0;
  int bare = 0;
  std::string message;  // ordered by `done` alone
  const auto count = [&] {
    // Before either thread has taken the lock: later, the lock may order by chance what it does not guard.
    if (unguarded) ++bare;
    for (int i = 0; i < kRounds; ++i) {
      absl::MutexLock lock(&mutex);
      ++guarded;
    }
  };
  std::thread other([&] {
    count();
    message = "done";
    done.Notify();
  });
  count();
  mutex.LockWhen(absl::Condition(+[](int* value) { return *value == 2 * kRounds; }, &guarded));
  mutex.Unlock();
  done.WaitForNotification();
  const bool right = message == "done";
  other.join();
  return right ? 0 : 1;
}

int UseAfterFree() {
  auto value = std::make_unique<int>(1);
  const volatile int* gone = value.get();
  value.reset();
  return *gone == 1 ? 0 : 0;
}

int Overflow(int add) {
  const volatile int most = std::numeric_limits<int>::max();
  return most + add == 0 ? 0 : 0;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string_view what = argc == 2 ? argv[1] : "";
  if (what == "none") return Count(/*unguarded=*/false);
  if (what == "race") return Count(/*unguarded=*/true);
  if (what == "use-after-free") return UseAfterFree();
  if (what == "overflow") return Overflow(argc);
  std::cerr << "usage: sanitizer_planted none|race|use-after-free|overflow\n";
  return 2;
}
