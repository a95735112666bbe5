// SPDX-License-Identifier: Apache-2.0
//
// Hands out slots of the process-wide arena (<dolmen/detail/arena.hpp>): region c holds slots of
// 2^c bytes. Plain slots grow from the bottom of a region, demand slots from its top, in batches
// that double, so that a million slots need a handful of kernel mappings. Slot 0 of a class is
// never used. Classes below a page have no demand slots; from the top of their regions come slots
// that have a page of their own.
//
// The arena and its records are reserved once and stay until the process ends.
//
// Threads: safe from any thread (one mutex, held for tens of nanoseconds but for the rare system
// call). Invariants:
//   1. A slot handed out reads zero (or absent, if demand) and its Mapping record is zero.
//   2. A slot that was made demand-filled is only ever handed out as a demand slot.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include <dolmen/detail/arena.hpp>
#include <dolmen/error.hpp>

#include "sys/memory.hpp"

namespace dolmen::object {

enum class SlotKind : std::uint8_t {
  plain,   ///< zero-filled memory
  demand,  ///< absent until filled by the fault handler
  alone,   ///< as plain, and no other slot shares a page with it: pages can be closed one by one
};

/// Reserves the arena on the first call; later calls do nothing and need the same `memory`, which
/// must outlive the process's last use of a slot. Errors: out_of_memory.
[[nodiscard]] Result<void> ensure_arena(sys::Memory& memory);

/// A slot of 2^capacity_log2 bytes. Requires: ensure_arena() succeeded; kMinClass <= capacity_log2
/// <= kMaxClass; for demand slots an installed fault handler and 2^capacity_log2 >= its fault unit.
/// Errors: out_of_memory (the region is full, or the kernel refused), unsupported.
/// Cost: about 30 ns, amortised.
[[nodiscard]] Result<std::byte*> allocate_slot(unsigned capacity_log2, SlotKind kind);

/// Gives a slot back: drops its contents (below 4 KiB: when it is reused) and zeroes its Mapping
/// record. Requires: `base` came from allocate_slot() and no thread uses the slot or its record any
/// more.
void free_slot(std::byte* base) noexcept;

struct ArenaClassStats {
  std::uint64_t plain_in_use = 0;
  std::uint64_t demand_in_use = 0;    ///< those with a page of their own too
  std::uint64_t free = 0;             ///< given back, ready for reuse
  std::uint64_t activated_bytes = 0;  ///< address space made accessible, plain and demand
};
struct ArenaStats {
  std::uint64_t slots_in_use = 0;
  std::uint64_t activated_bytes = 0;         ///< of slots
  std::uint64_t record_bytes_activated = 0;  ///< of Mapping records
  std::array<ArenaClassStats, 32> classes{};
};
[[nodiscard]] ArenaStats arena_stats() noexcept;

}  // namespace dolmen::object
