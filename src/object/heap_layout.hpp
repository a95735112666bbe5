// SPDX-License-Identifier: Apache-2.0
//
// The stored structures of the heap inside an object (docs/formats/object.md), and its constants.
//
// Compact area: from heap_origin to the end of that page (or object), tiled by compact runs of 16 +
// n bytes. Paged part (capacity >= 8 KiB): runs over whole pages, described by 8 bytes per page
// that grow down from HeapState::table_end. Pages never used lie above HeapState::top.
//
// Threads: constants and values.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace dolmen::object::layout {

inline constexpr std::uint32_t kPage = 4096;
inline constexpr unsigned kPageShift = 12;
/// Objects from this capacity on have a paged part and a HeapState.
inline constexpr unsigned kPagedLog2 = 13;
/// Up to this capacity the page table lies in the compact area; above it, at the object's end.
inline constexpr unsigned kTableInsideLog2 = 18;
/// Single allocations and array classes above this are large: a run of their own.
inline constexpr std::uint32_t kLargeBytes = 16384;
inline constexpr std::uint32_t kMaxRunPages = 16;

/// A run in the compact area: 16 bytes, then `capacity` slots of `slot_bytes`, then padding to 16.
/// type 0: a gap; `slot_bytes` says how many bytes follow these 16.
struct CompactRun {
  std::uint32_t type = 0;
  std::uint16_t slot_bytes = 0;
  std::uint16_t element_bytes = 0;
  std::uint8_t capacity = 0;
  std::uint8_t flags = 0;  // kArray
  std::uint16_t zero = 0;
  std::uint32_t bitmap = 0;  // bit i: slot i is allocated
};
static_assert(sizeof(CompactRun) == 16);

inline constexpr std::uint8_t kArray = 1;
inline constexpr std::uint8_t kLarge = 2;
inline constexpr std::uint8_t kInBin = 4;  // is in its bin's list of runs with free slots

/// A run over whole pages: 32 bytes, a bitmap of 64-bit words, slots from `first`.
struct PagedRun {
  std::uint32_t type = 0;
  std::uint32_t slot_bytes = 0;
  std::uint32_t element_bytes = 0;
  std::uint16_t capacity = 0;
  std::uint8_t pages = 0;  // 0 for large runs: their page descriptor says it
  std::uint8_t flags = 0;
  std::uint16_t used = 0;
  std::uint16_t hint = 0;  // bitmap words below this one are full
  std::uint32_t next = 0;  // list of the bin's runs with free slots, by offset
  std::uint32_t previous = 0;
  std::uint32_t first = 0;  // offset of slot 0 in the run
};
static_assert(sizeof(PagedRun) == 32);
inline constexpr std::uint32_t kRunHeader = 32;
inline constexpr std::uint32_t kLargeFirst = 64;

/// All runs of one (type, slot size, element size, array flag).
struct Bin {
  std::uint32_t type = 0;  // 0: empty entry
  std::uint32_t slot_bytes = 0;
  std::uint32_t element_bytes = 0;  // bit 31: array
  std::uint32_t first = 0;          // first run with free slots
  std::uint32_t runs = 0;
  std::uint32_t zero = 0;
};
static_assert(sizeof(Bin) == 24);
inline constexpr std::uint32_t kArrayBit = std::uint32_t{1} << 31;
inline constexpr std::uint32_t kInlineBins = 8;

inline constexpr unsigned kExtentBins = 18;

/// An allocation of type kHeapStateTag in the compact area (offset in ObjectHeader::heap_state).
struct HeapState {
  std::uint32_t top = 0;        // first page never used
  std::uint32_t table_end = 0;  // descriptor of page p: table_end - 8 (p + 1)
  std::uint32_t bins = 0;       // offset of the table of bins
  std::uint32_t bins_log2 = 0;  // its entries
  std::uint32_t bins_used = 0;
  std::uint32_t low_pages = 0;  // pages [1, low_pages) are still held back by the page colour
  std::array<std::uint32_t, 2> zero{};
  std::array<std::uint32_t, kExtentBins> extents{};  // first free extent of [2^i, 2^(i+1)) pages
  std::array<Bin, kInlineBins> inline_bins{};
};
static_assert(sizeof(HeapState) == 32 + 72 + 192 && sizeof(HeapState) % 8 == 0);

/// A page's descriptor: kind in bits 0–3, three fields of 20 bits from bit 4 on.
enum class PageKind : std::uint8_t {
  none = 0,          // never used, or inside a free extent
  free_first = 1,    // length, next, previous
  free_last = 2,     // length
  run_first = 3,     // length
  run_interior = 4,  // pages back to the first
  fixed = 5,         // header or compact page
};

struct PageDescriptor {
  PageKind kind = PageKind::none;
  std::uint32_t length = 0;
  std::uint32_t next = 0;
  std::uint32_t previous = 0;
};

[[nodiscard]] constexpr std::uint64_t pack(const PageDescriptor& d) noexcept {
  return static_cast<std::uint64_t>(d.kind) | std::uint64_t{d.length} << 4 |
         std::uint64_t{d.next} << 24 | std::uint64_t{d.previous} << 44;
}
[[nodiscard]] constexpr PageDescriptor unpack(std::uint64_t bits) noexcept {
  constexpr std::uint64_t kField = (1u << 20) - 1;
  return {.kind = static_cast<PageKind>(bits & 15),
          .length = static_cast<std::uint32_t>(bits >> 4 & kField),
          .next = static_cast<std::uint32_t>(bits >> 24 & kField),
          .previous = static_cast<std::uint32_t>(bits >> 44)};
}

}  // namespace dolmen::object::layout
