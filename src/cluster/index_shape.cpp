// SPDX-License-Identifier: Apache-2.0
#include "cluster/index_shape.hpp"

#include "cluster/root.hpp"

namespace dolmen::cluster {

std::optional<IndexGeometry> geometry_for(std::uint64_t bucket_bytes, std::uint64_t record_bytes,
                                          std::uint64_t seed) noexcept {
  const std::uint64_t buckets = bucket_bytes / kBucketBytes;
  if (buckets < 4 || buckets > std::uint32_t{1} << 27) return std::nullopt;
  if (record_bytes / 64 * 64 > kHeapBytesMax) return std::nullopt;
  IndexGeometry geometry{.table = {0x646F6C6D656E, 1},
                         .seed = seed,
                         .heap_bytes = record_bytes / 64 * 64,
                         .kind = IndexKind::records};
  geometry.bucket_count = static_cast<std::uint32_t>(buckets);
  geometry.depth_max = depth_for(geometry.bucket_count);
  if (!geometry.is_possible(geometry.region_bytes())) return std::nullopt;
  return geometry;
}

std::optional<OrderedGeometry> ordered_geometry_for(std::uint64_t node_bytes,
                                                    std::uint64_t record_bytes) noexcept {
  const std::uint64_t nodes = node_bytes / kNodeBytes;
  if (nodes < 2 || nodes > kTreeNodesMax) return std::nullopt;
  if (record_bytes / 64 * 64 > kHeapBytesMax) return std::nullopt;
  const OrderedGeometry geometry{.table = {0x646F6C6D656E, 2},
                                 .heap_bytes = record_bytes / 64 * 64,
                                 .node_count = static_cast<std::uint32_t>(nodes)};
  if (!geometry.is_possible(geometry.region_bytes())) return std::nullopt;
  return geometry;
}

bool are_splits(const std::vector<std::string>& splits) noexcept {
  std::string_view last;
  std::size_t bytes = 0;
  for (const std::string& split : splits) {
    // As bytes, not as characters that may be negative. The empty key is the first shard's.
    if (split.size() > kSplitBytesMax || split <= last) return false;
    last = split;
    bytes += split.size();
  }
  return bytes <= kSplitsBytesMax;
}

bool IndexShape::is_possible() const noexcept {
  if (shards < 1 || shards > kIndexShardsMax || shard >= shards) return false;
  if (table == TableKind::hash) return from.empty() && geometry().has_value();
  return seed == 0 && from.empty() == (shard == 0) && from.size() <= kSplitBytesMax &&
         ordered_geometry().has_value();
}

bool is_index_name(std::string_view text) noexcept {
  return is_word(text, kIndexNameBytesMax) && text.find('/') == std::string_view::npos;
}

std::string shard_name(std::string_view index, std::uint32_t shard) {
  return std::string(index) + '/' + std::to_string(shard);
}

std::string_view index_of_shard(std::string_view name, std::uint32_t shard) noexcept {
  const std::string_view index = name.substr(0, name.find('/'));
  if (!is_index_name(index) || name != shard_name(index, shard)) return {};
  return index;
}

}  // namespace dolmen::cluster
