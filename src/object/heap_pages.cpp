// SPDX-License-Identifier: Apache-2.0
#include <bit>

#include "object/heap_core.hpp"

namespace dolmen::object::core {
namespace {

constexpr std::size_t extent_field(unsigned bin) noexcept {
  return offsetof(HeapState, extents) + 4 * bin;
}
constexpr unsigned extent_bin(std::uint32_t length) noexcept {
  return static_cast<unsigned>(std::bit_width(length)) - 1;
}
/// Extents looked at in the one bin whose members may be too short.
constexpr unsigned kProbes = 8;

}  // namespace

void EditCore::set_page(std::uint32_t number, const PageDescriptor& descriptor) {
  bytes_.store(std::uint64_t{table_end()} - 8 * (std::uint64_t{number} + 1),
               layout::pack(descriptor));
}

void EditCore::insert_extent(std::uint32_t first, std::uint32_t length) {
  const unsigned bin = extent_bin(length);
  const std::uint32_t next = state(extent_field(bin));
  set_page(first, {.kind = PageKind::free_first, .length = length, .next = next});
  if (length > 1) set_page(first + length - 1, {.kind = PageKind::free_last, .length = length});
  if (next != 0) {
    PageDescriptor d = page(next);
    d.previous = first;
    set_page(next, d);
  }
  set_state(extent_field(bin), first);
}

// Takes the extent off its list and clears its boundary descriptors. False: corrupt.
bool EditCore::remove_extent(std::uint32_t first, const PageDescriptor& d) {
  if (d.kind != PageKind::free_first || d.length == 0 || d.length > page_count() - first)
    return false;
  const unsigned bin = extent_bin(d.length);
  if (bin >= layout::kExtentBins) return false;
  if (d.previous != 0) {
    PageDescriptor p = page(d.previous);
    if (p.kind != PageKind::free_first || p.next != first) return false;
    p.next = d.next;
    set_page(d.previous, p);
  } else {
    if (state(extent_field(bin)) != first) return false;
    set_state(extent_field(bin), d.next);
  }
  if (d.next != 0) {
    PageDescriptor n = page(d.next);
    if (n.kind != PageKind::free_first || n.previous != first) return false;
    n.previous = d.previous;
    set_page(d.next, n);
  }
  set_page(first, {});
  if (d.length > 1) set_page(first + d.length - 1, {});
  return true;
}

// The first page of a free extent of at least `count` pages; 0: none.
std::uint32_t EditCore::find_extent(std::uint32_t count) {
  const unsigned own = extent_bin(count);
  std::uint32_t at = state(extent_field(own));
  for (unsigned n = 0; at != 0 && n < kProbes; ++n) {
    const PageDescriptor d = page(at);
    if (d.length >= count) return at;
    at = d.next;
  }
  for (unsigned bin = own + 1; bin < layout::kExtentBins; ++bin) {
    if (const std::uint32_t first = state(extent_field(bin)); first != 0) return first;
  }
  return 0;
}

std::uint32_t EditCore::allocate_pages(std::uint32_t count) {
  if (count == 0 || count > page_count()) return 0;
  const std::uint32_t at = find_extent(count);
  std::uint32_t first = 0;
  if (at != 0) {
    const PageDescriptor d = page(at);
    if (d.length < count || !remove_extent(at, d)) return 0;
    if (d.length > count) insert_extent(at + count, d.length - count);
    first = at;
  } else if (top() <= end_page() && end_page() - top() >= count) {
    first = top();
    if (first == 0) return 0;
    set_state(offsetof(HeapState, top), first + count);
  } else if (const std::uint32_t low = state(offsetof(HeapState, low_pages)); low > 1) {
    // The pages below the coloured origin serve when all else is used.
    set_state(offsetof(HeapState, low_pages), 0);
    if (low > page_count()) return 0;
    insert_extent(1, low - 1);
    return allocate_pages(count);
  } else {
    // Nothing in the larger bins: look through all of the one whose members may be long enough.
    const unsigned own = extent_bin(count);
    std::uint32_t next = state(extent_field(own));
    for (std::uint32_t n = 0; next != 0 && n < page_count(); ++n) {
      const PageDescriptor d = page(next);
      if (d.length >= count) {
        if (!remove_extent(next, d)) return 0;
        if (d.length > count) insert_extent(next + count, d.length - count);
        first = next;
        break;
      }
      next = d.next;
    }
    if (first == 0) return 0;
  }
  set_page(first, {.kind = PageKind::run_first, .length = count});
  for (std::uint32_t i = 1; i < count; ++i) {
    set_page(first + i, {.kind = PageKind::run_interior, .length = i});
  }
  return first;
}

Result<void> EditCore::free_pages(std::uint32_t first, std::uint32_t count) {
  bytes_.free(std::uint64_t{first} << kPageShift, std::uint64_t{count} << kPageShift);
  for (std::uint32_t i = 0; i < count; ++i) set_page(first + i, {});
  std::uint32_t begin = first;
  std::uint32_t end = first + count;
  const PageDescriptor before = page(begin - 1);
  if (before.kind == PageKind::free_last || before.kind == PageKind::free_first) {
    const std::uint32_t length = before.kind == PageKind::free_first ? 1 : before.length;
    if (length == 0 || length >= begin) return fail(Errc::corrupt, "page table", begin - 1);
    const PageDescriptor d = page(begin - length);
    if (d.length != length || !remove_extent(begin - length, d)) {
      return fail(Errc::corrupt, "page table", begin - length);
    }
    begin -= length;
  }
  if (end < top()) {
    const PageDescriptor after = page(end);
    if (after.kind == PageKind::free_first) {
      if (!remove_extent(end, after)) return fail(Errc::corrupt, "page table", end);
      end += after.length;
    }
  }
  if (end == top()) {
    set_state(offsetof(HeapState, top), begin);
  } else {
    insert_extent(begin, end - begin);
  }
  return {};
}

}  // namespace dolmen::object::core
