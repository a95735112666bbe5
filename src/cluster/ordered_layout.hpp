// SPDX-License-Identifier: Apache-2.0
//
// The bytes of one shard of the ordered index (docs/ordered-index.md), which others read while they
// change: where things are in its region, and the nodes of its tree. The bytes:
// docs/formats/ordered-index.md.
//
// Values and pure functions.
#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include <dolmen/error.hpp>
#include <dolmen/id.hpp>

#include "base/bytes.hpp"
#include "cluster/index_layout.hpp"
#include "cluster/index_record.hpp"
#include "log/message.hpp"

namespace dolmen::cluster {

inline constexpr std::uint32_t kOrderedVersion = 1;
/// "DLOX": the first bytes of a region, and what its checksums are seeded with.
inline constexpr std::uint32_t kOrderedMagic = 0x584F4C44;
inline constexpr std::size_t kNodesAt = 1024;
inline constexpr std::size_t kNodeBytes = 2048;
inline constexpr std::size_t kNodeHeaderBytes = 48;
/// Of a longer key a node has these, and the place of a record that has all of it.
inline constexpr std::size_t kKeyInlineBytes = 128;
/// A key and a value that are together longer are a record.
inline constexpr std::size_t kEntryInlineBytes = 256;
inline constexpr std::uint32_t kTreeNodesMax = (1u << 28) - 1;
inline constexpr std::uint32_t kTreeLevelsMax = 32;

/// Nodes are numbered from 1.
using TreeNodeNumber = std::uint32_t;
inline constexpr TreeNodeNumber kNoNode = 0;

/// What a region holds, and where. It never changes while the region is that tree's.
struct OrderedGeometry {
  ObjectId table{};  ///< the shard's identity; not null
  std::uint64_t heap_bytes = 0;
  std::uint32_t node_count = 0;

  friend bool operator==(const OrderedGeometry&, const OrderedGeometry&) = default;
  /// Sizes within the limits, and together no more than `region_bytes`.
  [[nodiscard]] bool is_possible(std::uint64_t region_bytes) const noexcept;
  [[nodiscard]] constexpr std::size_t node_at(TreeNodeNumber number) const noexcept {
    return kNodesAt + std::size_t{number - 1} * kNodeBytes;
  }
  [[nodiscard]] constexpr std::size_t heap_at() const noexcept {
    return kNodesAt + std::size_t{node_count} * kNodeBytes;
  }
  [[nodiscard]] constexpr std::size_t region_bytes() const noexcept {
    return heap_at() + heap_bytes;
  }
  /// As far as records look at it.
  [[nodiscard]] IndexGeometry of_records() const noexcept {
    return {.table = table, .heap_bytes = heap_bytes, .kind = IndexKind::records};
  }
};

/// Requires: region.size() >= kGeometryBytes; geometry.is_possible().
void encode_ordered_geometry(base::MutableBytes region, const OrderedGeometry& geometry);
/// Of the first bytes of a region, as they came from afar. Errors: corrupt, version_unsupported.
[[nodiscard]] Result<OrderedGeometry> decode_ordered_geometry(base::Bytes front,
                                                              std::uint64_t region_bytes);

/// A key as a node has it.
struct TreeKey {
  base::Bytes front{};      ///< all of it, or kKeyInlineBytes
  std::uint32_t bytes = 0;  ///< how long it is
  RecordPlace place{};      ///< of a longer one: its record

  [[nodiscard]] bool is_whole() const noexcept { return bytes == front.size(); }
  /// What a node says of a key that is whole.
  [[nodiscard]] static TreeKey of(base::Bytes key) noexcept {
    return {.front = key, .bytes = static_cast<std::uint32_t>(key.size())};
  }
  /// The same bytes in a node, which is the same key.
  [[nodiscard]] bool is_same(const TreeKey& other) const noexcept;
};
/// The order of a key beside one in a node. Nothing: that can only be told with the record.
[[nodiscard]] std::optional<std::strong_ordering> compare_keys(base::Bytes key,
                                                               const TreeKey& other) noexcept;

/// Leaf: a key and its value, in the node or as a record. Else: a child, which has the keys from
/// `key` on; the first child of a node has an empty one, and begins where the node does.
struct TreeCell {
  TreeKey key{};
  TreeNodeNumber child = kNoNode;
  std::uint32_t value_bytes = 0;
  base::Bytes value{};  ///< unless it is a record

  [[nodiscard]] bool is_record() const noexcept {
    return !key.is_whole() || key.bytes + std::size_t{value_bytes} > kEntryInlineBytes;
  }
};

enum class TreeNodeState : std::uint8_t {
  live = 1,
  forward = 2,  ///< retired: `link` speaks for what it spoke for
  free = 3,
};

/// Its keys are in bytes of whoever made it: a copy of a node, a command.
struct TreeNode {
  std::uint64_t sequence = 0;     ///< twice the number of times that it was written
  std::uint32_t epoch = 0;        ///< of the shard
  TreeNodeNumber link = kNoNode;  ///< live: its right neighbour, or none; forward: its heir
  std::uint8_t level = 0;         ///< 0: a leaf
  TreeNodeState state = TreeNodeState::free;
  bool has_high = false;
  TreeKey low{};   ///< the first key that it speaks for
  TreeKey high{};  ///< the first one that it does not, if there is one
  std::vector<TreeCell> cells{};
  std::uint64_t retired_at = 0;   ///< forward: by the entry of that index
  TreeNodeNumber next = kNoNode;  ///< forward, free: in their queue

  [[nodiscard]] bool is_live() const noexcept { return state == TreeNodeState::live; }
  /// So many of its bytes it needs. May be more than kNodeBytes: then it cannot be written.
  [[nodiscard]] std::size_t bytes() const noexcept;
};
[[nodiscard]] std::size_t cell_bytes(const TreeCell& cell, std::uint8_t level) noexcept;

using NodeImage = std::array<std::byte, kNodeBytes>;
/// Requires: number != 0; it fits; the fields are within their limits.
[[nodiscard]] NodeImage encode_node(const TreeNode& node, TreeNodeNumber number,
                                    const OrderedGeometry& geometry);
/// Of a copy of its bytes, in which its keys then are. Nothing: they are not, as a whole, that node
/// of that tree.
[[nodiscard]] std::optional<TreeNode> decode_node(base::Bytes bytes, TreeNodeNumber number,
                                                  const OrderedGeometry& geometry);

}  // namespace dolmen::cluster
