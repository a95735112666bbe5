// SPDX-License-Identifier: Apache-2.0
#include "cluster/ordered_layout.hpp"

#include <algorithm>
#include <cstring>

#include <dolmen/assert.hpp>

#include "base/checksum.hpp"
#include "base/hooks.hpp"

namespace dolmen::cluster {

namespace {

constexpr std::size_t kChecksumOfGeometryAt = 56;

std::uint64_t node_seed(TreeNodeNumber number, const OrderedGeometry& geometry) noexcept {
  const std::uint64_t of_table = base::mix_seed(kOrderedMagic, geometry.table.high);
  return base::mix_seed(base::mix_seed(of_table, geometry.table.low), number);
}

std::unexpected<Error> bad_header() { return fail(Errc::corrupt, "the header of an index"); }

RecordPlace get_place(base::ByteReader& in) {
  RecordPlace place;
  place.granule = in.get<std::uint32_t>();
  place.bytes = in.get<std::uint32_t>();
  place.generation = in.get<std::uint64_t>();
  return place;
}

void put_place(base::ByteWriter& out, const RecordPlace& place) {
  out.put(place.granule);
  out.put(place.bytes);
  out.put(place.generation);
}

bool fits_heap(const RecordPlace& place, const OrderedGeometry& geometry) {
  return RecordPlace::of(place.slot_of({}), geometry.of_records()).has_value();
}

TreeKey get_key(base::ByteReader& in, std::uint32_t bytes) {
  if (bytes > kRecordKeyBytesMax) in.fail();
  return {.front = in.take(std::min<std::size_t>(bytes, kKeyInlineBytes)), .bytes = bytes};
}

TreeKey get_fence(base::ByteReader& in, const OrderedGeometry& geometry) {
  TreeKey key = get_key(in, in.get<std::uint32_t>());
  if (!key.is_whole()) key.place = get_place(in);
  if (!key.is_whole() && !fits_heap(key.place, geometry)) in.fail();
  return key;
}

void put_fence(base::ByteWriter& out, const TreeKey& key) {
  out.put(key.bytes);
  out.put_bytes(key.front);
  if (!key.is_whole()) put_place(out, key.place);
}

TreeCell get_cell(base::ByteReader& in, std::uint8_t level, const OrderedGeometry& geometry) {
  TreeCell cell;
  const auto key_bytes = in.get<std::uint32_t>();
  const auto second = in.get<std::uint32_t>();
  cell.key = get_key(in, key_bytes);
  bool is_record = !cell.key.is_whole();
  if (level == 0) {
    cell.value_bytes = second;
    is_record = cell.is_record();
    if (!is_possible_record(key_bytes, second)) in.fail();
    if (!is_record) cell.value = in.take(second);
  } else {
    cell.child = second;
    if (second == kNoNode || second > geometry.node_count) in.fail();
  }
  if (is_record) cell.key.place = get_place(in);
  if (is_record && !fits_heap(cell.key.place, geometry)) in.fail();
  return cell;
}

std::size_t fence_bytes(const TreeKey& key) noexcept {
  return 4 + key.front.size() + (key.is_whole() ? 0 : 16);
}

bool is_zero(base::Bytes bytes) {
  return std::ranges::all_of(bytes, [](std::byte b) { return b == std::byte{0}; });
}

}  // namespace

bool OrderedGeometry::is_possible(std::uint64_t region_bytes_max) const noexcept {
  return !table.is_null() && node_count >= 1 && node_count <= kTreeNodesMax && heap_bytes >= 64 &&
         heap_bytes <= kHeapBytesMax && heap_bytes % kHeapGranuleBytes == 0 &&
         region_bytes() <= region_bytes_max;
}

void encode_ordered_geometry(base::MutableBytes region, const OrderedGeometry& geometry) {
  base::ByteWriter out;
  out.put(kOrderedMagic);
  out.put(kOrderedVersion);
  out.put_id(geometry.table);
  out.put(geometry.heap_bytes);
  out.put(geometry.node_count);
  while (out.size() < kChecksumOfGeometryAt) out.put(std::uint8_t{0});
  out.put(base::checksum64(out.bytes(), kOrderedMagic));
  std::ranges::copy(out.bytes(), region.begin());
}

Result<OrderedGeometry> decode_ordered_geometry(base::Bytes front, std::uint64_t region_bytes) {
  if (front.size() < kGeometryBytes) return bad_header();
  base::ByteReader in(front.first(kGeometryBytes));
  if (in.get<std::uint32_t>() != kOrderedMagic) return bad_header();
  const auto version = in.get<std::uint32_t>();
  OrderedGeometry geometry;
  geometry.table = in.get_id();
  geometry.heap_bytes = in.get<std::uint64_t>();
  geometry.node_count = in.get<std::uint32_t>();
  const bool is_spare_empty = is_zero(in.take(kChecksumOfGeometryAt - in.position()));
  if (in.get<std::uint64_t>() !=
      base::checksum64(front.first(kChecksumOfGeometryAt), kOrderedMagic)) {
    return bad_header();
  }
  if (version != kOrderedVersion) {
    return fail(Errc::version_unsupported, "the header of an index", version);
  }
  if (!is_spare_empty || !geometry.is_possible(region_bytes)) return bad_header();
  return geometry;
}

bool TreeKey::is_same(const TreeKey& other) const noexcept {
  return bytes == other.bytes && std::ranges::equal(front, other.front) &&
         (is_whole() || place == other.place);
}

std::optional<std::strong_ordering> compare_keys(base::Bytes key, const TreeKey& other) noexcept {
  const std::size_t common = std::min(key.size(), other.front.size());
  const int order = common == 0 ? 0 : std::memcmp(key.data(), other.front.data(), common);
  if (order != 0) return order < 0 ? std::strong_ordering::less : std::strong_ordering::greater;
  if (key.size() > other.front.size() && !other.is_whole()) return std::nullopt;
  return key.size() <=> std::size_t{other.bytes};
}

std::size_t cell_bytes(const TreeCell& cell, std::uint8_t level) noexcept {
  const bool is_record = level == 0 ? cell.is_record() : !cell.key.is_whole();
  const std::size_t value = level == 0 && !is_record ? cell.value_bytes : 0;
  return 8 + cell.key.front.size() + value + (is_record ? 16 : 0);
}

std::size_t TreeNode::bytes() const noexcept {
  std::size_t sum = kNodeHeaderBytes + fence_bytes(low) + (has_high ? fence_bytes(high) : 0);
  for (const TreeCell& cell : cells) sum += cell_bytes(cell, level);
  return sum;
}

NodeImage encode_node(const TreeNode& node, TreeNodeNumber number,
                      const OrderedGeometry& geometry) {
  DOLMEN_ASSERT(number != kNoNode && (!node.is_live() || node.bytes() <= kNodeBytes));
  base::ByteWriter out;
  out.put(std::uint64_t{0});
  out.put(node.sequence);
  out.put(node.epoch);
  out.put(node.link);
  out.put(node.level);
  out.put(static_cast<std::uint8_t>(node.state));
  out.put(static_cast<std::uint16_t>(node.is_live() ? node.cells.size() : 0));
  out.put(std::uint8_t{node.is_live() && node.has_high});
  while (out.size() < 32) out.put(std::uint8_t{0});
  out.put(node.retired_at);
  out.put(node.next);
  out.put(std::uint32_t{0});
  if (node.is_live()) {
    put_fence(out, node.low);
    if (node.has_high) put_fence(out, node.high);
    for (const TreeCell& cell : node.cells) {
      const bool is_leaf = node.level == 0;
      out.put(cell.key.bytes);
      out.put(is_leaf ? cell.value_bytes : cell.child);
      out.put_bytes(cell.key.front);
      const bool is_record = is_leaf ? cell.is_record() : !cell.key.is_whole();
      if (is_record) put_place(out, cell.key.place);
      if (is_leaf && !is_record) out.put_bytes(cell.value);
    }
  }
  NodeImage image{};
  std::ranges::copy(out.bytes(), image.begin());
  base::store(image, 0,
              base::checksum64(base::Bytes(image).subspan(8), node_seed(number, geometry)));
  return image;
}

std::optional<TreeNode> decode_node(base::Bytes bytes, TreeNodeNumber number,
                                    const OrderedGeometry& geometry) {
  if (bytes.size() != kNodeBytes || number == kNoNode) return std::nullopt;
  base::ByteReader in(bytes);
  const auto checksum = in.get<std::uint64_t>();
  if (checksum != base::checksum64(bytes.subspan(8), node_seed(number, geometry)) &&
      !DOLMEN_PLANTED("cluster.node_unchecked")) {
    return std::nullopt;
  }
  TreeNode node;
  node.sequence = in.get<std::uint64_t>();
  node.epoch = in.get<std::uint32_t>();
  node.link = in.get<TreeNodeNumber>();
  node.level = in.get<std::uint8_t>();
  const auto state = in.get<std::uint8_t>();
  const auto count = in.get<std::uint16_t>();
  const auto has_high = in.get<std::uint8_t>();
  const bool is_spare_empty = is_zero(in.take(32 - in.position()));
  node.retired_at = in.get<std::uint64_t>();
  node.next = in.get<TreeNodeNumber>();
  const auto spare = in.get<std::uint32_t>();
  if (state < 1 || state > 3 || has_high > 1 || !is_spare_empty || spare != 0 ||
      node.sequence % 2 != 0 || node.level >= kTreeLevelsMax || node.link > geometry.node_count ||
      node.link == number || node.next > geometry.node_count || node.next == number) {
    return std::nullopt;
  }
  node.state = static_cast<TreeNodeState>(state);
  node.has_high = has_high == 1;
  if (node.is_live()) {
    if (node.retired_at != 0 || node.next != kNoNode) return std::nullopt;
    if (node.has_high != (node.link != kNoNode)) return std::nullopt;
    if (node.level > 0 && count == 0) return std::nullopt;
    node.low = get_fence(in, geometry);
    if (node.has_high) node.high = get_fence(in, geometry);
    node.cells.reserve(std::min<std::size_t>(count, kNodeBytes / 8));
    for (std::uint32_t i = 0; i < count && !in.failed(); ++i) {
      node.cells.push_back(get_cell(in, node.level, geometry));
    }
    if (node.level > 0 && !node.cells.empty() && node.cells.front().key.bytes != 0) in.fail();
  } else {
    const bool is_forward = node.state == TreeNodeState::forward;
    if (count != 0 || node.has_high || is_forward != (node.link != kNoNode)) return std::nullopt;
    if (!is_forward && node.retired_at != 0) return std::nullopt;
  }
  if (in.failed() || !is_zero(in.take(in.remaining()))) return std::nullopt;
  return node;
}

}  // namespace dolmen::cluster
