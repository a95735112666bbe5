// SPDX-License-Identifier: Apache-2.0
#include "txn/locks.hpp"

#include <algorithm>

#include <dolmen/assert.hpp>

#include "base/hooks.hpp"

namespace dolmen::txn {

namespace {

constexpr int kSpins = 200;

void relax() noexcept { __builtin_ia32_pause(); }

/// A full fence, where a sequentially consistent read-modify-write has just been executed: on
/// x86-64 that was one already (Intel SDM 3A, 9.2.3.9), and only the compiler has to be held back.
void fence_after_exchange() noexcept {
#if defined(__x86_64__)
  std::atomic_signal_fence(std::memory_order_seq_cst);
#else
  std::atomic_thread_fence(std::memory_order_seq_cst);
#endif
}

}  // namespace

void LockTable::heavy_fence() const noexcept {
  std::atomic_thread_fence(std::memory_order_seq_cst);
  if (light_) (void)process_.fence_threads();
}

/// Spins a little, then sleeps until somebody leaves. The waiter count is raised before the
/// condition is looked at again under the mutex, and leavers look at it after their change, with a
/// fence between: no wake-up is lost. Leaving readers have a light fence only.
template <class Condition>
void LockTable::wait_until(Awaited awaited, Condition condition) {
  for (int i = 0; i < kSpins; ++i) {
    if (condition()) return;
    relax();
  }
  const base::Lock guard(mutex_);
  waiters_.fetch_add(1, std::memory_order_seq_cst);
  if (awaited == Awaited::readers) {
    heavy_fence();
  } else {
    std::atomic_thread_fence(std::memory_order_seq_cst);
  }
  while (!condition()) {
    DOLMEN_STEP("txn.lock_sleeps");
    woken_.wait(mutex_);
  }
  waiters_.fetch_sub(1, std::memory_order_relaxed);
}

void LockTable::wake() {
  std::atomic_thread_fence(std::memory_order_seq_cst);
  wake_after_fence();
}

void LockTable::wake_waiters() {
  {
    const base::Lock guard(mutex_);
  }
  woken_.notify_all();
}

bool LockTable::read_by_others(std::span<const std::uint16_t> stripes,
                               const ThreadLine* own) const noexcept {
  for (const ThreadLine* line = all_thread_lines(); line != nullptr; line = line->next) {
    if (line == own) continue;
    if (line->reading_all.load(std::memory_order_acquire) == space_) return true;
    if (line->reading.load(std::memory_order_acquire) != space_) continue;
    for (const std::uint16_t stripe : stripes) {
      if (line->stripes.contain(stripe)) return true;
    }
  }
  return false;
}

bool LockTable::any_writer(const ThreadLine& own) const noexcept {
  for (const ThreadLine* line = all_thread_lines(); line != nullptr; line = line->next) {
    if (line != &own && line->writing.load(std::memory_order_seq_cst) == space_) return true;
  }
  return false;
}

LockTable::Taken LockTable::take(std::uint16_t stripe, Owner owner) noexcept {
  auto& slot = stripes_[stripe];
  Stripe found = slot.load(std::memory_order_relaxed);
  while (!is_owned(found)) {
    if (slot.compare_exchange_weak(found, number_of(owner), std::memory_order_seq_cst,
                                   std::memory_order_relaxed)) {
      return found == kBiased ? Taken::biased : Taken::yes;
    }
  }
  return Taken::no;
}

void LockTable::fence_taken(std::uint32_t biased_count) noexcept {
  if (biased_count == 0) [[likely]]
    return fence_after_exchange();
  DOLMEN_PROBE("txn.bias_ended");
  heavy_fence();
  biased_stripes_.fetch_sub(biased_count, std::memory_order_seq_cst);
}

void LockTable::enter_writer(std::span<const std::uint16_t> stripes, Owner owner,
                             ThreadLine& line) {
  enter_epoch(line);
  for (;;) {
    // The announcement, then a full fence (the last stripe's exchange is one), then the gate:
    // either this thread sees the read(everything), or that sees the announcement.
    line.writing.store(space_, std::memory_order_release);
    std::uint32_t biased_count = 0;
    for (const std::uint16_t stripe : stripes) {
      Taken taken = take(stripe, owner);
      if (taken == Taken::no) [[unlikely]] {
        wait_until(Awaited::writers, [&] { return (taken = take(stripe, owner)) != Taken::no; });
      }
      biased_count += taken == Taken::biased ? 1 : 0;
    }
    if (stripes.empty()) std::atomic_thread_fence(std::memory_order_seq_cst);
    fence_taken(biased_count);
    if (gate_.load(std::memory_order_acquire) == 0) [[likely]]
      break;
    unlock(stripes, owner);
    leave_writer(line);
    wait_until(Awaited::writers, [&] { return gate_.load(std::memory_order_acquire) == 0; });
  }
  if (read_by_others(stripes, &line)) [[unlikely]] {
    wait_until(Awaited::readers, [&] { return !read_by_others(stripes, &line); });
  }
}

bool LockTable::try_lock(std::uint16_t stripe, Owner owner, const ThreadLine* own) {
  const Taken taken = take(stripe, owner);
  if (taken == Taken::no) {
    return stripes_[stripe].load(std::memory_order_relaxed) == number_of(owner);
  }
  fence_taken(taken == Taken::biased ? 1 : 0);
  for (int i = 0; i < kSpins; ++i) {
    if (!read_by_others(std::span(&stripe, 1), own)) return true;
    relax();
  }
  unlock_and_wake(stripe, owner);
  return false;
}

void LockTable::unlock(std::span<const std::uint16_t> stripes, Owner owner) noexcept {
  for (const std::uint16_t stripe : stripes) {
    DOLMEN_ASSERT(stripes_[stripe].load(std::memory_order_relaxed) == number_of(owner));
    stripes_[stripe].store(0, std::memory_order_release);
  }
}

void LockTable::unlock_and_wake(std::uint16_t stripe, Owner owner) {
  unlock(std::span(&stripe, 1), owner);
  wake();
}

void LockTable::leave_writer(ThreadLine& line) {
  line.writing.store(nullptr, std::memory_order_release);
  wake();
}

std::uint64_t LockTable::oldest_epoch() const noexcept {
  // A section that is not seen here has its fence before it: it finds nothing that this thread made
  // unfindable. With no stripe biased, who comes in unfenced later has seen a bias made later, and
  // with it all that this thread did before.
  std::atomic_thread_fence(std::memory_order_seq_cst);
  if (biased_stripes_.load(std::memory_order_seq_cst) != 0) heavy_fence();
  std::uint64_t oldest = ~std::uint64_t{0};
  for (const ThreadLine* line = all_thread_lines(); line != nullptr; line = line->next) {
    if (line->writing.load(std::memory_order_acquire) == space_ ||
        line->reading.load(std::memory_order_acquire) == space_ ||
        line->reading_all.load(std::memory_order_acquire) == space_) {
      oldest = std::min(oldest, line->epoch.load(std::memory_order_acquire));
    }
  }
  return oldest;
}

void LockTable::lock_shared(std::span<const std::uint16_t> stripes, ThreadLine& line) {
  if (stripes.size() > ReadStripes::kMax) return lock_shared_all(line);
  const auto all = [&](auto condition) {
    return std::all_of(stripes.begin(), stripes.end(), [&](std::uint16_t stripe) {
      return condition(stripes_[stripe].load(std::memory_order_acquire));
    });
  };
  const auto is_free = [](Stripe stripe) { return !is_owned(stripe); };
  enter_epoch(line);
  for (;;) {
    line.stripes.publish(stripes);
    line.reading.store(space_, std::memory_order_release);
    if (light_) {
      light_fence();
      if (all([](Stripe stripe) { return stripe == kBiased; })) [[likely]]
        return;
    }
    std::atomic_thread_fence(std::memory_order_seq_cst);
    if (all(is_free)) [[likely]]
      break;
    line.reading.store(nullptr, std::memory_order_release);
    wake();
    wait_until(Awaited::writers, [&] { return all(is_free); });
  }
  if (++line.fenced_reads % kCreditReads == 0 && light_) credit(stripes);
}

/// Every kCreditReads fenced reads of a thread, the stripes that it reads then come a step nearer
/// to being biased.
void LockTable::credit(std::span<const std::uint16_t> stripes) noexcept {
  for (const std::uint16_t stripe : stripes) {
    auto& slot = stripes_[stripe];
    Stripe found = slot.load(std::memory_order_relaxed);
    if (found >= kBiased) continue;
    const bool biases = found + 1 == kBiased;
    // Before it is biased: see oldest_epoch().
    if (biases) biased_stripes_.fetch_add(1, std::memory_order_seq_cst);
    const bool done = slot.compare_exchange_strong(found, found + 1, std::memory_order_acq_rel,
                                                   std::memory_order_relaxed);
    if (biases && !done) biased_stripes_.fetch_sub(1, std::memory_order_seq_cst);
    if (biases && done) DOLMEN_PROBE("txn.biased");
  }
}

void LockTable::lock_shared_all(ThreadLine& line) {
  enter_epoch(line);
  gate_.fetch_add(1, std::memory_order_seq_cst);
  for (;;) {
    line.reading_all.store(space_, std::memory_order_release);
    std::atomic_thread_fence(std::memory_order_seq_cst);
    if (!any_writer(line)) break;
    line.reading_all.store(nullptr, std::memory_order_release);
    wake();
    wait_until(Awaited::writers, [&] { return !any_writer(line); });
  }
  gate_.fetch_sub(1, std::memory_order_seq_cst);
  wake();
}

}  // namespace dolmen::txn
