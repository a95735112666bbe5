// SPDX-License-Identifier: Apache-2.0
#include <bit>

#include "object/heap_core.hpp"

namespace dolmen::object {
namespace {

using core::CompactRun;
using core::ReadCore;
using core::RunRef;

Allocation allocation_of(const CompactRun& run, std::uint32_t run_offset, std::uint32_t slot) {
  const bool is_array = (run.flags & layout::kArray) != 0;
  return {.offset = run_offset + static_cast<std::uint32_t>(sizeof run) + slot * run.slot_bytes,
          .bytes = run.slot_bytes,
          .type_tag = run.type,
          .element_bytes = run.element_bytes,
          .count = is_array ? std::uint32_t{run.slot_bytes} / run.element_bytes : 1,
          .is_array = is_array};
}

Allocation allocation_of(const RunRef& ref, std::uint32_t slot) {
  const bool is_array = (ref.run.flags & layout::kArray) != 0;
  return {.offset = ref.offset + ref.run.first + slot * ref.run.slot_bytes,
          .bytes = ref.run.slot_bytes,
          .type_tag = ref.run.type,
          .element_bytes = ref.run.element_bytes,
          .count = is_array ? ref.run.slot_bytes / ref.run.element_bytes : 1,
          .is_array = is_array};
}

ReadCore core_of(const HeapReader& heap) {
  return ReadCore(core::ObjectBytes(heap.base(), heap.capacity()), heap.capacity_log2());
}

}  // namespace

std::optional<Allocation> HeapReader::at(std::uint64_t offset) const noexcept {
  const ReadCore heap = core_of(*this);
  if (!heap.geometry().is_sound || offset >= capacity_) return {};
  const auto where = static_cast<std::uint32_t>(offset);
  if (heap.geometry().in_compact(where)) {
    std::optional<Allocation> found;
    const bool is_sound =
        heap.each_compact([&](std::uint32_t at, const CompactRun& run, std::uint32_t size) {
          if (where >= at + size) return true;
          const std::uint32_t slots = at + static_cast<std::uint32_t>(sizeof run);
          if (run.type == 0 || where < slots) return false;
          const std::uint32_t slot = (where - slots) / run.slot_bytes;
          if (slot < run.capacity && (run.bitmap >> slot & 1) != 0) {
            found = allocation_of(run, at, slot);
          }
          return false;
        });
    return is_sound ? found : std::nullopt;
  }
  if (!heap.has_pages()) return {};
  const auto ref = heap.run_of_page(where >> layout::kPageShift);
  if (!ref) return {};
  const std::uint32_t within = where - ref->offset;
  if (within < ref->run.first) return {};
  const std::uint32_t slot = (within - ref->run.first) / ref->run.slot_bytes;
  if (slot >= ref->run.capacity || (heap.word_at(*ref, slot / 64) >> (slot % 64) & 1) == 0) {
    return {};
  }
  return allocation_of(*ref, slot);
}

std::uint32_t HeapReader::usable(std::uint64_t offset) const noexcept {
  const auto found = at(offset);
  return found && found->offset == offset ? found->bytes : 0;
}

Result<void> HeapReader::walk(Step step, void* context) const {
  const ReadCore heap = core_of(*this);
  if (!heap.geometry().is_sound) return fail(Errc::corrupt, "object header");
  bool goes_on = true;
  bool is_sound = heap.each_compact([&](std::uint32_t at, const CompactRun& run, std::uint32_t) {
    for (std::uint32_t bits = run.type == 0 ? 0 : run.bitmap; goes_on && bits != 0;
         bits &= bits - 1) {
      goes_on =
          step(context, allocation_of(run, at, static_cast<std::uint32_t>(std::countr_zero(bits))));
    }
    return goes_on;
  });
  if (!is_sound) return fail(Errc::corrupt, "compact area");
  if (!goes_on) return {};
  is_sound = heap.each_run([&](const RunRef& ref) {
    for (std::uint32_t word = 0; word < layout::bitmap_words(ref.run.capacity); ++word) {
      for (std::uint64_t bits = heap.word_at(ref, word); goes_on && bits != 0; bits &= bits - 1) {
        const std::uint32_t slot = word * 64 + static_cast<std::uint32_t>(std::countr_zero(bits));
        if (slot < ref.run.capacity) goes_on = step(context, allocation_of(ref, slot));
      }
    }
    return goes_on;
  });
  if (!is_sound) return fail(Errc::corrupt, "page table");
  return {};
}

Result<HeapStats> HeapReader::stats() const {
  const ReadCore heap = core_of(*this);
  if (!heap.geometry().is_sound) return fail(Errc::corrupt, "object header");
  HeapStats stats;
  bool is_sound = heap.each_compact([&](std::uint32_t, const CompactRun& run, std::uint32_t size) {
    if (run.type == 0) {
      stats.free_extent_bytes += size;
      return true;
    }
    const auto used = static_cast<std::uint32_t>(std::popcount(run.bitmap));
    stats.allocations += used;
    stats.allocated_bytes += std::uint64_t{used} * run.slot_bytes;
    stats.run_bytes += size;
    ++stats.runs;
    return true;
  });
  std::uint64_t paged = 0;
  is_sound = is_sound && heap.each_run([&](const RunRef& ref) {
    stats.allocations += ref.run.used;
    stats.allocated_bytes += std::uint64_t{ref.run.used} * ref.run.slot_bytes;
    paged += std::uint64_t{ref.pages} * layout::kPage;
    ++stats.runs;
    return true;
  });
  if (!is_sound) return fail(Errc::corrupt, "heap");
  stats.run_bytes += paged;
  if (heap.has_pages()) {
    stats.bins = heap.state(offsetof(layout::HeapState, bins_used));
    const std::uint32_t low = heap.state(offsetof(layout::HeapState, low_pages));
    const std::uint32_t kept = low > 1 ? low - 1 : 0;
    const std::uint32_t fixed = heap.geometry().origin < layout::kPage ? 1 : 2;
    const std::uint64_t pages = heap.top() - std::min(heap.top(), fixed + kept);
    stats.free_extent_bytes += pages * layout::kPage - paged;
    stats.untouched_bytes = (std::uint64_t{heap.end_page()} - heap.top() + kept) * layout::kPage;
  }
  return stats;
}

}  // namespace dolmen::object
