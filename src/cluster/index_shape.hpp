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

#include "cluster/index_layout.hpp"

namespace dolmen::cluster {

inline constexpr std::uint32_t kIndexShardsMax = 256;
/// So that the names of the shards are names of groups.
inline constexpr std::size_t kIndexNameBytesMax = 59;

/// Of a table of records with so many bytes for buckets and for the heap. Nothing: there is none.
[[nodiscard]] std::optional<IndexGeometry> geometry_for(std::uint64_t bucket_bytes,
                                                        std::uint64_t record_bytes,
                                                        std::uint64_t seed) noexcept;

struct IndexShape {
  std::uint32_t shard = 0;   ///< from 0 on
  std::uint32_t shards = 1;  ///< of the index
  std::uint64_t seed = 0;    ///< of its hashes
  std::uint64_t bucket_bytes = 0;
  std::uint64_t record_bytes = 0;
  [[nodiscard]] std::optional<IndexGeometry> geometry() const noexcept {
    return geometry_for(bucket_bytes, record_bytes, seed);
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
