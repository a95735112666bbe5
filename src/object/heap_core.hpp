// SPDX-License-Identifier: Apache-2.0
//
// The heap's working parts, behind heap.hpp. ReadCore knows the structures and checks each one that
// it reads; EditCore changes them: the compact area (heap_compact.cpp), pages (heap_pages.cpp),
// bins (heap_bins.cpp), runs (heap_runs.cpp) and the capacity (heap_resize.cpp).
//
// Threads: like the object. Made per operation; nothing of it outlives one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "object/heap.hpp"
#include "object/heap_layout.hpp"
#include "object/object_bytes.hpp"
#include "object/size_class.hpp"

namespace dolmen::object::core {

using layout::Bin;
using layout::CompactRun;
using layout::HeapState;
using layout::kPage;
using layout::kPageShift;
using layout::PageDescriptor;
using layout::PagedRun;
using layout::PageKind;

/// Bounds, then geometry, of one object's heap.
struct Geometry {
  std::uint32_t origin = 0;       ///< begin of the compact area
  std::uint32_t compact_end = 0;  ///< end of the compact area
  std::uint32_t state = 0;        ///< offset of the HeapState; 0 = compact only
  bool is_sound = false;

  [[nodiscard]] bool in_compact(std::uint64_t offset) const noexcept {
    return offset >= origin && offset < compact_end;
  }
};
[[nodiscard]] Geometry geometry_of(const ObjectBytes& bytes, unsigned capacity_log2) noexcept;
[[nodiscard]] constexpr std::uint32_t compact_end_of(std::uint32_t origin,
                                                     std::uint32_t capacity) noexcept {
  const std::uint32_t page_end = (origin / kPage + 1) * kPage;
  return page_end < capacity ? page_end : capacity;
}

/// What is alike among the slots of one run, and the key of a bin.
struct SlotKey {
  std::uint32_t type = 0;
  std::uint32_t slot_bytes = 0;
  std::uint32_t element_bytes = 0;
  bool is_array = false;

  [[nodiscard]] std::uint32_t tagged_element() const noexcept {
    return element_bytes | (is_array ? layout::kArrayBit : 0);
  }
  [[nodiscard]] bool fits(const CompactRun& run) const noexcept {
    return run.type == type && run.slot_bytes == slot_bytes && run.element_bytes == element_bytes &&
           ((run.flags & layout::kArray) != 0) == is_array;
  }
  [[nodiscard]] bool fits(const PagedRun& run) const noexcept {
    return run.type == type && run.slot_bytes == slot_bytes && run.element_bytes == element_bytes &&
           ((run.flags & layout::kArray) != 0) == is_array;
  }
  [[nodiscard]] bool fits(const Bin& bin) const noexcept {
    return bin.type == type && bin.slot_bytes == slot_bytes &&
           bin.element_bytes == tagged_element();
  }
};
[[nodiscard]] SlotKey key_of(const PagedRun& run) noexcept;

struct RunRef {
  std::uint32_t offset = 0;
  std::uint32_t pages = 0;
  PagedRun run{};
};

template <class Bytes>
class CoreBase {
 public:
  CoreBase(Bytes bytes, unsigned capacity_log2) noexcept
      : bytes_(bytes), geometry_(geometry_of(bytes_, capacity_log2)) {}

  [[nodiscard]] const Geometry& geometry() const noexcept { return geometry_; }
  [[nodiscard]] bool has_pages() const noexcept { return geometry_.state != 0; }
  [[nodiscard]] std::uint32_t page_count() const noexcept {
    return bytes_.capacity() >> kPageShift;
  }
  /// A 32-bit field of the HeapState.
  [[nodiscard]] std::uint32_t state(std::size_t field) const noexcept {
    return bytes_.template load<std::uint32_t>(geometry_.state + field);
  }
  [[nodiscard]] std::uint32_t top() const noexcept { return state(offsetof(HeapState, top)); }
  [[nodiscard]] std::uint32_t table_end() const noexcept {
    return state(offsetof(HeapState, table_end));
  }
  /// First page that cannot hold data: that of the page table if it lies at the object's end.
  [[nodiscard]] std::uint32_t end_page() const noexcept {
    if (table_end() != bytes_.capacity()) return page_count();
    return (bytes_.capacity() - 8 * page_count()) >> kPageShift;
  }
  [[nodiscard]] PageDescriptor page(std::uint32_t number) const noexcept {
    if (number >= page_count()) return {};
    const std::uint64_t at = std::uint64_t{table_end()} - 8 * (std::uint64_t{number} + 1);
    return layout::unpack(bytes_.template load<std::uint64_t>(at));
  }

  /// Whether slots, bitmap and pages of the run lie where they may.
  [[nodiscard]] bool is_sound(const PagedRun& run, std::uint64_t offset,
                              std::uint64_t pages) const noexcept {
    const std::uint64_t room = pages * kPage;
    return run.type != 0 && run.capacity != 0 && run.used <= run.capacity && run.slot_bytes >= 8 &&
           run.slot_bytes % 8 == 0 && run.element_bytes != 0 &&
           run.element_bytes <= run.slot_bytes &&
           run.first >= layout::kRunHeader + 8 * layout::bitmap_words(run.capacity) &&
           run.first + std::uint64_t{run.capacity} * run.slot_bytes <= room &&
           offset % kPage == 0 && offset != 0 && bytes_.holds(offset, room);
  }
  /// The sound run at `offset`, which is not a large one.
  [[nodiscard]] std::optional<RunRef> small_run(std::uint32_t offset) const noexcept {
    RunRef ref{.offset = offset, .run = bytes_.template load<PagedRun>(offset)};
    ref.pages = ref.run.pages;
    if (!is_sound(ref.run, offset, ref.pages) || (ref.run.flags & layout::kLarge) != 0) return {};
    return ref;
  }
  /// The sound run that covers a page, by its descriptor.
  [[nodiscard]] std::optional<RunRef> run_of_page(std::uint32_t number) const noexcept {
    PageDescriptor d = page(number);
    if (d.kind == PageKind::run_interior) {
      if (d.length == 0 || d.length >= number) return {};
      const std::uint32_t back = d.length;
      number -= back;
      d = page(number);
      if (d.length <= back) return {};
    }
    if (d.kind != PageKind::run_first) return {};
    RunRef ref{.offset = number << kPageShift,
               .pages = d.length,
               .run = bytes_.template load<PagedRun>(number << kPageShift)};
    const bool is_large = (ref.run.flags & layout::kLarge) != 0;
    if (ref.run.pages != (is_large ? 0 : d.length) || !is_sound(ref.run, ref.offset, d.length) ||
        (is_large && ref.run.capacity != 1)) {
      return {};
    }
    return ref;
  }
  /// Calls `call(RunRef)` for every paged run by ascending address until it returns false.
  /// False if the page table is corrupt.
  template <class Call>
  bool each_run(Call&& call) const {
    if (!has_pages()) return true;
    const std::uint32_t low = state(offsetof(HeapState, low_pages));
    const std::uint32_t end = top();
    if (end > end_page()) return false;
    for (std::uint32_t p = 0; p < end;) {
      const PageDescriptor d = page(p);
      switch (d.kind) {
        case PageKind::none:
          if (p >= low) return false;
          ++p;
          break;
        case PageKind::fixed:
          ++p;
          break;
        case PageKind::free_first:
          if (d.length == 0 || d.length > end - p) return false;
          p += d.length;
          break;
        case PageKind::run_first: {
          const auto ref = run_of_page(p);
          if (!ref || ref->pages > end - p) return false;
          if (!call(*ref)) return true;
          p += ref->pages;
          break;
        }
        default:
          return false;
      }
    }
    return true;
  }
  [[nodiscard]] std::uint64_t word_at(const RunRef& ref, std::uint32_t word) const noexcept {
    return bytes_.template load<std::uint64_t>(std::uint64_t{ref.offset} + layout::kRunHeader +
                                               8 * std::uint64_t{word});
  }

  /// Calls `call(offset, CompactRun, bytes of the whole run)` by ascending address until it returns
  /// false. False if the area is corrupt.
  template <class Call>
  bool each_compact(Call&& call) const {
    std::uint32_t at = geometry_.origin;
    while (at < geometry_.compact_end) {
      const auto run = bytes_.template load<CompactRun>(at);
      std::uint64_t payload = run.slot_bytes;
      if (run.type != 0) {
        if (run.capacity == 0 || run.capacity > 32 || run.slot_bytes < 8 ||
            run.slot_bytes % 8 != 0 || run.element_bytes == 0 ||
            run.element_bytes > run.slot_bytes || run.bitmap == 0 ||
            (std::uint64_t{run.bitmap} >> run.capacity) != 0) {
          return false;
        }
        payload *= run.capacity;
      }
      const std::uint64_t size = layout::round_up(sizeof(CompactRun) + payload, 16);
      if (size > geometry_.compact_end - at) return false;
      if (!call(at, run, static_cast<std::uint32_t>(size))) return true;
      at += static_cast<std::uint32_t>(size);
    }
    return true;
  }

  /// Entries of the table of bins, bounded by the object; 0 if there is no sound one.
  [[nodiscard]] std::uint32_t bin_slots(std::uint32_t& table) const noexcept {
    table = state(offsetof(HeapState, bins));
    const std::uint32_t log2 = state(offsetof(HeapState, bins_log2));
    if (log2 > 26 || table % 8 != 0 || !bytes_.holds(table, sizeof(Bin) << log2)) return 0;
    return std::uint32_t{1} << log2;
  }
  [[nodiscard]] Bin bin(std::uint32_t offset) const noexcept {
    return bytes_.template load<Bin>(offset);
  }
  /// Offset of the key's bin; 0 if there is none.
  [[nodiscard]] std::uint32_t find_bin(const SlotKey& key) const noexcept {
    std::uint32_t table = 0;
    const std::uint32_t slots = bin_slots(table);
    std::uint32_t i = hash(key) & (slots - 1);
    for (std::uint32_t n = 0; n < slots; ++n, i = (i + 1) & (slots - 1)) {
      const std::uint32_t at = table + i * static_cast<std::uint32_t>(sizeof(Bin));
      const Bin entry = bin(at);
      if (key.fits(entry)) return at;
      if (entry.type == 0) return 0;
    }
    return 0;
  }
  [[nodiscard]] static std::uint32_t hash(const SlotKey& key) noexcept {
    std::uint64_t h =
        (std::uint64_t{key.type} << 32 | key.tagged_element()) * 0x9E3779B97F4A7C15ull;
    h ^= std::uint64_t{key.slot_bytes} * 0xBF58476D1CE4E5B9ull;
    return static_cast<std::uint32_t>((h * 0x94D049BB133111EBull) >> 32);
  }

 protected:
  Bytes bytes_;
  Geometry geometry_;
};

using ReadCore = CoreBase<ObjectBytes>;

class EditCore : public CoreBase<EditableBytes> {
 public:
  EditCore(std::byte* base, unsigned capacity_log2, WriteLog& log) noexcept
      : CoreBase(EditableBytes(base, std::uint32_t{1} << capacity_log2, log), capacity_log2) {}

  [[nodiscard]] Result<std::uint32_t> allocate(const SlotKey& key);
  [[nodiscard]] Result<void> deallocate(std::uint64_t offset);
  [[nodiscard]] bool failed() const noexcept { return bytes_.failed(); }
  void set_state(std::size_t field, std::uint32_t value) {
    bytes_.store(geometry_.state + field, value);
  }

  // Compact area (heap_compact.cpp). `force`: whatever the policy says, if there is room.
  [[nodiscard]] Result<std::uint32_t> allocate_compact(const SlotKey& key, bool force);
  [[nodiscard]] Result<void> deallocate_compact(std::uint64_t offset);
  void write_gap(std::uint32_t offset, std::uint32_t bytes);

  // Pages (heap_pages.cpp). 0: no room.
  [[nodiscard]] std::uint32_t allocate_pages(std::uint32_t count);
  [[nodiscard]] Result<void> free_pages(std::uint32_t first, std::uint32_t count);
  void set_page(std::uint32_t number, const PageDescriptor& descriptor);

  // Bins (heap_bins.cpp).
  [[nodiscard]] Result<std::uint32_t> insert_bin(const SlotKey& key);
  [[nodiscard]] Result<void> link_run(std::uint32_t bin, const RunRef& ref);
  [[nodiscard]] Result<void> unlink_run(std::uint32_t bin, const RunRef& ref);
  /// Gives back the pages of all empty runs; how many runs that were.
  [[nodiscard]] Result<std::uint32_t> reclaim_empty();

  // Capacity (heap_resize.cpp).
  void make_state();
  void extend_compact(std::uint32_t old_end);
  /// End of the last compact run, the heap's own tables left out.
  [[nodiscard]] std::uint32_t compact_used_end() const;

  // Runs (heap_runs.cpp).
  [[nodiscard]] Result<std::uint32_t> take_slot(std::uint32_t bin, std::uint32_t run_offset,
                                                const SlotKey& key);
  [[nodiscard]] Result<std::uint32_t> allocate_paged(const SlotKey& key, std::uint32_t bin);
  [[nodiscard]] Result<std::uint32_t> allocate_large(const SlotKey& key);
  [[nodiscard]] Result<void> deallocate_paged(std::uint64_t offset);

 private:
  void insert_extent(std::uint32_t first, std::uint32_t length);
  [[nodiscard]] bool remove_extent(std::uint32_t first, const PageDescriptor& d);
  [[nodiscard]] std::uint32_t find_extent(std::uint32_t count);
  [[nodiscard]] Result<void> grow_bins();
  void store_bin(std::uint32_t table, std::uint32_t slots, const Bin& bin);
  [[nodiscard]] Result<void> release_run(std::uint32_t bin, const RunRef& ref);
};

}  // namespace dolmen::object::core
