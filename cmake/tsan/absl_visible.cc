// absl::Mutex, CondVar, Notification and BlockingCounter over pthreads, and the reference count of
// absl::Status, for builds with ThreadSanitizer only.
//
// Debian's libabsl is not built with ThreadSanitizer. Its mutex is atomics and futexes, which the sanitizer
// does not see, so that everything that a mutex guards would be reported as a race. These definitions stand
// in front of the library's: a program's own symbols win over a shared library's, also for the calls that
// gRPC makes. They keep the documented behaviour: a conditional critical section is evaluated under the
// lock whenever somebody unlocks. Readers exclude each other here, which shows a missing lock no less.

#include <pthread.h>
#include <time.h>

#include <cerrno>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/synchronization/blocking_counter.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"

namespace {

// What the one word of an absl::Mutex points at once it has been used.
struct Lockable {
  pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
  pthread_cond_t unlocked = PTHREAD_COND_INITIALIZER;  // for those who wait for a condition
  int waiting = 0;                                     // guarded by `mutex`
};
struct Waitable {
  pthread_cond_t signalled = PTHREAD_COND_INITIALIZER;
};

template <typename T>
T* Existing(const std::atomic<intptr_t>& word) {
  return reinterpret_cast<T*>(word.load(std::memory_order_acquire));
}

template <typename T>
T* Made(std::atomic<intptr_t>& word) {
  if (T* existing = Existing<T>(word)) return existing;
  T* made = new T;
  intptr_t expected = 0;
  if (word.compare_exchange_strong(expected, reinterpret_cast<intptr_t>(made), std::memory_order_acq_rel))
    return made;
  delete made;
  return reinterpret_cast<T*>(expected);
}

// One condition variable, with or without a limit. True if the limit passed.
bool WaitOn(pthread_cond_t* condition, pthread_mutex_t* mutex, absl::Time deadline) {
  if (deadline == absl::InfiniteFuture()) {
    pthread_cond_wait(condition, mutex);
    return false;
  }
  const timespec limit = absl::ToTimespec(deadline < absl::UnixEpoch() ? absl::UnixEpoch() : deadline);
  return pthread_cond_timedwait(condition, mutex, &limit) == ETIMEDOUT;
}

// With the lock held; false if the condition did not hold by then.
bool AwaitOn(Lockable* lockable, const absl::Condition& condition, absl::Time deadline) {
  bool late = false;
  while (!condition.Eval()) {
    if (late) return false;
    // What this thread changed may be what another one waits for.
    if (lockable->waiting > 0) pthread_cond_broadcast(&lockable->unlocked);
    ++lockable->waiting;
    late = WaitOn(&lockable->unlocked, &lockable->mutex, deadline);
    --lockable->waiting;
  }
  return true;
}

absl::Time After(absl::Duration timeout) { return absl::Now() + timeout; }

}  // namespace

namespace absl {
ABSL_NAMESPACE_BEGIN

Mutex::~Mutex() {
  if (auto* lockable = Existing<Lockable>(mu_)) {
    pthread_cond_destroy(&lockable->unlocked);
    pthread_mutex_destroy(&lockable->mutex);
    delete lockable;
  }
  ABSL_TSAN_MUTEX_DESTROY(this, __tsan_mutex_not_static);
}

void Mutex::Lock() { pthread_mutex_lock(&Made<Lockable>(mu_)->mutex); }

bool Mutex::TryLock() { return pthread_mutex_trylock(&Made<Lockable>(mu_)->mutex) == 0; }

void Mutex::Unlock() {
  auto* lockable = Existing<Lockable>(mu_);
  if (lockable->waiting > 0) pthread_cond_broadcast(&lockable->unlocked);
  pthread_mutex_unlock(&lockable->mutex);
}

void Mutex::ReaderLock() { Lock(); }
bool Mutex::ReaderTryLock() { return TryLock(); }
void Mutex::ReaderUnlock() { Unlock(); }

void Mutex::Await(const Condition& condition) {
  AwaitOn(Existing<Lockable>(mu_), condition, absl::InfiniteFuture());
}
bool Mutex::AwaitWithTimeout(const Condition& condition, absl::Duration timeout) {
  return AwaitOn(Existing<Lockable>(mu_), condition, After(timeout));
}
bool Mutex::AwaitWithDeadline(const Condition& condition, absl::Time deadline) {
  return AwaitOn(Existing<Lockable>(mu_), condition, deadline);
}

void Mutex::LockWhen(const Condition& condition) {
  Lock();
  Await(condition);
}
bool Mutex::LockWhenWithTimeout(const Condition& condition, absl::Duration timeout) {
  const absl::Time deadline = After(timeout);
  Lock();
  return AwaitWithDeadline(condition, deadline);
}
bool Mutex::LockWhenWithDeadline(const Condition& condition, absl::Time deadline) {
  Lock();
  return AwaitWithDeadline(condition, deadline);
}
void Mutex::ReaderLockWhen(const Condition& condition) { LockWhen(condition); }
bool Mutex::ReaderLockWhenWithTimeout(const Condition& condition, absl::Duration timeout) {
  return LockWhenWithTimeout(condition, timeout);
}
bool Mutex::ReaderLockWhenWithDeadline(const Condition& condition, absl::Time deadline) {
  return LockWhenWithDeadline(condition, deadline);
}

void Mutex::AssertHeld() const {}
void Mutex::AssertNotHeld() const {}
void Mutex::AssertReaderHeld() const {}
void Mutex::ForgetDeadlockInfo() {}
void Mutex::EnableDebugLog(const char*) {}
void Mutex::EnableInvariantDebugging(void (*)(void*), void*) {}

void ReleasableMutexLock::Release() {
  mu_->Unlock();
  mu_ = nullptr;
}

CondVar::~CondVar() {
  if (auto* waitable = Existing<Waitable>(cv_)) {
    pthread_cond_destroy(&waitable->signalled);
    delete waitable;
  }
}

void CondVar::Wait(Mutex* mutex) { WaitWithDeadline(mutex, absl::InfiniteFuture()); }
bool CondVar::WaitWithTimeout(Mutex* mutex, absl::Duration timeout) {
  return WaitWithDeadline(mutex, After(timeout));
}
bool CondVar::WaitWithDeadline(Mutex* mutex, absl::Time deadline) {
  // The mutex's word is private to it and is all that it has.
  static_assert(sizeof(Mutex) == sizeof(std::atomic<intptr_t>));
  auto* lockable = Existing<Lockable>(*reinterpret_cast<std::atomic<intptr_t>*>(mutex));
  if (lockable->waiting > 0) pthread_cond_broadcast(&lockable->unlocked);
  return WaitOn(&Made<Waitable>(cv_)->signalled, &lockable->mutex, deadline);
}
void CondVar::Signal() { pthread_cond_signal(&Made<Waitable>(cv_)->signalled); }
void CondVar::SignalAll() { pthread_cond_broadcast(&Made<Waitable>(cv_)->signalled); }
void CondVar::EnableDebugLog(const char*) {}

Notification::~Notification() { MutexLock lock(&mutex_); }
void Notification::Notify() {
  MutexLock lock(&mutex_);
  notified_yet_.store(true, std::memory_order_release);
}
void Notification::WaitForNotification() const { WaitForNotificationWithDeadline(absl::InfiniteFuture()); }
bool Notification::WaitForNotificationWithTimeout(absl::Duration timeout) const {
  return WaitForNotificationWithDeadline(After(timeout));
}
bool Notification::WaitForNotificationWithDeadline(absl::Time deadline) const {
  if (HasBeenNotifiedInternal(&notified_yet_)) return true;
  const bool notified =
      mutex_.LockWhenWithDeadline(Condition(&HasBeenNotifiedInternal, &notified_yet_), deadline);
  mutex_.Unlock();
  return notified;
}

BlockingCounter::BlockingCounter(int initial_count)
    : count_(initial_count), num_waiting_(0), done_(initial_count == 0) {}
bool BlockingCounter::DecrementCount() {
  MutexLock lock(&lock_);
  done_ = count_.fetch_sub(1, std::memory_order_acq_rel) == 1;
  return done_;
}
void BlockingCounter::Wait() {
  MutexLock lock(&lock_, Condition(&done_));
  ++num_waiting_;
}

// The count of a status' references: what the library's own code does to it the sanitizer does not see
// either, and would report whoever drops the last one.
void Status::UnrefNonInlined(uintptr_t rep) {
  status_internal::StatusRep* shared = RepToPointer(rep);
  if (shared->ref.fetch_sub(1, std::memory_order_acq_rel) == 1) delete shared;
}

ABSL_NAMESPACE_END
}  // namespace absl
