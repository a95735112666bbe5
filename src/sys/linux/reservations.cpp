// SPDX-License-Identifier: Apache-2.0
#include "sys/linux/reservations.hpp"

#include <algorithm>
#include <new>

#include <sys/mman.h>

#include <dolmen/assert.hpp>

namespace dolmen::sys {
namespace {

constexpr std::size_t kPage = 4096;

constexpr std::size_t round_up(std::size_t value, std::size_t multiple) noexcept {
  return (value + multiple - 1) / multiple * multiple;
}

}  // namespace

UnitMap* UnitMap::create(std::size_t reservation_bytes) noexcept {
  // Whole blocks, so that a block's entries are whole pages that set_range can drop.
  const std::size_t blocks =
      round_up(reservation_bytes, kUnitsPerBlock * kUnitBytes) / (kUnitsPerBlock * kUnitBytes);
  const std::size_t units = blocks * kUnitsPerBlock;
  const std::size_t header_bytes = kPage;
  const std::size_t blocks_bytes = round_up(blocks, kPage);
  const std::size_t bytes = header_bytes + blocks_bytes + units + units * sizeof(std::uint16_t);
  void* const memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) return nullptr;
  (void)::madvise(memory, bytes, MADV_DONTDUMP);
  // Zeroed memory is valid atomics of value zero: sparse arrays are never constructed element by
  // element.
  auto* const start = static_cast<std::byte*>(memory);
  auto* const map = new (memory) UnitMap;
  map->mapped_bytes_ = bytes;
  map->blocks_ = reinterpret_cast<std::atomic<std::uint8_t>*>(start + header_bytes);
  map->units_ = reinterpret_cast<std::atomic<std::uint8_t>*>(start + header_bytes + blocks_bytes);
  map->write_protected_ =
      reinterpret_cast<std::atomic<std::uint16_t>*>(start + header_bytes + blocks_bytes + units);
  return map;
}

void UnitMap::destroy(UnitMap* map) noexcept {
  if (map != nullptr) ::munmap(map, map->mapped_bytes_);
}

UnitState UnitMap::state(std::size_t unit) const noexcept {
  const auto own = static_cast<UnitState>(units_[unit].load(std::memory_order_acquire));
  if (own != UnitState::inherited) return own;
  const bool absent = blocks_[unit / kUnitsPerBlock].load(std::memory_order_acquire) != 0;
  return absent ? UnitState::absent : UnitState::plain;
}

bool UnitMap::begin_change(std::size_t unit, UnitState from) noexcept {
  std::uint8_t own = units_[unit].load(std::memory_order_acquire);
  if (state(unit) != from) return false;
  return units_[unit].compare_exchange_strong(own, static_cast<std::uint8_t>(UnitState::changing),
                                              std::memory_order_acq_rel);
}

void UnitMap::end_change(std::size_t unit, UnitState to) noexcept {
  DOLMEN_ASSERT(state(unit) == UnitState::changing);
  units_[unit].store(static_cast<std::uint8_t>(to), std::memory_order_release);
}

void UnitMap::set_range(std::size_t first, std::size_t last, UnitState state) noexcept {
  while (first < last) {
    const std::size_t block = first / kUnitsPerBlock;
    if (first % kUnitsPerBlock == 0 && last - first >= kUnitsPerBlock) {
      (void)::madvise(&units_[first], kUnitsPerBlock, MADV_DONTNEED);
      (void)::madvise(&write_protected_[first], kUnitsPerBlock * sizeof(std::uint16_t),
                      MADV_DONTNEED);
      blocks_[block].store(state == UnitState::absent ? 1 : 0, std::memory_order_release);
      first += kUnitsPerBlock;
      continue;
    }
    for (const std::size_t end = std::min(last, (block + 1) * kUnitsPerBlock); first < end;
         ++first) {
      write_protected_[first].store(0, std::memory_order_relaxed);
      units_[first].store(static_cast<std::uint8_t>(state), std::memory_order_release);
    }
  }
}

bool UnitMap::is_write_protected(std::size_t page) const noexcept {
  const std::uint16_t bits = write_protected_[page / kPagesPerUnit].load(std::memory_order_acquire);
  return (bits >> (page % kPagesPerUnit) & 1) != 0;
}

bool UnitMap::any_write_protected(std::size_t unit) const noexcept {
  return write_protected_[unit].load(std::memory_order_acquire) != 0;
}

void UnitMap::set_write_protected(std::size_t page, bool value) noexcept {
  std::atomic<std::uint16_t>& bits = write_protected_[page / kPagesPerUnit];
  const auto mask = static_cast<std::uint16_t>(1u << (page % kPagesPerUnit));
  if (value) {
    bits.fetch_or(mask, std::memory_order_acq_rel);
  } else {
    bits.fetch_and(static_cast<std::uint16_t>(~mask), std::memory_order_acq_rel);
  }
}

bool Reservations::add(std::uintptr_t base, std::size_t bytes) noexcept {
  for (Reservation& entry : entries_) {
    std::uintptr_t free = 0;
    if (!entry.base.compare_exchange_strong(free, kTaken, std::memory_order_acq_rel)) continue;
    entry.bytes.store(bytes, std::memory_order_relaxed);
    entry.base.store(base, std::memory_order_release);
    return true;
  }
  return false;
}

void Reservations::remove(std::uintptr_t base) noexcept {
  for (Reservation& entry : entries_) {
    if (entry.base.load(std::memory_order_acquire) != base) continue;
    entry.base.store(kTaken, std::memory_order_release);
    entry.bytes.store(0, std::memory_order_relaxed);
    entry.demanded.store(false, std::memory_order_relaxed);
    UnitMap::destroy(entry.units.exchange(nullptr, std::memory_order_acq_rel));
    entry.base.store(0, std::memory_order_release);
  }
}

void Reservations::clear() noexcept {
  for (const Reservation& entry : entries_) {
    const std::uintptr_t base = entry.base.load(std::memory_order_acquire);
    if (base > kTaken) remove(base);
  }
}

Reservation* Reservations::find(std::uintptr_t address) noexcept {
  for (Reservation& entry : entries_) {
    const std::uintptr_t base = entry.base.load(std::memory_order_acquire);
    if (base > kTaken && address - base < entry.bytes.load(std::memory_order_relaxed))
      return &entry;
  }
  return nullptr;
}

bool Reservations::idle() const noexcept {
  return std::ranges::none_of(entries_, [](const Reservation& entry) {
    return entry.demanded.load(std::memory_order_acquire);
  });
}

}  // namespace dolmen::sys
