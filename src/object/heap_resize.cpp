// SPDX-License-Identifier: Apache-2.0
//
// The heap's state, made by format() and when an object grows beyond 4 KiB, and the change of
// capacity: pages stay where they are, the page table moves to the new end (or into the compact
// area).
#include <vector>

#include "object/heap_core.hpp"

namespace dolmen::object {
namespace core {
namespace {

constexpr std::uint32_t kHeader = sizeof(CompactRun);

constexpr SlotKey kStateKey{
    .type = kHeapStateTag, .slot_bytes = sizeof(HeapState), .element_bytes = sizeof(HeapState)};
constexpr SlotKey table_key(std::uint32_t pages) noexcept {
  return {.type = kPageTableTag, .slot_bytes = 8 * pages, .element_bytes = 8, .is_array = true};
}

}  // namespace

// Requires: the compact area is tiled, there is no state, and every page but the compact one is
// unused.
void EditCore::make_state() {
  const std::uint32_t pages = page_count();
  const bool table_inside = pages <= std::uint32_t{1} << (layout::kTableInsideLog2 - kPageShift);
  const std::uint32_t origin_page = geometry_.origin >> kPageShift;
  std::uint32_t table_end = bytes_.capacity();
  const auto in_compact = allocate_compact(kStateKey, true);
  std::uint32_t at = 0;
  if (in_compact) {
    at = *in_compact;
    if (table_inside) {
      if (const auto table = allocate_compact(table_key(pages), true))
        table_end = *table + 8 * pages;
    }
  } else {
    // A small object that was full: page 1 gets both. It becomes a run like any other below.
    at = kPage + layout::kLargeFirst;
    const std::uint32_t bytes = sizeof(HeapState) + (table_inside ? 8 * pages : 0);
    bytes_.zero_fresh(kPage, layout::kLargeFirst + bytes);
    if (table_inside) table_end = at + bytes;
    PagedRun run;
    run.type = kHeapStateTag;
    run.slot_bytes = bytes;
    run.element_bytes = bytes;
    run.capacity = 1;
    run.flags = layout::kLarge;
    run.used = 1;
    run.first = layout::kLargeFirst;
    bytes_.store_fresh(kPage, run);
    bytes_.store_fresh(kPage + layout::kRunHeader, ~std::uint64_t{0});
  }
  geometry_.state = at;
  bytes_.store(offsetof(ObjectHeader, heap_state), static_cast<std::uint16_t>(at / 16));
  HeapState state;
  state.top = origin_page + 1;
  state.table_end = table_end;
  state.bins = at + static_cast<std::uint32_t>(offsetof(HeapState, inline_bins));
  state.bins_log2 = std::bit_width(layout::kInlineBins) - 1;
  state.low_pages = origin_page;
  bytes_.store(at, state);
  set_page(0, {.kind = PageKind::fixed});
  set_page(origin_page, {.kind = PageKind::fixed});
  if (!in_compact) (void)allocate_pages(1);  // page 1, the first one
}

// The compact area grows from `old_end` to its present end.
void EditCore::extend_compact(std::uint32_t old_end) {
  std::uint32_t gap = old_end;
  std::uint32_t at = geometry_.origin;
  while (at < old_end) {
    const auto run = bytes_.load<CompactRun>(at);
    const std::uint64_t payload =
        run.type == 0 ? run.slot_bytes : std::uint64_t{run.slot_bytes} * run.capacity;
    gap = run.type == 0 ? at : old_end;
    at += static_cast<std::uint32_t>(layout::round_up(kHeader + payload, 16));
  }
  write_gap(gap, geometry_.compact_end - gap);
}

std::uint32_t EditCore::compact_used_end() const {
  std::uint32_t end = geometry_.origin;
  (void)each_compact([&](std::uint32_t at, const CompactRun& run, std::uint32_t size) {
    if (run.type != 0 && run.type != kHeapStateTag && run.type != kPageTableTag) end = at + size;
    return true;
  });
  return end;
}

namespace {

/// A page table for `pages` pages: in the compact area if it is small and there is room, else at
/// the end of an object of `capacity` bytes. Its end.
std::uint32_t place_table(EditCore& heap, std::uint32_t pages, std::uint32_t capacity) {
  if (pages <= std::uint32_t{1} << (layout::kTableInsideLog2 - kPageShift)) {
    if (const auto table = heap.allocate_compact(table_key(pages), true)) return *table + 8 * pages;
  }
  return capacity;
}

std::uint32_t end_page_of(std::uint32_t table_end, std::uint32_t pages, std::uint32_t capacity) {
  return table_end == capacity ? (capacity - 8 * pages) >> kPageShift : pages;
}

}  // namespace
}  // namespace core

namespace {

using core::EditableBytes;
using core::EditCore;
using core::kPageShift;
using core::PageDescriptor;

void store_capacity(std::byte* base, unsigned log2, WriteLog& log) {
  EditableBytes(base, std::uint32_t{1} << kMinCapacityLog2, log)
      .store(offsetof(ObjectHeader, capacity_log2), static_cast<std::uint8_t>(log2));
}

struct OldTable {
  std::uint32_t begin = 0;
  std::uint32_t end = 0;
  bool at_object_end = false;
};

/// Gives back or wipes the space of a page table that moved.
Result<void> drop_table(EditCore& heap, EditableBytes& bytes, const OldTable& old) {
  if (old.at_object_end) {
    bytes.zero(old.begin, old.end - old.begin);
    return {};
  }
  if (heap.geometry().in_compact(old.begin)) return heap.deallocate_compact(old.begin);
  return {};  // it shares a page with the state
}

OldTable table_of(const EditCore& heap, std::uint32_t capacity) {
  const std::uint32_t end = heap.table_end();
  return {.begin = end - 8 * heap.page_count(), .end = end, .at_object_end = end == capacity};
}

Result<void> grow(std::byte* base, unsigned old_log2, unsigned new_log2, WriteLog& log) {
  const std::uint32_t old_capacity = std::uint32_t{1} << old_log2;
  const std::uint32_t new_capacity = std::uint32_t{1} << new_log2;
  if (old_log2 < layout::kPagedLog2) {
    store_capacity(base, new_log2, log);
    EditCore heap(base, new_log2, log);
    heap.extend_compact(core::compact_end_of(heap.geometry().origin, old_capacity));
    if (new_log2 >= layout::kPagedLog2) heap.make_state();
    return heap.failed() ? Result<void>(fail(Errc::corrupt, "heap")) : Result<void>();
  }
  EditCore heap(base, old_log2, log);
  const OldTable old = table_of(heap, old_capacity);
  const std::uint32_t used = heap.top();
  if (used > heap.page_count()) return fail(Errc::corrupt, "page table");
  std::vector<PageDescriptor> pages(used);
  for (std::uint32_t p = 0; p < used; ++p) pages[p] = heap.page(p);
  const std::uint32_t new_end = core::place_table(heap, new_capacity >> kPageShift, new_capacity);

  store_capacity(base, new_log2, log);
  EditCore larger(base, new_log2, log);
  EditableBytes bytes(base, new_capacity, log);
  DOLMEN_CHECK(drop_table(larger, bytes, old));
  larger.set_state(offsetof(layout::HeapState, table_end), new_end);
  for (std::uint32_t p = 0; p < used; ++p) {
    if (pages[p].kind != core::PageKind::none) larger.set_page(p, pages[p]);
  }
  if (heap.failed() || larger.failed() || bytes.failed()) return fail(Errc::corrupt, "heap");
  return {};
}

/// From a paged heap to one without pages.
Result<void> drop_pages(EditCore& heap, EditableBytes& bytes, const OldTable& old) {
  const std::uint32_t state = heap.geometry().state;
  const bool state_inside = heap.geometry().in_compact(state);
  if (heap.geometry().origin >= core::kPage || heap.top() > (state_inside ? 1u : 2u)) {
    return fail(Errc::object_full, "pages are in use", heap.top());
  }
  if (!old.at_object_end) DOLMEN_CHECK(drop_table(heap, bytes, old));
  if (state_inside) DOLMEN_CHECK(heap.deallocate_compact(state));
  bytes.store(offsetof(ObjectHeader, heap_state), std::uint16_t{0});
  return {};
}

Result<void> shrink(std::byte* base, unsigned old_log2, unsigned new_log2, WriteLog& log) {
  const std::uint32_t old_capacity = std::uint32_t{1} << old_log2;
  const std::uint32_t new_capacity = std::uint32_t{1} << new_log2;
  EditCore heap(base, old_log2, log);
  EditableBytes bytes(base, old_capacity, log);
  const std::uint32_t cut_end = core::compact_end_of(heap.geometry().origin, new_capacity);
  if (heap.geometry().origin >= new_capacity || heap.compact_used_end() > cut_end) {
    return fail(Errc::object_full, "the compact area", new_capacity);
  }
  if (heap.has_pages()) {
    DOLMEN_CHECK(heap.reclaim_empty());
    const OldTable old = table_of(heap, old_capacity);
    if (new_log2 < layout::kPagedLog2) {
      DOLMEN_CHECK(drop_pages(heap, bytes, old));
    } else {
      const std::uint32_t used = heap.top();
      const std::uint32_t new_pages = new_capacity >> kPageShift;
      if (used > new_pages) {
        return fail(Errc::object_full, "pages above the new capacity", used);
      }
      std::vector<PageDescriptor> pages(used);
      for (std::uint32_t p = 0; p < used; ++p) pages[p] = heap.page(p);
      const std::uint32_t new_end = core::place_table(heap, new_pages, new_capacity);
      // Nothing has changed if it is at the end: a table inside leaves every page to use.
      if (used > core::end_page_of(new_end, new_pages, new_capacity)) {
        return fail(Errc::object_full, "pages above the new capacity", used);
      }
      if (!old.at_object_end) DOLMEN_CHECK(drop_table(heap, bytes, old));
      if (new_end == new_capacity) bytes.zero_fresh(new_end - 8 * new_pages, 8 * new_pages);
      heap.set_state(offsetof(layout::HeapState, table_end), new_end);
      for (std::uint32_t p = 0; p < used; ++p) {
        if (pages[p].kind != core::PageKind::none) heap.set_page(p, pages[p]);
      }
    }
  }
  if (cut_end != heap.geometry().compact_end) {
    const std::uint32_t gap = heap.compact_used_end();
    heap.write_gap(gap, cut_end - gap);
  }
  store_capacity(base, new_log2, log);
  if (heap.failed() || bytes.failed()) return fail(Errc::corrupt, "heap");
  return {};
}

}  // namespace

Result<void> Heap::resize_capacity(unsigned new_log2) {
  if (new_log2 < kMinCapacityLog2 || new_log2 > kMaxCapacityLog2) {
    return fail(Errc::invalid_argument, "capacity", new_log2);
  }
  if (new_log2 == capacity_log2()) return {};
  DOLMEN_CHECK(verify());
  DOLMEN_CHECK(new_log2 > capacity_log2() ? grow(writable_, capacity_log2(), new_log2, *log_)
                                          : shrink(writable_, capacity_log2(), new_log2, *log_));
  capacity_log2_ = new_log2;
  capacity_ = std::uint32_t{1} << new_log2;
  return {};
}

}  // namespace dolmen::object
