// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <bit>
#include <vector>

#include "object/heap_core.hpp"

namespace dolmen::object::core {
namespace {

constexpr std::uint32_t kBinBytes = sizeof(Bin);
constexpr std::uint32_t kSmallestTableLog2 = 7;  // one page

}  // namespace

void EditCore::store_bin(std::uint32_t table, std::uint32_t slots, const Bin& bin) {
  const SlotKey key{.type = bin.type,
                    .slot_bytes = bin.slot_bytes,
                    .element_bytes = bin.element_bytes & ~layout::kArrayBit,
                    .is_array = (bin.element_bytes & layout::kArrayBit) != 0};
  std::uint32_t i = hash(key) & (slots - 1);
  for (std::uint32_t n = 0; n < slots; ++n, i = (i + 1) & (slots - 1)) {
    if (bytes_.load<std::uint32_t>(table + i * kBinBytes) == 0) {
      bytes_.store(table + i * kBinBytes, bin);
      return;
    }
  }
}

// Moves the bins that have runs to a table with room for as many again.
Result<void> EditCore::grow_bins() {
  std::uint32_t table = 0;
  const std::uint32_t slots = bin_slots(table);
  std::vector<Bin> live;
  for (std::uint32_t i = 0; i < slots; ++i) {
    const auto bin = bytes_.load<Bin>(table + i * kBinBytes);
    if (bin.type != 0 && bin.runs != 0) live.push_back(bin);
  }
  const auto count = static_cast<std::uint32_t>(live.size());
  const bool is_inline = table == geometry_.state + offsetof(HeapState, inline_bins);
  std::uint32_t new_table = table;
  std::uint32_t new_log2 = static_cast<std::uint32_t>(std::bit_width(slots) - 1);
  if (count * 2 > slots) {
    new_log2 = std::max(kSmallestTableLog2, static_cast<std::uint32_t>(std::bit_width(count * 2)));
    const std::uint32_t bytes = kBinBytes << new_log2;
    DOLMEN_TRY(new_table, allocate_large({.type = kBinsTag,
                                          .slot_bytes = static_cast<std::uint32_t>(
                                              layout::round_up(bytes + layout::kLargeFirst, kPage) -
                                              layout::kLargeFirst),
                                          .element_bytes = kBinBytes,
                                          .is_array = true}));
    if (!is_inline) DOLMEN_CHECK(deallocate_paged(table));
  } else {
    for (std::uint32_t i = 0; i < slots; ++i) bytes_.store(table + i * kBinBytes, Bin{});
  }
  for (const Bin& bin : live) store_bin(new_table, std::uint32_t{1} << new_log2, bin);
  set_state(offsetof(HeapState, bins), new_table);
  set_state(offsetof(HeapState, bins_log2), new_log2);
  set_state(offsetof(HeapState, bins_used), count);
  return {};
}

Result<std::uint32_t> EditCore::insert_bin(const SlotKey& key) {
  std::uint32_t table = 0;
  std::uint32_t slots = bin_slots(table);
  if (slots == 0) return fail(Errc::corrupt, "table of bins");
  if (std::uint64_t{state(offsetof(HeapState, bins_used))} * 4 >= std::uint64_t{slots} * 3) {
    DOLMEN_CHECK(grow_bins());
    slots = bin_slots(table);
    if (slots == 0) return fail(Errc::corrupt, "table of bins");
  }
  store_bin(
      table, slots,
      {.type = key.type, .slot_bytes = key.slot_bytes, .element_bytes = key.tagged_element()});
  set_state(offsetof(HeapState, bins_used), state(offsetof(HeapState, bins_used)) + 1);
  const std::uint32_t at = find_bin(key);
  if (at == 0) return fail(Errc::corrupt, "table of bins");
  return at;
}

Result<void> EditCore::link_run(std::uint32_t bin, const RunRef& ref) {
  const std::uint32_t first_at = bin + static_cast<std::uint32_t>(offsetof(Bin, first));
  const auto first = bytes_.load<std::uint32_t>(first_at);
  PagedRun run = ref.run;
  run.next = first;
  run.previous = 0;
  run.flags |= layout::kInBin;
  if (first != 0) {
    const auto other = small_run(first);
    if (!other || first == ref.offset) return fail(Errc::corrupt, "list of a bin", first);
    bytes_.store(first + offsetof(PagedRun, previous), ref.offset);
  }
  bytes_.store(ref.offset, run);
  bytes_.store(first_at, ref.offset);
  return {};
}

Result<void> EditCore::unlink_run(std::uint32_t bin, const RunRef& ref) {
  const std::uint32_t first_at = bin + static_cast<std::uint32_t>(offsetof(Bin, first));
  PagedRun run = ref.run;
  if (run.previous != 0) {
    const auto other = small_run(run.previous);
    if (!other || other->run.next != ref.offset)
      return fail(Errc::corrupt, "list of a bin", ref.offset);
    bytes_.store(run.previous + offsetof(PagedRun, next), run.next);
  } else {
    if (bytes_.load<std::uint32_t>(first_at) != ref.offset) {
      return fail(Errc::corrupt, "list of a bin", ref.offset);
    }
    bytes_.store(first_at, run.next);
  }
  if (run.next != 0) {
    const auto other = small_run(run.next);
    if (!other || other->run.previous != ref.offset) {
      return fail(Errc::corrupt, "list of a bin", ref.offset);
    }
    bytes_.store(run.next + offsetof(PagedRun, previous), run.previous);
  }
  run.next = 0;
  run.previous = 0;
  run.flags &= static_cast<std::uint8_t>(~layout::kInBin);
  bytes_.store(ref.offset, run);
  return {};
}

Result<std::uint32_t> EditCore::reclaim_empty() {
  std::uint32_t freed = 0;
  std::uint32_t table = 0;
  const std::uint32_t slots = bin_slots(table);
  for (std::uint32_t i = 0; i < slots; ++i) {
    const std::uint32_t bin = table + i * kBinBytes;
    std::uint32_t at = bytes_.load<Bin>(bin).first;
    for (std::uint32_t n = 0; at != 0; ++n) {
      const auto ref = small_run(at);
      if (!ref || n > page_count()) return fail(Errc::corrupt, "list of a bin", at);
      at = ref->run.next;
      if (ref->run.used != 0) continue;
      DOLMEN_CHECK(release_run(bin, *ref));
      ++freed;
    }
  }
  return freed;
}

}  // namespace dolmen::object::core
