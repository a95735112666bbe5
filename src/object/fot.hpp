// SPDX-License-Identifier: Apache-2.0
//
// The foreign object table: which objects the foreign indices in an object's pointers mean. Entries
// of 32 bytes in an array of type kFotTag; index 0 is the object itself and has no entry. Entry i
// lies at fot_offset + 32 (i - 1); the array has room for bit_ceil(fot_count) entries.
//
// Entries that no pointer uses any more are found by marking (for_each_pointer) and freed by
// reclaim(); a freed index is not given out again while the caller holds it back (FotIndex::hold).
//
// Threads: like the object; a FotIndex belongs to the object's writer.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <type_traits>
#include <unordered_map>
#include <utility>
#include <vector>

#include <dolmen/error.hpp>
#include <dolmen/id.hpp>

#include "object/heap.hpp"

namespace dolmen::object {

inline constexpr std::uint32_t kFotEntriesMax = std::uint32_t{1} << 24;

struct FotEntry {
  ObjectId target{};
  std::uint32_t flags = 0;       ///< kFotUsed, or 0: free
  std::uint32_t generation = 0;  ///< how often the index was freed
  std::uint64_t zero = 0;
};
inline constexpr std::uint32_t kFotUsed = 1;
static_assert(sizeof(FotEntry) == 32, "the entry is a stored format");

/// A look-aside index of one object's table; made of the object on demand, never stored. It holds
/// indices only: what they mean is read in the object each time, so aborts need no repair. reset()
/// it when the object's bytes were replaced by others (recovery, another object).
class FotIndex {
 public:
  void reset() noexcept;
  /// Keeps freed indices from being given out again until release(up_to >= stamp).
  void hold(std::span<const std::uint32_t> indices, std::uint64_t stamp);
  /// Lets go of what was held with a stamp <= `up_to`.
  void release(std::uint64_t up_to);
  [[nodiscard]] bool is_held(std::uint32_t index) const noexcept;

 private:
  friend class FotWriter;
  std::vector<std::uint32_t> slots_;  // open addressing by hash of the target; 0 = empty
  std::uint32_t filled_ = 0;          // slots that are not empty
  std::uint32_t covered_ = 0;         // entries 1 … covered_ have been put into slots_
  std::vector<std::uint32_t> free_;   // indices that may be free
  std::unordered_map<std::uint32_t, std::uint64_t> held_;
};

/// Number of indices in use or once used: valid indices are 1 … result. 0 if there is no sound
/// table.
[[nodiscard]] std::uint32_t fot_count(const HeapReader& heap) noexcept;
/// What foreign index `index` means; none if it is 0, free or out of bounds. Cost: O(1), bounded.
[[nodiscard]] std::optional<ObjectId> fot_entry(const HeapReader& heap,
                                                std::uint64_t index) noexcept;
/// Whether the table is what a writer leaves: an allocation of its own with room for every entry,
/// each in use with a target or free without one. Errors: corrupt (detail = offset).
[[nodiscard]] Result<void> fot_verify(const HeapReader& heap);
[[nodiscard]] std::uint32_t fot_generation(const HeapReader& heap, std::uint64_t index) noexcept;

struct FotInsertion {
  std::uint32_t index = 0;
  bool inserted = false;  ///< a new or reused index: translations of it are out of date
};
/// The index of `target`, entered if it is not there. Cost: O(1); up to 8 entries a linear search.
/// Errors: fot_full, object_full, corrupt, invalid_argument (null target).
[[nodiscard]] Result<FotInsertion> fot_find_or_insert(Heap& heap, FotIndex& index,
                                                      const ObjectId& target);

/// Frees every used entry whose bit in `used` is clear (bit i = index i; missing bits are clear)
/// and returns their indices. hold() them in `index` while snapshots older than this commit live.
/// Errors: corrupt.
[[nodiscard]] Result<std::vector<std::uint32_t>> fot_reclaim(Heap& heap, FotIndex& index,
                                                             const std::vector<bool>& used);

/// What a scan needs to know of types.
class PointerLayout {
 public:
  virtual ~PointerLayout() = default;
  /// Offsets of the 8-byte pointer fields within one element of the type; empty if it has none.
  /// Nothing if the type is not known: the scan then fails with layout_changed rather than miss
  /// one.
  [[nodiscard]] virtual std::optional<std::span<const std::uint32_t>> pointer_offsets(
      std::uint32_t type_tag) = 0;
};

Result<void> visit_pointers(const HeapReader& heap, PointerLayout& layout,
                            void (*visit)(void*, std::uint32_t, std::uint64_t), void* context);

/// Calls `visitor(offset of the field, pointer bits)` for every non-null pointer field of every
/// user allocation. Errors: corrupt, layout_changed (detail = type tag).
template <class Visitor>
Result<void> for_each_pointer(const HeapReader& heap, PointerLayout& layout, Visitor&& visitor) {
  using V = std::remove_reference_t<Visitor>;
  struct Call {
    static void run(void* context, std::uint32_t offset, std::uint64_t bits) {
      (*static_cast<V*>(context))(offset, bits);
    }
  };
  return visit_pointers(heap, layout, &Call::run,
                        const_cast<void*>(static_cast<const void*>(&visitor)));
}
/// The foreign indices that pointers of the object use: bit i = index i.
[[nodiscard]] Result<std::vector<bool>> fot_mark(const HeapReader& heap, PointerLayout& layout);

}  // namespace dolmen::object
