// SPDX-License-Identifier: Apache-2.0
//
// What the indexes' regions have in common for their writer (docs/index.md, docs/ordered-index.md):
// words that others read while they are stored, each as a whole and in this order; pieces that
// count only as a whole; and the heap of records.
//
// Threads: one writes; any may read the region through copies.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <type_traits>

#include "base/bytes.hpp"
#include "cluster/index_layout.hpp"
#include "cluster/index_record.hpp"
#include "log/message.hpp"

namespace dolmen::cluster {

/// A place in the heap, in granules. The heap's first block begins at kHeapFirst.
using HeapGranule = std::uint32_t;
inline constexpr HeapGranule kNoBlock = 0;
inline constexpr HeapGranule kHeapFirst = 4;
// The words in front of a block.
inline constexpr std::size_t kBlockRetiredAt = 0;  ///< by the entry of that index; 0: it is not
/// In its queue. Of a block that is in use: how many beside one lead to it.
inline constexpr std::size_t kBlockNextAt = 8;
inline constexpr std::size_t kBlockClassAt = 12;
static_assert(kBlockHeaderBytes == kHeapGranuleBytes);

/// The part of a region's state that is its heap's.
struct HeapState {
  HeapGranule retired_first = kNoBlock;
  HeapGranule retired_last = kNoBlock;
  HeapGranule used = 0;  ///< that was ever used: the first part
  std::uint32_t reserved = 0;
  std::uint64_t record_bytes = 0;  ///< of live records
  std::array<HeapGranule, kBlockClasses> free{};
  std::uint32_t padding = 0;

  [[nodiscard]] std::size_t bytes_used() const noexcept {
    return std::size_t{used} * kHeapGranuleBytes;
  }
};
static_assert(std::is_trivially_copyable_v<HeapState> && sizeof(HeapState) == 256 &&
              std::has_unique_object_representations_v<HeapState>);

class SharedWords {
 public:
  explicit SharedWords(base::MutableBytes region) noexcept : region_(region) {}

  [[nodiscard]] base::Bytes bytes(std::size_t at, std::size_t size) const noexcept {
    return base::Bytes(region_).subspan(at, size);
  }
  [[nodiscard]] std::uint64_t word(std::size_t at) const noexcept {
    return base::load<std::uint64_t>(region_, at);
  }
  void store(std::size_t at, std::uint64_t value) noexcept;
  [[nodiscard]] std::uint32_t half(std::size_t at) const noexcept {
    return base::load<std::uint32_t>(region_, at);
  }
  void store_half(std::size_t at, std::uint32_t value) noexcept;
  /// What is there is stored to soon.
  void expect_store(std::size_t at) const noexcept { __builtin_prefetch(region_.data() + at, 1); }
  /// Word by word; what is there already is not stored. Requires: multiples of 8.
  void store_bytes(std::size_t at, base::Bytes bytes) noexcept;
  void clear(std::size_t at, std::size_t size) noexcept;

  /// The sequence number that a piece gets when it is written next.
  [[nodiscard]] std::uint64_t next_sequence(std::size_t at) const noexcept {
    return (word(at + 8) | 1) + 1;
  }
  /// A piece that begins with a checksum of what follows, and its next sequence number. Readers see
  /// what was there, or this, or nothing.
  void store_piece(std::size_t at, base::Bytes image) noexcept;
  /// Readers see nothing until it is stored again.
  void spoil_piece(std::size_t at) noexcept { store(at + 8, word(at + 8) | 1); }

 private:
  base::MutableBytes region_;
};

/// Requires: each is in use, with as many that lead there as are given.
class RecordHeap {
 public:
  /// `geometry`: its table and the heap's length count.
  RecordHeap(const SharedWords& memory, const IndexGeometry& geometry, std::size_t heap_at)
      : memory_(memory), geometry_(geometry), heap_at_(heap_at) {}

  /// One leads to it. Nothing: there is no room. Requires: a possible record.
  [[nodiscard]] std::optional<RecordPlace> write(HeapState& state, base::Bytes key,
                                                 base::Bytes value, log::Index generation);
  [[nodiscard]] std::optional<RecordView> read(const RecordPlace& place) const;
  /// Without a look at its checksum, which costs more than the rest.
  [[nodiscard]] std::optional<RecordView> view(const RecordPlace& place) const {
    return view_record(memory_.bytes(at(place), place.bytes));
  }
  /// One more leads there.
  void share(const RecordPlace& place) noexcept;
  /// One less; it is retired with the last one, by this entry.
  void drop(HeapState& state, const RecordPlace& place, log::Index now) noexcept;
  /// It can be used again at once: nobody was ever led there.
  void take_back(HeapState& state, const RecordPlace& place) noexcept;
  void release(HeapState& state, log::Index upto) noexcept;
  /// Looks at all blocks. `places`: whatever leads to records, each as often as it does; they are
  /// sorted. Errors: corrupt.
  [[nodiscard]] Result<void> check(const HeapState& state, std::span<RecordPlace> places,
                                   log::Index applied) const;

 private:
  [[nodiscard]] std::size_t block_at(HeapGranule granule) const noexcept {
    return heap_at_ + std::size_t{granule} * kHeapGranuleBytes;
  }
  [[nodiscard]] std::size_t at(const RecordPlace& place) const noexcept {
    return block_at(place.granule);
  }
  [[nodiscard]] std::optional<HeapGranule> take_block(HeapState& state, std::uint32_t block_class);
  void free_block(HeapState& state, HeapGranule block) noexcept;

  SharedWords memory_;
  IndexGeometry geometry_;
  std::size_t heap_at_;
};

}  // namespace dolmen::cluster
