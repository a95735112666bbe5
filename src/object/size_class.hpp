// SPDX-License-Identifier: Apache-2.0
//
// How many bytes an allocation really takes, and how runs of slots are laid out over pages. Pure
// functions: containers grow by them and formats depend on them.
//
// Threads: pure.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>

#include "object/heap_layout.hpp"

namespace dolmen::object::layout {

[[nodiscard]] constexpr std::uint64_t round_up(std::uint64_t value,
                                               std::uint64_t multiple) noexcept {
  return (value + multiple - 1) / multiple * multiple;
}

/// Arrays: 8, multiples of 16 up to 128, then eight classes per doubling up to kLargeBytes; above
/// that whole pages less the run's header.
[[nodiscard]] constexpr std::uint64_t array_bytes(std::uint64_t bytes) noexcept {
  if (bytes <= 8) return 8;
  if (bytes <= 128) return (bytes + 15) & ~std::uint64_t{15};
  if (bytes > kLargeBytes) return round_up(bytes + kLargeFirst, kPage) - kLargeFirst;
  const std::uint64_t step = std::bit_floor(bytes - 1) / 8;
  return (bytes + step - 1) & ~(step - 1);
}

/// One element: its own size, in words.
[[nodiscard]] constexpr std::uint64_t single_bytes(std::uint64_t bytes) noexcept {
  return (bytes + 7) & ~std::uint64_t{7};
}

struct RunShape {
  std::uint32_t pages = 0;
  std::uint32_t capacity = 0;
  std::uint32_t first = 0;
};

[[nodiscard]] constexpr std::uint32_t bitmap_words(std::uint32_t capacity) noexcept {
  return (capacity + 63) / 64;
}

/// As many slots as fit, aligned within a cache line as their size allows. capacity 0: none fits.
[[nodiscard]] constexpr RunShape run_shape(std::uint32_t slot_bytes, std::uint32_t pages) noexcept {
  const std::uint32_t all = pages * kPage;
  const std::uint32_t alignment = std::clamp(slot_bytes & (0u - slot_bytes), 16u, 64u);
  RunShape shape{.pages = pages, .capacity = (all - kRunHeader) * 8 / (8 * slot_bytes + 1)};
  for (; shape.capacity > 0; --shape.capacity) {
    shape.first = static_cast<std::uint32_t>(
        round_up(kRunHeader + 8 * bitmap_words(shape.capacity), alignment));
    if (shape.first + shape.capacity * slot_bytes <= all) break;
  }
  return shape;
}

/// Pages that a run needs for one slot.
[[nodiscard]] constexpr std::uint32_t least_pages(std::uint32_t slot_bytes) noexcept {
  return (slot_bytes + 64 + kPage - 1) / kPage;
}

/// The run that a bin with `runs` runs gets next: pages doubling from one, or the next number
/// within `most` (else the next below) that loses at most an eighth, or least.
[[nodiscard]] constexpr RunShape next_run(std::uint32_t slot_bytes, std::uint32_t runs,
                                          std::uint32_t most) noexcept {
  const std::uint32_t least = least_pages(slot_bytes);
  most = std::clamp(most, least, std::max(least, kMaxRunPages));
  const std::uint32_t wanted = std::clamp(std::uint32_t{1} << std::min(runs, 4u), least, most);
  RunShape best = run_shape(slot_bytes, wanted);
  const auto is_dense = [&] { return best.capacity * slot_bytes >= best.pages * kPage / 8 * 7; };
  const auto consider = [&](std::uint32_t pages) {
    const RunShape shape = run_shape(slot_bytes, pages);
    if (shape.capacity * best.pages > best.capacity * pages) best = shape;
  };
  for (std::uint32_t pages = wanted + 1; pages <= most && !is_dense(); ++pages) consider(pages);
  for (std::uint32_t pages = wanted - 1; pages >= least && !is_dense(); --pages) consider(pages);
  return best;
}

}  // namespace dolmen::object::layout
