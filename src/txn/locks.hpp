// SPDX-License-Identifier: Apache-2.0
//
// Object locks of one space: exclusive for transactions, shared for read sections. Locks are
// striped (an object costs no lock memory); a set of stripes is taken in ascending order, so that
// lockers never wait in a circle. A late lock (taken inside a body) is only ever tried.
//
// Who waits: a writer for readers that were there first; a reader backs off while a writer holds
// what it wants. read(everything) closes a gate for new writers, so that neither side starves.
//
// Fences. A reader publishes its stripes, then looks at the stripes' owners; a writer takes the
// stripe, then looks at what readers published. One of them sees the other if each has a full fence
// in between. A stripe that is only read becomes *biased*: its readers then leave their fence out,
// and the writer that takes it first makes every thread execute one
// (sys::Process::fence_threads). That costs microseconds, so a stripe must have been read
// kBiasReads times without a writer before. Where the system has no such call, nothing is biased.
//
// Threads: all calls from any thread, about that thread's own line.
#pragma once

#include <array>
#include <atomic>
#include <bit>
#include <cstdint>
#include <span>

#include <dolmen/id.hpp>

#include "base/mutex.hpp"
#include "sys/process.hpp"
#include "txn/thread_line.hpp"

namespace dolmen::txn {

class LockTable {
 public:
  static constexpr std::uint32_t kStripes = 4096;
  /// Fenced reads of a stripe, more or less, after which its readers need no fence. 8192 of them
  /// take at least 0.3 ms; ending the bias took 37 µs on a slow virtual machine, 1 to 2 elsewhere.
  static constexpr std::uint32_t kBiasReads = 8192;
  using Owner = const void*;

  LockTable(const detail::SpaceCore* space, sys::Process& process) noexcept
      : space_(space), process_(process), light_(process.fence_threads()) {}

  [[nodiscard]] static std::uint16_t stripe_of(const ObjectId& id) noexcept {
    return static_cast<std::uint16_t>(std::hash<ObjectId>{}(id) % kStripes);
  }

  /// Announces a transaction of this thread and takes its stripes, waiting; waits too while a
  /// read(everything) wants in. Requires: `stripes` ascend, each once.
  void enter_writer(std::span<const std::uint16_t> stripes, Owner owner, ThreadLine& line);
  /// Lets go of stripes of an announced transaction; leave_writer() has to follow.
  void unlock(std::span<const std::uint16_t> stripes, Owner owner) noexcept;
  /// Ends the announcement and wakes who waits. Requires: its stripes are unlocked.
  void leave_writer(ThreadLine& line);
  /// Takes one stripe (more) if nobody holds or reads it (after a bounded wait for readers).
  /// `own` is null where no section can be running.
  [[nodiscard]] bool try_lock(std::uint16_t stripe, Owner owner, const ThreadLine* own);
  /// Lets go of it where no leave_writer() follows soon.
  void unlock_and_wake(std::uint16_t stripe, Owner owner);

  /// Ends an epoch and gives it: who enters a section from now on began later.
  [[nodiscard]] std::uint64_t end_epoch() noexcept {
    return epoch_.fetch_add(1, std::memory_order_seq_cst);
  }
  /// The epoch in which the longest running section of the space began; the largest if none runs.
  [[nodiscard]] std::uint64_t oldest_epoch() const noexcept;

  /// Shared access to one stripe if it is biased; without a fence and without a call. When it gives
  /// false, lock_shared(), lock_shared_all() or leave_biased() has to follow.
  [[nodiscard, gnu::always_inline]] bool enter_biased(std::uint16_t stripe,
                                                      ThreadLine& line) noexcept {
    if (stripes_[stripe].load(std::memory_order_relaxed) != kBiased) return false;
    enter_epoch(line);
    line.stripes.publish(std::span(&stripe, 1));
    line.reading.store(space_, std::memory_order_release);
    // Only a table whose readers may leave out fences has biased stripes.
    std::atomic_signal_fence(std::memory_order_seq_cst);
    return stripes_[stripe].load(std::memory_order_acquire) == kBiased;
  }
  /// Ends what enter_biased() began.
  void leave_biased(ThreadLine& line) noexcept {
    line.reading.store(nullptr, std::memory_order_release);
    std::atomic_signal_fence(std::memory_order_seq_cst);
    wake_after_fence();
  }
  /// Shared access to a set of stripes (more than ReadStripes::kMax count as everything).
  void lock_shared(std::span<const std::uint16_t> stripes, ThreadLine& line);
  void lock_shared_all(ThreadLine& line);
  void unlock_shared(ThreadLine& line) {
    line.reading.store(nullptr, std::memory_order_release);
    line.reading_all.store(nullptr, std::memory_order_release);
    light_fence();
    wake_after_fence();
  }

 private:
  // What a stripe holds: 0 free, up to kBiased - 1 free and read so many times kCreditReads;
  // kBiased free and its readers are not fenced; else the address of its owner.
  using Stripe = std::uintptr_t;
  static constexpr Stripe kBiased = 16;
  static constexpr std::uint32_t kCreditReads = kBiasReads / kBiased;
  static bool is_owned(Stripe stripe) noexcept { return stripe > kBiased; }
  static Stripe number_of(Owner owner) noexcept { return std::bit_cast<Stripe>(owner); }

  enum class Awaited : std::uint8_t { writers, readers };
  template <class Condition>
  void wait_until(Awaited awaited, Condition condition);
  void wake();
  void wake_after_fence() {
    if (waiters_.load(std::memory_order_relaxed) != 0) [[unlikely]]
      wake_waiters();
  }
  [[gnu::cold]] void wake_waiters();
  /// Between a store and a load of a thread that heavy_fence() can order.
  void light_fence() const noexcept {
    if (light_) [[likely]] {
      std::atomic_signal_fence(std::memory_order_seq_cst);
    } else {
      std::atomic_thread_fence(std::memory_order_seq_cst);
    }
  }
  /// A full fence of this thread, and of every thread between its light fence's two sides.
  void heavy_fence() const noexcept;

  enum class Taken : std::uint8_t { no, yes, biased };
  [[nodiscard]] Taken take(std::uint16_t stripe, Owner owner) noexcept;
  /// After stripes were taken: makes their readers visible.
  void fence_taken(std::uint32_t biased_count) noexcept;
  void credit(std::span<const std::uint16_t> stripes) noexcept;
  [[nodiscard]] bool read_by_others(std::span<const std::uint16_t> stripes,
                                    const ThreadLine* own) const noexcept;
  [[nodiscard]] bool any_writer(const ThreadLine& own) const noexcept;

  /// A release, as publishing a section after it is: who sees a section finds its epoch, not the
  /// one before, which may be another space's; who finds a later one has the section before behind
  /// it.
  void enter_epoch(ThreadLine& line) const noexcept {
    line.epoch.store(epoch_.load(std::memory_order_seq_cst), std::memory_order_release);
  }

  const detail::SpaceCore* space_;
  std::atomic<std::uint64_t> epoch_{1};
  sys::Process& process_;
  const bool light_;  ///< readers may leave out fences
  std::array<std::atomic<Stripe>, kStripes> stripes_{};
  std::atomic<std::uint32_t> biased_stripes_{0};  ///< at least as many as are biased
  std::atomic<std::uint32_t> gate_{0};            ///< read(everything) sections waiting to enter
  std::atomic<std::uint32_t> waiters_{0};
  base::Mutex mutex_;
  base::Condition woken_;
};

}  // namespace dolmen::txn
