// SPDX-License-Identifier: Apache-2.0
#include "txn/container_check.hpp"

#include <array>
#include <bit>

#include "object/object_bytes.hpp"

namespace dolmen::txn {

using detail::HashBucket;
using detail::HashLayout;

struct ContainerCheck::Buckets {
  std::uint64_t directory;
  std::uint64_t size;
  std::uint32_t count;
  std::uint32_t mask;
  std::uint64_t node_bytes;
  std::uint64_t seen = 0;  ///< nodes
};

struct ContainerCheck::Tree {
  const detail::LeafLayout& layout;
  detail::InnerLayout inner;
  std::uint64_t nodes = 0;
  std::uint64_t entries = 0;
  std::uint64_t first = 0;  ///< leaf
  std::uint64_t last = 0;
};

namespace {

constexpr std::uint32_t kHeightMax = 32;
/// Bit 48 set, bit 63 clear: no link is a plain location.
constexpr std::uint64_t kLinkMark = std::uint64_t{1} << HashLayout::kTagShift;
constexpr std::uint64_t kLinkFixed = kLinkMark | std::uint64_t{1} << 63;

std::unexpected<Error> broken(const char* what, std::uint64_t offset) {
  return fail(Errc::corrupt, what, offset);
}

}  // namespace

template <class T>
T ContainerCheck::load(std::uint64_t offset) const noexcept {
  return object::core::ObjectBytes(heap_.base(), heap_.capacity()).load<T>(offset);
}

bool ContainerCheck::is_storage(std::uint64_t location, std::uint64_t bytes) const noexcept {
  const auto found = heap_.at(location);
  return found && found->offset == location && found->type_tag >= object::kFirstUserTag &&
         found->bytes >= bytes;
}

Result<void> ContainerCheck::string(std::uint64_t at) const {
  constexpr std::uint8_t kOutside = 0xFF;
  constexpr std::uint8_t kInsideMax = 22;
  const auto tag = load<std::uint8_t>(at + 23);
  if (tag <= kInsideMax) return {};
  const std::uint64_t size = load<std::uint32_t>(at + 8);
  if (tag != kOutside || size > load<std::uint32_t>(at + 12) ||
      !is_storage(load<std::uint64_t>(at), size + 1)) {
    return broken("a string", at);
  }
  return {};
}

Result<ContainerCheck::Buckets> ContainerCheck::buckets_of(std::uint64_t at,
                                                           std::uint64_t node_bytes) const {
  const Buckets buckets{.directory = load<std::uint64_t>(at),
                        .size = load<std::uint64_t>(at + 8),
                        .count = load<std::uint32_t>(at + 16),
                        .mask = load<std::uint32_t>(at + 20),
                        .node_bytes = node_bytes};
  if (buckets.count == 0) {
    if (buckets.directory == 0 && buckets.size == 0 && buckets.mask == 0) return buckets;
    return broken("a hash_map without buckets", at);
  }
  if (buckets.count > heap_.capacity() / sizeof(HashBucket) ||
      buckets.size > heap_.capacity() / node_bytes ||
      buckets.mask != std::bit_ceil(buckets.count) - 1) {
    return broken("a hash_map larger than its object", at);
  }
  const std::uint32_t segments = HashLayout::place_of(buckets.count - 1).segment + 1;
  if (!is_storage(buckets.directory, 8 * HashLayout::directory_capacity(segments))) {
    return broken("the directory of a hash_map", at);
  }
  return buckets;
}

/// Where the segment lies that a bucket is in.
Result<std::uint64_t> ContainerCheck::segment(const Buckets& buckets,
                                              const HashLayout::Place& place) const {
  const auto segment = load<std::uint64_t>(buckets.directory + std::uint64_t{8} * place.segment);
  if (!is_storage(segment, sizeof(HashBucket) * HashLayout::segment_buckets(place.segment))) {
    return broken("buckets of a hash_map", buckets.directory);
  }
  return segment;
}

Result<void> ContainerCheck::bucket(Buckets& buckets, std::uint32_t index,
                                    const Entry& entry) const {
  const HashLayout::Place place = HashLayout::place_of(index);
  DOLMEN_TRY(const std::uint64_t segment, this->segment(buckets, place));
  for (unsigned slot = 0; slot < HashBucket::kSlots; ++slot) {
    std::uint64_t at = segment + sizeof(HashBucket) * place.offset + 8 * slot;
    for (auto link = load<std::uint64_t>(at); link != 0;) {
      const std::uint64_t node = link & HashLayout::kLocationMask;
      if ((link & kLinkFixed) != kLinkMark || ++buckets.seen > buckets.size ||
          !is_storage(node, buckets.node_bytes)) {
        return broken("a link of a hash_map", at);
      }
      if (entry) DOLMEN_CHECK(entry(node));
      const auto next = load<std::uint64_t>(node);
      if ((next != 0) != ((link & HashLayout::kHasNext) != 0)) {
        return broken("a chain of a hash_map", at);
      }
      at = node;
      link = next;
    }
  }
  return {};
}

Result<void> ContainerCheck::hash_map(std::uint64_t at, std::uint64_t node_bytes,
                                      const Entry& entry) const {
  DOLMEN_TRY(Buckets buckets, buckets_of(at, node_bytes));
  for (std::uint32_t index = 0; index < buckets.count; ++index) {
    DOLMEN_CHECK(bucket(buckets, index, entry));
  }
  if (buckets.seen != buckets.size) return broken("a hash_map with too few entries", at);
  return {};
}

Result<void> ContainerCheck::hash_map_key(std::uint64_t at, std::uint64_t hash,
                                          std::uint64_t node_bytes, const Entry& entry) const {
  DOLMEN_TRY(Buckets buckets, buckets_of(at, node_bytes));
  if (buckets.count == 0) return {};
  DOLMEN_CHECK(bucket(buckets, HashLayout::bucket_of(hash, buckets.count, buckets.mask), entry));
  buckets.seen = 0;
  // The one that an insertion may split, and the place of the new one, if it is not in a segment of
  // its own.
  const HashLayout::Place opened = HashLayout::place_of(buckets.count);
  if (opened.offset != 0) DOLMEN_CHECK(segment(buckets, opened));
  return bucket(buckets, buckets.count - std::bit_floor(buckets.count), entry);
}

Result<void> ContainerCheck::leaf(Tree& tree, std::uint64_t node) const {
  const std::size_t slots = tree.layout.capacity();
  const auto count = load<std::uint16_t>(node + 16);
  if (count == 0 || count > slots) return broken("the count of an ordered_map's leaf", node);
  std::array<bool, 256> taken{};
  for (std::size_t i = 0; i < slots; ++i) {
    const auto slot = load<std::uint8_t>(node + 18 + i);
    if (slot >= slots || taken[slot]) return broken("the order of an ordered_map's leaf", node);
    taken[slot] = true;
  }
  if (load<std::uint64_t>(node) != tree.last ||
      (tree.last != 0 && load<std::uint64_t>(tree.last + 8) != node)) {
    return broken("the chain of an ordered_map's leaves", node);
  }
  if (tree.first == 0) tree.first = node;
  tree.last = node;
  tree.entries += count;
  return {};
}

Result<void> ContainerCheck::subtree(Tree& tree, std::uint64_t node, std::uint32_t level) const {
  const std::size_t slots = level == 0 ? tree.layout.capacity() : tree.inner.capacity();
  const std::size_t bytes =
      level == 0 ? tree.layout.bytes(slots, tree.layout.order_bytes()) : tree.inner.bytes(slots);
  // More nodes than there is room for: some is met again.
  if (!is_storage(node, bytes) || ++tree.nodes > heap_.capacity() / bytes) {
    return broken("a node of an ordered_map", node);
  }
  if (level == 0) return leaf(tree, node);
  const auto count = load<std::uint16_t>(node);
  if (count == 0 || count > slots) return broken("the count of an ordered_map's node", node);
  for (std::uint64_t child = 0; child <= count; ++child) {
    const std::uint64_t at = node + tree.inner.children_at(slots) + 8 * child;
    DOLMEN_CHECK(subtree(tree, load<std::uint64_t>(at), level - 1));
  }
  return {};
}

Result<void> ContainerCheck::ordered_map(std::uint64_t at, const detail::LeafLayout& leaf) const {
  Tree tree{.layout = leaf, .inner = {leaf.key_bytes, leaf.key_align}};
  const auto root = load<std::uint64_t>(at);
  const auto height = load<std::uint32_t>(at + 32);
  if (height > kHeightMax || (root == 0 && height != 0)) {
    return broken("the height of an ordered_map", at);
  }
  if (root != 0) DOLMEN_CHECK(subtree(tree, root, height));
  if (load<std::uint64_t>(at + 8) != tree.first || load<std::uint64_t>(at + 16) != tree.last ||
      (tree.last != 0 && load<std::uint64_t>(tree.last + 8) != 0)) {
    return broken("the chain of an ordered_map's leaves", at);
  }
  if (load<std::uint64_t>(at + 24) != tree.entries) {
    return broken("the size of an ordered_map", at);
  }
  return {};
}

}  // namespace dolmen::txn
