// SPDX-License-Identifier: Apache-2.0
//
// Any bytes as the header, a node and the snapshot of a small ordered index, also with checksums
// that fit them: what is accepted is exactly what would be written, and sound whatever is done to
// it afterwards.
#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include <dolmen/assert.hpp>

#include "base/checksum.hpp"
#include "cluster/ordered_fixture.hpp"

namespace {

using namespace dolmen;
using namespace dolmen::cluster;

constexpr std::uint64_t kRecordMagic = 0x52494C44;
constexpr std::uint64_t kSnapshotMagic = 0x534F4C44;
constexpr std::size_t kBefore = 8;  ///< magic and version
constexpr std::uint32_t kNodes = 16;
constexpr std::uint64_t kHeap = 64 << 10;

std::uint64_t seed_of(const OrderedGeometry& geometry, std::uint64_t magic, std::uint64_t number) {
  const std::uint64_t table = base::mix_seed(magic, geometry.table.high);
  return base::mix_seed(base::mix_seed(table, geometry.table.low), number);
}

void seal_record(base::MutableBytes heap, const RecordPlace& place,
                 const OrderedGeometry& geometry) {
  const std::uint64_t begin = std::uint64_t{place.granule} * kHeapGranuleBytes;
  if (place.bytes < 24 || begin > heap.size() || place.bytes > heap.size() - begin) return;
  base::store(heap, begin,
              base::checksum64(heap.subspan(begin + 8, place.bytes - 8),
                               seed_of(geometry, kRecordMagic, place.granule)));
}

/// Gives everything in a snapshot the checksum that fits it, as far as the lengths lead.
void seal(base::MutableBytes snapshot, const OrderedGeometry& geometry) {
  base::store(snapshot, 0, static_cast<std::uint32_t>(kSnapshotMagic));
  base::store(snapshot, 4, kOrderedVersion);
  const base::MutableBytes ranges = snapshot.subspan(kBefore, snapshot.size() - kBefore - 8);
  encode_ordered_geometry(ranges, geometry);
  const std::uint32_t nodes = base::load<OrderedState>(ranges, kIndexStateAt).nodes_used;
  const std::size_t heap_at = geometry.node_at(nodes % (kNodes + 1) + 1);
  if (heap_at <= ranges.size()) {
    const base::MutableBytes heap = ranges.subspan(heap_at);
    for (TreeNodeNumber number = 1; number <= nodes % (kNodes + 1); ++number) {
      const auto bytes = ranges.subspan(geometry.node_at(number), kNodeBytes);
      base::store(bytes, 0,
                  base::checksum64(bytes.subspan(8), seed_of(geometry, kOrderedMagic, number)));
      const auto node = decode_node(bytes, number, geometry);
      if (!node) continue;
      seal_record(heap, node->low.place, geometry);
      for (const TreeCell& cell : node->cells) seal_record(heap, cell.key.place, geometry);
    }
  }
  const base::MutableBytes body = snapshot.first(snapshot.size() - 8);
  base::store(snapshot, body.size(), base::checksum64(body, kSnapshotMagic));
}

void check_node(base::Bytes bytes, const OrderedGeometry& geometry) {
  const auto node = decode_node(bytes, 7, geometry);
  if (node) DOLMEN_ASSERT(std::ranges::equal(encode_node(*node, 7, geometry), bytes));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  Tree tree(kNodes, kHeap);
  if (const auto found = decode_ordered_geometry(bytes, std::uint64_t{1} << 40)) {
    std::vector<std::byte> written(kGeometryBytes);
    encode_ordered_geometry(written, *found);
    DOLMEN_ASSERT(std::ranges::equal(written, bytes.first(kGeometryBytes)));
  }
  std::vector<std::byte> node(bytes.begin(), bytes.end());
  node.resize(kNodeBytes);
  check_node(node, tree.geometry());
  base::store(
      node, 0,
      base::checksum64(base::Bytes(node).subspan(8), seed_of(tree.geometry(), kOrderedMagic, 7)));
  check_node(node, tree.geometry());

  static_cast<void>(tree.tree().restore(bytes));
  if (bytes.size() < kBefore + kNodesAt + 8) return 0;
  std::vector<std::byte> sealed(bytes.begin(), bytes.end());
  seal(sealed, tree.geometry());
  static_cast<void>(tree.tree().restore(sealed));
  DOLMEN_ASSERT(tree.tree().check().has_value());
  if (tree.tree().applied() >= log::kIndexMax - 100) return 0;
  tree.goes_on_at(tree.tree().applied());
  for (std::uint64_t key = 0; key < 24; ++key) {
    const std::string name = key == 7 ? "seven" : hard_key(key);
    const bool is_erase = key % 3 == 0;
    const auto outcome = is_erase ? tree.erase(name) : tree.put(name, std::string(key * 9, 'f'));
    const bool is_there = tree.tree().find(base::as_bytes(name)).has_value();
    DOLMEN_ASSERT(outcome == IndexOutcome::no_space || is_there == !is_erase);
  }
  tree.apply(IndexCommand::release(tree.last()));
  const OrderedPage all = tree.tree().scan({}, 1'000'000, std::size_t{1} << 40);
  DOLMEN_ASSERT(all.is_last && all.entries.size() == tree.tree().statistics().keys);
  for (const OrderedEntry& entry : all.entries) tree.apply(IndexCommand::erase(entry.key));
  DOLMEN_ASSERT(tree.tree().statistics().keys == 0 && tree.tree().check().has_value());
  return 0;
}
