// SPDX-License-Identifier: Apache-2.0
#include "txn/locks.hpp"

#include <algorithm>

#include <dolmen/assert.hpp>

#include "base/hooks.hpp"

namespace dolmen::txn {

namespace {

constexpr int kSpins = 200;

void relax() noexcept { __builtin_ia32_pause(); }

}  // namespace

/// Spins a little, then sleeps until somebody leaves. The waiter count is raised before the
/// condition is looked at again under the mutex, and leavers look at it after their change: no
/// wake-up is lost.
template <class Condition>
void LockTable::wait_until(Condition condition) {
  for (int i = 0; i < kSpins; ++i) {
    if (condition()) return;
    relax();
  }
  const base::Lock guard(mutex_);
  waiters_.fetch_add(1, std::memory_order_seq_cst);
  while (!condition()) {
    DOLMEN_STEP("txn.lock_sleeps");
    woken_.wait(mutex_);
  }
  waiters_.fetch_sub(1, std::memory_order_relaxed);
}

void LockTable::wake() {
  std::atomic_thread_fence(std::memory_order_seq_cst);
  if (waiters_.load(std::memory_order_relaxed) == 0) return;
  {
    const base::Lock guard(mutex_);
  }
  woken_.notify_all();
}

bool LockTable::read_by_others(std::uint16_t stripe, const ThreadLine* own) const noexcept {
  for (const ThreadLine* line = all_thread_lines(); line != nullptr; line = line->next) {
    if (line == own) continue;
    if (line->reading_all.load(std::memory_order_seq_cst) == space_) return true;
    if (line->reading.load(std::memory_order_seq_cst) != space_) continue;
    for (const auto& published : line->stripes) {
      if (published.load(std::memory_order_acquire) == stripe + 1) return true;
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

void LockTable::enter_writer(ThreadLine& line) {
  enter_epoch(line);
  for (;;) {
    line.writing.store(space_, std::memory_order_seq_cst);
    if (gate_.load(std::memory_order_seq_cst) == 0) return;
    line.writing.store(nullptr, std::memory_order_seq_cst);
    wake();
    wait_until([&] { return gate_.load(std::memory_order_seq_cst) == 0; });
  }
}

void LockTable::lock(std::uint16_t stripe, Owner owner, const ThreadLine& own) {
  auto& slot = owners_[stripe];
  const auto take = [&] {
    Owner expected = nullptr;
    return slot.load(std::memory_order_relaxed) == nullptr &&
           slot.compare_exchange_strong(expected, owner, std::memory_order_seq_cst);
  };
  if (!take()) wait_until(take);
  if (read_by_others(stripe, &own)) {
    wait_until([&] { return !read_by_others(stripe, &own); });
  }
}

bool LockTable::try_lock(std::uint16_t stripe, Owner owner, const ThreadLine* own) {
  Owner expected = nullptr;
  if (!owners_[stripe].compare_exchange_strong(expected, owner, std::memory_order_seq_cst)) {
    return expected == owner;
  }
  for (int i = 0; i < kSpins; ++i) {
    if (!read_by_others(stripe, own)) return true;
    relax();
  }
  unlock(stripe, owner);
  return false;
}

void LockTable::unlock(std::uint16_t stripe, Owner owner) {
  DOLMEN_ASSERT(owners_[stripe].load(std::memory_order_relaxed) == owner);
  owners_[stripe].store(nullptr, std::memory_order_release);
}

void LockTable::unlock_and_wake(std::uint16_t stripe, Owner owner) {
  unlock(stripe, owner);
  wake();
}

void LockTable::leave_writer(ThreadLine& line) {
  line.writing.store(nullptr, std::memory_order_release);
  wake();
}

std::uint64_t LockTable::oldest_epoch() const noexcept {
  std::uint64_t oldest = ~std::uint64_t{0};
  for (const ThreadLine* line = all_thread_lines(); line != nullptr; line = line->next) {
    if (line->writing.load(std::memory_order_seq_cst) == space_ ||
        line->reading.load(std::memory_order_seq_cst) == space_ ||
        line->reading_all.load(std::memory_order_seq_cst) == space_) {
      oldest = std::min(oldest, line->epoch.load(std::memory_order_acquire));
    }
  }
  return oldest;
}

void LockTable::lock_shared(std::span<const std::uint16_t> stripes, ThreadLine& line) {
  if (stripes.size() > kReadStripesMax) return lock_shared_all(line);
  const auto blocked = [&] {
    return std::any_of(stripes.begin(), stripes.end(), [&](std::uint16_t stripe) {
      return owners_[stripe].load(std::memory_order_seq_cst) != nullptr;
    });
  };
  enter_epoch(line);
  for (;;) {
    for (std::size_t i = 0; i < kReadStripesMax; ++i) {
      line.stripes[i].store(
          i < stripes.size() ? static_cast<std::uint16_t>(stripes[i] + 1) : std::uint16_t{0},
          std::memory_order_relaxed);
    }
    line.reading.store(space_, std::memory_order_seq_cst);
    if (!blocked()) return;
    line.reading.store(nullptr, std::memory_order_seq_cst);
    wake();
    wait_until([&] { return !blocked(); });
  }
}

void LockTable::lock_shared_all(ThreadLine& line) {
  enter_epoch(line);
  gate_.fetch_add(1, std::memory_order_seq_cst);
  for (;;) {
    line.reading_all.store(space_, std::memory_order_seq_cst);
    if (!any_writer(line)) break;
    line.reading_all.store(nullptr, std::memory_order_seq_cst);
    wake();
    wait_until([&] { return !any_writer(line); });
  }
  gate_.fetch_sub(1, std::memory_order_seq_cst);
  wake();
}

void LockTable::unlock_shared(ThreadLine& line) {
  line.reading.store(nullptr, std::memory_order_release);
  line.reading_all.store(nullptr, std::memory_order_release);
  wake();
}

}  // namespace dolmen::txn
