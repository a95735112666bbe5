// SPDX-License-Identifier: Apache-2.0
#include "object/fot.hpp"

#include <algorithm>
#include <bit>

#include <dolmen/detail/arena.hpp>

#include "base/checksum.hpp"
#include "object/object_bytes.hpp"

namespace dolmen::object {
namespace {

constexpr std::uint32_t kEntryBytes = sizeof(FotEntry);
/// Up to here a search of the entries themselves is faster than a hash map and needs no memory.
constexpr std::uint32_t kLinearEntries = 8;

struct Table {
  std::uint32_t offset = 0;
  std::uint32_t count = 0;

  [[nodiscard]] std::uint64_t entry(std::uint64_t index) const noexcept {
    return offset + kEntryBytes * (index - 1);
  }
};

core::ObjectBytes bytes_of(const HeapReader& heap) noexcept {
  return {heap.base(), heap.capacity()};
}

/// Empty unless every entry lies in the object.
Table table_of(const HeapReader& heap) noexcept {
  const core::ObjectBytes bytes = bytes_of(heap);
  const Table table{.offset = bytes.load<std::uint32_t>(offsetof(ObjectHeader, fot_offset)),
                    .count = bytes.load<std::uint32_t>(offsetof(ObjectHeader, fot_count))};
  if (table.offset < sizeof(ObjectHeader) || table.offset % 8 != 0 ||
      table.count > kFotEntriesMax ||
      !bytes.holds(table.offset, std::uint64_t{table.count} * kEntryBytes)) {
    return {};
  }
  return table;
}

FotEntry load_entry(const HeapReader& heap, const Table& table, std::uint64_t index) noexcept {
  return bytes_of(heap).load<FotEntry>(table.entry(index));
}

bool is_used(const FotEntry& entry) noexcept { return (entry.flags & kFotUsed) != 0; }

}  // namespace

void FotIndex::reset() noexcept {
  slots_.clear();
  filled_ = 0;
  covered_ = 0;
  free_.clear();
}

void FotIndex::hold(std::span<const std::uint32_t> indices, std::uint64_t stamp) {
  for (const std::uint32_t index : indices) held_[index] = stamp;
}

void FotIndex::release(std::uint64_t up_to) {
  std::erase_if(held_, [&](const auto& entry) {
    if (entry.second > up_to) return false;
    free_.push_back(entry.first);
    return true;
  });
}

bool FotIndex::is_held(std::uint32_t index) const noexcept { return held_.contains(index); }

/// One search or insertion; has the key to FotIndex.
class FotWriter {
 public:
  FotWriter(Heap& heap, FotIndex& index) noexcept
      : heap_(heap), index_(index), table_(table_of(heap)) {}

  Result<FotInsertion> find_or_insert(const ObjectId& target) {
    if (target.is_null()) return fail(Errc::invalid_argument, "the null id is no target");
    const auto stored = load_header(heap_.base());
    if (table_.offset == 0 && (stored.fot_offset != 0 || stored.fot_count != 0)) {
      return fail(Errc::corrupt, "foreign object table", stored.fot_offset);
    }
    std::uint32_t free = 0;
    if (table_.count <= kLinearEntries) {
      for (std::uint32_t i = 1; i <= table_.count; ++i) {
        const FotEntry entry = load_entry(heap_, table_, i);
        if (is_used(entry) && entry.target == target) return FotInsertion{.index = i};
        if (!is_used(entry) && free == 0 && !index_.is_held(i)) free = i;
      }
    } else {
      if (const std::uint32_t found = look_up(target); found != 0) {
        return FotInsertion{.index = found};
      }
      free = take_free();
    }
    return free != 0 ? enter(free, target) : append(target);
  }

  Result<std::vector<std::uint32_t>> reclaim(const std::vector<bool>& used) {
    const auto stored = load_header(heap_.base());
    if (table_.offset == 0 && stored.fot_count != 0) {
      return fail(Errc::corrupt, "foreign object table", stored.fot_offset);
    }
    std::vector<std::uint32_t> freed;
    core::EditableBytes bytes(heap_.writable(), heap_.capacity(), heap_.log());
    for (std::uint32_t i = 1; i <= table_.count; ++i) {
      const FotEntry entry = load_entry(heap_, table_, i);
      if (!is_used(entry) || (i < used.size() && used[i])) continue;
      bytes.store(table_.entry(i), FotEntry{.generation = entry.generation + 1});
      index_.free_.push_back(i);
      freed.push_back(i);
    }
    return freed;
  }

 private:
  [[nodiscard]] std::uint32_t home_slot(const ObjectId& target) const noexcept {
    return static_cast<std::uint32_t>(base::mix_seed(target.high, target.low)) & mask();
  }
  [[nodiscard]] std::uint32_t mask() const noexcept {
    return static_cast<std::uint32_t>(index_.slots_.size()) - 1;
  }

  void put(std::uint32_t index, const ObjectId& target) {
    std::uint32_t slot = home_slot(target);
    while (index_.slots_[slot] != 0) {
      if (index_.slots_[slot] == index) return;
      slot = (slot + 1) & mask();
    }
    index_.slots_[slot] = index;
    ++index_.filled_;
  }

  void rebuild() {
    index_.reset();
    index_.slots_.resize(std::size_t{4} * std::bit_ceil(table_.count));
    for (std::uint32_t i = table_.count; i >= 1; --i) {
      const FotEntry entry = load_entry(heap_, table_, i);
      if (is_used(entry)) {
        put(i, entry.target);
      } else {
        index_.free_.push_back(i);
      }
    }
    index_.covered_ = table_.count;
  }

  [[nodiscard]] std::uint32_t look_up(const ObjectId& target) {
    if (index_.covered_ < table_.count || index_.filled_ * 2 > index_.slots_.size()) rebuild();
    for (std::uint32_t slot = home_slot(target); index_.slots_[slot] != 0;
         slot = (slot + 1) & mask()) {
      const std::uint32_t i = index_.slots_[slot];
      if (i > table_.count) continue;  // an abort took it back
      const FotEntry entry = load_entry(heap_, table_, i);
      if (is_used(entry) && entry.target == target) return i;
    }
    return 0;
  }

  [[nodiscard]] std::uint32_t take_free() {
    while (!index_.free_.empty()) {
      const std::uint32_t i = index_.free_.back();
      index_.free_.pop_back();  // held ones come back with release()
      if (i >= 1 && i <= table_.count && !index_.is_held(i) &&
          !is_used(load_entry(heap_, table_, i))) {
        return i;
      }
    }
    return 0;
  }

  [[nodiscard]] Result<FotInsertion> enter(std::uint32_t index, const ObjectId& target) {
    const std::uint32_t generation = load_entry(heap_, table_, index).generation;
    core::EditableBytes(heap_.writable(), heap_.capacity(), heap_.log())
        .store(table_.entry(index),
               FotEntry{.target = target, .flags = kFotUsed, .generation = generation});
    if (!index_.slots_.empty()) {
      put(index, target);
      index_.covered_ = std::max(index_.covered_, table_.count);
    }
    return FotInsertion{.index = index, .inserted = true};
  }

  [[nodiscard]] Result<FotInsertion> append(const ObjectId& target) {
    if (table_.count >= kFotEntriesMax) {
      return fail(Errc::fot_full, "foreign object table", table_.count);
    }
    const std::uint32_t old_count = table_.count;
    const std::uint32_t room = old_count == 0 ? 0 : std::bit_ceil(old_count);
    if (old_count == room) {
      const std::uint32_t old_offset = table_.offset;
      DOLMEN_TRY(const std::uint32_t offset,
                 heap_.allocate(kFotTag, kEntryBytes, std::max(1u, room * 2)));
      core::EditableBytes bytes(heap_.writable(), heap_.capacity(), heap_.log());
      bytes.copy_fresh(offset, old_offset, std::uint64_t{old_count} * kEntryBytes);
      heap_.set_fot(offset, old_count + 1);
      if (old_offset != 0) DOLMEN_CHECK(heap_.deallocate(old_offset));
      table_.offset = offset;
    } else {
      heap_.set_fot(table_.offset, old_count + 1);
    }
    table_.count = old_count + 1;
    return enter(table_.count, target);
  }

  Heap& heap_;
  FotIndex& index_;
  Table table_;
};

std::uint32_t fot_count(const HeapReader& heap) noexcept { return table_of(heap).count; }

std::optional<ObjectId> fot_entry(const HeapReader& heap, std::uint64_t index) noexcept {
  const Table table = table_of(heap);
  if (index == 0 || index > table.count) return {};
  const FotEntry entry = load_entry(heap, table, index);
  if (!is_used(entry)) return {};
  return entry.target;
}

Result<void> fot_verify(const HeapReader& heap) {
  const auto stored = load_header(heap.base());
  if (stored.fot_offset == 0 && stored.fot_count == 0) return {};
  const Table table = table_of(heap);
  const auto memory = heap.at(stored.fot_offset);
  if (table.count == 0 || !memory || memory->offset != table.offset ||
      memory->type_tag != kFotTag || memory->bytes < std::uint64_t{table.count} * kEntryBytes) {
    return fail(Errc::corrupt, "foreign object table", stored.fot_offset);
  }
  for (std::uint32_t i = 1; i <= table.count; ++i) {
    const FotEntry entry = load_entry(heap, table, i);
    if (entry.zero != 0 || (entry.flags & ~kFotUsed) != 0 ||
        is_used(entry) == entry.target.is_null()) {
      return fail(Errc::corrupt, "entry of the foreign object table", table.entry(i));
    }
  }
  return {};
}

std::uint32_t fot_generation(const HeapReader& heap, std::uint64_t index) noexcept {
  const Table table = table_of(heap);
  return index == 0 || index > table.count ? 0 : load_entry(heap, table, index).generation;
}

Result<FotInsertion> fot_find_or_insert(Heap& heap, FotIndex& index, const ObjectId& target) {
  return FotWriter(heap, index).find_or_insert(target);
}

Result<std::vector<std::uint32_t>> fot_reclaim(Heap& heap, FotIndex& index,
                                               const std::vector<bool>& used) {
  return FotWriter(heap, index).reclaim(used);
}

Result<void> visit_pointers(const HeapReader& heap, PointerLayout& layout,
                            void (*visit)(void*, std::uint32_t, std::uint64_t), void* context) {
  const core::ObjectBytes bytes = bytes_of(heap);
  std::optional<Error> error;
  DOLMEN_CHECK(heap.for_each_allocation([&](const Allocation& a) {
    if (a.type_tag < kFirstUserTag) return true;
    const auto offsets = layout.pointer_offsets(a.type_tag);
    if (!offsets) {
      error = Error(Errc::layout_changed, "no layout for a stored type", a.type_tag);
      return false;
    }
    if (offsets->empty()) return true;
    for (std::uint32_t n = 0; n < a.count; ++n) {
      for (const std::uint32_t field : *offsets) {
        if (std::uint64_t{field} + 8 > a.element_bytes) {
          error = Error(Errc::layout_changed, "an element smaller than its layout", a.type_tag);
          return false;
        }
        const std::uint32_t at = a.offset + n * a.element_bytes + field;
        if (const auto bits = bytes.load<std::uint64_t>(at); bits != 0) visit(context, at, bits);
      }
    }
    return true;
  }));
  if (error) return std::unexpected(*error);
  return {};
}

Result<std::vector<bool>> fot_mark(const HeapReader& heap, PointerLayout& layout) {
  const std::uint32_t count = fot_count(heap);
  std::vector<bool> used(std::size_t{count} + 1);
  DOLMEN_CHECK(for_each_pointer(heap, layout, [&](std::uint32_t, std::uint64_t bits) {
    if (!detail::is_foreign(bits)) return;
    const std::uint64_t index = detail::fot_index(bits);
    if (index >= 1 && index <= count) used[index] = true;
  }));
  return used;
}

}  // namespace dolmen::object
