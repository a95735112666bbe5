// SPDX-License-Identifier: Apache-2.0
//
// The arena: one reservation of address space, made of 32 regions of 2^kRegionShift bytes. Region c
// holds slots of 2^c bytes (c = 9 … 30), each home to one mapping of one object, so that an
// object's base follows from any address inside it by two shifts, without a table. The arena's
// place is chosen by the kernel and never written down.
//
// Runtime facts of a mapping lie in two dense arrays (translation_of, mapping_of), never in the
// slot's own pages: 64 objects whose tables sat at equal offsets would share one cache set.
//
// Internal: everything in dolmen::detail may change between versions.
// Threads: addresses and fields read by the inline paths are set before the mapping is published.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include <dolmen/id.hpp>

#ifndef DOLMEN_REGION_SHIFT
#define DOLMEN_REGION_SHIFT 40
#endif

/// 1: every dereference checks stamp, scope, bounds and type.
/// The build says it (CMake option DOLMEN_CHECKED), to the library and its users alike.
#ifndef DOLMEN_CHECKED
#define DOLMEN_CHECKED 0
#endif

namespace dolmen::detail {

inline constexpr unsigned kRegionShift = DOLMEN_REGION_SHIFT;
inline constexpr unsigned kArenaShift = kRegionShift + 5;
inline constexpr unsigned kMinClass = 9;
inline constexpr unsigned kMaxClass = 30;
inline constexpr std::uintptr_t kRegionMask = (std::uintptr_t{1} << kRegionShift) - 1;

// Pointer bits, told apart by three compares in the order of how often they are met:
//   0                    null
//   [1, 2^30)            offset in this object
//   [2^30, 2^47)         transient: an address
//   bit 63               foreign: 1, 3 zero bits, 30-bit FOT index, 30-bit offset
//   bit 62               transient that needs a look: 15-bit section stamp, 47-bit address. Used
//   for
//                        targets whose scope is still to be checked, addresses below 2^30, and
//                        everything transient in checked builds
// Only null, offsets and foreign ones are ever stored in an object.
inline constexpr unsigned kOffsetBits = 30;
inline constexpr std::uint64_t kOffsetMask = (std::uint64_t{1} << kOffsetBits) - 1;
inline constexpr unsigned kStampShift = 47;
inline constexpr std::uint64_t kStampMask = 0x7FFF;
inline constexpr std::uint64_t kAddressMask = (std::uint64_t{1} << kStampShift) - 1;
inline constexpr std::uint64_t kForeignTag = std::uint64_t{1} << 63;
inline constexpr std::uint64_t kStampedTag = std::uint64_t{1} << 62;
inline constexpr std::uint64_t kFotIndexMask = kOffsetMask;
/// Marks storage locations off the arena in containers' own words.
inline constexpr std::uint64_t kTransientTag = std::uint64_t{1} << 63;

[[gnu::always_inline]] constexpr bool is_plain_transient(std::uint64_t bits) noexcept {
  return bits - (kOffsetMask + 1) < kAddressMask - kOffsetMask;
}
[[gnu::always_inline]] constexpr bool is_foreign(std::uint64_t bits) noexcept {
  return static_cast<std::int64_t>(bits) < 0;
}
/// Of foreign bits; bits 60 … 62 are zero in them.
[[gnu::always_inline]] constexpr std::uint32_t fot_index(std::uint64_t bits) noexcept {
  return static_cast<std::uint32_t>(bits >> kOffsetBits);
}

/// FOT indices below this are translated within one cache line.
inline constexpr std::uint32_t kNearIndices = 8;

/// What a dereference into another object reads of the slot that holds the pointer: 64 bytes, one
/// cache line, so that an object with up to seven neighbours costs one load beyond the pointer's.
struct Translation {
  /// [0]: the inline foreign path is taken while it is >= the ambient stamp (see Ambient::stamp).
  /// [index]: base address of the target of FOT index 1 … kNearIndices - 1; 0 = not looked up.
  /// One array, so that the index addresses it as it comes out of the pointer's bits.
  std::atomic<std::uint64_t> words[kNearIndices];

  [[nodiscard]] std::atomic<std::uint64_t>& stamp() noexcept { return words[0]; }
};
static_assert(sizeof(Translation) == 64, "one cache line per slot");

/// Runtime facts of one mapped slot: 64 bytes, one cache line.
struct Mapping {
  /// Base addresses of the targets of FOT indices kNearIndices … table_size - 1, by index; 0 = not
  /// looked up.
  std::atomic<const std::uintptr_t*> table;
  std::atomic<std::uint32_t> table_size;
  /// Section stamp that transient pointers into a view carry; 0 in home mappings.
  std::uint16_t view_stamp;
  std::uint8_t kind;  ///< 0 free, 1 home, 2 view
  std::uint8_t capacity_log2;
  /// The txn layer's object record (home) or view-object record (view).
  void* record;
  ObjectId id;
  /// The SpaceCore that the mapping belongs to.
  void* space;
  std::uint64_t next_free;  ///< in the list of free slots of the class
  std::uint64_t unused;
};
static_assert(sizeof(Mapping) == 64, "one cache line per mapping");

// All are read relaxed, by threads that may never have opened a space: an address in the arena
// only comes to a thread from one that saw the arena made.
/// arena base >> kArenaShift, or a value that no address has while there is no arena.
extern constinit std::atomic<std::uintptr_t> arena_tag;
/// Records of the slot with heap number n = 2^(kRegionShift - c) + slot.
extern constinit std::atomic<Translation*> translations;
extern constinit std::atomic<Mapping*> mappings;

[[gnu::always_inline]] inline bool in_arena(std::uintptr_t address) noexcept {
  return (address >> kArenaShift) == arena_tag.load(std::memory_order_relaxed);
}
[[gnu::always_inline]] inline bool in_arena(const void* address) noexcept {
  return in_arena(reinterpret_cast<std::uintptr_t>(address));
}
/// Capacity class of the slot that holds an arena address.
[[gnu::always_inline]] inline unsigned class_of(std::uintptr_t address) noexcept {
  return static_cast<unsigned>(address >> kRegionShift) & 31u;
}
[[gnu::always_inline]] inline std::uintptr_t base_of(std::uintptr_t address) noexcept {
  const unsigned c = class_of(address);
  return address >> c << c;
}
[[gnu::always_inline]] inline std::uintptr_t base_of(const void* address) noexcept {
  return base_of(reinterpret_cast<std::uintptr_t>(address));
}
[[gnu::always_inline]] inline std::uintptr_t heap_number(std::uintptr_t address) noexcept {
  return ((address & kRegionMask) | (kRegionMask + 1)) >> class_of(address);
}
[[gnu::always_inline]] inline Translation& translation_of(std::uintptr_t address) noexcept {
  return translations.load(std::memory_order_relaxed)[heap_number(address)];
}
[[gnu::always_inline]] inline Translation& translation_of(const void* address) noexcept {
  return translation_of(reinterpret_cast<std::uintptr_t>(address));
}
[[gnu::always_inline]] inline Mapping& mapping_of(std::uintptr_t address) noexcept {
  return mappings.load(std::memory_order_relaxed)[heap_number(address)];
}
[[gnu::always_inline]] inline Mapping& mapping_of(const void* address) noexcept {
  return mapping_of(reinterpret_cast<std::uintptr_t>(address));
}

}  // namespace dolmen::detail
