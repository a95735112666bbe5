// SPDX-License-Identifier: Apache-2.0
//
// Filling and dropping one 64 KiB unit of a demand range for the protection driver. The unit stays
// inaccessible until its contents are complete, so other threads see all of them or fault. Contents
// go in through /proc/self/mem, which may write to inaccessible private pages: neighbouring units
// then stay one mapping (the kernel allows 65,530 per process). Where that is forbidden, a filled
// mapping is moved over the unit, at the price of one mapping per unit.
//
// Threads: safe from any and async-signal-safe, except open() and close().
#pragma once

#include <atomic>
#include <cstddef>

#include <dolmen/error.hpp>

#include "base/bytes.hpp"
#include "sys/linux/reservations.hpp"

namespace dolmen::sys {

class UnitFiller {
 public:
  enum class Way { alias_if_possible, move };

  void open(Way way = Way::alias_if_possible) noexcept;
  void close() noexcept;

  /// Makes an absent unit present; does nothing to a present one. Requires: unit is kUnitBytes.
  [[nodiscard]] Result<void> fill(UnitMap& units, std::size_t index, std::byte* address,
                                  base::Bytes unit) noexcept;
  /// Makes a present unit absent; does nothing to an absent one.
  [[nodiscard]] static bool drop(UnitMap& units, std::size_t index, std::byte* address) noexcept;

 private:
  [[nodiscard]] Result<void> put(std::byte* address, base::Bytes unit) noexcept;
  [[nodiscard]] static Result<void> close_pages(const UnitMap& units, std::size_t index,
                                                std::byte* address) noexcept;
  [[nodiscard]] static Result<void> move_over(std::byte* address, base::Bytes unit) noexcept;

  std::atomic<int> alias_{-1};
};

}  // namespace dolmen::sys
