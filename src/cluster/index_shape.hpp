// SPDX-License-Identifier: Apache-2.0
//
// What the map says of a group that is a shard of an index: which one it is, and how its table is
// made. Fixed when the index is made. Values; pure functions. Bytes: docs/formats/root.md.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cluster/index_layout.hpp"
#include "cluster/ordered_layout.hpp"

namespace dolmen::cluster {

inline constexpr std::uint32_t kIndexShardsMax = 256;
/// So that the names of the shards are names of groups.
inline constexpr std::size_t kIndexNameBytesMax = 59;
/// Of a key that begins a shard, and of all of an index together: one command has them.
inline constexpr std::size_t kSplitBytesMax = 128;
inline constexpr std::size_t kSplitsBytesMax = 6144;

enum class TableKind : std::uint8_t { hash = 1, ordered = 2 };

/// Of a table of records with so many bytes for buckets and for the heap. Nothing: there is none.
[[nodiscard]] std::optional<IndexGeometry> geometry_for(std::uint64_t bucket_bytes,
                                                        std::uint64_t record_bytes,
                                                        std::uint64_t seed) noexcept;

/// Of a tree with so many bytes for nodes and for the heap. Nothing: there is none.
[[nodiscard]] std::optional<OrderedGeometry> ordered_geometry_for(
    std::uint64_t node_bytes, std::uint64_t record_bytes) noexcept;

/// Whether these keys can be the first ones of all shards but the first: they rise, and are within
/// the limits.
[[nodiscard]] bool are_splits(const std::vector<std::string>& splits) noexcept;

struct IndexShape {
  std::uint32_t shard = 0;         ///< from 0 on
  std::uint32_t shards = 1;        ///< of the index
  std::uint64_t seed = 0;          ///< of its hashes; ordered: 0
  std::uint64_t bucket_bytes = 0;  ///< ordered: of its nodes
  std::uint64_t record_bytes = 0;
  TableKind table = TableKind::hash;
  std::string from{};  ///< ordered: its first key; of the first shard, and of hashes: empty
  /// Nothing: it is ordered, or there is none.
  [[nodiscard]] std::optional<IndexGeometry> geometry() const noexcept {
    if (table != TableKind::hash) return std::nullopt;
    return geometry_for(bucket_bytes, record_bytes, seed);
  }
  /// Nothing: it is not ordered, or there is none.
  [[nodiscard]] std::optional<OrderedGeometry> ordered_geometry() const noexcept {
    if (table != TableKind::ordered) return std::nullopt;
    return ordered_geometry_for(bucket_bytes, record_bytes);
  }
  [[nodiscard]] bool is_possible() const noexcept;
  friend bool operator==(const IndexShape&, const IndexShape&) = default;
};

/// 1 to kIndexNameBytesMax bytes, none of them a blank, a control character or '/'.
[[nodiscard]] bool is_index_name(std::string_view text) noexcept;
/// Of the group that is the index's shard: "people/0".
[[nodiscard]] std::string shard_name(std::string_view index, std::uint32_t shard);
/// Of which index a group of this name is the shard; empty: of none.
[[nodiscard]] std::string_view index_of_shard(std::string_view name, std::uint32_t shard) noexcept;

}  // namespace dolmen::cluster
