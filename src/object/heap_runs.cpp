// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <bit>

#include "object/heap_core.hpp"

namespace dolmen::object::core {
namespace {

/// An empty run whose bin would have no free slot without it is kept if it has so many slots: small
/// things come back soon, large ones are rather someone else's.
constexpr std::uint32_t kKeptSlots = 16;

constexpr std::uint32_t word_offset(std::uint32_t run, std::uint32_t word) noexcept {
  return run + layout::kRunHeader + 8 * word;
}

}  // namespace

Result<std::uint32_t> EditCore::take_slot(std::uint32_t bin, std::uint32_t run_offset,
                                          const SlotKey& key) {
  const auto ref = small_run(run_offset);
  if (!ref || !key.fits(ref->run) || ref->run.used == ref->run.capacity) {
    return fail(Errc::corrupt, "run", run_offset);
  }
  const std::uint32_t words = layout::bitmap_words(ref->run.capacity);
  std::uint32_t word = ref->run.hint;
  std::uint64_t bits = ~std::uint64_t{0};
  for (; word < words; ++word) {
    bits = word_at(*ref, word);
    if (bits != ~std::uint64_t{0}) break;
  }
  const auto bit = static_cast<std::uint32_t>(std::countr_one(bits));
  const std::uint32_t slot = word * 64 + bit;
  if (word >= words || slot >= ref->run.capacity) return fail(Errc::corrupt, "run", run_offset);
  bytes_.store(word_offset(run_offset, word), bits | std::uint64_t{1} << bit);
  RunRef changed = *ref;
  changed.run.hint = static_cast<std::uint16_t>(word);
  ++changed.run.used;
  if (changed.run.used == changed.run.capacity) {
    DOLMEN_CHECK(unlink_run(bin, changed));
  } else {
    // `used` and `hint` are neighbours.
    bytes_.store(
        run_offset + offsetof(PagedRun, used),
        static_cast<std::uint32_t>(changed.run.used | std::uint32_t{changed.run.hint} << 16));
  }
  const std::uint32_t offset = run_offset + ref->run.first + slot * key.slot_bytes;
  bytes_.zero_fresh(offset, key.slot_bytes);
  return offset;
}

Result<std::uint32_t> EditCore::allocate_paged(const SlotKey& key, std::uint32_t bin) {
  if (bin == 0) {
    DOLMEN_TRY(bin, insert_bin(key));
  }
  auto stored = bytes_.load<Bin>(bin);
  // Small objects get small runs: no type may take more than a sixteenth of the pages at once.
  const std::uint32_t most = std::clamp(page_count() / 16, 1u, layout::kMaxRunPages);
  layout::RunShape shape = layout::next_run(key.slot_bytes, stored.runs, most);
  const std::uint32_t least = layout::least_pages(key.slot_bytes);
  std::uint32_t first = allocate_pages(shape.pages);
  while (first == 0 && shape.pages > least) {
    shape = layout::run_shape(key.slot_bytes, std::max(least, shape.pages / 2));
    first = allocate_pages(shape.pages);
  }
  if (first == 0) return fail(Errc::object_full, "pages", key.slot_bytes);

  const std::uint32_t offset = first << kPageShift;
  const std::uint32_t words = layout::bitmap_words(shape.capacity);
  bytes_.zero_fresh(offset, layout::kRunHeader + 8 * words);
  // Bits beyond the last slot are set, so that a full word is all ones everywhere.
  if (const std::uint32_t rest = shape.capacity % 64; rest != 0) {
    bytes_.store_fresh(word_offset(offset, words - 1), ~std::uint64_t{0} << rest);
  }
  RunRef ref{.offset = offset, .pages = shape.pages};
  ref.run.type = key.type;
  ref.run.slot_bytes = key.slot_bytes;
  ref.run.element_bytes = key.element_bytes;
  ref.run.capacity = static_cast<std::uint16_t>(shape.capacity);
  ref.run.pages = static_cast<std::uint8_t>(shape.pages);
  ref.run.flags = key.is_array ? layout::kArray : std::uint8_t{0};
  ref.run.first = shape.first;
  DOLMEN_CHECK(link_run(bin, ref));
  bytes_.store(bin + offsetof(Bin, runs), stored.runs + 1);
  return take_slot(bin, offset, key);
}

Result<std::uint32_t> EditCore::allocate_large(const SlotKey& key) {
  const std::uint64_t pages =
      layout::round_up(std::uint64_t{key.slot_bytes} + layout::kLargeFirst, kPage) >> kPageShift;
  if (pages > page_count()) return fail(Errc::object_full, "pages", key.slot_bytes);
  const std::uint32_t first = allocate_pages(static_cast<std::uint32_t>(pages));
  if (first == 0) return fail(Errc::object_full, "pages", key.slot_bytes);
  const std::uint32_t offset = first << kPageShift;
  PagedRun run;
  run.type = key.type;
  run.slot_bytes = key.slot_bytes;
  run.element_bytes = key.element_bytes;
  run.capacity = 1;
  run.flags = static_cast<std::uint8_t>(layout::kLarge | (key.is_array ? layout::kArray : 0));
  run.used = 1;
  run.first = layout::kLargeFirst;
  bytes_.zero_fresh(offset, layout::kLargeFirst + std::uint64_t{key.slot_bytes});
  bytes_.store_fresh(offset, run);
  bytes_.store_fresh(word_offset(offset, 0), ~std::uint64_t{0});
  return offset + layout::kLargeFirst;
}

Result<void> EditCore::release_run(std::uint32_t bin, const RunRef& ref) {
  if ((ref.run.flags & layout::kInBin) != 0) DOLMEN_CHECK(unlink_run(bin, ref));
  const auto runs = bytes_.load<std::uint32_t>(bin + offsetof(Bin, runs));
  if (runs == 0) return fail(Errc::corrupt, "bin", bin);
  bytes_.store(bin + offsetof(Bin, runs), runs - 1);
  return free_pages(ref.offset >> kPageShift, ref.pages);
}

Result<void> EditCore::deallocate_paged(std::uint64_t offset) {
  const auto number = static_cast<std::uint32_t>(offset >> kPageShift);
  if (!bytes_.holds(offset, 1)) return fail(Errc::invalid_argument, "offset outside", offset);
  auto ref = run_of_page(number);
  if (!ref) return fail(Errc::invalid_argument, "no allocation begins there", offset);
  PagedRun& run = ref->run;
  const auto within = static_cast<std::uint32_t>(offset - ref->offset);
  const std::uint32_t slot = (within - run.first) / run.slot_bytes;
  if (within < run.first || slot >= run.capacity || slot * run.slot_bytes + run.first != within) {
    return fail(Errc::invalid_argument, "no allocation begins there", offset);
  }
  const std::uint64_t bits = word_at(*ref, slot / 64);
  const std::uint64_t bit = std::uint64_t{1} << (slot % 64);
  if ((bits & bit) == 0 || run.used == 0) {
    return fail(Errc::invalid_argument, "no allocation begins there", offset);
  }
  if ((run.flags & layout::kLarge) != 0) return free_pages(ref->offset >> kPageShift, ref->pages);

  bytes_.free(offset, run.slot_bytes);
  bytes_.store(word_offset(ref->offset, slot / 64), bits & ~bit);
  const bool was_full = run.used == run.capacity;
  --run.used;
  run.hint = std::min(run.hint, static_cast<std::uint16_t>(slot / 64));
  if (run.used != 0 && !was_full) [[likely]] {
    bytes_.store(ref->offset + offsetof(PagedRun, used),
                 static_cast<std::uint32_t>(run.used | std::uint32_t{run.hint} << 16));
    return {};
  }
  const std::uint32_t bin = find_bin(key_of(run));
  if (bin == 0) return fail(Errc::corrupt, "no bin for a run", ref->offset);
  if (run.used == 0) {
    const auto first = bytes_.load<std::uint32_t>(bin + offsetof(Bin, first));
    const bool is_only = was_full ? first == 0 : first == ref->offset && run.next == 0;
    if (!is_only || run.capacity < kKeptSlots) return release_run(bin, *ref);
  }
  if (was_full) return link_run(bin, *ref);
  bytes_.store(ref->offset, run);
  return {};
}

Result<std::uint32_t> EditCore::allocate(const SlotKey& key) {
  if (!geometry_.is_sound) return fail(Errc::corrupt, "object header");
  if (!has_pages()) return allocate_compact(key, true);
  const bool is_large = key.slot_bytes > layout::kLargeBytes;
  std::uint32_t bin = 0;
  if (!is_large) {
    bin = find_bin(key);
    if (bin == 0) {
      auto compact = allocate_compact(key, false);
      if (compact || compact.error().code() != Errc::object_full) return compact;
    } else if (const auto run = bytes_.load<std::uint32_t>(bin + offsetof(Bin, first)); run != 0) {
      return take_slot(bin, run, key);
    }
  }
  auto result = is_large ? allocate_large(key) : allocate_paged(key, bin);
  if (result || result.error().code() != Errc::object_full) return result;
  // Rare: look for room in what other types keep, then in the compact area.
  DOLMEN_TRY(const std::uint32_t freed, reclaim_empty());
  if (freed != 0) {
    result = is_large ? allocate_large(key) : allocate_paged(key, find_bin(key));
    if (result || result.error().code() != Errc::object_full) return result;
  }
  if (!is_large) return allocate_compact(key, true);
  return result;
}

Result<void> EditCore::deallocate(std::uint64_t offset) {
  if (!geometry_.is_sound) return fail(Errc::corrupt, "object header");
  if (geometry_.in_compact(offset)) return deallocate_compact(offset);
  if (!has_pages()) return fail(Errc::invalid_argument, "no allocation begins there", offset);
  return deallocate_paged(offset);
}

}  // namespace dolmen::object::core
