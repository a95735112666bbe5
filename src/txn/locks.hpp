// SPDX-License-Identifier: Apache-2.0
//
// Object locks of one space: exclusive for transactions, shared for read sections. Locks are
// striped (an object costs no lock memory); a set of stripes is taken in ascending order, so that
// lockers never wait in a circle. A late lock (taken inside a body) is only ever tried.
//
// Who waits: a writer for readers that were there first; a reader backs off while a writer holds
// what it wants. read(everything) closes a gate for new writers, so that neither side starves.
//
// Threads: all calls from any thread, about that thread's own line.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <span>

#include <dolmen/id.hpp>

#include "base/mutex.hpp"
#include "txn/thread_line.hpp"

namespace dolmen::txn {

class LockTable {
 public:
  static constexpr std::uint32_t kStripes = 4096;
  using Owner = const void*;

  explicit LockTable(const detail::SpaceCore* space) noexcept : space_(space) {}

  [[nodiscard]] static std::uint16_t stripe_of(const ObjectId& id) noexcept {
    return static_cast<std::uint16_t>(std::hash<ObjectId>{}(id) % kStripes);
  }

  /// Announces a transaction of this thread; waits while a read(everything) wants in.
  void enter_writer(ThreadLine& line);
  /// Takes one stripe, waiting. Requires: stripes are taken in ascending order.
  void lock(std::uint16_t stripe, Owner owner, const ThreadLine& own);
  /// Takes one stripe if nobody holds or reads it (after a bounded wait for readers).
  /// `own` is null where no section can be running.
  [[nodiscard]] bool try_lock(std::uint16_t stripe, Owner owner, const ThreadLine* own);
  void unlock(std::uint16_t stripe, Owner owner);
  /// The same by who is in no section, so that nobody is woken by leave_writer().
  void unlock_and_wake(std::uint16_t stripe, Owner owner);
  /// Ends the announcement and wakes who waits.
  void leave_writer(ThreadLine& line);

  /// Ends an epoch and gives it: who enters a section from now on began later.
  [[nodiscard]] std::uint64_t end_epoch() noexcept {
    return epoch_.fetch_add(1, std::memory_order_seq_cst);
  }
  /// The epoch in which the longest running section of the space began; the largest if none runs.
  [[nodiscard]] std::uint64_t oldest_epoch() const noexcept;

  /// Shared access to a set of stripes (at most kReadStripesMax; more count as everything).
  void lock_shared(std::span<const std::uint16_t> stripes, ThreadLine& line);
  void lock_shared_all(ThreadLine& line);
  void unlock_shared(ThreadLine& line);

 private:
  template <class Condition>
  void wait_until(Condition condition);
  void wake();
  [[nodiscard]] bool read_by_others(std::uint16_t stripe, const ThreadLine* own) const noexcept;
  [[nodiscard]] bool any_writer(const ThreadLine& own) const noexcept;

  void enter_epoch(ThreadLine& line) const noexcept {
    line.epoch.store(epoch_.load(std::memory_order_seq_cst), std::memory_order_relaxed);
  }

  const detail::SpaceCore* space_;
  std::atomic<std::uint64_t> epoch_{1};
  std::array<std::atomic<Owner>, kStripes> owners_{};
  std::atomic<std::uint32_t> gate_{0};  ///< read(everything) sections waiting to enter
  std::atomic<std::uint32_t> waiters_{0};
  base::Mutex mutex_;
  base::Condition woken_;
};

}  // namespace dolmen::txn
