// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <bit>

#include "object/heap_core.hpp"

namespace dolmen::object::core {
namespace {

constexpr std::uint32_t kHeader = sizeof(CompactRun);
/// A type with this many slots or bytes in the compact area moves on to pages of its own.
constexpr std::uint32_t kMostSlots = 16;
constexpr std::uint32_t kMostBytes = 512;

constexpr std::uint32_t run_bytes(std::uint32_t slot_bytes, std::uint32_t capacity) noexcept {
  return static_cast<std::uint32_t>(
      layout::round_up(kHeader + std::uint64_t{slot_bytes} * capacity, 16));
}

}  // namespace

void EditCore::write_gap(std::uint32_t offset, std::uint32_t bytes) {
  if (bytes == 0) return;
  CompactRun gap;
  gap.slot_bytes = static_cast<std::uint16_t>(bytes - kHeader);
  bytes_.store(offset, gap);
}

Result<std::uint32_t> EditCore::allocate_compact(const SlotKey& key, bool force) {
  if (key.slot_bytes > kPage) return fail(Errc::object_full, "compact area", key.slot_bytes);
  std::uint32_t free_run = 0;   // a run of this key with a free slot
  std::uint32_t own_slots = 0;  // slots of this key so far
  std::uint32_t gap = 0;        // the first gap with room for one slot
  std::uint32_t gap_bytes = 0;
  const bool is_sound =
      each_compact([&](std::uint32_t at, const CompactRun& run, std::uint32_t size) {
        if (run.type == 0) {
          if (gap == 0 && size >= run_bytes(key.slot_bytes, 1)) {
            gap = at;
            gap_bytes = size;
          }
          return true;
        }
        if (!key.fits(run)) return true;
        own_slots += run.capacity;
        if (static_cast<unsigned>(std::popcount(run.bitmap)) < run.capacity) free_run = at;
        return free_run == 0;
      });
  if (!is_sound) return fail(Errc::corrupt, "compact area");

  if (free_run != 0) {
    auto run = bytes_.load<CompactRun>(free_run);
    const auto slot = static_cast<std::uint32_t>(std::countr_one(run.bitmap));
    run.bitmap |= std::uint32_t{1} << slot;
    bytes_.store(free_run, run);
    const std::uint32_t offset = free_run + kHeader + slot * key.slot_bytes;
    bytes_.zero_fresh(offset, key.slot_bytes);
    return offset;
  }
  const bool moves_on = has_pages() && !force &&
                        (own_slots >= kMostSlots || own_slots * key.slot_bytes >= kMostBytes);
  if (gap == 0 || moves_on) return fail(Errc::object_full, "compact area", key.slot_bytes);

  // As many slots again as there are, so that a type with one allocation wastes nothing.
  std::uint32_t capacity = std::clamp(own_slots, 1u, 32u);
  while (capacity > 1 && (capacity * key.slot_bytes > kMostBytes ||
                          run_bytes(key.slot_bytes, capacity) > gap_bytes)) {
    --capacity;
  }
  const std::uint32_t size = run_bytes(key.slot_bytes, capacity);
  write_gap(gap + size, gap_bytes - size);
  CompactRun run;
  run.type = key.type;
  run.slot_bytes = static_cast<std::uint16_t>(key.slot_bytes);
  run.element_bytes = static_cast<std::uint16_t>(key.element_bytes);
  run.capacity = static_cast<std::uint8_t>(capacity);
  run.flags = key.is_array ? layout::kArray : std::uint8_t{0};
  run.bitmap = 1;
  bytes_.store(gap, run);
  bytes_.zero_fresh(gap + kHeader, key.slot_bytes);
  return gap + kHeader;
}

Result<void> EditCore::deallocate_compact(std::uint64_t offset) {
  std::uint32_t found = 0;
  std::uint32_t found_size = 0;
  std::uint32_t gap_before = 0;
  std::uint32_t gap_after_bytes = 0;
  CompactRun run;
  bool previous_is_gap = false;
  std::uint32_t previous = 0;
  const bool is_sound =
      each_compact([&](std::uint32_t at, const CompactRun& r, std::uint32_t size) {
        if (found != 0) {  // one step beyond the run: is there a gap to join?
          if (r.type == 0) gap_after_bytes = size;
          return false;
        }
        if (offset < at + size) {
          found = at;
          found_size = size;
          run = r;
          if (previous_is_gap) gap_before = previous;
          return r.type != 0;
        }
        previous = at;
        previous_is_gap = r.type == 0;
        return true;
      });
  if (!is_sound) return fail(Errc::corrupt, "compact area");
  if (found == 0 || run.type == 0 || offset < found + kHeader ||
      (offset - found - kHeader) % run.slot_bytes != 0) {
    return fail(Errc::invalid_argument, "no allocation begins there", offset);
  }
  const auto slot = static_cast<std::uint32_t>((offset - found - kHeader) / run.slot_bytes);
  if (slot >= run.capacity || (run.bitmap >> slot & 1) == 0) {
    return fail(Errc::invalid_argument, "no allocation begins there", offset);
  }
  run.bitmap &= ~(std::uint32_t{1} << slot);
  if (run.bitmap != 0) {
    bytes_.free(offset, run.slot_bytes);
    bytes_.store(found, run);
    return {};
  }
  // Headers too become free memory here.
  const std::uint32_t begin = gap_before != 0 ? gap_before : found;
  const std::uint32_t gap_bytes = found + found_size + gap_after_bytes - begin;
  bytes_.free(begin, gap_bytes);
  write_gap(begin, gap_bytes);
  return {};
}

}  // namespace dolmen::object::core
