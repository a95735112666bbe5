// SPDX-License-Identifier: Apache-2.0
//
// Which addresses belong to the arena, in a form that a signal handler can read: a fixed table of
// reservations and, for the protection driver, the state of every fill unit of each.
//
//   plain    ordinary memory or inaccessible: a fault there is not ours
//   absent   demand range, to be filled: a fault there asks the fault handler
//   changing one thread is filling or dropping the unit: a fault there waits and tries again
//   present  demand range, filled
//
// Invariants:
//   1. Only the thread that moved a unit to `changing` maps or unmaps it.
//   2. A unit that is absent or changing is inaccessible (PROT_NONE).
//
// Threads: find() and everything of UnitMap are lock-free and async-signal-safe; add() and remove()
// are thread-safe. All of it is constant-initialised.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace dolmen::sys {

inline constexpr std::size_t kUnitBytes = 64 << 10;  ///< what the protection driver fills at once
inline constexpr std::size_t kPagesPerUnit = kUnitBytes / 4096;

enum class UnitState : std::uint8_t { inherited, plain, absent, changing, present };

/// States of the units of one reservation. Sparse: states of a whole GiB are one byte until they
/// differ.
class UnitMap {
 public:
  /// Null when the system refuses the memory (address space mostly).
  [[nodiscard]] static UnitMap* create(std::size_t reservation_bytes) noexcept;
  static void destroy(UnitMap* map) noexcept;

  [[nodiscard]] UnitState state(std::size_t unit) const noexcept;
  /// Moves the unit from `from` to changing; false if it is in another state.
  [[nodiscard]] bool begin_change(std::size_t unit, UnitState from) noexcept;
  void end_change(std::size_t unit, UnitState to) noexcept;
  /// Requires: no fault, fill or discard in these units at the same time.
  void set_range(std::size_t first, std::size_t last, UnitState state) noexcept;

  [[nodiscard]] bool is_write_protected(std::size_t page) const noexcept;
  [[nodiscard]] bool any_write_protected(std::size_t unit) const noexcept;
  void set_write_protected(std::size_t page, bool value) noexcept;

 private:
  static constexpr std::size_t kUnitsPerBlock = (std::size_t{1} << 30) / kUnitBytes;

  UnitMap() = default;

  std::size_t mapped_bytes_ = 0;
  std::atomic<std::uint8_t>* blocks_ = nullptr;  // what `inherited` means in this GiB
  std::atomic<std::uint8_t>* units_ = nullptr;
  std::atomic<std::uint16_t>* write_protected_ = nullptr;  // a bit per page of the unit
};

struct Reservation {
  std::atomic<std::uintptr_t> base{0};  // 0 = free entry; written last
  std::atomic<std::size_t> bytes{0};
  std::atomic<bool> demanded{false};  // holds demand ranges, or did
  std::atomic<UnitMap*> units{nullptr};

  [[nodiscard]] std::size_t unit_of(std::uintptr_t address) const noexcept {
    return (address - base.load(std::memory_order_relaxed)) / kUnitBytes;
  }
  [[nodiscard]] std::size_t page_of(std::uintptr_t address) const noexcept {
    return (address - base.load(std::memory_order_relaxed)) / 4096;
  }
};

class Reservations {
 public:
  /// False when the table is full: such a reservation cannot have demand ranges.
  [[nodiscard]] bool add(std::uintptr_t base, std::size_t bytes) noexcept;
  void remove(std::uintptr_t base) noexcept;
  /// Forgets all of them; in a forked child, which has none.
  void clear() noexcept;
  /// The reservation that holds the address, or null.
  [[nodiscard]] Reservation* find(std::uintptr_t address) noexcept;
  /// Whether no reservation has demand ranges.
  [[nodiscard]] bool idle() const noexcept;

 private:
  static constexpr std::uintptr_t kTaken = 1;  // being filled in; contains no address

  std::array<Reservation, 128> entries_;
};

}  // namespace dolmen::sys
