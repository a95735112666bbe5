// SPDX-License-Identifier: Apache-2.0
// Sound with VIOLATION=0; every other number is one mistake, listed in CMakeLists.txt.
#include <cstdint>

#include "base/mutex.hpp"

namespace {

namespace base = dolmen::base;

class Counter {
 public:
  std::uint64_t get() {
#if VIOLATION != 1
    const base::Lock lock(mutex_);
#endif
    return count_;
  }

  void wait_for_more(std::uint64_t than) DOLMEN_EXCLUDES(mutex_) {
    base::Lock lock(mutex_);
    while (count_ <= than) more_.wait(mutex_);
    {
      const base::Unlock meanwhile(mutex_);
#if VIOLATION == 2
      ++count_;
#endif
    }
    grow();
    lock.unlock();
#if VIOLATION == 3
    grow();
#endif
    more_.notify_all();
  }

  void grow_twice() {
    mutex_.lock();
    grow();
#if VIOLATION == 6
    wait_for_more(1);
#endif
    grow();
#if VIOLATION != 4
    mutex_.unlock();
#endif
  }

  std::uint64_t shared() {
    const base::SharedLock lock(shared_mutex_);
#if VIOLATION == 5
    ++shared_count_;
#endif
    return shared_count_;
  }

  void share() {
    const base::Lock lock(shared_mutex_);
    ++shared_count_;
  }

 private:
  void grow() DOLMEN_REQUIRES(mutex_) { ++count_; }

  base::Mutex mutex_;
  base::Condition more_;
  std::uint64_t count_ DOLMEN_GUARDED_BY(mutex_) = 0;
  base::SharedMutex shared_mutex_;
  std::uint64_t shared_count_ DOLMEN_GUARDED_BY(shared_mutex_) = 0;
};

}  // namespace

std::uint64_t use() {
  static base::Mutex mutex;
  static std::uint64_t local DOLMEN_GUARDED_BY(mutex) = 0;
  Counter counter;
  counter.grow_twice();
  counter.wait_for_more(1);
  counter.share();
#if VIOLATION != 7
  const base::Lock lock(mutex);
#endif
  return counter.get() + counter.shared() + local;
}
