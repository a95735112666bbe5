// SPDX-License-Identifier: Apache-2.0
//
// Mutexes that clang's thread-safety analysis understands (an error in the preset clang): a member
// says which mutex guards it, a function which one it requires. Those of libstdc++ carry no
// annotations, so tools/check allows them in tests only.
//
//   base::Mutex mutex_;
//   std::size_t size_ DOLMEN_GUARDED_BY(mutex_) = 0;
//   void grow() DOLMEN_REQUIRES(mutex_);
//   …
//   const base::Lock lock(mutex_);
//   grow();
#pragma once

#include <condition_variable>
#include <mutex>
#include <shared_mutex>

#if defined(__clang__)
#define DOLMEN_THREAD_SAFETY(attribute) __attribute__((attribute))
#else
#define DOLMEN_THREAD_SAFETY(attribute)
#endif
/// Of a member: read and written under the mutex only.
#define DOLMEN_GUARDED_BY(mutex) DOLMEN_THREAD_SAFETY(guarded_by(mutex))
/// Of a function: the caller holds the mutexes; it may give them up meanwhile.
#define DOLMEN_REQUIRES(...) DOLMEN_THREAD_SAFETY(requires_capability(__VA_ARGS__))
/// Of a function: the caller does not hold the mutexes, because it takes them itself.
#define DOLMEN_EXCLUDES(...) DOLMEN_THREAD_SAFETY(locks_excluded(__VA_ARGS__))
#define DOLMEN_ACQUIRE(...) DOLMEN_THREAD_SAFETY(acquire_capability(__VA_ARGS__))
#define DOLMEN_RELEASE(...) DOLMEN_THREAD_SAFETY(release_capability(__VA_ARGS__))

namespace dolmen::base {

class DOLMEN_THREAD_SAFETY(capability("mutex")) Mutex {
 public:
  constexpr Mutex() noexcept = default;
  Mutex(const Mutex&) = delete;
  Mutex& operator=(const Mutex&) = delete;

  void lock() DOLMEN_ACQUIRE() { mutex_.lock(); }
  void unlock() DOLMEN_RELEASE() { mutex_.unlock(); }

 private:
  friend class Condition;
  std::mutex mutex_;
};

class DOLMEN_THREAD_SAFETY(capability("mutex")) SharedMutex {
 public:
  SharedMutex() = default;
  SharedMutex(const SharedMutex&) = delete;
  SharedMutex& operator=(const SharedMutex&) = delete;

  void lock() DOLMEN_ACQUIRE() { mutex_.lock(); }
  void unlock() DOLMEN_RELEASE() { mutex_.unlock(); }
  void lock_shared() DOLMEN_THREAD_SAFETY(acquire_shared_capability()) { mutex_.lock_shared(); }
  void unlock_shared() DOLMEN_THREAD_SAFETY(release_shared_capability()) { mutex_.unlock_shared(); }

 private:
  std::shared_mutex mutex_;
};

/// Holds a Mutex or SharedMutex alone until it ends, or until unlock().
template <class AnyMutex>
class DOLMEN_THREAD_SAFETY(scoped_lockable) Lock {
 public:
  explicit Lock(AnyMutex& mutex) DOLMEN_ACQUIRE(mutex) : mutex_(mutex) { mutex_.lock(); }
  ~Lock() DOLMEN_RELEASE() {
    if (held_) mutex_.unlock();
  }
  Lock(const Lock&) = delete;
  Lock& operator=(const Lock&) = delete;

  /// Requires: called once.
  void unlock() DOLMEN_RELEASE() {
    held_ = false;
    mutex_.unlock();
  }

 private:
  AnyMutex& mutex_;
  bool held_ = true;
};

/// Gives a held Mutex up until it ends.
class DOLMEN_THREAD_SAFETY(scoped_lockable) Unlock {
 public:
  explicit Unlock(Mutex& mutex) DOLMEN_RELEASE(mutex) : mutex_(mutex) { mutex_.unlock(); }
  ~Unlock() DOLMEN_RELEASE() { mutex_.lock(); }  // the end of a scope that released
  Unlock(const Unlock&) = delete;
  Unlock& operator=(const Unlock&) = delete;

 private:
  Mutex& mutex_;
};

/// Holds a SharedMutex together with others that do so.
class DOLMEN_THREAD_SAFETY(scoped_lockable) SharedLock {
 public:
  explicit SharedLock(SharedMutex& mutex) DOLMEN_THREAD_SAFETY(acquire_shared_capability(mutex))
      : mutex_(mutex) {
    mutex_.lock_shared();
  }
  ~SharedLock() DOLMEN_RELEASE() { mutex_.unlock_shared(); }
  SharedLock(const SharedLock&) = delete;
  SharedLock& operator=(const SharedLock&) = delete;

 private:
  SharedMutex& mutex_;
};

class Condition {
 public:
  /// Gives the mutex up while it waits; it may wake without reason.
  void wait(Mutex& mutex) DOLMEN_REQUIRES(mutex) {
    std::unique_lock<std::mutex> lock(mutex.mutex_, std::adopt_lock);
    condition_.wait(lock);
    (void)lock.release();
  }
  void notify_one() noexcept { condition_.notify_one(); }
  void notify_all() noexcept { condition_.notify_all(); }

 private:
  std::condition_variable condition_;
};

}  // namespace dolmen::base
