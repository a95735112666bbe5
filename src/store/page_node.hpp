// SPDX-License-Identifier: Apache-2.0
//
// One node of the page tree: 4 KiB that map keys (object, page) to blocks and their checksums.
// Leaves and inner nodes have one format; an inner node's key is the first key of the child. Each
// object id is stored once per node, so an entry costs 20 bytes and an object 16 more.
// docs/formats/pages.md has the bytes.
//
// Invariants of a node that node_defect() accepts:
//   1. Keys strictly ascend; every id is used; unused bytes are zero: one content has one encoding.
//   2. Blocks are naturally aligned and of the size that the key and the capacity class ask for.
//
// Values and views; safe from any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "base/bytes.hpp"
#include "store/store.hpp"

namespace dolmen::store {

/// The page file is addressed in units of one sector.
inline constexpr std::uint32_t kUnitBytes = 512;
inline constexpr std::size_t kNodeBytes = 4096;
inline constexpr std::size_t kNodeHeaderBytes = 16;
inline constexpr std::size_t kNodeEntryBytes = 20;
inline constexpr std::size_t kNodeIdBytes = 16;
inline constexpr unsigned kNodeSizeLog2 = 3;  ///< of a node's block, in units
inline constexpr unsigned kMaxTreeLevel = 15;
inline constexpr std::uint32_t kMaxPages = 1u << 18;  ///< of the largest object
static_assert(kMaxPages * std::uint64_t{kPageBytes} == base::kMaxObjectBytes,
              "every page of the largest object has a number");

/// A block's place: bits 0–39 number of its first unit, 40–41 log2 of its units, 42–46 a tag: the
/// capacity class in the entry of an object's page 0, the root's level in TreeRoot, else 0.
class BlockLoc {
 public:
  constexpr BlockLoc() noexcept = default;
  constexpr explicit BlockLoc(std::uint64_t packed) noexcept : packed_(packed) {}
  constexpr BlockLoc(std::uint64_t unit, unsigned size_log2, unsigned tag) noexcept
      : packed_(unit | std::uint64_t{size_log2} << 40 | std::uint64_t{tag} << 42) {}

  [[nodiscard]] constexpr std::uint64_t packed() const noexcept { return packed_; }
  [[nodiscard]] constexpr std::uint64_t unit() const noexcept {
    return packed_ & ((std::uint64_t{1} << 40) - 1);
  }
  [[nodiscard]] constexpr unsigned size_log2() const noexcept {
    return static_cast<unsigned>(packed_ >> 40 & 3);
  }
  [[nodiscard]] constexpr unsigned tag() const noexcept {
    return static_cast<unsigned>(packed_ >> 42 & 31);
  }
  [[nodiscard]] constexpr std::uint64_t units() const noexcept {
    return std::uint64_t{1} << size_log2();
  }
  [[nodiscard]] constexpr std::uint32_t bytes() const noexcept { return kUnitBytes << size_log2(); }
  [[nodiscard]] constexpr std::uint64_t offset() const noexcept { return unit() * kUnitBytes; }
  /// No reserved bit is set and the block is aligned to its size.
  [[nodiscard]] constexpr bool well_formed() const noexcept {
    return packed_ >> 47 == 0 && (unit() & (units() - 1)) == 0;
  }
  friend constexpr bool operator==(const BlockLoc&, const BlockLoc&) = default;

 private:
  std::uint64_t packed_ = 0;
};

/// log2 in units of the blocks that hold an object's pages.
[[nodiscard]] constexpr unsigned page_size_log2(unsigned capacity_log2) noexcept {
  return capacity_log2 < 12 ? capacity_log2 - 9 : 3;
}
[[nodiscard]] constexpr std::uint32_t pages_of(unsigned capacity_log2) noexcept {
  return capacity_log2 <= 12 ? 1 : 1u << (capacity_log2 - 12);
}

struct TreeEntry {
  PageKey key;
  BlockLoc loc;
  std::uint64_t checksum = 0;
  friend bool operator==(const TreeEntry&, const TreeEntry&) = default;
};

/// Seeds of checksums: what the bytes claim to be.
[[nodiscard]] std::uint64_t node_seed(const ObjectId& space, unsigned level) noexcept;
[[nodiscard]] std::uint64_t page_seed(const ObjectId& space, const PageKey& key) noexcept;

/// Says what is wrong with a node of this level, or null. Bounded: reads nothing outside `bytes`.
[[nodiscard]] const char* node_defect(base::Bytes bytes, unsigned level) noexcept;

/// Bytes that entries with so many distinct ids take, without the header.
[[nodiscard]] constexpr std::size_t node_content_bytes(std::size_t entries,
                                                       std::size_t ids) noexcept {
  return entries * kNodeEntryBytes + ids * kNodeIdBytes;
}

/// Requires: out.size() == kNodeBytes, the entries fit and satisfy the invariants.
void encode_node(std::span<const TreeEntry> entries, unsigned level, base::MutableBytes out);

/// Reads a node that node_defect() accepted; keeps a pointer to its bytes.
class NodeView {
 public:
  explicit NodeView(base::Bytes accepted) noexcept;

  [[nodiscard]] unsigned level() const noexcept { return level_; }
  [[nodiscard]] std::size_t count() const noexcept { return count_; }
  [[nodiscard]] base::Bytes bytes() const noexcept { return bytes_; }
  [[nodiscard]] PageKey key(std::size_t i) const noexcept;
  [[nodiscard]] TreeEntry entry(std::size_t i) const noexcept;
  /// Number of entries whose key is not above `key`; binary search.
  [[nodiscard]] std::size_t count_up_to(const PageKey& key) const noexcept;

 private:
  [[nodiscard]] std::uint32_t word(std::size_t i) const noexcept;
  [[nodiscard]] ObjectId id(std::size_t i) const noexcept;

  base::Bytes bytes_;
  unsigned level_;
  std::size_t count_;
  std::size_t id_count_;
};

}  // namespace dolmen::store
